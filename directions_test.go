package parley_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// Requests and replies that are framed differently, and each framing on the wire.

var mllp = parley.Framed([]byte{0x0b}, []byte{0x1c, 0x0d})

func TestEachDirectionHasItsFraming(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		for _, c := range []struct {
			name              string
			framing, replies  parley.Framing
			in, want          string
			reason            parley.CloseReason
			received, replied int
		}{
			{"line/crlf", parley.Lines, parley.LinesCRLF, "a\nb\n", "a\r\nb\r\n", parley.EndOfFile, 2, 2},
			{"line/length", parley.Lines, parley.Length{Bytes: 2}, "a\nb", "\x00\x01a\x00\x01b", parley.EndOfFile, 2, 2},
			{"line/none", parley.Lines, parley.NoReplies, "a\nb\nc", "", parley.EndOfFile, 3, 0},
			{"line/none, too long", parley.Lines, parley.NoReplies, "a\n" + strings.Repeat("x", 101), "", parley.TooLong, 1, 0},
			{"line/none, blank", parley.Lines, parley.NoReplies, "a\n\nb\n", "", parley.Blank, 1, 0},
			{"octets/none", parley.OctetCounted, parley.NoReplies, "3 a\nb1 c", "", parley.EndOfFile, 2, 0},
			{"octets/none, malformed", parley.OctetCounted, parley.NoReplies, "3 a\nb<34>c", "", parley.Malformed, 1, 0},
			{"line/close", parley.Lines, parley.UntilClose, "a\nb\n", "a", parley.HangUp, 1, 1},
			{"close/close", parley.UntilClose, parley.UntilClose, "a\nb\n", "a\nb\n", parley.EndOfFile, 1, 1},
			{"close/line", parley.UntilClose, parley.Lines, "ab", "ab\n", parley.EndOfFile, 1, 1},
			{"close, of nothing", parley.UntilClose, nil, "", "", parley.NoRequest, 0, 0},
			{"octets", parley.OctetCounted, nil, "3 a\nb1 c", "3 a\nb1 c", parley.EndOfFile, 2, 2},
			{"octets, malformed", parley.OctetCounted, nil, "1 ax", "1 a54 Error: malformed message: \"x\" in the place of a length", parley.Malformed, 1, 1},
			{"octets, 40 digits", parley.OctetCounted, nil, strings.Repeat("9", 40), "36 Error: request longer than 100 bytes", parley.TooLong, 0, 0},
			{"netstring", parley.Netstring, nil, "3:a,b,1:c,", "3:a,b,1:c,", parley.EndOfFile, 2, 2},
			{"netstring, cut", parley.Netstring, nil, "3:a,b,1:c", "3:a,b,", parley.Truncated, 1, 1},
			{"frame", mllp, nil, "\x0ba\x1c\r\x0bb\x1c\r", "\x0ba\x1c\r\x0bb\x1c\r", parley.EndOfFile, 2, 2},
			{"frame, and bytes outside", mllp, nil, "\r\n\x0ba\x1c\r\r\n\x0bb\x1c\r\n", "\x0ba\x1c\r\x0bb\x1c\r", parley.EndOfFile, 2, 2},
			{"frame, without its end", mllp, nil, "\x0ba" + strings.Repeat("x", 100), "\x0bError: request longer than 100 bytes\x1c\r", parley.TooLong, 0, 0},
			{"delim of several", parley.Delimited('\r', '\n', '\r', '\n'), nil, "a\r\nb\r\n\r\nc\r\n\r\n", "a\r\nb\r\n\r\nc\r\n\r\n", parley.EndOfFile, 2, 2},
			{"length:1", parley.Length{Bytes: 1}, nil, "\x01a\x02bc", "\x01a\x02bc", parley.EndOfFile, 2, 2},
			{"length:2incl, below its own", parley.Length{Bytes: 2, Inclusive: true}, nil, "\x00\x03a\x00\x00", "\x00\x03a\x00\x45Error: malformed message: a length of 0 that counts its own 2 bytes", parley.Malformed, 1, 1},
			{"length:8, 2^63", parley.Length{Bytes: 8}, nil, "\x80\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x24Error: request longer than 100 bytes", parley.TooLong, 0, 0},
		} {
			w := new(witness)
			dial := serve(&parley.Server{Handler: echo, Framing: c.framing, Replies: c.replies, Observer: w, MaxRequest: 100})
			if got := say(t, dial(), c.in); got != c.want {
				t.Errorf("%s: to %q came %q, want %q", c.name, c.in, got, c.want)
			}
			end := w.closed(t, 1)
			if end.reason != c.reason || int(end.seq) != c.received {
				t.Errorf("%s: %d requests and closed for %v, want %d and %v", c.name, end.seq, end.reason, c.received, c.reason)
			}
			if received, replied := w.count(parley.Received), w.count(parley.Replied); received != c.received || replied != c.replied {
				t.Errorf("%s: %d requests and %d replies are told, want %d and %d", c.name, received, replied, c.received, c.replied)
			}
		}
	})
}

// Who sends without ever reading is read to the end, and nothing is sent to it.
func TestServerWithoutRepliesKeepsUp(t *testing.T) {
	const lines = 2 * tightly / 100
	var text bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&text, "%0100d\n", i)
	}
	overEachTight(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w := new(witness)
		c := serve(&parley.Server{Handler: echo, Replies: parley.NoReplies, Observer: onlyClosed{w}})()
		if _, err := c.Write(text.Bytes()); err != nil { // before anything is read
			t.Error(err)
		}
		c.CloseWrite()
		if got := readToEnd(t, c); got != "" {
			t.Errorf("the server sent %q", got)
		}
		if end := w.closed(t, 1); end.seq != lines || end.reason != parley.EndOfFile {
			t.Errorf("%d requests, closed for %v; want %d", end.seq, end.reason, lines)
		}
	})
}

// Where there are no replies nobody is told that the server is full, either.
func TestRefusalWhereThereAreNoReplies(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		told := make(chan string, 1)
		observer := parley.ObserverFunc(func(e *parley.Event) {
			if e.Kind == parley.Refused {
				told <- string(e.Body)
			}
		})
		dial := dialer(t, "tcp", parleytest.Start(t, &parley.Server{Engine: engine, Handler: echo, Replies: parley.NoReplies, MaxSessions: 1, Observer: observer}))
		dial()
		if got := say(t, dial(), "a\n"); got != "" {
			t.Errorf("a refused peer got %q", got)
		}
		if text := <-told; text != "" {
			t.Errorf("it is told that %q was sent", text)
		}
	})
}

type onlyClosed struct{ *witness }

func (onlyClosed) Wants(kind parley.EventKind) bool { return kind == parley.Closed }

// However it comes: what is a request and what lies outside of it.
func TestStraysOverTheWire(t *testing.T) {
	text := "\r\n\x0ba\x1c\rxyz\x0bb\x1cb\x1c\r\n"
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		ends := make(chan parley.Event, 1)
		for _, piece := range []int{1, 2, len(text)} {
			gate := new(porter)
			w := new(witness)
			dial := serve(&parley.Server{Handler: echo, Framing: mllp, Gate: gate, Observer: parley.Observers(w, endings(ends))})
			c := dial()
			for rest := text; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				io.WriteString(c, rest[:min(piece, len(rest))])
			}
			c.CloseWrite()
			if got := readToEnd(t, c); got != "\x0ba\x1c\r\x0bb\x1cb\x1c\r" {
				t.Errorf("in pieces of %d: got %q", piece, got)
			}
			if end := <-ends; end.Stray != 6 || end.Seq != 2 || w.count(parley.Stray) != 1 {
				t.Errorf("in pieces of %d: %d requests, %d bytes outside, told %d times; want 2, 6 and once", piece, end.Seq, end.Stray, w.count(parley.Stray))
			}
			if read := gate.onlyWire(t).read.String(); read != text {
				t.Errorf("in pieces of %d: the gate was told of %q", piece, read)
			}
		}
	})
}

// onlyWire is what went over the only connection.
func (p *porter) onlyWire(t *testing.T) *wire {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.wire) != 1 {
		t.Fatalf("the gate was asked about %d sessions", len(p.wire))
	}
	for _, w := range p.wire {
		return w
	}
	return nil
}

// Whatever ends a session, the raw bytes that the gate is asked about are all that was read and
// all that was written.
func TestRawBytesAreTheStreams(t *testing.T) {
	deadline := 100 * time.Millisecond
	for _, c := range []struct {
		name   string
		srv    *parley.Server // whose fields are taken
		in     string
		then   func(t *testing.T, srv *parley.Server, c conn) // once it is sent
		reason parley.CloseReason
	}{
		{"end of file", &parley.Server{}, "a\r\nb\nc", halfClose, parley.EndOfFile},
		{"a blank line", &parley.Server{}, "a\n\r\nnot answered", halfClose, parley.Blank},
		{"too long", &parley.Server{MaxRequest: 10}, "a\nxxxxxxxxxxxx\nb\n", nil, parley.TooLong},
		{"too long by its length", &parley.Server{Framing: parley.LengthPrefixed, MaxRequest: 10}, "\x00\x00\x00\x01a\xff\xff\xff\xffabc", nil, parley.TooLong},
		{"malformed", &parley.Server{Framing: parley.Netstring}, "1:a,1:b;1:c,", nil, parley.Malformed},
		{"an unfinished rest", &parley.Server{Framing: mllp}, "x\x0ba\x1c\r\x0bb", halfClose, parley.Truncated},
		{"half a start", &parley.Server{Framing: parley.Framed([]byte("<<"), []byte(">>"))}, "<<a>>x<", halfClose, parley.Truncated},
		{"no replies", &parley.Server{Replies: parley.NoReplies}, "a\nb\n\nc", nil, parley.Blank},
		{"a reply that closes", &parley.Server{Replies: parley.UntilClose}, "a\nb\nc", nil, parley.HangUp},
		{"octets", &parley.Server{Framing: parley.OctetCounted}, "1 a12 hello\nworld", halfClose, parley.Truncated},
		{"the handler fails", &parley.Server{Handler: failing}, "a\nfail\nb\nc", nil, parley.HandlerError},
		{"the handler panics", &parley.Server{Handler: failing}, "a\npanic\nb\nc", nil, parley.HandlerError},
		{"a request that is never finished", &parley.Server{RequestTimeout: deadline}, "a\nb", nil, parley.RequestTimeout},
		{"idle", &parley.Server{IdleTimeout: deadline}, "a\n", nil, parley.IdleTimeout},
		{"a drain", &parley.Server{}, "a\nb", func(t *testing.T, srv *parley.Server, c conn) {
			awaitReply(t, c)
			go srv.Shutdown(t.Context())
		}, parley.Draining},
		{"closed", &parley.Server{}, "a\nb", func(t *testing.T, srv *parley.Server, c conn) {
			awaitReply(t, c)
			srv.Close()
		}, 0}, // closed, or it has seen before that that the server is stopping
		{"a protocol", &parley.Server{Framing: memo{}}, "a\nquiet\nb\nloud\nc\nd", halfClose, parley.Truncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
				ends := make(chan parley.Event, 1)
				gate := new(porter)
				srv := &parley.Server{
					Handler: c.srv.Handler, Framing: c.srv.Framing, Replies: c.srv.Replies, MaxRequest: c.srv.MaxRequest,
					RequestTimeout: c.srv.RequestTimeout, IdleTimeout: c.srv.IdleTimeout, Gate: gate, Observer: endings(ends),
				}
				if srv.Handler == nil {
					srv.Handler = echo
				}
				client := &recorded{conn: serve(srv)()}
				io.WriteString(client, c.in)
				if c.then != nil {
					c.then(t, srv, client)
				}
				io.Copy(io.Discard, client)
				end := <-ends
				client.Close()
				w := gate.onlyWire(t)
				if end.Reason != c.reason && c.reason != 0 {
					t.Errorf("closed for %v, want %v", end.Reason, c.reason)
				}
				if read := w.read.String(); uint64(len(read)) != end.In || read != c.in {
					t.Errorf("the gate was told of %q, want the %d bytes that were read of %q", read, end.In, c.in)
				}
				if written := w.written.String(); uint64(len(written)) != end.Out || written != client.got.String() {
					t.Errorf("the gate was told of %q, want %q, of which %d bytes count", written, &client.got, end.Out)
				}
			})
		})
	}
}

func halfClose(_ *testing.T, _ *parley.Server, c conn) { c.CloseWrite() }

// awaitReply waits for the reply to the first request.
func awaitReply(t *testing.T, c conn) {
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		t.Error(err)
	}
}

// A recorded connection keeps what was read from it.
type recorded struct {
	conn
	got bytes.Buffer
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.conn.Read(p)
	r.got.Write(p[:n])
	return n, err
}

var failing = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
	switch string(req.Body) {
	case "fail":
		return dst, fmt.Errorf("no luck")
	case "panic":
		panic("oops")
	}
	return append(dst, req.Body...), nil
})

// Of a peer that resets, what it had sent is recorded to its last byte.
func TestRawBytesOfAPeerThatResets(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		text := strings.Repeat("a line\n", 1000) + "and a rest"
		ends := make(chan parley.Event, 1)
		gate, at := new(porter), make(chan struct{})
		handler := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			if req.Seq == 1 {
				<-at
			}
			return append(dst, req.Body...), nil
		})
		c := dialer(t, "tcp", parleytest.Start(t, &parley.Server{Engine: engine, Handler: handler, Gate: gate, Observer: endings(ends)}))()
		io.WriteString(c, text)
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
		close(at)
		end := <-ends
		if read := gate.onlyWire(t).read.String(); uint64(len(read)) != end.In || !strings.HasPrefix(text, read) {
			t.Errorf("the gate was told of %d bytes of the %d that were read", len(read), end.In)
		}
	})
}

// A memo is a small Protocol. A message is a line, its ending included. A request that is "quiet"
// has those behind it not replied to, until one is "loud"; one that begins with "pass" is
// secret. A reply is a number, which counts the requests that are replied to, and a text; one
// that begins with * is none.
type memo struct{}

func (memo) Open() (requests, replies parley.Framing) {
	m := new(memoConn)
	return &memoRequests{memoSide{memoConn: m}}, &memoReplies{memoSide{memoConn: m}}
}

func (memo) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	first, _ := memo{}.Open()
	return first.Next(buf, scanned, max, eof)
}
func (memo) Begin(dst []byte) []byte { return dst }
func (memo) End(dst []byte, start int) ([]byte, error) {
	first, _ := memo{}.Open()
	return first.End(dst, start)
}

// A memoConn is what both sides of a connection know.
type memoConn struct {
	mu    sync.Mutex
	quiet bool
	count int
}

type memoSide struct {
	*memoConn
	note parley.Note
}

func (s *memoSide) Note() parley.Note       { return s.note }
func (s *memoSide) Begin(dst []byte) []byte { return dst }

func (s *memoSide) line(buf []byte, max int) []byte {
	line, _, whole := bytes.Cut(buf, []byte("\n"))
	if len(line) > max || !whole {
		return nil
	}
	return buf[:len(line)+1]
}

type memoRequests struct{ memoSide }

func (r *memoRequests) see(line []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case string(line) == "quiet\n":
		r.quiet = true
	case string(line) == "loud\n":
		r.quiet = false
	}
	r.note = parley.Note{Alone: r.quiet, Secret: bytes.HasPrefix(line, []byte("pass"))}
	if !r.quiet {
		r.count++
	}
}

func (r *memoRequests) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	switch line := r.line(buf, max); {
	case line != nil:
		r.see(line)
		return len(line), line, nil
	case len(buf) > max:
		return 0, nil, parley.ErrTooLong
	}
	return 0, nil, nil
}

func (r *memoRequests) End(dst []byte, start int) ([]byte, error) {
	if !bytes.HasSuffix(dst[start:], []byte("\n")) {
		dst = append(dst, '\n')
	}
	r.see(dst[start:])
	return dst, nil
}

type memoReplies struct{ memoSide }

func (r *memoReplies) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	line := r.line(buf, max)
	r.note = parley.Note{Alone: bytes.HasPrefix(line, []byte("*"))}
	return len(line), line, nil
}

func (r *memoReplies) End(dst []byte, start int) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	words := bytes.TrimSuffix(bytes.Clone(dst[start:]), []byte("\n"))
	r.note = parley.Note{Secret: bytes.HasPrefix(words, []byte("pass"))}
	return fmt.Appendf(dst[:start], "%d %s\n", r.count, words), nil
}

func TestServerOfAProtocol(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w := new(witness)
		gate := new(porter)
		dial := serve(&parley.Server{Framing: memo{}, Replies: parley.NoReplies, Handler: echo, Observer: w, Gate: gate, MaxRequest: 20})
		got := say(t, dial(), "a\nquiet\nb\nloud\npass word\n"+strings.Repeat("x", 21))
		if want := "1 a\n2 loud\n3 pass word\n3 Error: request longer than 20 bytes\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		w.closed(t, 1)
		// A handler that does not get the processor for a millisecond has what is before it told first.
		var requests, others []string
		for _, e := range w.all() {
			line := fmt.Sprintf("%v %d %q %v", e.kind, e.seq, e.body, e.secret)
			switch e.kind {
			case parley.Opened, parley.Closed:
			case parley.Received:
				requests = append(requests, line)
			default:
				others = append(others, line)
			}
		}
		want := `received 1 "a\n" false
received 2 "quiet\n" false
received 3 "b\n" false
received 4 "loud\n" false
received 5 "pass word\n" true
replied 1 "1 a\n" false
replied 4 "2 loud\n" false
replied 5 "3 pass word\n" true
message 0 "3 Error: request longer than 20 bytes\n" false`
		if got := strings.Join(append(requests, others...), "\n"); got != want {
			t.Errorf("told\n%s\nwant\n%s", got, want)
		}
		var asked []string
		for _, e := range gate.exchanges() {
			asked = append(asked, fmt.Sprintf("%d %q %q", e.seq, e.request, e.reply))
		}
		want = `1 "a\n" "1 a\n"|2 "quiet\n" "none"|3 "b\n" "none"|4 "loud\n" "2 loud\n"|5 "pass word\n" "3 pass word\n"|0 "none" "3 Error: request longer than 20 bytes\n"`
		if got := strings.Join(asked, "|"); got != want {
			t.Errorf("the gate was asked about %s, want %s", got, want)
		}
		// Another connection remembers nothing of that.
		if got := say(t, dial(), "a\n"); got != "1 a\n" {
			t.Errorf("the next connection got %q", got)
		}
	})
}
