//go:build !unix

package tlsconn

import (
	"io"
	"net"
)

func transport(conn net.Conn) io.ReadWriter { return conn }
