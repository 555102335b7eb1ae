//go:build linux && simulate

package simulation

import (
	"os"
	"runtime"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
)

// With one thread goroutines take turns in an order that does not change, so that a seed is a history. What
// panics in a goroutine of the server's ends the process, and names the seed by its label.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Setenv("GODEBUG", "tracebacklabels=1")
	os.Exit(leaks.Run(m))
}
