//go:build !linux || 386

package load

import "net"

func inLockstep(conn net.Conn) net.Conn { return conn }
