package child

import (
	"os"
	"syscall"
)

// attributes are those of every process. handle is given a descriptor that is readable once it has ended, or
// stays -1 on systems older than Linux 5.4.
func attributes(handle *int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: handle}
}

// awaitExit waits for the end of the process, with a handle in no thread of its own.
func (p *process) awaitExit(handle int) {
	if handle >= 0 && syscall.SetNonblock(handle, true) == nil {
		f := os.NewFile(uintptr(handle), "process")
		defer f.Close()
		if raw, err := f.SyscallConn(); err == nil {
			raw.Read(func(uintptr) bool { return p.hasExited() })
		}
	}
	if !p.reaped { // the handle cannot be waited for
		p.wait()
	}
}

// hasExited reports whether the process has ended, and reaps it then.
func (p *process) hasExited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		pid, err := syscall.Wait4(p.pid, &p.status, syscall.WNOHANG, nil)
		if err != syscall.EINTR {
			p.reaped = pid != 0
			return p.reaped
		}
	}
}
