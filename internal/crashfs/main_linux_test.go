//go:build !386 && !arm

package crashfs

import (
	"os"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
)

func TestMain(m *testing.M) { os.Exit(leaks.Run(m)) }
