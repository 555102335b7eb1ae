package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/parleytest"
)

// BenchmarkServer is the server of the command under load: silent, with its narrative and
// with JSON, one and 16 requests in flight. `make profile` takes default.pgo from it.
func BenchmarkServer(b *testing.B) {
	for _, view := range []string{"silent", "narrative", "json", "redis"} {
		for _, inFlight := range []int{1, 16} {
			b.Run(view+"-"+map[int]string{1: "1", 16: "16"}[inFlight], func(b *testing.B) { benchmarkServer(b, view, inFlight) })
		}
	}
}

// BenchmarkLoad is `parley bench` in a closed loop. `make profile` takes default.pgo from it
// too: what measures must cost little.
func BenchmarkLoad(b *testing.B) {
	addr := parleytest.Start(b, &parley.Server{
		Engine:  parley.LoopsIfPossible,
		Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil }),
	})
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		b.Fatal(err)
	}
	contains, err := expect.Parse("contains")
	if err != nil {
		b.Fatal(err)
	}
	dialer := dial.Dialer{Network: "tcp", Host: host, Port: port, Timeout: patience}
	plan := load.Plan{Dial: dialer.Dial, Messages: load.SizedMessages(16), Expect: contains, Connections: 64, Requests: uint64(b.N)}
	result, err := plan.Run(b.Context())
	if err != nil || result.Failed() {
		b.Errorf("%+v, %v", result, err)
	}
}

func benchmarkServer(b *testing.B, view string, inFlight int) {
	opt := newServerOptions()
	opt.reply, opt.maxSessions = parley.DefaultReply, 100
	request := "session 1 msg 01\n"
	if view == "redis" {
		request = "*2\r\n$3\r\nGET\r\n$16\r\nsession:1:key:01\r\n"
		if err := opt.framing.Set(view); err != nil {
			b.Fatal(err)
		}
	}
	srv, err := newServer(&opt)
	if err != nil {
		b.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	says := opt.output()
	says.Quiet, says.JSON = view == "silent" || view == "redis", view == "json"
	out := console.NewOutput(null, null, says)
	defer out.Close()
	srv.Observer = out.Observer()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer func() { srv.Close(); <-served }()

	const conns = 64
	var peers sync.WaitGroup
	for range conns {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		peers.Go(func() {
			defer c.Close()
			text := bytes.Repeat([]byte(request), inFlight)
			reply := make([]byte, 0)
			for done := 0; done < b.N/conns+1; done += inFlight {
				c.Write(text)
				if len(reply) == 0 { // the first one says how long they are
					reply = make([]byte, 4<<10)
					n, err := io.ReadAtLeast(c, reply, 1)
					for err == nil && bytes.Count(reply[:n], []byte("\n")) < inFlight {
						var more int
						more, err = c.Read(reply[n:])
						n += more
					}
					if reply = reply[:n]; err != nil {
						b.Error(err)
						return
					}
				} else if _, err := io.ReadFull(c, reply); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	peers.Wait()
}
