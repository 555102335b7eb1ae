package fault_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/fault"
)

// A connection with faults over it is one as any other to who uses it.
func TestConnIsAConn(t *testing.T) {
	for _, list := range []string{"split=1000,request.split=1000", "delay=1ns,request.delay=1ns", "rate=1GiB/s,request.rate=1GiB/s", "stall=1ns/24h"} {
		t.Run(list, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return nil, nil, nil, err
				}
				defer l.Close()
				plan, err := fault.Parse(list)
				if err != nil {
					return nil, nil, nil, err
				}
				layer := &fault.Layer{Plan: plan, Framing: parley.Chunks}
				layer.Observer(nil)
				if c1, err = net.Dial("tcp", l.Addr().String()); err != nil {
					return nil, nil, nil, err
				}
				if c2, err = layer.Listener(l).Accept(); err != nil {
					return nil, nil, nil, err
				}
				parley.NewSession(1, c2.RemoteAddr(), c2.LocalAddr(), time.Now()).Join(c2)
				return c2, c1, func() { c1.Close(); c2.Close() }, nil
			})
		})
	}
}
