package tcpinfo

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func of(raw syscall.RawConn) (info Info, ok bool) {
	raw.Control(func(fd uintptr) {
		said, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		ok = true
		info = Info{
			RoundTrip:   time.Duration(said.Rtt) * time.Microsecond,
			Variance:    time.Duration(said.Rttvar) * time.Microsecond,
			Retransmits: uint64(said.Total_retrans),
		}
	})
	return info, ok
}
