//go:build !linux

package tap

import "net"

func unread(net.Conn) int { return 0 }
