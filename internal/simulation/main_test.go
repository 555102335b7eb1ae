//go:build linux && simulate

package simulation

import (
	"os"
	"runtime"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
)

// With one thread goroutines take turns in an order that does not change, so that a seed is a history.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(leaks.Run(m))
}
