package parley_test

import (
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
)

// limitsOf are the fields of a Server that are numbers: its limits and clocks.
func limitsOf(srv *parley.Server) map[string]reflect.Value {
	limits := make(map[string]reflect.Value)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[parley.Server]()) {
		if kind := f.Type.Kind(); f.IsExported() && (kind == reflect.Int || kind == reflect.Int64) {
			limits[f.Name] = reflect.ValueOf(srv).Elem().FieldByIndex(f.Index)
		}
	}
	return limits
}

// withLargest is a server that has one limit set to the largest value, by which people mean
// never, and all other clocks off.
func withLargest(limit string, framing parley.Framing) *parley.Server {
	srv := &parley.Server{Framing: framing, FirstByteTimeout: -1, RequestTimeout: -1, IdleTimeout: -1, WriteTimeout: -1}
	largest := int64(math.MaxInt64)
	if limitsOf(srv)[limit].Kind() == reflect.Int {
		largest = math.MaxInt
	}
	limitsOf(srv)[limit].SetInt(largest)
	return srv
}

// Whatever a peer lets the server wait for, the largest value of a limit ends no wait
// and refuses no request.
func TestLargestValueOfEachLimit(t *testing.T) {
	if n := len(limitsOf(new(parley.Server))); n < 8 {
		t.Fatalf("a Server has %d limits", n)
	}
	framings := map[string]parley.Framing{"line": parley.Lines, "crlf": parley.LinesCRLF, "chunk": parley.Chunks,
		"length": parley.LengthPrefixed, "delim": parley.Delimited(0), "frame": mllp, "octets": parley.OctetCounted, "length:8": parley.Length{Bytes: 8}}
	for name, framing := range framings {
		t.Run(name, func(t *testing.T) {
			t.Run("memory", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					waitWithEachLimit(t, framing, 128<<10, transports["memory"], func() { time.Sleep(10000 * time.Hour) })
				})
			})
			if name != "line" {
				return // a socket and its clocks do not know the framing
			}
			for _, network := range socketTransports() {
				t.Run(network, func(t *testing.T) {
					noLeaks(t)
					waitWithEachLimit(t, framing, tightly, tight[network], func() {
						another := &parley.Server{Handler: echo, FirstByteTimeout: 150 * time.Millisecond} // more than a tick of a loop
						readToEnd(t, transports[network](t, another)())
					})
				})
			}
		})
	}
}

// The transport holds less than large bytes.
func waitWithEachLimit(t *testing.T, framing parley.Framing, large int, serve func(*testing.T, *parley.Server) func() conn, wait func()) {
	var goOn []func()
	for limit := range limitsOf(new(parley.Server)) {
		srv := withLargest(limit, framing)
		goOn = append(goOn, keepWaiting(t, limit, srv, large, func() func() conn { return serve(t, srv) }))
	}
	wait()
	for _, next := range goOn {
		next()
	}
}

// keepWaiting has a server wait for four peers: for the first byte, for the rest of a
// request, for the next one, and for room to write. goOn has each of them go on.
func keepWaiting(t *testing.T, limit string, srv *parley.Server, size int, serve func() func() conn) (goOn func()) {
	large := strings.Repeat("x", size)
	srv.Handler = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		if string(req.Body) == "large" {
			return append(dst, large...), nil
		}
		return append(dst, req.Body...), nil
	})
	send := func(c conn, body string, from, to int) {
		request := frame(t, srv.Framing, body)
		io.WriteString(c, request[from:min(to, len(request))])
	}
	receive := func(c conn, body string) {
		want := frame(t, srv.Framing, body)
		got := make([]byte, len(want))
		if n, err := io.ReadFull(c, got); string(got) != want {
			t.Errorf("%s: of a reply of %d bytes came %d, %v", limit, len(want), n, err)
		}
	}
	const all = math.MaxInt
	dial := serve()
	silent, begun, idle, stalled := dial(), dial(), dial(), dial()
	send(idle, "one", 0, all)
	receive(idle, "one")
	send(stalled, "large", 0, all)
	if srv.Framing != parley.Chunks { // under chunk nothing is unfinished
		send(begun, "begun", 0, 3)
	}
	return func() {
		send(silent, "silent", 0, all)
		receive(silent, "silent")
		if srv.Framing != parley.Chunks {
			send(begun, "begun", 3, all)
			receive(begun, "begun")
		}
		send(idle, "two", 0, all)
		receive(idle, "two")
		receive(stalled, large)
	}
}
