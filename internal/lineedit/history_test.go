//go:build linux || darwin

package lineedit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Any line comes back as it was, and each is one line of the file.
func FuzzHistory(f *testing.F) {
	f.Add([]byte("plain"))
	f.Add([]byte("\\ \" \x00 \n \r \xff 日本\u2028"))
	f.Fuzz(func(t *testing.T, line []byte) {
		entry := appendEntry(nil, line)
		if got := fromEntry(entry); !bytes.Equal(got, line) || bytes.ContainsAny(entry, "\n\r") {
			t.Errorf("%q became %q and then %q", line, entry, got)
		}
	})
}

func TestEntriesByHandAreTakenAsTheyAre(t *testing.T) {
	for entry, want := range map[string]string{`say "hello"`: `say "hello"`, `a\x00b`: "a\x00b", `ends in \`: `ends in \`} {
		if got := string(fromEntry([]byte(entry))); got != want {
			t.Errorf("%s is %q, want %q", entry, got, want)
		}
	}
}

// Several clients at once lose nothing, also while the file is cut: it keeps the newest lines, of each client in
// its order, and never has a part of one.
func TestClientsAtOnceLoseNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "parley", "history")
	old, err := openHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2*mostLines + 1 {
		if err := old.write(fmt.Appendf(nil, "old %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	const each, clients = 100, 4
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			h, err := openHistory(path) // one of them cuts it
			if err != nil {
				t.Error(err)
				return
			}
			for i := range each {
				if err := h.write(fmt.Appendf(nil, "client %d line %d", c, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for c := range clients {
		got := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, fmt.Sprintf("client %d ", c)) })
		if len(got) != each || got[0] != fmt.Sprintf("client %d line 0", c) || got[each-1] != fmt.Sprintf("client %d line %d", c, each-1) {
			t.Errorf("client %d: %d lines are kept, %q", c, len(got), got)
		}
	}
	olds := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, "old ") })
	if n := len(olds); n > mostLines || n < mostLines-each*clients || olds[n-1] != fmt.Sprintf("old %d", 2*mostLines) {
		t.Errorf("%d of the old lines are kept, the last is %q", n, olds[n-1])
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".history-*")); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
	h, err := openHistory(path)
	if err != nil || len(h.lines) > mostLines || string(h.lines[len(h.lines)-1]) != lines[len(lines)-1] {
		t.Errorf("read are %d lines, %v", len(h.lines), err)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	h, err := openHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{longestKept, longestKept + 1} {
		if err := h.write(bytes.Repeat([]byte("x"), n)); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() != longestKept+1 {
		t.Errorf("%v, %v: want one line of %d bytes", info, err, longestKept)
	}
	if !h.add([]byte("a")) || h.add([]byte("a")) || h.add(nil) {
		t.Error("a line is kept twice in a row, or an empty one")
	}
}

// A file that others may read is its owner's alone again; one that is no file is an error and nothing is lost.
func TestHistoryFileIsItsOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "history")
	if err := os.WriteFile(path, []byte("a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openHistory(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	h, err := openHistory(dir)
	if err == nil || h.path != "" || !h.add([]byte("a")) {
		t.Errorf("a directory: %v, %+v", err, h)
	}
}
