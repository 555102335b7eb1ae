//go:build !linux

package tcpinfo

import "syscall"

func of(syscall.RawConn) (Info, bool) { return Info{}, false }
