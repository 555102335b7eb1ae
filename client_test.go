package parley_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// scripted is a client whose server is the test's own hand.
func scripted(t *testing.T, framing parley.Framing) (*parley.Client, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := (&parley.Dialer{Framing: framing, MaxReply: 1000}).Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	server.SetDeadline(time.Now().Add(patience))
	return client, server.(*net.TCPConn)
}

// A reply of the largest size is one, in every framing that has a limit; a byte more is too long.
func TestLargestReply(t *testing.T) {
	for _, framing := range []parley.Framing{parley.Lines, parley.LengthPrefixed, parley.Delimited(0), parley.Netstring, parley.UntilClose} {
		for size, want := range map[int]error{999: nil, 1000: nil, 1001: parley.ErrTooLong} {
			client, server := scripted(t, framing)
			reply, err := framing.End(append(framing.Begin(nil), strings.Repeat("x", size)...), 0)
			if err != nil {
				t.Fatal(err)
			}
			server.Write(reply)
			server.Close()
			got, err := client.Receive(t.Context())
			if !errors.Is(err, want) || want == nil && len(got) != size {
				t.Errorf("%T: a reply of %d bytes is received as %d with %v, want %v", framing, size, len(got), err, want)
			}
		}
	}
}

func TestDoGetsEachItsReply(t *testing.T) {
	noLeaks(t)
	for _, framing := range []parley.Framing{parley.Lines, parley.LinesCRLF, parley.Chunks, parley.LengthPrefixed, parley.Delimited(0), parley.Delimited(0x1c, 0x0d), mllp, parley.OctetCounted, parley.Netstring, parley.Length{Bytes: 8, Little: true, Inclusive: true}} {
		addr := parleytest.Start(t, &parley.Server{Handler: echo, Framing: framing})
		client, err := (&parley.Dialer{Framing: framing}).Dial(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, request := range []string{"a", strings.Repeat("x", 50000), "\xff\x01"} {
			if framing == parley.Chunks && len(request) > 1000 {
				continue // may come in several reads
			}
			got, err := client.Do(t.Context(), []byte(request))
			if string(got) != request || err != nil {
				t.Errorf("%T: %d bytes back, %v; want the %d sent", framing, len(got), err, len(request))
			}
		}
		if err := client.CloseWrite(); err != nil {
			t.Errorf("CloseWrite: %v", err)
		}
		if got, err := client.Receive(t.Context()); err != io.EOF {
			t.Errorf("%T: at the end Receive = %q, %v; want io.EOF", framing, got, err)
		}
		client.Close()
	}
}

func TestDialOverAUnixSocket(t *testing.T) {
	noLeaks(t)
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	parleytest.Serve(t, &parley.Server{Handler: echo}, l)
	client, err := parley.Dial(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got, err := client.Do(t.Context(), []byte("a")); string(got) != "a" || err != nil {
		t.Errorf("Do = %q, %v", got, err)
	}
}

func TestDialSaysNo(t *testing.T) {
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	l.Close()
	if _, err := parley.Dial(t.Context(), l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial = %v, want connection refused", err)
	}
	hook := errors.New("from NetDial")
	d := parley.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { return nil, hook }}
	if _, err := d.Dial(t.Context(), "x:1"); err != hook {
		t.Errorf("Dial = %v, want %v", err, hook)
	}
}

// One goroutine sends while another receives.
func TestSendAndReceiveAtTheSameTime(t *testing.T) {
	noLeaks(t)
	client, err := parley.Dial(t.Context(), parleytest.Start(t, &parley.Server{Handler: echo}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const n = 10000
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() {
		for i := range n {
			if err := client.Send(t.Context(), fmt.Append(nil, i)); err != nil {
				t.Error(err)
				return
			}
		}
		client.CloseWrite()
	})
	for i := range n {
		if got, err := client.Receive(t.Context()); string(got) != fmt.Sprint(i) || err != nil {
			t.Fatalf("message %d is %q, %v", i, got, err)
		}
	}
	if _, err := client.Receive(t.Context()); err != io.EOF {
		t.Errorf("Receive = %v, want io.EOF", err)
	}
}

// No wrong reply is ever handed out: after a Do that was cut off, none is.
func TestSeveralRequestsInOneSend(t *testing.T) {
	c, err := parley.Dial(t.Context(), parleytest.Start(t, &parley.Server{Handler: echo}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok, err := c.TryReceive(); ok || err != nil {
		t.Errorf("before anything was sent: %v, %v; want no message and no error", ok, err)
	}
	if err := c.Send(t.Context(), []byte("one"), []byte("t\nwo"), []byte("three")); err == nil {
		t.Error("a request that cannot be framed was sent with others")
	}
	if err := c.Send(t.Context(), []byte("one"), []byte("two"), []byte("three")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < 3 {
		reply, err := c.Receive(t.Context())
		for ok := true; ok && err == nil; reply, ok, err = c.TryReceive() {
			got = append(got, string(reply))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if all := strings.Join(got, " "); all != "one two three" {
		t.Errorf("the replies are %q; nothing of the first try may have been sent", all)
	}
	// The end is told only once it has been read.
	c.CloseWrite()
	if _, err := c.Receive(t.Context()); err != io.EOF {
		t.Errorf("Receive = %v, want EOF", err)
	}
	if _, ok, err := c.TryReceive(); ok || err != io.EOF {
		t.Errorf("TryReceive = %v, %v; want EOF", ok, err)
	}
}

func TestDoThatWasCutOffLeavesTheClientOutOfStep(t *testing.T) {
	noLeaks(t)
	client, server := scripted(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	go func() {
		server.Read(make([]byte, 100)) // the request is here: now it is cut off
		cancel(enough)
	}()
	if _, err := client.Do(ctx, []byte("first")); !errors.Is(err, enough) {
		t.Errorf("Do = %v, want the context's cause", err)
	}
	io.WriteString(server, "reply to first\n")
	if got, err := client.Do(t.Context(), []byte("second")); err != parley.ErrOutOfStep {
		t.Errorf("the next Do = %q, %v; want ErrOutOfStep", got, err)
	}
	// Send and Receive go on.
	if got, err := client.Receive(t.Context()); string(got) != "reply to first" || err != nil {
		t.Errorf("Receive = %q, %v", got, err)
	}
	if err := client.Send(t.Context(), []byte("third")); err != nil {
		t.Errorf("Send = %v", err)
	}
	server.CloseWrite()
	if line, _ := bufio.NewReader(server).ReadString('\n'); line != "third\n" {
		t.Errorf("the server read %q: a request was repeated, or second was sent after all", line)
	}
}

// A message that is there before the request cannot be its reply, also if it is still
// in the kernel.
func TestDoFindsWhatCameUnasked(t *testing.T) {
	noLeaks(t)
	client, server := scripted(t, nil)
	io.WriteString(server, "welcome\n")
	awaitReadable(t, client, server)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := client.Do(ctx, []byte("a")); err != parley.ErrOutOfStep {
		t.Errorf("Do = %q, %v; want ErrOutOfStep", got, err)
	}
	if got, err := client.Receive(t.Context()); string(got) != "welcome" || err != nil {
		t.Errorf("Receive = %q, %v; want what came", got, err)
	}
	server.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, _ := server.Read(make([]byte, 10)); n != 0 {
		t.Error("the request was sent all the same")
	}
}

// awaitReadable waits until what the server wrote has arrived: its acknowledgement
// means that the kernel holds it for the client.
func awaitReadable(t *testing.T, _ *parley.Client, server *net.TCPConn) {
	t.Helper()
	raw, err := server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "what was written has arrived", func() bool {
		left := 0
		raw.Control(func(fd uintptr) { left = unacknowledged(t, fd) })
		return left == 0
	})
}

func TestRequestThatCannotBeFramedIsNotSent(t *testing.T) {
	noLeaks(t)
	client, server := scripted(t, nil)
	if _, err := client.Do(t.Context(), []byte("two\nlines")); err == nil || !strings.Contains(err.Error(), "cannot carry") {
		t.Errorf("Do = %v, want an error about the framing", err)
	}
	if err := client.Send(t.Context(), []byte("two\nlines")); err == nil {
		t.Error("Send sent two lines as one request")
	}
	go func() {
		line, _ := bufio.NewReader(server).ReadString('\n')
		io.WriteString(server, line)
	}()
	if got, err := client.Do(t.Context(), []byte("one")); string(got) != "one" || err != nil {
		t.Errorf("the next Do = %q, %v; want it in step", got, err)
	}
}

func TestContextThatHasEndedSendsNothing(t *testing.T) {
	client, _ := scripted(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, do := client.Do(ctx, []byte("a"))
	_, receive := client.Receive(ctx)
	for _, err := range []error{do, receive, client.Send(ctx, []byte("a"))} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	}
}

func TestDeadlineCutsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, server := parleytest.ConnPair()
		client := parley.NewClient(conn, nil)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := client.Receive(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("Receive = %v after %v, want the deadline after 3s", err, time.Since(start))
		}
		// The connection is as good as before.
		io.WriteString(server, "late\n")
		if got, err := client.Receive(t.Context()); string(got) != "late" || err != nil {
			t.Errorf("Receive = %q, %v", got, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := client.Send(ctx, make([]byte, 1<<20)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send to a server that does not read = %v, want the deadline", err)
		}
	})
}

func TestReceiveTellsTheEndings(t *testing.T) {
	noLeaks(t)
	reset := func(s *net.TCPConn) { s.SetLinger(0) }
	for _, c := range []struct {
		name    string
		framing parley.Framing
		sent    string
		then    func(*net.TCPConn)
		body    string
		want    error
	}{
		{"end of file", parley.Lines, "", nil, "", io.EOF},
		{"unfinished line", parley.Lines, "abc", nil, "abc", io.EOF},
		{"cut short", parley.LengthPrefixed, "\x00\x00\x00\x05ab", nil, "", io.ErrUnexpectedEOF},
		{"reset", parley.Lines, "", reset, "", syscall.ECONNRESET},
		{"an empty message", parley.Lines, "\n", nil, "", io.EOF},
		{"too long", parley.Lines, strings.Repeat("x", 1001), nil, "", parley.ErrTooLong},
		{"of the limit", parley.Lines, strings.Repeat("x", 1000) + "\n", nil, strings.Repeat("x", 1000), io.EOF},
		{"malformed", parley.Netstring, "2:ok,x", nil, "ok", parley.ErrMalformed},
		{"malformed by its end", parley.Netstring, "2:ok;", nil, "", parley.ErrMalformed},
		{"octets", parley.OctetCounted, "2 ok3 two", nil, "oktwo", io.EOF},
		{"bytes outside of messages", mllp, "hello\r\n\x0bone\x1c\r\r\n\x0btwo\x1c\rbye", nil, "onetwo", io.EOF},
		{"cut short behind bytes outside", mllp, "hello\x0bone", nil, "", io.ErrUnexpectedEOF},
		{"until close", parley.UntilClose, "one\ntwo\n", nil, "one\ntwo\n", io.EOF},
		{"until close, of nothing", parley.UntilClose, "", nil, "", io.EOF},
		{"until close, too long", parley.UntilClose, strings.Repeat("x", 1001), nil, "", parley.ErrTooLong},
		{"where nothing should come", parley.NoReplies, "hello", nil, "", io.EOF},
		{"too long by its header", parley.LengthPrefixed, string(binary.BigEndian.AppendUint32(nil, 1<<32-1)), nil, "", parley.ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := scripted(t, c.framing)
			io.WriteString(server, c.sent)
			if c.then != nil {
				c.then(server)
			}
			server.Close()
			var bodies []byte
			for {
				body, err := client.Receive(t.Context())
				if err != nil {
					if !errors.Is(err, c.want) {
						t.Errorf("Receive = %v, want %v", err, c.want)
					}
					break
				}
				bodies = append(bodies, body...)
			}
			if string(bodies) != c.body {
				t.Errorf("received %q, want %q", bodies, c.body)
			}
		})
	}
}

// A dialer's replies may be framed otherwise than its requests.
func dialTo(t *testing.T, d *parley.Dialer, srv *parley.Server) *parley.Client {
	t.Helper()
	srv.Handler, srv.Framing, srv.Replies = echo, d.Framing, d.Replies
	client, err := d.Dial(t.Context(), parleytest.Start(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// Behind its request a client half-closes; the reply is all that comes until the server does.
func TestDoUntilClose(t *testing.T) {
	client := dialTo(t, &parley.Dialer{Framing: parley.UntilClose, Replies: parley.UntilClose}, &parley.Server{})
	if err := client.Send(t.Context(), []byte("a"), []byte("b")); err == nil {
		t.Error("two requests were sent that nothing tells apart")
	}
	if got, err := client.Do(t.Context(), []byte("one\ntwo")); string(got) != "one\ntwo" || err != nil {
		t.Errorf("Do = %q, %v", got, err)
	}
	if got, err := client.Do(t.Context(), []byte("more")); err == nil {
		t.Errorf("a second Do = %q, want an error", got)
	}

	client = dialTo(t, &parley.Dialer{Replies: parley.UntilClose}, &parley.Server{})
	if got, err := client.Do(t.Context(), []byte("line")); string(got) != "line" || err != nil {
		t.Errorf("line/close: Do = %q, %v", got, err)
	}
	if _, err := client.Do(t.Context(), []byte("more")); !errors.Is(err, io.EOF) {
		t.Errorf("line/close: a second Do = %v, want that the server has closed", err)
	}
}

// Where there are no replies, Do waits for none, whatever the server says.
func TestDoWithoutReplies(t *testing.T) {
	w := new(witness)
	client := dialTo(t, &parley.Dialer{Replies: parley.NoReplies}, &parley.Server{Observer: w})
	for i := range 1000 {
		if got, err := client.Do(t.Context(), fmt.Append(nil, i)); got != nil || err != nil {
			t.Fatalf("Do = %q, %v; want nothing", got, err)
		}
	}
	client.CloseWrite()
	if got, err := client.Receive(t.Context()); err != io.EOF {
		t.Errorf("at the end Receive = %q, %v", got, err)
	}
	if end := w.closed(t, 1); end.seq != 1000 {
		t.Errorf("the server had %d requests, want 1000", end.seq)
	}

	// What comes all the same is no message.
	conn, server := parleytest.ConnPair()
	d := parley.Dialer{Replies: parley.NoReplies, NetDial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	client, err := d.Dial(t.Context(), "server:1")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(server, "welcome\n")
	if got, err := client.Do(t.Context(), []byte("a")); got != nil || err != nil {
		t.Errorf("Do to a server that speaks = %q, %v; want nothing", got, err)
	}
	io.WriteString(server, "bye\n")
	server.CloseWrite()
	if got, err := client.Receive(t.Context()); err != io.EOF {
		t.Errorf("Receive of what is no reply = %q, %v; want io.EOF", got, err)
	}
	server.Close()
	client.Close()
}

// Do passes over what the protocol says is no reply, and knows what it says of the one it returns.
func TestClientOfAProtocol(t *testing.T) {
	conn, server := parleytest.ConnPair()
	defer server.Close()
	d := parley.Dialer{Framing: memo{}, Replies: parley.Lines, NetDial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	client, err := d.Dial(t.Context(), "server:1")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	io.WriteString(server, "* welcome\n* again\n") // is there before the request, and not its reply
	go func() {
		line, _ := bufio.NewReader(server).ReadString('\n')
		io.WriteString(server, "* by the way\n1 "+line+"* and\n")
	}()
	if got, err := client.Do(t.Context(), []byte("hello")); string(got) != "1 hello\n" || client.Note().Alone || err != nil {
		t.Errorf("Do = %q, %+v, %v; want the reply", got, client.Note(), err)
	}
	if got, err := client.Receive(t.Context()); string(got) != "* and\n" || !client.Note().Alone || err != nil {
		t.Errorf("Receive = %q, %+v, %v; want what is no reply", got, client.Note(), err)
	}
}

// The largest limit there is holds nothing back, also in a message that comes in pieces.
func TestLargestLimitOfAReply(t *testing.T) {
	for _, framing := range []parley.Framing{parley.Lines, parley.Chunks, parley.LengthPrefixed, parley.Delimited(0)} {
		synctest.Test(t, func(t *testing.T) {
			conn, server := parleytest.ConnPair()
			dialer := parley.Dialer{Framing: framing, MaxReply: math.MaxInt, NetDial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
			client, err := dialer.Dial(t.Context(), "server:1")
			if err != nil {
				t.Fatal(err)
			}
			message, err := framing.End(append(framing.Begin(nil), "in two pieces"...), 0)
			if err != nil {
				t.Fatal(err)
			}
			first := 6
			if framing == parley.Chunks {
				first = 0 // a piece would be one
			}
			server.Write(message[:first])
			time.AfterFunc(time.Second, func() { server.Write(message[first:]) })
			if got, err := client.Receive(t.Context()); string(got) != "in two pieces" || err != nil {
				t.Errorf("%T: Receive = %q, %v", framing, got, err)
			}
		})
	}
}

// What came of a message is not lost because its rest did not come.
func TestUnfinishedIsWhatCameOfAMessage(t *testing.T) {
	for _, c := range []struct {
		name    string
		framing parley.Framing
		sent    string
		closes  bool
		want    string
		err     error
	}{
		{"nothing", parley.Lines, "", false, "", context.DeadlineExceeded},
		{"no newline", parley.Lines, "Test\r", false, "Test\r", context.DeadlineExceeded},
		{"behind a whole message", parley.Delimited(0), "one\x00tw", false, "tw", context.DeadlineExceeded},
		{"end of file inside", parley.LengthPrefixed, "\x00\x00\x00\x05ab", true, "\x00\x00\x00\x05ab", io.ErrUnexpectedEOF},
		{"end of file", parley.Lines, "one\n", true, "", io.EOF},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, server := parleytest.ConnPair()
			client := parley.NewClient(conn, c.framing)
			io.WriteString(server, c.sent)
			if c.closes {
				server.Close()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var err error
			for err == nil {
				_, err = client.Receive(ctx)
			}
			if got := client.Unfinished(); string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%s: %q is unfinished after %v, want %q after %v", c.name, got, err, c.want, c.err)
			}
		})
	}
}

func TestCloseEndsAReceiveThatWaits(t *testing.T) {
	noLeaks(t)
	client, _ := scripted(t, nil)
	got := make(chan error)
	go func() {
		_, err := client.Receive(context.Background())
		got <- err
	}()
	client.Close()
	if err := <-got; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive = %v, want net.ErrClosed", err)
	}
}

func TestMessageByteByByte(t *testing.T) {
	noLeaks(t)
	client, server := scripted(t, nil)
	want := strings.Repeat("é", 400)
	go func() {
		for _, b := range []byte(want + "\r\nnext\n") {
			server.Write([]byte{b})
		}
	}()
	for _, want := range []string{want, "next"} {
		if got, err := client.Receive(t.Context()); string(got) != want || err != nil {
			t.Errorf("Receive = %q, %v; want %q", got, err, want)
		}
	}
}

func TestHalfCloseNeedsAConnectionThatCan(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	client := parley.NewClient(a, nil)
	defer client.Close()
	if err := client.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite = %v, want ErrUnsupported", err)
	}
}

func TestDoAllocatesNothing(t *testing.T) {
	client, err := parley.Dial(t.Context(), parleytest.Start(t, &parley.Server{Handler: echo}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := bytes.Repeat([]byte("x"), 15)
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := client.Do(context.Background(), request); err != nil {
			t.Error(err)
		}
	})
	if allocs != 0 && !raceEnabled {
		t.Errorf("%v allocations a Do, want none", allocs)
	}
}
