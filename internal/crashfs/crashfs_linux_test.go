//go:build !386 && !arm

package crashfs

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A work is what is done in a directory, as a process would. Nothing of it waits for the runtime's poller, which would
// ask this process whether a file of its own is ready.
type work struct {
	t   *testing.T
	dir string
}

func (w work) open(name string, flags int) *os.File {
	w.t.Helper()
	fd, err := syscall.Open(filepath.Join(w.dir, name), flags|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		w.t.Fatalf("open %q: %v", name, err)
	}
	return os.NewFile(uintptr(fd), name)
}

func (w work) write(name, text string, at int64) {
	w.t.Helper()
	f := w.open(name, os.O_CREATE|os.O_WRONLY)
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		w.t.Error(err)
	}
}

// sync syncs a file, or with no name the directory.
func (w work) sync(name string) {
	w.t.Helper()
	f := w.open(name, os.O_RDONLY)
	defer f.Close()
	if err := f.Sync(); err != nil {
		w.t.Error(err)
	}
}

func (w work) truncate(name string, size int64) {
	w.t.Helper()
	if err := os.Truncate(filepath.Join(w.dir, name), size); err != nil {
		w.t.Error(err)
	}
}

func (w work) remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
		w.t.Error(err)
	}
}

func (w work) rename(from, to string) {
	w.t.Helper()
	if err := os.Rename(filepath.Join(w.dir, from), filepath.Join(w.dir, to)); err != nil {
		w.t.Error(err)
	}
}

func (w work) read(name string) string {
	w.t.Helper()
	f := w.open(name, os.O_RDONLY)
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		w.t.Error(err)
	}
	return string(text)
}

// files are all there are, as name=content.
func (w work) files() string {
	w.t.Helper()
	dir := w.open("", os.O_RDONLY|syscall.O_DIRECTORY)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		w.t.Error(err)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] += "=" + w.read(name)
	}
	return strings.Join(names, " ")
}

// leftOf is what is left of a disk, mounted.
func leftOf(t *testing.T, d *Disk, fate Fate, seed uint64) (*Disk, work) {
	t.Helper()
	d.FailBehind(0)
	d.Unmount(t)
	left := d.Left(fate, rand.New(rand.NewPCG(seed, 0)))
	return left, work{t, left.Mount(t)}
}

// Each case begins with the file a, "one", of which all is synced.
func TestOnlyWhatWasSyncedIsLeft(t *testing.T) {
	for _, c := range []struct {
		name        string
		do          func(w work)
		there, left string
	}{
		{"nothing", func(w work) {}, "a=one", "a=one"},
		{"written", func(w work) { w.write("a", "two", 0) }, "a=two", "a=one"},
		{"written and synced", func(w work) { w.write("a", "two", 0); w.sync("a") }, "a=two", "a=two"},
		{"written again", func(w work) { w.write("a", "two", 0); w.sync("a"); w.write("a", " or three", 3) }, "a=two or three", "a=two"},
		{"longer", func(w work) { w.write("a", "!", 5) }, "a=one\x00\x00!", "a=one"},
		{"cut", func(w work) { w.truncate("a", 1) }, "a=o", "a=one"},
		{"cut and synced", func(w work) { w.truncate("a", 1); w.sync("a") }, "a=o", "a=o"},
		{"cut and longer", func(w work) { w.truncate("a", 1); w.truncate("a", 3); w.sync("a") }, "a=o\x00\x00", "a=o\x00\x00"},
		{"a new one", func(w work) { w.write("b", "two", 0); w.sync("b") }, "a=one b=two", "a=one"},
		{"its name alone", func(w work) { w.write("b", "two", 0); w.sync("") }, "a=one b=two", "a=one b="},
		{"its name and content", func(w work) { w.write("b", "two", 0); w.sync("b"); w.sync("") }, "a=one b=two", "a=one b=two"},
		{"removed", func(w work) { w.remove("a") }, "", "a=one"},
		{"removed and synced", func(w work) { w.remove("a"); w.sync("") }, "", ""},
		{"removed and made again", func(w work) { w.remove("a"); w.write("a", "two", 0); w.sync("a") }, "a=two", "a=one"},
		{"renamed", func(w work) { w.write("a", "two", 0); w.sync("a"); w.rename("a", "b") }, "b=two", "a=two"},
		{"renamed and synced", func(w work) { w.rename("a", "b"); w.sync("") }, "b=one", "b=one"},
		{"replaced", func(w work) { w.write("b", "two", 0); w.sync("b"); w.rename("b", "a"); w.sync("") }, "a=two", "a=two"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := New()
			w := work{t, d.Mount(t)}
			w.write("a", "one", 0)
			w.sync("a")
			w.sync("")
			c.do(w)
			if got := w.files(); got != c.there {
				t.Errorf("there is %q, want %q", got, c.there)
			}
			d, w = leftOf(t, d, Lost, 0)
			if got := w.files(); got != c.left {
				t.Errorf("left is %q, want %q", got, c.left)
			}
			_, w = leftOf(t, d, Lost, 0)
			if got := w.files(); got != c.left {
				t.Errorf("what was left becomes %q, want %q", got, c.left)
			}
		})
	}
}

// What was not synced may be there too, as names, files or pages.
func TestSomeOfWhatWasNotSyncedMayBeLeft(t *testing.T) {
	d := New()
	w := work{t, d.Mount(t)}
	for _, name := range []string{"a", "b"} {
		w.write(name, strings.Repeat("-", 3*pageSize), 0)
		w.sync(name)
	}
	w.sync("")
	w.write("a", strings.Repeat("+", 3*pageSize), 0)
	w.write("b", strings.Repeat("+", 6*pageSize), 0)
	w.remove("b")
	w.write("c", "+", 0)
	d.Unmount(t)
	for fate, want := range map[Fate]string{
		Lost:      `^a:--- b:--- $`,
		SomeFiles: `^a:(---|\+\+\+) (b:(---|\+{6}) )?(c:\+? )?$`,
		SomePages: `^a:[-+]{3} (b:[-+]{3}([.+]{3})? )?(c:[.+]? )?$`,
		There:     `^a:\+\+\+ c:\+ $`,
	} {
		left := make(map[string]bool)
		for seed := range uint64(100) {
			text := pages(d.Left(fate, rand.New(rand.NewPCG(seed, 0))))
			if left[text] = true; !regexp.MustCompile(want).MatchString(text) {
				t.Errorf("%v: left is %q, want %s", fate, text, want)
			}
		}
		if some := fate == SomeFiles || fate == SomePages; some != (len(left) > 5) || !some && len(left) != 1 {
			t.Errorf("%v: left is one of %q", fate, slices.Sorted(maps.Keys(left)))
		}
	}
}

// pages has the first byte of each page, and of a hole a dot.
func pages(d *Disk) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(d.current())) {
		text.WriteString(name + ":")
		content := &d.current()[name].now
		for at := int64(0); at < content.size; at += pageSize {
			text.Write(bytes.ReplaceAll(content.read(make([]byte, 1), at), []byte{0}, []byte(".")))
		}
		text.WriteString(" ")
	}
	return text.String()
}

// Nothing happens on a disk without power, from the operation on at which it fails.
func TestThePowerFailsAtAnOperation(t *testing.T) {
	d := New()
	w := work{t, d.Mount(t)}
	f := w.open("a", os.O_CREATE|os.O_RDWR)
	failed := d.FailBehind(3)
	w.sync("")
	if _, err := f.WriteString("one"); err != nil {
		t.Error(err)
	}
	if err := f.Sync(); err != nil || d.Syncs("a") != 1 || !d.AwaitSync("a", 0) {
		t.Errorf("Sync = %v, and %d were seen", err, d.Syncs("a"))
	}
	select {
	case <-failed:
		t.Error("it has failed too early")
	default:
	}
	_, err := f.WriteString("two")
	<-failed
	for what, err := range map[string]error{
		"write": err, "sync": f.Sync(), "truncate": f.Truncate(0), "remove": os.Remove(filepath.Join(w.dir, "a")),
	} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v, want an I/O error", what, err)
		}
	}
	if d.AwaitSync("a", 1) {
		t.Error("without power it was synced")
	}
	f.Close()
	if _, w = leftOf(t, d, There, 0); w.files() != "a=one" {
		t.Errorf("left is %q", w.files())
	}
}

// What was never written is a hole, also of what is left.
func TestHoles(t *testing.T) {
	d := New()
	w := work{t, d.Mount(t)}
	w.write("a", "x", 2*pageSize+1)
	w.write("a", "y", 4*pageSize-1)
	w.sync("a")
	w.sync("")
	for range 2 {
		f := w.open("a", os.O_RDONLY)
		for _, c := range []struct{ from, data, hole int64 }{
			{0, 2 * pageSize, 0}, {2*pageSize + 5, 2*pageSize + 5, 4 * pageSize}, {pageSize, 2 * pageSize, pageSize},
		} {
			data, err := f.Seek(c.from, 3)   // SEEK_DATA
			hole, other := f.Seek(c.from, 4) // SEEK_HOLE
			if data != c.data || hole != c.hole || err != nil || other != nil {
				t.Errorf("from %d on there is something at %d, %v, and a hole at %d, %v; want %d and %d", c.from, data, err, hole, other, c.data, c.hole)
			}
		}
		if _, err := f.Seek(4*pageSize, 4); !errors.Is(err, syscall.ENXIO) {
			t.Errorf("behind the end there is a hole: %v", err)
		}
		f.Close()
		d, w = leftOf(t, d, Lost, 0)
	}
}
