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
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// A crashDisk notes, in their order, all operations by which the files of a directory change and are synced, so
// that it can be told what a power cut at any of them may have left. SQLite's come by way of its VFS, what
// this package does itself by syncLog. The -shm file is not among them: it is worth nothing after a crash.
type crashDisk struct {
	dir string

	mu    sync.Mutex
	ops   []diskOp
	names map[string]int // of the files that there are, by numbers that are given once
	files int
}

type opKind int

const (
	opWrite    opKind = iota
	opTruncate        // to the length at
	opSync            // of a file: its content, and not its name
	opCreate
	opRemove
	opSyncNames // of the directory
)

type diskOp struct {
	kind opKind
	file int
	name string
	at   int64
	data []byte
	when time.Time
}

func (o diskOp) String() string {
	kind := [...]string{"write", "truncate", "sync", "create", "remove", "sync the directory"}[o.kind]
	if o.kind == opSyncNames {
		return kind
	}
	return fmt.Sprintf("%s %s (file %d) at %d: %d bytes", kind, o.name, o.file, o.at, len(o.data))
}

// recordDisk has a directory's operations noted until the test ends.
func recordDisk(t *testing.T, dir string) *crashDisk {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	recording.register(t)
	d := &crashDisk{dir: dir, names: make(map[string]int)}
	recording.mu.Lock()
	recording.disks[dir] = d
	recording.mu.Unlock()
	before := syncLog
	syncLog = func(f *os.File) error {
		err := before(f)
		if name := f.Name(); err == nil && filepath.Dir(name) == dir {
			d.note(diskOp{kind: opSync, name: filepath.Base(name)})
		}
		return err
	}
	t.Cleanup(func() {
		syncLog = before
		recording.mu.Lock()
		delete(recording.disks, dir)
		recording.mu.Unlock()
	})
	return d
}

// note adds an operation on a file of this name.
func (d *crashDisk) note(o diskOp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o.when = time.Now()
	switch o.kind {
	case opCreate:
		if _, is := d.names[o.name]; is {
			return
		}
		d.files++
		d.names[o.name] = d.files
	case opRemove:
		defer delete(d.names, o.name)
	}
	o.file = d.names[o.name]
	d.ops = append(d.ops, o)
}

// done is how many operations there were.
func (d *crashDisk) done() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

// recording is the VFS that notes, beside SQLite's own one, which does everything.
var recording = recorder{disks: make(map[string]*crashDisk), open: make(map[uintptr]*recordedFile)}

type recorder struct {
	mu    sync.Mutex
	disks map[string]*crashDisk // by their directories
	open  map[uintptr]*recordedFile
	vfs   sqlite3.Tsqlite3_vfs // a copy of unix with other functions
	unix  uintptr
	tests int // for which it is the default
}

// A recordedFile has the functions of SQLite's own, but for those that note.
type recordedFile struct {
	disk      *crashDisk
	name      string
	syncNames bool // with the next sync, as SQLite's own does for a new -journal or -wal file
	own       uintptr
	functions sqlite3.Tsqlite3_io_methods
}

var recordingName = []byte("recording\x00")

// register has what is opened from now on be noted, until the test ends.
func (r *recorder) register(t *testing.T) {
	tls := libc.NewTLS()
	defer tls.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unix == 0 {
		r.unix = sqlite3.Xsqlite3_vfs_find(tls, 0)
		r.vfs = *pointed[sqlite3.Tsqlite3_vfs](r.unix)
		r.vfs.FzName = uintptr(unsafe.Pointer(&recordingName[0]))
		setFunction(&r.vfs.FxOpen, recordOpen)
		setFunction(&r.vfs.FxDelete, recordDelete)
	}
	sqlite3.Xsqlite3_vfs_register(tls, uintptr(unsafe.Pointer(&r.vfs)), 1)
	r.tests++
	t.Cleanup(func() {
		tls := libc.NewTLS()
		defer tls.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.tests--; r.tests == 0 {
			sqlite3.Xsqlite3_vfs_register(tls, r.unix, 1)
		}
	})
}

// pointed is what an address of SQLite's points to.
func pointed[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// function is one of SQLite's, by its address; setFunction gives it one of ours.
func function[F any](address uintptr) F {
	of := struct{ uintptr }{address}
	return *(*F)(unsafe.Pointer(&of))
}

func setFunction[F any](to *uintptr, f F) { *(*F)(unsafe.Pointer(to)) = f }

// diskOf is the directory that a file lies in, if it is one that is noted.
func (r *recorder) diskOf(name string) *crashDisk {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.disks[filepath.Dir(name)]
}

func (r *recorder) file(file uintptr) *recordedFile {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[file]
}

func recordOpen(tls *libc.TLS, _, name, file uintptr, flags int32, out uintptr) int32 {
	r := &recording
	unix := pointed[sqlite3.Tsqlite3_vfs](r.unix)
	type open = func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32
	if rc := function[open](unix.FxOpen)(tls, r.unix, name, file, flags, out); rc != sqlite3.SQLITE_OK || name == 0 {
		return rc
	}
	path := libc.GoString(name)
	disk := r.diskOf(path)
	if disk == nil {
		return sqlite3.SQLITE_OK
	}
	own := &pointed[sqlite3.Tsqlite3_file](file).FpMethods
	f := &recordedFile{disk: disk, name: filepath.Base(path), own: *own, functions: *pointed[sqlite3.Tsqlite3_io_methods](*own)}
	f.syncNames = flags&sqlite3.SQLITE_OPEN_CREATE != 0 && flags&(sqlite3.SQLITE_OPEN_MAIN_JOURNAL|sqlite3.SQLITE_OPEN_WAL) != 0
	setFunction(&f.functions.FxClose, recordClose)
	setFunction(&f.functions.FxWrite, recordWrite)
	setFunction(&f.functions.FxTruncate, recordTruncate)
	setFunction(&f.functions.FxSync, recordSync)
	f.functions.FiVersion = 2 // nothing is written by way of memory
	r.mu.Lock()
	r.open[file] = f
	r.mu.Unlock()
	*own = uintptr(unsafe.Pointer(&f.functions))
	disk.note(diskOp{kind: opCreate, name: f.name})
	return sqlite3.SQLITE_OK
}

func recordDelete(tls *libc.TLS, _, name uintptr, syncNames int32) int32 {
	unix := pointed[sqlite3.Tsqlite3_vfs](recording.unix)
	rc := function[func(*libc.TLS, uintptr, uintptr, int32) int32](unix.FxDelete)(tls, recording.unix, name, syncNames)
	path := libc.GoString(name)
	if disk := recording.diskOf(path); disk != nil && rc == sqlite3.SQLITE_OK {
		disk.note(diskOp{kind: opRemove, name: filepath.Base(path)})
		if syncNames&1 != 0 {
			disk.note(diskOp{kind: opSyncNames})
		}
	}
	return rc
}

func recordClose(tls *libc.TLS, file uintptr) int32 {
	r := &recording
	r.mu.Lock()
	f := r.open[file]
	delete(r.open, file)
	r.mu.Unlock()
	pointed[sqlite3.Tsqlite3_file](file).FpMethods = f.own
	return function[func(*libc.TLS, uintptr) int32](pointed[sqlite3.Tsqlite3_io_methods](f.own).FxClose)(tls, file)
}

func recordWrite(tls *libc.TLS, file, from uintptr, n int32, at int64) int32 {
	f := recording.file(file)
	write := function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](pointed[sqlite3.Tsqlite3_io_methods](f.own).FxWrite)
	rc := write(tls, file, from, n, at)
	if rc == sqlite3.SQLITE_OK {
		f.disk.note(diskOp{kind: opWrite, name: f.name, at: at, data: bytes.Clone(unsafe.Slice(pointed[byte](from), n))})
	}
	return rc
}

func recordTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	f := recording.file(file)
	rc := function[func(*libc.TLS, uintptr, int64) int32](pointed[sqlite3.Tsqlite3_io_methods](f.own).FxTruncate)(tls, file, size)
	if rc == sqlite3.SQLITE_OK {
		f.disk.note(diskOp{kind: opTruncate, name: f.name, at: size})
	}
	return rc
}

func recordSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := recording.file(file)
	rc := function[func(*libc.TLS, uintptr, int32) int32](pointed[sqlite3.Tsqlite3_io_methods](f.own).FxSync)(tls, file, flags)
	if rc == sqlite3.SQLITE_OK {
		f.disk.note(diskOp{kind: opSync, name: f.name})
		if f.syncNames {
			f.syncNames = false
			f.disk.note(diskOp{kind: opSyncNames})
		}
	}
	return rc
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
	switch o.kind {
	case opSync:
		settled = func(before diskOp) bool { return before.isOfContent() && before.file == o.file }
	case opSyncNames:
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

func (o diskOp) isOfContent() bool { return o.kind == opWrite || o.kind == opTruncate }

func (o diskOp) rename(names map[string]int) {
	if o.kind == opCreate {
		names[o.name] = o.file
	} else {
		delete(names, o.name)
	}
}

const sector = 512

// change is a content behind an operation, of which only some sectors may have been written.
func (o diskOp) change(content []byte, some func(sector int64) bool) []byte {
	length := int64(len(content))
	if o.kind == opTruncate {
		return append(content[:min(length, o.at):min(length, o.at)], make([]byte, max(0, o.at-length))...)
	}
	if end := o.at + int64(len(o.data)); end > length && (some == nil || some((end-1)/sector)) {
		content = append(content, make([]byte, end-length)...)
	}
	for from := int64(0); from < int64(len(o.data)); {
		to := min(int64(len(o.data)), (o.at+from)/sector*sector+sector-o.at)
		if place := o.at + from; place < int64(len(content)) && (some == nil || some(place/sector)) {
			copy(content[place:], o.data[from:to])
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
			if stopped[o.name] = stopped[o.name] || !f.names(rnd); !stopped[o.name] {
				o.rename(names)
			}
			continue
		}
		how := content(o)
		if how == dropped {
			continue
		}
		if contents[o.file] == nil {
			contents[o.file] = append(make([]byte, 0, len(p.synced[o.file])+len(o.data)), p.synced[o.file]...)
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
