//go:build !linux || 386

package parley

import "net"

// loops are for Linux.
type loops struct{}

func loopsCanServe(net.Listener) bool { return false }

func newLoopAcceptor(*Server, net.Listener) (acceptor, error) { return nil, ErrNoLoops }
