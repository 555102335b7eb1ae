package report

import (
	"bufio"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/parleytest"
)

// A service is one in memory, for a bubble of made-up time.
type service struct {
	serve  func(conn *parleytest.Conn)
	dials  atomic.Int64
	closed sync.WaitGroup
}

// answering is a service by a parley server.
func answering(handler parley.HandlerFunc) *service {
	srv := &parley.Server{Handler: handler}
	return &service{serve: func(conn *parleytest.Conn) { srv.ServeConn(conn) }}
}

// speaking is a service that does as told with each line.
func speaking(answer func(line string, conn *parleytest.Conn) (more bool)) *service {
	return &service{serve: func(conn *parleytest.Conn) {
		defer conn.Close()
		in := bufio.NewScanner(conn)
		for in.Scan() {
			if !answer(in.Text(), conn) {
				return
			}
		}
	}}
}

func (s *service) dial(context.Context) (net.Conn, dial.Steps, error) {
	s.dials.Add(1)
	client, server := parleytest.ConnPair()
	s.closed.Go(func() { s.serve(server) })
	return client, dial.Steps{Address: "memory", Lookup: time.Millisecond, Connect: 2 * time.Millisecond}, nil
}

// run runs the plan against the service. Time is that of the bubble.
func (s *service) run(t *testing.T, plan load.Plan) *load.Result {
	t.Helper()
	plan.Dial, plan.Sleep = s.dial, time.Sleep
	result, err := plan.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.closed.Wait()
	return result
}

func echo(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil }
