//go:build !linux

package parley

import "math"

// systemMemory is not known here.
func systemMemory() int64 { return math.MaxInt64 }
