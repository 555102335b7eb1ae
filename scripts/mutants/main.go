// Mutants breaks the code in each of the ways that mutants.go lists, one at a time, and runs the tests that are to
// notice. It prints a line for each, and exits with 1 if one has survived: then a test is missing, or has lost its
// teeth. The files themselves stay as they are: what the compiler reads in their place is in a temporary directory
// (-overlay of `go help build`).
//
//	go run ./scripts/mutants [WORDS]	those whose name has the words; all without
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	wanted := strings.Join(os.Args[1:], " ")
	tried, bad := 0, 0
	for _, m := range mutants {
		if !strings.Contains(m.name, wanted) {
			continue
		}
		tried++
		begin := time.Now()
		noticed, err := m.try()
		took := time.Since(begin).Round(100 * time.Millisecond)
		switch {
		case err != nil:
			bad++
			fmt.Printf("ERROR     %s: %v\n", m.name, err)
		case noticed == "":
			bad++
			fmt.Printf("SURVIVED  %s (%s, %v)\n", m.name, m.file, took)
		default:
			fmt.Printf("noticed   %s: %s (%v)\n", m.name, noticed, took)
		}
	}
	fmt.Printf("%d mutants, %d not noticed\n", tried, bad)
	if bad > 0 || tried == 0 {
		os.Exit(1)
	}
}

// A mutant is a way to break the code.
type mutant struct {
	name    string // what is broken
	file    string
	was, is string // a part of the file that is there once, and what stands in its place
	pkg     string // whose tests are to notice, as go test takes it, flags before it
	run     string // which of them, as for go test -run
}

// try runs the tests over the broken code, and says which of them has noticed; empty if none has.
func (m *mutant) try() (noticed string, err error) {
	code, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(code, []byte(m.was)); n != 1 {
		return "", fmt.Errorf("%s has %q %d times, want once: the list is to be brought up to date", m.file, m.was, n)
	}
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	broken := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(broken, bytes.Replace(code, []byte(m.was), []byte(m.is), 1), 0o600); err != nil {
		return "", err
	}
	file, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{file: broken}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return "", err
	}
	args := []string{"test", "-overlay", overlay, "-vet=off", "-failfast", "-timeout", "1m", "-run", m.run}
	out, err := exec.Command("go", append(args, strings.Fields(m.pkg)...)...).CombinedOutput()
	return verdict(string(out), err)
}

// verdict reads what go test has printed: the test that failed, or that the broken code was not tested at all.
func verdict(out string, err error) (noticed string, _ error) {
	switch {
	case strings.Contains(out, "[build failed]"):
		return "", fmt.Errorf("it does not compile:\n%s", out)
	case strings.Contains(out, "no tests to run"):
		return "", fmt.Errorf("there is no such test")
	case err == nil:
		return "", nil
	}
	for line := range strings.Lines(out) {
		if _, name, failed := strings.Cut(line, "--- FAIL: "); failed {
			name, _, _ = strings.Cut(name, " ")
			return name, nil
		}
	}
	if strings.Contains(out, "test timed out") {
		return "a test that never ends", nil
	}
	if strings.Contains(out, "\nFAIL") || strings.Contains(out, "panic:") {
		return "a check behind the tests", nil
	}
	return "", fmt.Errorf("go test: %w\n%s", err, out)
}
