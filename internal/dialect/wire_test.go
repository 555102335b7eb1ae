package dialect

import (
	"bytes"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// A transcript is what one framing has on the wire, as docs/protocol.md shows it.
type transcript struct{ framing, sent, received string }

func transcripts(t *testing.T) (all []transcript) {
	t.Helper()
	manual, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(manual), "<!-- wire -->\n")
	block, _, _ := strings.Cut(rest, "\n\n")
	for line := range strings.Lines(block) {
		framing, wire, _ := strings.Cut(strings.TrimSpace(line), " ")
		sent, received, ok := strings.Cut(strings.TrimSpace(wire), "<")
		sent, err := strconv.Unquote(`"` + strings.TrimSpace(strings.TrimPrefix(sent, ">")) + `"`)
		received, err2 := strconv.Unquote(`"` + strings.TrimSpace(received) + `"`)
		if err != nil || err2 != nil || !ok {
			t.Fatalf("a transcript that cannot be read: %q", line)
		}
		all = append(all, transcript{framing, sent, received})
	}
	if len(all) < 15 {
		t.Fatalf("docs/protocol.md has %d transcripts", len(all))
	}
	return all
}

func TestServerSpeaksAsTheManualShows(t *testing.T) {
	upper := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		return append(dst, bytes.ToUpper(req.Body)...), nil
	})
	for _, c := range transcripts(t) {
		f, err := Parse(c.framing)
		if err != nil {
			t.Error(err)
			continue
		}
		conn, err := net.Dial("tcp", parleytest.Start(t, &parley.Server{Handler: upper, Framing: f.Requests, Replies: f.Replies}))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(conn, c.sent)
		conn.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(conn); string(got) != c.received || err != nil {
			t.Errorf("%s: to %q came %q, %v; want %q", c.framing, c.sent, got, err, c.received)
		}
		conn.Close()
	}
}

func TestClientSpeaksAsTheManualShows(t *testing.T) {
	for _, c := range transcripts(t) {
		f, err := Parse(c.framing)
		if err != nil {
			t.Error(err)
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string, 1)
		go func() {
			defer close(heard)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			got := make([]byte, len(c.sent))
			io.ReadFull(conn, got)
			io.WriteString(conn, c.received)
			conn.(*net.TCPConn).CloseWrite()
			rest, _ := io.ReadAll(conn)
			heard <- string(append(got, rest...))
		}()
		client, err := (&parley.Dialer{Framing: f.Requests, Replies: f.Replies}).Dial(t.Context(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		want := "HELLO"
		if c.received == "" {
			want = ""
		}
		if got, err := client.Do(t.Context(), []byte("hello")); string(got) != want || err != nil {
			t.Errorf("%s: Do = %q, %v; want %q", c.framing, got, err, want)
		}
		client.Close()
		if got := <-heard; got != c.sent {
			t.Errorf("%s: the client sent %q, want %q", c.framing, got, c.sent)
		}
		l.Close()
	}
}
