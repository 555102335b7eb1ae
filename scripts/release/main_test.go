package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var committed = time.Date(2026, 11, 26, 20, 39, 56, 0, time.UTC)

// What git says becomes a version that managers of packages sort as it was made, the oldest first.
func TestPackagesAreSortedAsTheirCommits(t *testing.T) {
	before := ""
	for _, c := range []struct{ described, want string }{
		{"c19fe18", "0.0.0~20261126203956.c19fe18"}, // no tag yet
		{"v1.2.3-rc.1", "1.2.3~rc.1"},
		{"v1.2.3-rc.1-2-gc19fe18", "1.2.3~rc.1+2.gc19fe18"},
		{"1.2.3", "1.2.3"},
		{"v1.2.3-4-gc19fe18", "1.2.3+4.gc19fe18"},
		{"v1.2.3-4-gc19fe18-dirty", "1.2.3+4.gc19fe18.dirty"},
		{"v1.2.4", "1.2.4"},
	} {
		got := packageVersion(c.described, committed)
		if got != c.want {
			t.Errorf("%s is packed as %s, want %s", c.described, got, c.want)
		}
		if dpkg, err := exec.LookPath("dpkg"); err == nil && before != "" {
			if exec.Command(dpkg, "--compare-versions", before, "lt", got).Run() != nil {
				t.Errorf("%s is not older than %s", before, got)
			}
		}
		before = got
	}
}

// Archives have nothing of when, where and by whom they were made.
func TestArchivesAreTheSameEverywhere(t *testing.T) {
	var archives [2][]byte
	for i, mode := range []os.FileMode{0o644, 0o600} { // as another umask has it
		root := t.TempDir()
		for _, file := range []string{"p/b", "p/a", "p/sub/c"} {
			if err := writeFile(filepath.Join(root, file), []byte(file)); err != nil {
				t.Fatal(err)
			}
			os.Chmod(filepath.Join(root, file), mode)
			os.Chtimes(filepath.Join(root, file), time.Time{}, time.Unix(int64(i), 0))
		}
		for _, write := range []func(archive, root, dir string, at time.Time) error{writeTar, writeZip} {
			archive := filepath.Join(root, "archive")
			if err := write(archive, root, "p", committed); err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(archive)
			if err != nil {
				t.Fatal(err)
			}
			archives[i] = append(archives[i], content...)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same files become other archives")
	}
}

// What packages are made of has the same modes and the same time under any umask.
func TestFilesSettle(t *testing.T) {
	for _, dirMode := range []os.FileMode{0o755, 0o700} {
		root := filepath.Join(t.TempDir(), "root")
		want := map[string]os.FileMode{"": 0o755, "doc": 0o755, "doc/page": 0o644, "program": 0o755}
		for file, mode := range want {
			at := filepath.Join(root, file)
			if file == "" || file == "doc" {
				continue
			}
			if err := writeFile(at, nil); err != nil {
				t.Fatal(err)
			}
			os.Chmod(at, mode&dirMode)
			os.Chmod(filepath.Dir(at), dirMode)
		}
		if err := settle(root, committed); err != nil {
			t.Fatal(err)
		}
		for file, mode := range want {
			info, err := os.Stat(filepath.Join(root, file))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != mode || !info.ModTime().Equal(committed) {
				t.Errorf("%q has mode %v and time %v, want %v and %v", file, info.Mode().Perm(), info.ModTime(), mode, committed)
			}
		}
	}
}
