package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The list goes with the code: each part that is to be broken is there once, and is something else then.
func TestTheListIsUpToDate(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range mutants {
		code, err := os.ReadFile(filepath.Join("../..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(code), m.was); n != 1 || m.is == m.was {
			t.Errorf("%s: %s has %q %d times, want once", m.name, m.file, m.was, n)
		}
		if names[m.name] {
			t.Errorf("two are called %s", m.name)
		}
		names[m.name] = true
	}
}

// Only a test that failed has noticed: code that does not compile, and tests that are not there, have not.
func TestVerdict(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, c := range []struct {
		out     string
		err     error
		noticed string
		isError bool
	}{
		{"ok  \tparley\t1.2s\n", nil, "", false},
		{"ok  \tparley\t0.1s [no tests to run]\n", nil, "", true},
		{"--- FAIL: TestSplits (0.01s)\n    x_test.go:1: no\nFAIL\n", failed, "TestSplits", false},
		{"# parley\n./a.go:1: no\nFAIL\tparley [build failed]\n", failed, "", true},
		{"panic: test timed out after 1m0s\n", failed, "a test that never ends", false},
		{"panic: oh\n", failed, "a check behind the tests", false},
		{"go: no such tool\n", failed, "", true},
	} {
		noticed, err := verdict(c.out, c.err)
		if noticed != c.noticed || (err != nil) != c.isError {
			t.Errorf("%q: %q, %v; want %q, an error: %t", c.out, noticed, err, c.noticed, c.isError)
		}
	}
}
