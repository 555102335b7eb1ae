package journal

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/simdisk"
)

// A crashDisk notes, in their order, all operations by which the files of a directory change and are synced, so
// that it can be told what a power cut at any of them may have left. SQLite's come by way of package simdisk, what
// this package does itself by syncLog. The -shm file is not among them: it is worth nothing after a crash.
type crashDisk struct {
	dir string

	mu    sync.Mutex
	ops   []diskOp
	names map[string]int // of the files that there are, by numbers that are given once
	files int
}

type diskOp struct {
	simdisk.Op
	file int
	when time.Time
}

func (o diskOp) String() string { return fmt.Sprintf("%v (file %d)", o.Op, o.file) }

// recordDisk has a directory's operations noted until the test ends.
func recordDisk(t *testing.T, dir string) *crashDisk {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := &crashDisk{dir: dir, names: make(map[string]int)}
	simdisk.Watch(dir, &simdisk.Disk{Behind: d.note})
	before := syncLog
	syncLog = func(f *os.File) error {
		err := before(f)
		if name := f.Name(); err == nil && filepath.Dir(name) == dir {
			d.note(simdisk.Op{Kind: simdisk.Sync, Name: filepath.Base(name)})
		}
		return err
	}
	t.Cleanup(func() {
		syncLog = before
		simdisk.Forget(dir)
	})
	return d
}

// note adds an operation on a file of this name.
func (d *crashDisk) note(op simdisk.Op) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch op.Kind {
	case simdisk.Create:
		if _, is := d.names[op.Name]; is {
			return
		}
		d.files++
		d.names[op.Name] = d.files
	case simdisk.Remove:
		defer delete(d.names, op.Name)
	}
	d.ops = append(d.ops, diskOp{op, d.names[op.Name], time.Now()})
}

// done is how many operations there were.
func (d *crashDisk) done() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

// A platter is what of a disk's operations is on it for good, and what may be.
type platter struct {
	synced  map[int][]byte // the contents of files
	names   map[string]int
	pending []diskOp // in their order: of contents and of names
}

func newPlatter() *platter {
	return &platter{synced: make(map[int][]byte), names: make(map[string]int)}
}

// do has an operation happen.
func (p *platter) do(o diskOp) {
	var settled func(diskOp) bool
	switch o.Kind {
	case simdisk.Sync:
		settled = func(before diskOp) bool { return before.isOfContent() && before.file == o.file }
	case simdisk.SyncNames:
		settled = func(before diskOp) bool { return !before.isOfContent() }
	default:
		p.pending = append(p.pending, o)
		return
	}
	rest := p.pending[:0]
	for _, before := range p.pending {
		switch {
		case !settled(before):
			rest = append(rest, before)
		case before.isOfContent():
			p.synced[before.file] = before.change(p.synced[before.file], nil)
		default:
			before.rename(p.names)
		}
	}
	p.pending = rest
}

func (o diskOp) isOfContent() bool { return o.Kind == simdisk.Write || o.Kind == simdisk.Truncate }

func (o diskOp) rename(names map[string]int) {
	if o.Kind == simdisk.Create {
		names[o.Name] = o.file
	} else {
		delete(names, o.Name)
	}
}

const sector = 512

// change is a content behind an operation, of which only some sectors may have been written.
func (o diskOp) change(content []byte, some func(sector int64) bool) []byte {
	length := int64(len(content))
	if o.Kind == simdisk.Truncate {
		return append(content[:min(length, o.At):min(length, o.At)], make([]byte, max(0, o.At-length))...)
	}
	if end := o.At + int64(len(o.Data)); end > length && (some == nil || some((end-1)/sector)) {
		content = append(content, make([]byte, end-length)...)
	}
	for from := int64(0); from < int64(len(o.Data)); {
		to := min(int64(len(o.Data)), (o.At+from)/sector*sector+sector-o.At)
		if place := o.At + from; place < int64(len(content)) && (some == nil || some(place/sector)) {
			copy(content[place:], o.Data[from:to])
		}
		from = to
	}
	return content
}

// A fate is what a power cut makes of what is not synced.
type fate struct {
	name     string
	contents func(*rand.Rand) func(diskOp) fortune
	names    func(*rand.Rand) bool // whether an operation on one is there
}

type fortune int

const (
	dropped fortune = iota
	torn            // some sectors of it are there
	there
)

func every(f fortune) func(*rand.Rand) func(diskOp) fortune {
	return func(*rand.Rand) func(diskOp) fortune { return func(diskOp) fortune { return f } }
}

func yes(*rand.Rand) bool     { return true }
func no(*rand.Rand) bool      { return false }
func maybe(r *rand.Rand) bool { return r.IntN(2) == 0 }

// fates are the ways in which what is not synced may be lost. The first is that of a process that is killed, and not
// of the machine.
var fates = []fate{
	{"all is there", every(there), yes},
	{"all is lost", every(dropped), no},
	{"contents are lost", every(dropped), yes},
	{"names are lost", every(there), no},
	{"some files are lost", func(rnd *rand.Rand) func(diskOp) fortune {
		which := rnd.Uint64()
		return func(o diskOp) fortune { return there * fortune(which>>(o.file%64)&1) }
	}, maybe},
	{"the newest are lost", func(rnd *rand.Rand) func(diskOp) fortune {
		left := rnd.IntN(20)
		return func(diskOp) fortune {
			left--
			return fortune(min(max(left+2, int(dropped)), int(there)))
		}
	}, yes},
	{"any are lost", func(rnd *rand.Rand) func(diskOp) fortune {
		most := 1 + rnd.IntN(8)
		return func(diskOp) fortune {
			if rnd.IntN(8) >= most {
				return dropped
			}
			return [...]fortune{torn, there, there}[rnd.IntN(3)]
		}
	}, maybe},
}

// An image is what files have in them, by their names.
type image map[string][]byte

// image is what a power cut may leave. Of the names of a file those behind the first that is lost are too.
func (p *platter) image(rnd *rand.Rand, f fate) image {
	content := f.contents(rnd)
	names, stopped := maps.Clone(p.names), make(map[string]bool)
	contents := make(map[int][]byte)
	for _, o := range p.pending {
		if !o.isOfContent() {
			if stopped[o.Name] = stopped[o.Name] || !f.names(rnd); !stopped[o.Name] {
				o.rename(names)
			}
			continue
		}
		how := content(o)
		if how == dropped {
			continue
		}
		if contents[o.file] == nil {
			contents[o.file] = append(make([]byte, 0, len(p.synced[o.file])+len(o.Data)), p.synced[o.file]...)
		}
		var some func(int64) bool
		if how == torn {
			those, size := rnd.Uint64(), int64(1+7*rnd.IntN(2)) // of 512 bytes, or of 4 KiB
			some = func(sector int64) bool { return those>>(sector/size%64)&1 > 0 }
		}
		contents[o.file] = o.change(contents[o.file], some)
	}
	left := make(image)
	for name, file := range names {
		if left[name] = contents[file]; left[name] == nil {
			left[name] = p.synced[file]
		}
	}
	return left
}

// of is the part of an image that belongs to some of the SQLite files.
func (i image) of(files ...string) image {
	part := make(image)
	for _, file := range files {
		for _, suffix := range []string{"", "-wal", "-journal"} {
			if content, is := i[file+suffix]; is {
				part[file+suffix] = content
			}
		}
	}
	return part
}

// write makes the files of an image in a directory. What was never written is a hole in them, and there may be a -shm file of anything.
func (i image) write(t testing.TB, dir string, rnd *rand.Rand) {
	t.Helper()
	for name, content := range i {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		err = f.Truncate(int64(len(content)))
		at := int64(0)
		for block := range slices.Chunk(content, 4096) {
			if err == nil && len(bytes.TrimLeft(block, "\x00")) > 0 {
				_, err = f.WriteAt(block, at)
			}
			at += int64(len(block))
		}
		if err == nil {
			err = f.Close()
		}
		if err == nil && strings.HasSuffix(name, "-wal") && rnd.IntN(4) == 0 {
			shm := make([]byte, 32<<10)
			for i := range shm {
				shm[i] = byte(rnd.Uint32())
			}
			err = os.WriteFile(filepath.Join(dir, strings.TrimSuffix(name, "-wal")+"-shm"), shm, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// clear removes the files of a directory.
func clearDir(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}
