//go:build !386

package epoll

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/parley-tcp/parley/internal/kernel"
)

// The calls below are for non-blocking sockets. They do not tell the scheduler, which
// would cost as much as a small read: it has nothing to gain from a call that never
// waits. An interrupted one is made again.

// Read reads what is there: 0 and no error at the end of file, syscall.EAGAIN if
// there is nothing yet. buf must not be empty.
func Read(fd int, buf []byte) (int, error) {
	return transfer(syscall.SYS_RECVFROM, fd, buf, 0)
}

// Write writes as much of p as there is room for: syscall.EAGAIN if there is none. p
// must not be empty.
func Write(fd int, p []byte) (int, error) {
	return transfer(syscall.SYS_SENDTO, fd, p, syscall.MSG_NOSIGNAL)
}

// transfer uses the calls for sockets: read and write pass through the layers for files
// first, which is measurable.
func transfer(call uintptr, fd int, p []byte, flags uintptr) (int, error) {
	for {
		n, errno := kernel.Transfer(call, fd, &p[0], len(p), flags)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}

// CloseFD closes a socket. Unlike a blocking one's, its close does not wait.
func CloseFD(fd int) { kernel.Close(fd) }

// CloseWrite says that nothing more will come: a FIN follows what was written.
func CloseWrite(fd int) error {
	if errno := kernel.CloseWrite(fd); errno != 0 {
		return os.NewSyscallError("shutdown", errno)
	}
	return nil
}

// An Address is where a socket is, or its peer.
type Address struct {
	IP   netip.AddrPort // of a TCP socket, an IPv4 address unmapped
	Path string         // of a Unix one; "@" and a name if it is abstract, "@" if it has none
}

// Accept takes a connection that is waiting at a listening socket, as a non-blocking
// one: syscall.EAGAIN if there is none.
func Accept(listener int) (fd int, remote Address, err error) {
	var sa syscall.RawSockaddrAny
	size := uint32(syscall.SizeofSockaddrAny)
	errno := syscall.EINTR
	for errno == syscall.EINTR {
		fd, errno = kernel.Accept(listener, &sa, &size)
	}
	if errno != 0 {
		return -1, remote, errno
	}
	return fd, addressIn(&sa, size), nil
}

// Transparent reports whether connections to others' addresses may come to a listening
// socket too (IP_TRANSPARENT in ip(7)), or the kernel does not say.
func Transparent(listener int) bool {
	on, err := kernel.Option(listener, syscall.SOL_IP, syscall.IP_TRANSPARENT)
	return err != nil || on != 0
}

// Local is a socket's own address.
func Local(fd int) Address {
	var sa syscall.RawSockaddrAny
	size := uint32(syscall.SizeofSockaddrAny)
	kernel.LocalName(fd, &sa, &size)
	return addressIn(&sa, size)
}

func addressIn(sa *syscall.RawSockaddrAny, size uint32) Address {
	switch sa.Addr.Family {
	case syscall.AF_INET:
		sa4 := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return Address{IP: netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), port(&sa4.Port))}
	case syscall.AF_INET6:
		sa6 := (*syscall.RawSockaddrInet6)(unsafe.Pointer(sa))
		ip := netip.AddrFrom16(sa6.Addr).Unmap()
		if sa6.Scope_id != 0 {
			ip = ip.WithZone(zone(sa6.Scope_id))
		}
		return Address{IP: netip.AddrPortFrom(ip, port(&sa6.Port))}
	}
	// unix(7): the name ends at a NUL or at the size; one that begins with NUL is
	// abstract, and one of no length is none at all.
	sun := (*syscall.RawSockaddrUnix)(unsafe.Pointer(sa))
	var name []byte
	for i := range int(size) - int(unsafe.Offsetof(sun.Path)) {
		if sun.Path[i] == 0 && i > 0 {
			break
		}
		name = append(name, byte(sun.Path[i]))
	}
	if len(name) == 0 || name[0] == 0 {
		name = append([]byte("@"), name[min(1, len(name)):]...)
	}
	return Address{Path: string(name)}
}

// port reads a port, which is in network byte order.
func port(p *uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(p))
	return uint16(b[0])<<8 | uint16(b[1])
}

// zone is the name of a link-local address's interface, or its number if it is gone.
func zone(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(index), 10)
}

// SetOptions sets on a TCP socket, or on a listening one for its connections to inherit,
// what package net sets on each: no delay of small segments (TCP_NODELAY), and probes of
// silent peers after 15 s, every 15 s, nine times (tcp(7)). One that the kernel does not
// have is done without.
func SetOptions(fd int) {
	for _, o := range [...]struct{ level, name, value int }{
		{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 9},
	} {
		kernel.SetOption(fd, o.level, o.name, o.value)
	}
}
