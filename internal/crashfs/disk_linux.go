//go:build !386 && !arm

// Package crashfs is a file system whose power can fail. What a process writes there is kept in memory, and is on
// the disk for good only once it is synced: the content of a file by fsync, names by fsync of the directory. The
// system calls are the kernel's own, by way of FUSE, as are its locks and mapped files. It is for tests only, and
// not for 32 bits, for which go-fuse does not compile.
//
//	disk := crashfs.New()
//	failed := disk.FailBehind(1000)
//	process := start(disk.Mount(t))
//	<-failed
//	process.Kill()
//	disk.Unmount(t)
//	start(disk.Left(crashfs.Lost, rnd).Mount(t))
package crashfs

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// A Disk is a directory of files, without others in it. It is mounted once.
type Disk struct {
	mu      sync.Mutex
	changed sync.Cond // something was synced, or the power has failed
	files   map[uint64]*file
	names   []names // as they were synced, and behind each change since
	rest    int     // operations until the power fails; never, if less than 0
	failed  chan struct{}
	mount   *mount
}

type names map[string]*file

const rootID = 1 // of the directory; the files have the numbers behind it

// New is an empty disk.
func New() *Disk {
	d := &Disk{files: make(map[uint64]*file), names: []names{{}}, rest: -1, failed: make(chan struct{})}
	d.changed.L = &d.mu
	return d
}

// FailBehind has the power fail at the operation behind so many more, or at once. Operations are those that
// change something or sync it; what the kernel writes of a mapped file, when it likes, does not count. Nothing can
// be done on a disk without power: the one at which it fails is not, and all end with EIO.
func (d *Disk) FailBehind(operations int) (failed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rest = operations; operations == 0 {
		d.fail()
	}
	return d.failed
}

func (d *Disk) fail() {
	if !d.hasFailed() {
		close(d.failed)
		d.changed.Broadcast()
	}
}

func (d *Disk) hasFailed() bool {
	select {
	case <-d.failed:
		return true
	default:
		return false
	}
}

// operate counts an operation, and is false if the power has failed.
func (d *Disk) operate() bool {
	switch {
	case d.rest == 0:
		d.fail()
	case d.rest > 0:
		d.rest--
	}
	return !d.hasFailed()
}

// Syncs is how often the content of a file was synced.
func (d *Disk) Syncs(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs(name)
}

func (d *Disk) syncs(name string) int {
	if f := d.current()[name]; f != nil {
		return f.syncs
	}
	return 0
}

// AwaitSync waits until that is more often than before, or the power has failed, of which it is false.
func (d *Disk) AwaitSync(name string, before int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.syncs(name) <= before && !d.hasFailed() {
		d.changed.Wait()
	}
	return !d.hasFailed()
}

// current is what there is now, to be read.
func (d *Disk) current() names { return d.names[len(d.names)-1] }

// change is what there is now, to be changed.
func (d *Disk) change() names {
	n := maps.Clone(d.current())
	d.names = append(d.names, n)
	return n
}

func (d *Disk) syncNames() { d.names = []names{d.current()} }

func (d *Disk) create(name string) *file {
	f := newFile(uint64(rootID + 1 + len(d.files)))
	d.files[f.id] = f
	d.change()[name] = f
	return f
}

// A Fate is what becomes of what was not synced when the power fails. A disk writes some of it unasked.
type Fate int

const (
	Lost      Fate = iota // all of it is gone
	SomeFiles             // the names are as they were at some moment since, and some files are there
	SomePages             // the same, and of contents some pages of 4 KiB
	There                 // all of it is there: it was the process that ended
	Fates                 // how many there are
)

func (f Fate) String() string {
	return [...]string{"all is lost", "some files are lost", "some pages are lost", "nothing is lost"}[f]
}

// Left is a disk with what is left of this one, which has to be unmounted and is not used any more.
func (d *Disk) Left(fate Fate, rnd *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	which := 0
	switch fate {
	case SomeFiles, SomePages:
		which = rnd.IntN(len(d.names))
	case There:
		which = len(d.names) - 1
	}
	left := New()
	for _, name := range slices.Sorted(maps.Keys(d.names[which])) {
		f := left.create(name)
		f.now = d.names[which][name].left(fate, rnd)
		f.kept = f.now.clone()
	}
	left.syncNames()
	return left
}
