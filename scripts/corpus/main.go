// Corpus takes into the repository what fuzzing has found: of what lies in Go's cache of each target it copies
// into testdata/fuzz those inputs that reach what neither a seed nor what is there already reaches, the
// smallest first, as long as there are no more than maxFiles in maxBytes. What is there stays.
//
//	go run ./scripts/corpus PACKAGE...	those of the packages, such as ./internal/dialect
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What a target may have in the repository: every input is run by each `make test`.
const (
	maxFiles = 40
	maxBytes = 64 << 10
	maxTried = 400 // inputs that are looked at, the smallest
)

const module = "github.com/parley-tcp/parley"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}

func run(patterns []string) error {
	cache, err := output("", "go", "env", "GOCACHE")
	if err != nil {
		return err
	}
	packages, err := output("", "go", append([]string{"list", "-f", "{{.ImportPath}} {{.Dir}}"}, patterns...)...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(packages) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		if err := ofPackage(dir, filepath.Join(strings.TrimSpace(cache), "fuzz", path)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func ofPackage(dir, cache string) error {
	found, err := os.ReadDir(cache)
	if os.IsNotExist(err) {
		return nil // nobody has fuzzed it here
	}
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "corpus-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	tests := filepath.Join(temp, "tests")
	if _, err := output(dir, "go", "test", "-c", "-vet=off", "-covermode=count", "-coverpkg="+module+"/...", "-o", tests, "."); err != nil {
		return err
	}
	for _, f := range found {
		t := target{name: f.Name(), tests: tests, dir: dir, cache: filepath.Join(cache, f.Name()), profile: filepath.Join(temp, "profile")}
		if err := t.take(); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return nil
}

// A target is one function that is fuzzed.
type target struct {
	name       string
	tests, dir string // its package's
	cache      string // where its inputs are found
	profile    string // scratch

	reached map[string]bool // places in the code, with about how often each was passed
}

// An input is a file.
type input struct {
	name string
	size int64
}

func (t *target) take() error {
	kept := filepath.Join(t.dir, "testdata", "fuzz", t.name)
	there, err := inputs(kept)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	found, err := inputs(t.cache)
	if err != nil {
		return err
	}
	t.reached = make(map[string]bool)
	if _, err := t.reaches("seed#.*|" + namesOf(there)); err != nil {
		return err
	}
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return err
	}
	files, size := len(there), int64(0)
	for _, in := range there {
		size += in.size
	}
	before := files
	for _, in := range found[:min(len(found), maxTried)] {
		if files == maxFiles || size+in.size > maxBytes {
			break
		}
		if slices.ContainsFunc(there, func(i input) bool { return i.name == in.name }) {
			continue
		}
		to := filepath.Join(kept, in.name)
		data, err := os.ReadFile(filepath.Join(t.cache, in.name))
		if err == nil {
			err = os.WriteFile(to, data, 0o644)
		}
		if err != nil {
			return err
		}
		more, err := t.reaches(in.name)
		switch {
		case err != nil: // which the next `make test` says too
			return fmt.Errorf("%s: %w", to, err)
		case more:
			files, size = files+1, size+in.size
		default:
			if err := os.Remove(to); err != nil {
				return err
			}
		}
	}
	os.Remove(kept) // if it is empty
	fmt.Printf("%s: %d of %d inputs are new, and with the %d before them %d bytes\n", t.name, files-before, len(found), before, size)
	return nil
}

// inputs are those of a directory, the smallest first.
func inputs(dir string) (all []input, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		all = append(all, input{e.Name(), info.Size()})
	}
	slices.SortStableFunc(all, func(a, b input) int { return cmp.Compare(a.size, b.size) })
	return all, nil
}

func namesOf(all []input) string {
	var names []string
	for _, in := range all {
		names = append(names, in.name)
	}
	return strings.Join(names, "|")
}

// reaches runs the target with inputs and says whether they reach what was not reached before.
func (t *target) reaches(names string) (more bool, err error) {
	if _, err := output(t.dir, t.tests, "-test.run", "^"+t.name+"$/^("+names+")$", "-test.coverprofile", t.profile); err != nil {
		return false, err
	}
	profile, err := os.ReadFile(t.profile)
	if err != nil {
		return false, err
	}
	lines := bufio.NewScanner(bytes.NewReader(profile))
	for lines.Scan() { // parley/file.go:12.34,56.78 statements count
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 || fields[2] == "0" {
			continue
		}
		n, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return false, err
		}
		place := fmt.Sprint(fields[0], " ", bits.Len64(n)) // once, twice or thrice, up to seven times …
		more = more || !t.reached[place]
		t.reached[place] = true
	}
	return more, lines.Err()
}

// output is what a program prints. The error has what it says went wrong.
func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", name, err, out, said.Bytes())
	}
	return string(out), nil
}
