package fault_test

import (
	"os"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
)

func TestMain(m *testing.M) { os.Exit(leaks.Run(m)) }
