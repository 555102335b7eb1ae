package simkernel

import (
	"io/fs"
	"os"
	"syscall"
)

// What is asked of a file system. The files are those of the system: the calls fail, or wait, before they reach it.
const (
	StatCall     Call = "stat"
	OpenCall     Call = "open"
	ReadCall     Call = "pread"
	WriteCall    Call = "pwrite"
	TruncateCall Call = "ftruncate"
	AllocateCall Call = "fallocate"
	RemoveCall   Call = "unlink"
	SyncCall     Call = "fsync"
)

// A disk is what is wrong with the one that files are on.
type disk struct {
	errno   syscall.Errno // of whatever would change it; 0 if nothing
	hangs   bool          // nothing ends
	waiting chan struct{} // for that to be over
}

// BreakDisk has whatever would change the disk fail, or with no error never end, until MendDisk.
func (k *Kernel) BreakDisk(errno syscall.Errno) { k.setDisk(errno, errno == 0) }

// MendDisk has it be as new.
func (k *Kernel) MendDisk() { k.setDisk(0, false) }

func (k *Kernel) setDisk(errno syscall.Errno, hangs bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.disk.errno, k.disk.hangs = errno, hangs
	wake(k.disk.waiting)
}

// File comes before each call for a file, and is how it fails. One goroutine makes them.
func File(call Call) syscall.Errno {
	k, f, failed := enter(call, nobody)
	defer k.mu.Unlock()
	for k.frozen || k.disk.hangs {
		k.mu.Unlock()
		<-k.disk.waiting
		k.mu.Lock()
	}
	if failed {
		return f.Errno
	}
	switch call {
	case WriteCall, TruncateCall, AllocateCall, RemoveCall:
		return k.disk.errno
	}
	return 0
}

// Stat is stat(2).
func Stat(name string) (fs.FileInfo, error) {
	if errno := File(StatCall); errno != 0 {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: errno}
	}
	return os.Stat(name)
}

// OpenFile is open(2).
func OpenFile(name string, flag int, mode fs.FileMode) (*os.File, error) {
	if errno := File(OpenCall); errno != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errno}
	}
	return os.OpenFile(name, flag, mode)
}

// Sync is fsync(2).
func Sync(f *os.File) error {
	if errno := File(SyncCall); errno != 0 {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: errno}
	}
	return f.Sync()
}

// Allocate is fallocate(2).
func Allocate(f *os.File, mode uint32, from, length int64) error {
	if errno := File(AllocateCall); errno != 0 {
		return errno
	}
	return syscall.Fallocate(int(f.Fd()), mode, from, length)
}
