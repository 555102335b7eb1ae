package answer

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/leaks"
	"github.com/parley-tcp/parley/parleytest"
)

func TestMain(m *testing.M) { leaks.Run(m) }

const patience = 30 * time.Second

func named(t testing.TB, name string) dialect.Framing {
	t.Helper()
	f, err := dialect.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// overEngines runs a test with each engine.
func overEngines(t *testing.T, test func(t *testing.T, engine parley.Engine)) {
	for _, engine := range []parley.Engine{parley.Goroutines, parley.LoopsIfPossible} {
		t.Run(engine.String(), func(t *testing.T) { test(t, engine) })
	}
}

// serve has a handler answer until the test ends, and returns a way to connect.
func serve(t *testing.T, engine parley.Engine, f dialect.Framing, handler parley.Handler) (dial func() *net.TCPConn) {
	srv := &parley.Server{Engine: engine, Framing: f.Requests, Replies: f.Replies, Handler: handler}
	if o, is := handler.(parley.Observer); is {
		srv.Observer = o
	}
	addr := parleytest.Start(t, srv)
	return func() *net.TCPConn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { c.Close() })
		return c.(*net.TCPConn)
	}
}

// say writes text, half-closes and returns all that comes back.
func say(t *testing.T, c *net.TCPConn, text string) string {
	t.Helper()
	io.WriteString(c, text)
	c.CloseWrite()
	got, err := io.ReadAll(bufio.NewReader(c))
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return string(got)
}
