// Corpus takes into the repository what fuzzing has found: of what lies in Go's cache of each target it copies
// into testdata/fuzz those inputs that reach what neither a seed nor what is there already reaches, that which
// reaches most first, as long as there are no more than maxFiles in maxBytes. What is there stays.
//
//	go run ./scripts/corpus PACKAGE...	those of the packages, such as ./internal/dialect
package main

import (
	"bytes"
	"cmp"
	"errors"
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
	maxInput = 2 << 10
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
		if !strings.HasPrefix(f.Name(), "Fuzz") {
			continue // the directory of a package below
		}
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
}

// An input is a file.
type input struct {
	name    string
	size    int64
	reaches []string // places in the code, with about how often it passes each
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
	found = slices.DeleteFunc(found, func(in input) bool {
		return in.size > maxInput || slices.ContainsFunc(there, func(i input) bool { return i.name == in.name })
	})
	found = found[:min(len(found), maxTried)]
	for i := range found {
		if err := t.try(kept, &found[i]); err != nil {
			return err
		}
	}
	known, err := t.reaches("seed#.*")
	for _, in := range there {
		reaches, oneErr := t.reaches(in.name)
		known, err = append(known, reaches...), errors.Join(err, oneErr)
	}
	if err != nil {
		return err
	}
	chosen := choose(found, known, there)
	for _, in := range chosen {
		if err := t.copy(kept, in.name); err != nil {
			return err
		}
	}
	fmt.Printf("%s: %d of %d inputs are new, beside the %d before them\n", t.name, len(chosen), len(found), len(there))
	return nil
}

// choose takes, of what was found, again and again the input that reaches most of what is not known yet.
func choose(found []input, known []string, there []input) (chosen []input) {
	reached := make(map[string]bool)
	files, size := len(there), int64(0)
	for _, in := range there {
		size += in.size
	}
	for news := known; files < maxFiles; files++ {
		for _, place := range news {
			reached[place] = true
		}
		best, most := -1, 0
		for i, in := range found {
			gain := 0
			for _, place := range in.reaches {
				if !reached[place] {
					gain++
				}
			}
			if gain > most && size+in.size <= maxBytes {
				best, most = i, gain
			}
		}
		if best < 0 {
			break
		}
		chosen = append(chosen, found[best])
		size, news = size+found[best].size, found[best].reaches
	}
	return chosen
}

// try looks at what an input reaches. It lies where the tests look for it as long as that takes.
func (t *target) try(kept string, in *input) error {
	if err := t.copy(kept, in.name); err != nil {
		return err
	}
	var err error
	in.reaches, err = t.reaches(in.name)
	return errors.Join(err, os.Remove(filepath.Join(kept, in.name)))
}

func (t *target) copy(to, name string) error {
	data, err := os.ReadFile(filepath.Join(t.cache, name))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, name), data, 0o644)
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
		all = append(all, input{name: e.Name(), size: info.Size()})
	}
	slices.SortStableFunc(all, func(a, b input) int { return cmp.Compare(a.size, b.size) })
	return all, nil
}

// reaches runs the target with inputs and says what they reach.
func (t *target) reaches(names string) (places []string, err error) {
	if _, err := output(t.dir, t.tests, "-test.run", "^"+t.name+"$/^("+names+")$", "-test.coverprofile", t.profile); err != nil {
		return nil, err
	}
	profile, err := os.ReadFile(t.profile)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(profile)) { // parley/file.go:12.34,56.78 statements count
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] == "0" {
			continue
		}
		n, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return nil, err
		}
		places = append(places, fmt.Sprint(fields[0], " ", bits.Len64(n))) // once, twice or thrice, up to seven times …
	}
	return places, nil
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
