package main

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/parley-tcp/parley"
)

// limitMemory has the collector keep the process within nine tenths of the memory that it may
// use. Otherwise it lets garbage add as much again as is in use, and the system ends a process
// in a small container for that. GOMEMLIMIT outranks it.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" && runtime.GOOS == "linux" {
		mayUse := 4 * parley.DefaultMaxHeld() // which is a quarter of it
		debug.SetMemoryLimit(mayUse / 10 * 9)
	}
}
