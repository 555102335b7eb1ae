package recent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The newest stands first and once, the oldest are forgotten, and nobody else may read them.
func TestAddressesAreKeptNewestFirst(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	file, err := File()
	if err != nil {
		t.Fatal(err)
	}
	if got := Read(file); got != nil {
		t.Errorf("before anything there are %q", got)
	}
	for _, address := range []string{":6969", "unix:/tmp/a b", "redis:6379", ":6969", ":6969", "", "a\nb", "a\x1bb", strings.Repeat("x", longest+1)} {
		if err := Add(file, address); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := Read(file), []string{":6969", "redis:6379", "unix:/tmp/a b"}; !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
	for i := range most {
		if err := Add(file, fmt.Sprintf("host%d:%s1", i, strings.Repeat("0", longest-10))); err != nil {
			t.Fatal(err)
		}
	}
	if got := Read(file); len(got) != most || !strings.HasPrefix(got[0], fmt.Sprintf("host%d:", most-1)) || !strings.HasPrefix(got[most-1], "host0:") {
		t.Errorf("there are %d, want the newest %d", len(got), most)
	}
	for name, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".addresses-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Whatever is in the place of the file costs nobody more than the addresses.
func TestWhatIsNoFileHasNoAddresses(t *testing.T) {
	dir := t.TempDir()
	if got := Read(dir); got != nil {
		t.Errorf("a directory has %q", got)
	}
	if err := Add(dir, ":1"); err == nil {
		t.Error("an address was added to a directory")
	}
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(long, []byte(":1\n"+strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Read(long); !slices.Equal(got, []string{":1"}) {
		t.Errorf("a file of one endless line has %d addresses", len(got))
	}
}
