package parley_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// A message that Do has found before its request can be received, as what it is: of a Protocol, which
// remembers what it has read, it is looked at once.
func TestWhatPutsAClientOutOfStepCanBeReceived(t *testing.T) {
	const first, second = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n"
	http, err := dialect.Parse("http")
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		buf := make([]byte, 4<<10)
		theirs.Read(buf)
		io.WriteString(theirs, first+second)
	}()
	c := parley.NewClient(ours, http.Requests)
	defer c.Close()
	if err := c.Send(t.Context(), []byte("HEAD /a"), []byte("HEAD /b")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Receive(t.Context()); string(got) != first || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	for range 2 {
		if _, err := c.Do(t.Context(), []byte("GET /c")); !errors.Is(err, parley.ErrOutOfStep) {
			t.Fatalf("Do = %v, want out of step", err)
		}
	}
	if got, ok, err := c.TryReceive(); string(got) != second || !ok || err != nil || c.Note().Alone {
		t.Errorf("got %q, %v, %v, alone %v; want %q", got, ok, err, c.Note().Alone, second)
	}
}

// What is there before a request cannot be its reply, also if it takes more than one read.
func TestALongMessageThatIsThereBeforeARequestIsNotItsReply(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := parley.Dial(t.Context(), "unix:"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := io.WriteString(server, strings.Repeat("x", 10_000)+"\n"); err != nil {
		t.Fatal(err)
	}
	if reply, err := c.Do(t.Context(), []byte("a")); !errors.Is(err, parley.ErrOutOfStep) {
		t.Errorf("Do = %d bytes, %v; want ErrOutOfStep", len(reply), err)
	}
}

// Behind the only request that UntilClose has, to half-close once more does nothing.
func TestHalfClosingTwice(t *testing.T) {
	srv := &parley.Server{Handler: echo, Framing: parley.UntilClose}
	overSome(t, []string{"tcp"}, func(t *testing.T, serve func(*parley.Server) func() conn) {
		c := parley.NewClient(serve(srv)(), parley.UntilClose)
		defer c.Close()
		if got, err := c.Do(t.Context(), []byte("a")); string(got) != "a" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if err := c.Send(t.Context(), []byte("b")); err == nil {
			t.Error("a second request was sent behind the end of file")
		}
	})
}
