package simdisk

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// A Disk is told of the operations on the files of a directory, by SQLite's own name of it: without symbolic links.
// Either function may be nil. Of the -shm file, which is worth nothing after a crash, it is only told before.
type Disk struct {
	Before func(Op) syscall.Errno // has it fail, unless that is 0: of a write half is done then
	Behind func(Op)               // once it is done
}

// An Op is an operation on a file, or on the directory.
type Op struct {
	Kind Kind
	Name string // of the file in its directory
	At   int64
	Data []byte // what is written; of Before it is nil
}

// A Kind is what an operation does.
type Kind int

const (
	Write     Kind = iota
	Truncate       // to the length At
	Sync           // of a file: its content, and not its name
	Create         // also to open it, if it is there
	Remove         //
	SyncNames      // of the directory; it does not fail
	Read           // of which, and of those that follow, only Before is told
	Size           // to ask for it
	Map            // to map some of the -shm file, and make it as long
)

var kinds = [...]string{"write", "truncate", "sync", "create", "remove", "sync the directory", "read", "size", "map"}

func (o Op) String() string {
	if o.Kind == SyncNames {
		return kinds[o.Kind]
	}
	return fmt.Sprintf("%s %s at %d: %d bytes", kinds[o.Kind], o.Name, o.At, len(o.Data))
}

// Watch has a disk be told of what is opened in a directory from now on.
func Watch(dir string, d *Disk) {
	watched.register()
	watched.mu.Lock()
	defer watched.mu.Unlock()
	watched.disks[dir] = d
}

// Forget ends that, and closes what is still open there: a writer whose disk has failed to sync leaves that
// to the end of its process. Nothing of it may be used any more.
func Forget(dir string) {
	v := &watched
	v.mu.Lock()
	d := v.disks[dir]
	delete(v.disks, dir)
	var left []uintptr
	for file, f := range v.open {
		if f.disk == d {
			left = append(left, file)
		}
	}
	v.mu.Unlock()
	tls := libc.NewTLS()
	defer tls.Close()
	for _, file := range left {
		if own := v.own(file); own.FxShmUnmap != 0 {
			function[func(*libc.TLS, uintptr, int32) int32](own.FxShmUnmap)(tls, file, 0)
		}
		closeFile(tls, file)
	}
	v.release()
}

// watched is the VFS that tells, beside SQLite's own one, which does everything.
var watched = vfs{disks: make(map[string]*Disk), open: make(map[uintptr]*openFile)}

type vfs struct {
	mu    sync.Mutex
	disks map[string]*Disk // by their directories
	open  map[uintptr]*openFile
	vfs   sqlite3.Tsqlite3_vfs // a copy of unix with other functions
	unix  uintptr
	users int // for whom it is the default
}

// An openFile has the functions of SQLite's own, but for those that tell.
type openFile struct {
	disk      *Disk
	name      string
	syncNames bool // with the next sync, as SQLite's own does for a new -journal or -wal file
	own       uintptr
	functions sqlite3.Tsqlite3_io_methods
}

var nameOfVFS = []byte("simdisk\x00")

// register makes it the default for one user more.
func (v *vfs) register() {
	tls := libc.NewTLS()
	defer tls.Close()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.unix == 0 {
		v.unix = sqlite3.Xsqlite3_vfs_find(tls, 0)
		v.vfs = *pointed[sqlite3.Tsqlite3_vfs](v.unix)
		v.vfs.FzName = uintptr(unsafe.Pointer(&nameOfVFS[0]))
		setFunction(&v.vfs.FxOpen, openOne)
		setFunction(&v.vfs.FxDelete, remove)
	}
	sqlite3.Xsqlite3_vfs_register(tls, uintptr(unsafe.Pointer(&v.vfs)), 1)
	v.users++
}

func (v *vfs) release() {
	tls := libc.NewTLS()
	defer tls.Close()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.users--; v.users == 0 {
		sqlite3.Xsqlite3_vfs_register(tls, v.unix, 1)
	}
}

// pointed is what an address of SQLite's points to.
func pointed[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// function is one of SQLite's, by its address; setFunction gives it one of ours.
func function[F any](address uintptr) F {
	of := struct{ uintptr }{address}
	return *(*F)(unsafe.Pointer(&of))
}

func setFunction[F any](to *uintptr, f F) { *(*F)(unsafe.Pointer(to)) = f }

// diskOf is the disk that a file lies on, nil if it is none that is watched.
func (v *vfs) diskOf(name string) *Disk {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.disks[filepath.Dir(name)]
}

func (v *vfs) file(file uintptr) *openFile {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.open[file]
}

// own are the functions of a file that SQLite has itself.
func (v *vfs) own(file uintptr) *sqlite3.Tsqlite3_io_methods {
	return pointed[sqlite3.Tsqlite3_io_methods](v.file(file).own)
}

func (d *Disk) before(o Op) syscall.Errno {
	if d.Before == nil {
		return 0
	}
	return d.Before(o)
}

func (d *Disk) behind(o Op) {
	if d.Behind != nil {
		d.Behind(o)
	}
}

func openOne(tls *libc.TLS, _, name, file uintptr, flags int32, out uintptr) int32 {
	v := &watched
	var disk *Disk
	var path string
	if name != 0 {
		path = libc.GoString(name)
		disk = v.diskOf(path)
	}
	base := filepath.Base(path)
	if disk != nil && disk.before(Op{Kind: Create, Name: base}) != 0 {
		pointed[sqlite3.Tsqlite3_file](file).FpMethods = 0
		return sqlite3.SQLITE_CANTOPEN
	}
	unix := pointed[sqlite3.Tsqlite3_vfs](v.unix)
	type open = func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32
	if rc := function[open](unix.FxOpen)(tls, v.unix, name, file, flags, out); rc != sqlite3.SQLITE_OK || disk == nil {
		return rc
	}
	own := &pointed[sqlite3.Tsqlite3_file](file).FpMethods
	f := &openFile{disk: disk, name: base, own: *own, functions: *pointed[sqlite3.Tsqlite3_io_methods](*own)}
	f.syncNames = flags&sqlite3.SQLITE_OPEN_CREATE != 0 && flags&(sqlite3.SQLITE_OPEN_MAIN_JOURNAL|sqlite3.SQLITE_OPEN_WAL) != 0
	setFunction(&f.functions.FxClose, closeFile)
	setFunction(&f.functions.FxRead, read)
	setFunction(&f.functions.FxWrite, write)
	setFunction(&f.functions.FxTruncate, truncate)
	setFunction(&f.functions.FxSync, syncFile)
	setFunction(&f.functions.FxFileSize, size)
	setFunction(&f.functions.FxShmMap, mapShared)
	f.functions.FiVersion = 2 // nothing is written by way of memory
	v.mu.Lock()
	v.open[file] = f
	v.mu.Unlock()
	*own = uintptr(unsafe.Pointer(&f.functions))
	disk.behind(Op{Kind: Create, Name: base})
	return sqlite3.SQLITE_OK
}

func remove(tls *libc.TLS, _, name uintptr, syncNames int32) int32 {
	path := libc.GoString(name)
	disk, base := watched.diskOf(path), filepath.Base(path)
	if disk != nil && disk.before(Op{Kind: Remove, Name: base}) != 0 {
		return sqlite3.SQLITE_IOERR_DELETE
	}
	unix := pointed[sqlite3.Tsqlite3_vfs](watched.unix)
	rc := function[func(*libc.TLS, uintptr, uintptr, int32) int32](unix.FxDelete)(tls, watched.unix, name, syncNames)
	if disk != nil && rc == sqlite3.SQLITE_OK {
		disk.behind(Op{Kind: Remove, Name: base})
		if syncNames&1 != 0 {
			disk.behind(Op{Kind: SyncNames})
		}
	}
	return rc
}

func closeFile(tls *libc.TLS, file uintptr) int32 {
	v := &watched
	v.mu.Lock()
	f := v.open[file]
	delete(v.open, file)
	v.mu.Unlock()
	pointed[sqlite3.Tsqlite3_file](file).FpMethods = f.own
	return function[func(*libc.TLS, uintptr) int32](pointed[sqlite3.Tsqlite3_io_methods](f.own).FxClose)(tls, file)
}

func read(tls *libc.TLS, file, into uintptr, n int32, at int64) int32 {
	f := watched.file(file)
	if f.disk.before(Op{Kind: Read, Name: f.name, At: at}) != 0 {
		return sqlite3.SQLITE_IOERR_READ
	}
	return function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](watched.own(file).FxRead)(tls, file, into, n, at)
}

func write(tls *libc.TLS, file, from uintptr, n int32, at int64) int32 {
	f := watched.file(file)
	errno := f.disk.before(Op{Kind: Write, Name: f.name, At: at})
	if errno != 0 {
		n /= 2
	}
	rc := function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](watched.own(file).FxWrite)(tls, file, from, n, at)
	if rc == sqlite3.SQLITE_OK {
		f.disk.behind(Op{Kind: Write, Name: f.name, At: at, Data: bytes.Clone(unsafe.Slice(pointed[byte](from), n))})
	}
	switch errno {
	case 0:
		return rc
	case syscall.ENOSPC:
		return sqlite3.SQLITE_FULL
	}
	return sqlite3.SQLITE_IOERR_WRITE
}

func truncate(tls *libc.TLS, file uintptr, length int64) int32 {
	f := watched.file(file)
	if f.disk.before(Op{Kind: Truncate, Name: f.name, At: length}) != 0 {
		return sqlite3.SQLITE_IOERR_TRUNCATE
	}
	rc := function[func(*libc.TLS, uintptr, int64) int32](watched.own(file).FxTruncate)(tls, file, length)
	if rc == sqlite3.SQLITE_OK {
		f.disk.behind(Op{Kind: Truncate, Name: f.name, At: length})
	}
	return rc
}

func syncFile(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := watched.file(file)
	if f.disk.before(Op{Kind: Sync, Name: f.name}) != 0 {
		return sqlite3.SQLITE_IOERR_FSYNC
	}
	rc := function[func(*libc.TLS, uintptr, int32) int32](watched.own(file).FxSync)(tls, file, flags)
	if rc == sqlite3.SQLITE_OK {
		f.disk.behind(Op{Kind: Sync, Name: f.name})
		if f.syncNames {
			f.syncNames = false
			f.disk.behind(Op{Kind: SyncNames})
		}
	}
	return rc
}

func size(tls *libc.TLS, file, into uintptr) int32 {
	f := watched.file(file)
	if f.disk.before(Op{Kind: Size, Name: f.name}) != 0 {
		return sqlite3.SQLITE_IOERR_FSTAT
	}
	return function[func(*libc.TLS, uintptr, uintptr) int32](watched.own(file).FxFileSize)(tls, file, into)
}

func mapShared(tls *libc.TLS, file uintptr, region, length, extend int32, into uintptr) int32 {
	f := watched.file(file)
	if f.disk.before(Op{Kind: Map, Name: f.name + "-shm"}) != 0 {
		return sqlite3.SQLITE_IOERR_SHMSIZE
	}
	return function[func(*libc.TLS, uintptr, int32, int32, int32, uintptr) int32](watched.own(file).FxShmMap)(tls, file, region, length, extend, into)
}
