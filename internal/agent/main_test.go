package agent

import (
	"os"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
)

// No test may leave a goroutine or a descriptor behind.
func TestMain(m *testing.M) { os.Exit(leaks.Run(m)) }
