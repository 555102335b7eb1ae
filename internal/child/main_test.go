//go:build unix

package child

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
)

// No test may leave a goroutine, a descriptor or a process behind.
func TestMain(m *testing.M) {
	code := leaks.Run(m)
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD && code == 0 {
		fmt.Fprintf(os.Stderr, "FAIL: the tests have left a process behind (%d, %v)\n", pid, err)
		code = 1
	}
	os.Exit(code)
}
