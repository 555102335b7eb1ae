package load

import (
	"encoding/binary"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// preciseSleep returns a sleep that is late by some µs only. The runtime's own timers
// wait in epoll, which counts in ms: at a few thousand requests a second that would be
// most of what is measured. A timerfd(2) is waited for like a socket and counts in ns.
func preciseSleep() (sleep func(time.Duration), done func()) {
	const clockMonotonic = 1
	fd, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return time.Sleep, func() {}
	}
	timer := os.NewFile(fd, "timerfd")
	expirations := make([]byte, binary.Size(uint64(0)))
	return func(d time.Duration) {
		// struct itimerspec: no interval, then when it expires.
		spec := [2]syscall.Timespec{1: syscall.NsecToTimespec(int64(d))}
		_, _, errno := syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
		if errno == 0 {
			timer.Read(expirations)
		} else {
			time.Sleep(d)
		}
	}, func() { timer.Close() }
}
