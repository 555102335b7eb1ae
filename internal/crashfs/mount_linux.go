//go:build !386 && !arm

package crashfs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A mount is a directory that a disk is mounted on.
type mount struct {
	dir    string
	served chan struct{} // closed when the kernel has no more requests
}

// Mount shows the disk in a directory until Unmount or the test's end. Only root may; the test is skipped for others, and
// where there is no FUSE. The files are for other processes: who reads a mapped one would wait for itself.
func (d *Disk) Mount(t testing.TB) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("only root can mount a file system")
		}
		t.Skip("only root can mount a file system")
	}
	dir = t.TempDir()
	switch err := d.mountOn(dir); {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.EPERM):
		t.Skip("there is no FUSE here: ", err) // the kernel has none, or a container may not use it
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Unmount(t) })
	return dir
}

func (d *Disk) mountOn(dir string) error {
	// go-fuse would do it too, but every process would inherit the descriptor.
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open /dev/fuse", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d", fd, syscall.S_IFDIR, os.Getuid(), os.Getgid())
	if err := syscall.Mount("crashfs", dir, "fuse.crashfs", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		syscall.Close(fd)
		return os.NewSyscallError("mount", err)
	}
	// What is written comes at once: the kernel is not asked to collect it.
	server, err := fuse.NewServer(&requests{fuse.NewDefaultRawFileSystem(), d}, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		ExplicitDataCacheControl: true, DisableXAttrs: true, DisableReadDirPlus: true, DisableSplice: true,
	})
	if err != nil {
		return errors.Join(err, syscall.Unmount(dir, 0))
	}
	m := &mount{dir, make(chan struct{})}
	go func() {
		defer close(m.served)
		server.Serve()
	}()
	d.mount = m
	return nil
}

// Unmount ends that. No process may have a file open there any more.
func (d *Disk) Unmount(t testing.TB) {
	t.Helper()
	m := d.mount
	if d.mount = nil; m == nil {
		return
	}
	if err := syscall.Unmount(m.dir, 0); err != nil {
		t.Errorf("unmount: %v", err)
		syscall.Unmount(m.dir, syscall.MNT_DETACH) // for whoever is left to see its files
		return
	}
	select {
	case <-m.served:
	case <-time.After(time.Minute):
		t.Error("the kernel still has requests: is it mounted in another namespace?")
	}
}

// requests are those of the kernel; what is not here is refused.
type requests struct {
	fuse.RawFileSystem
	*Disk
}

func (r *requests) String() string { return "crashfs" }

func (r *requests) attributes(f *file) fuse.Attr {
	return fuse.Attr{Ino: f.id, Size: uint64(f.now.size), Blocks: uint64(len(f.now.pages) * pageSize / 512), Mode: syscall.S_IFREG | 0o600, Nlink: 1,
		Owner: fuse.Owner{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}}
}

func (r *requests) entry(f *file) fuse.EntryOut {
	return fuse.EntryOut{NodeId: f.id, Attr: r.attributes(f)}
}

func (r *requests) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.current()[name]
	switch {
	case r.hasFailed():
		return fuse.EIO
	case f == nil:
		return fuse.ENOENT
	}
	*out = r.entry(f)
	return fuse.OK
}

func (r *requests) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.hasFailed():
		return fuse.EIO
	case in.NodeId == rootID:
		out.Attr = fuse.Attr{Ino: rootID, Mode: syscall.S_IFDIR | 0o700, Nlink: 2, Owner: fuse.Owner{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}}
	default:
		out.Attr = r.attributes(r.files[in.NodeId])
	}
	return fuse.OK
}

// SetAttr truncates a file; nothing else of it is kept.
func (r *requests) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[in.NodeId]
	if f == nil {
		return fuse.EPERM
	}
	if size, is := in.GetSize(); is {
		if !r.operate() {
			return fuse.EIO
		}
		f.truncate(int64(size))
	}
	out.Attr = r.attributes(f)
	return fuse.OK
}

func (r *requests) Create(_ <-chan struct{}, _ *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.operate() {
		return fuse.EIO
	}
	out.EntryOut = r.entry(r.create(name))
	return fuse.OK
}

func (r *requests) Unlink(_ <-chan struct{}, _ *fuse.InHeader, name string) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.operate() {
		return fuse.EIO
	}
	delete(r.change(), name)
	return fuse.OK
}

func (r *requests) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case in.Flags != 0:
		return fuse.EINVAL
	case !r.operate():
		return fuse.EIO
	}
	n := r.change()
	n[to] = n[from]
	delete(n, from)
	return fuse.OK
}

func (r *requests) Read(_ <-chan struct{}, in *fuse.ReadIn, into []byte) (fuse.ReadResult, fuse.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hasFailed() {
		return nil, fuse.EIO
	}
	return fuse.ReadResultData(r.files[in.NodeId].now.read(into, int64(in.Offset))), fuse.OK
}

func (r *requests) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if mapped := in.WriteFlags&fuse.WRITE_CACHE != 0; r.hasFailed() || !mapped && !r.operate() {
		return 0, fuse.EIO
	}
	r.files[in.NodeId].write(data, int64(in.Offset))
	return uint32(len(data)), fuse.OK
}

// Lseek finds holes.
func (r *requests) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	const seekHole = 4
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.files[in.NodeId].now
	at := c.next(in.Whence == seekHole, int64(in.Offset))
	switch {
	case r.hasFailed():
		return fuse.EIO
	case int64(in.Offset) >= c.size, at == c.size && in.Whence != seekHole:
		return fuse.Status(syscall.ENXIO)
	}
	out.Offset = uint64(at)
	return fuse.OK
}

func (r *requests) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.operate() {
		return fuse.EIO
	}
	r.files[in.NodeId].sync()
	r.changed.Broadcast()
	return fuse.OK
}

func (r *requests) FsyncDir(_ <-chan struct{}, _ *fuse.FsyncIn) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.operate() {
		return fuse.EIO
	}
	r.syncNames()
	return fuse.OK
}

func (r *requests) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hasFailed() {
		return fuse.EIO
	}
	all := slices.Sorted(maps.Keys(r.current()))
	for _, name := range all[min(in.Offset, uint64(len(all))):] {
		if !out.AddDirEntry(fuse.DirEntry{Name: name, Mode: syscall.S_IFREG, Ino: r.current()[name].id}) {
			break
		}
	}
	return fuse.OK
}
