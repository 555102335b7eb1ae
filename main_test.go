package parley_test

import (
	"os"
	"strings"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
)

// No test may leave a goroutine or a descriptor behind.
func TestMain(m *testing.M) {
	if process := strings.Fields(os.Getenv(processEnv)); len(process) > 0 {
		processes[process[0]](process[1:])
		return
	}
	os.Exit(leaks.Run(m))
}

// noLeaks checks that a test leaves behind no goroutine and no descriptor. It is
// called first, so that its check runs last.
func noLeaks(t *testing.T) { leaks.Check(t) }
