//go:build !unix

package parley

import "net"

// newConnIO waits inside Read: readiness without a buffer is for Unix systems.
func newConnIO(conn net.Conn, in *readBuffer, set *settings) connIO {
	return newStreamIO(conn, in, set)
}

// maxOpenFiles says that there are plenty: Windows has no such limit for sockets.
func maxOpenFiles() int { return 1 << 20 }

// lookNow: only what was read already can be looked at.
func (c *Client) lookNow() func() (int, error) { return nil }
