//go:build linux && simulate

package simulation

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
)

// With one thread goroutines take turns in an order that does not change, so that a seed is a history. What
// panics in a goroutine of the server's ends the process, and names the seed by its label.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Setenv("GODEBUG", "tracebacklabels=1")
	os.Exit(run(m))
}

func run(m *testing.M) int {
	memory := "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		memory = ""
	}
	var err error
	if disks, err = os.MkdirTemp(memory, "parley-test"); err == nil {
		disks, err = filepath.EvalSymlinks(disks)
	}
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(disks)
	return leaks.Run(m)
}
