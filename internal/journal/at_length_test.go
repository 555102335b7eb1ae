package journal

import (
	"os"
	"testing"
)

// atLength is how often a test does something: often enough to find what is broken, and all of it in `make soak`.
func atLength(enough, all int) int {
	if os.Getenv("PARLEY_SOAK") != "" {
		return all
	}
	return enough
}

// inMemory is a directory that is synced at once, where the system has one.
func inMemory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "parley-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
