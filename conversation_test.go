package parley

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unique"
	"unsafe"
)

// echo sends back what comes.
var echo = HandlerFunc(func(dst []byte, req *Request) ([]byte, error) { return append(dst, req.Body...), nil })

var zero = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newTestConversation(set *settings) *conversation {
	set.wanted = wantedKinds(set.observer)
	set.handler = orElse[Handler](set.handler, echo)
	set.setFramings(set.framing, set.replies)
	set.log = slog.New(slog.DiscardHandler)
	if set.now == nil {
		set.now = func() time.Time { return zero }
	}
	if set.maxRequest == 0 {
		set.maxRequest = 64 << 10
	}
	if set.maxUnsent == 0 {
		set.maxUnsent = 256 << 10
	}
	session := &Session{number: 1, opened: zero, remote: endpoint{ip: netip.MustParseAddrPort("127.0.0.1:49662")}}
	return &conversation{settings: set, session: session}
}

func orElse[T any](value, other T) T {
	if any(value) == nil {
		return other
	}
	return value
}

// A desk plays the engine for one conversation, by hand.
type desk struct {
	*conversation
	out  writeBuffer
	in   []byte
	sent bytes.Buffer
	log  []string
}

func newDesk(set *settings) *desk {
	d := &desk{}
	if set.observer == nil {
		set.observer = ObserverFunc(func(e *Event) {
			d.log = append(d.log, fmt.Sprintf("%v %d %q %v", e.Kind, e.Seq, e.Body, e.Took))
		})
	}
	d.conversation = newTestConversation(set)
	d.open(nil)
	return d
}

// feed has text arrive at a time since the opening, and all replies written then.
func (d *desk) feed(at time.Duration, text string) {
	d.read(len(text), zero.Add(at))
	d.in = append(d.in, text...)
	d.run(at, false)
}

// end has the end of file arrive.
func (d *desk) end(at time.Duration) {
	d.read(0, zero.Add(at))
	d.run(at, true)
}

func (d *desk) run(at time.Duration, eof bool) {
	for again := true; again; again = d.phase == needsRoom {
		used := d.answer(d.handler, &d.out, d.in, eof)
		if d.gate != nil {
			d.ask(&d.out, zero.Add(at))
		}
		d.in = d.in[used:]
		d.take(at, len(d.out.unsent()))
		if d.out.flushed() {
			d.out.reset()
		}
	}
}

// take has the socket take n bytes.
func (d *desk) take(at time.Duration, n int) {
	d.sent.Write(d.out.unsent()[:n])
	d.wrote(&d.out, n, zero.Add(at))
}

func (d *desk) wantEnd(t *testing.T, sent string, reason CloseReason) {
	t.Helper()
	if d.sent.String() != sent || d.reason != reason || d.phase < over {
		t.Errorf("sent %q and ended for %v (phase %d), want %q and %v", &d.sent, d.reason, d.phase, sent, reason)
	}
}

func TestEveryRequestGetsOneReplyInOrder(t *testing.T) {
	d := newDesk(&settings{})
	d.feed(0, "a\nb\r\nc")
	d.feed(1, "d\n")
	d.end(2)
	d.wantEnd(t, "a\nb\ncd\n", EndOfFile)
}

func TestConversationEndings(t *testing.T) {
	fail := HandlerFunc(func(dst []byte, req *Request) ([]byte, error) {
		switch string(req.Body) {
		case "fail":
			return append(dst, "secret"...), errors.New("no luck")
		case "bye":
			return append(dst, "bye"...), fmt.Errorf("as asked: %w", ErrHangUp)
		case "panic":
			panic("oops")
		case "nothing":
			return append(dst, "secret"...), fmt.Errorf("so: %w", ErrNoReply)
		case "two":
			return append(dst, "two\nlines"...), nil
		}
		return append(dst, req.Body...), nil
	})
	for _, c := range []struct {
		name, in, sent string
		reason         CloseReason
		set            settings
	}{
		{"nothing ever", "", "", NoRequest, settings{}},
		{"end of file", "a\n", "a\n", EndOfFile, settings{}},
		{"unfinished line", "a\nb", "a\nb\n", EndOfFile, settings{}},
		{"blank", "a\n\nb\n", "a\n", Blank, settings{}},
		{"only CRLF", "\r\n", "", Blank, settings{}},
		{"blank kept", "a\n\nb\n", "a\n\nb\n", EndOfFile, settings{keepBlank: true}},
		{"length 0", "\x00\x00\x00\x00x", "", Blank, settings{framing: LengthPrefixed}},
		{"truncated", "\x00\x00\x00\x01a\x00\x00\x00\x02b", "\x00\x00\x00\x01a", Truncated, settings{framing: LengthPrefixed}},
		{"too long", "abc\nabcd\nabc\n", "abc\nError: request longer than 3 bytes\n", TooLong, settings{maxRequest: 3}},
		{"too long, NUL", "abcd\x00", "Error: request longer than 3 bytes\x00", TooLong, settings{maxRequest: 3, framing: Delimited(0)}},
		{"too long, text does not fit the framing", "abcd:", "", TooLong, settings{maxRequest: 3, framing: Delimited(':')}},
		{"too long, length", "\xff\xff\xff\xff", "\x00\x00\x00\x22Error: request longer than 3 bytes", TooLong, settings{maxRequest: 3, framing: LengthPrefixed}},
		{"too long, framed", "<abcd", "<Error: request longer than 3 bytes>", TooLong, settings{maxRequest: 3, framing: Framed([]byte("<"), []byte(">"))}},
		{"too long, octets", "40 ", "34 Error: request longer than 3 bytes", TooLong, settings{maxRequest: 3, framing: OctetCounted}},
		{"too long, netstring", "4", "34:Error: request longer than 3 bytes,", TooLong, settings{maxRequest: 3, framing: Netstring}},
		{"too long, until close", "abcd", "Error: request longer than 3 bytes", TooLong, settings{maxRequest: 3, framing: UntilClose}},
		{"too long, in the framing of replies", "abcd\n", "\x00\x22Error: request longer than 3 bytes", TooLong, settings{maxRequest: 3, replies: Length{Bytes: 2}}},
		{"too long, where there are no replies", "abcd\n", "", TooLong, settings{maxRequest: 3, replies: NoReplies}},
		{"replies framed otherwise", "a\nb\n", "a\r\n\r\nb\r\n\r\n", EndOfFile, settings{replies: Delimited('\r', '\n', '\r', '\n')}},
		{"no replies", "a\nb\nc", "", EndOfFile, settings{replies: NoReplies}},
		{"no replies, blank", "a\n\n", "", Blank, settings{replies: NoReplies}},
		{"no replies, the handler hangs up", "a\nbye\nb\n", "", HangUp, settings{replies: NoReplies, handler: fail}},
		{"no replies, the handler fails", "a\nfail\nb\n", "", HandlerError, settings{replies: NoReplies, handler: fail}},
		{"no replies, malformed", "0 ", "", Malformed, settings{framing: OctetCounted, replies: NoReplies}},
		{"reply until close", "a\nb\n", "a", HangUp, settings{replies: UntilClose}},
		{"reply until close, to an unfinished line", "a", "a", EndOfFile, settings{replies: UntilClose}},
		{"until close", "a\nb\n", "a\nb\n", EndOfFile, settings{framing: UntilClose}},
		{"until close, of nothing", "", "", NoRequest, settings{framing: UntilClose}},
		{"until close, the handler fails", "fail", "", HandlerError, settings{framing: UntilClose, handler: fail}},
		{"until close, a reply of lines", "a\n\nb", "a\n\nb\x00", EndOfFile, settings{framing: UntilClose, replies: Delimited(0)}},
		{"octets", "1 a2 bc", "1 a2 bc", EndOfFile, settings{framing: OctetCounted}},
		{"octets, malformed", "1 a<13>x 1 b", "1 a54 Error: malformed message: \"<\" in the place of a length", Malformed, settings{framing: OctetCounted}},
		{"octets, an empty reply", "1 a", "", HandlerError, settings{framing: OctetCounted, handler: HandlerFunc(func(dst []byte, _ *Request) ([]byte, error) { return dst, nil })}},
		{"netstring, blank", "1:a,0:,1:b,", "1:a,", Blank, settings{framing: Netstring}},
		{"netstring, blank kept", "0:,1:b,", "0:,1:b,", EndOfFile, settings{framing: Netstring, keepBlank: true}},
		{"netstring, malformed", "1:a;1:b,", "72:Error: malformed message: no \",\" behind as many bytes as its length says,", Malformed, settings{framing: Netstring}},
		{"incl, malformed", "\x00\x01", "\x00\x45Error: malformed message: a length of 1 that counts its own 2 bytes", Malformed, settings{framing: Length{Bytes: 2, Inclusive: true}}},
		{"malformed, the text does not fit the framing of replies", "x", "", Malformed, settings{framing: Netstring, replies: Delimited(':')}},
		{"bytes outside", "x<a>\r\n<b>y", "<a><b>", EndOfFile, settings{framing: Framed([]byte("<"), []byte(">"))}},
		{"nothing but bytes outside", "xyz", "", EndOfFile, settings{framing: Framed([]byte("<"), []byte(">"))}},
		{"a frame without its end", "<a><b", "<a>", Truncated, settings{framing: Framed([]byte("<"), []byte(">"))}},
		{"a frame of nothing", "<a><><b>", "<a>", Blank, settings{framing: Framed([]byte("<"), []byte(">"))}},
		{"more bytes outside than a request may have", "xxxxxxxxxx<a>", "<a>", EndOfFile, settings{maxRequest: 3, framing: Framed([]byte("<"), []byte(">"))}},
		{"handler fails", "a\nfail\nb\n", "a\n", HandlerError, settings{handler: fail}},
		{"handler panics", "a\npanic\nb\n", "a\n", HandlerError, settings{handler: fail}},
		{"handler breaks the framing", "a\ntwo\nb\n", "a\n", HandlerError, settings{handler: fail}},
		{"handler leaves one unanswered", "a\nnothing\nb\n", "a\nb\n", EndOfFile, settings{handler: fail}},
		{"handler hangs up", "a\nbye\nb\n", "a\nbye\n", HangUp, settings{handler: fail}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(&c.set)
			if c.in != "" {
				d.feed(0, c.in)
			}
			d.end(0)
			d.wantEnd(t, c.sent, c.reason)
		})
	}
}

// What can be no request ends the conversation at the byte that shows it, not when more comes.
func TestMalformedEndsAtOnce(t *testing.T) {
	for _, c := range []struct {
		framing Framing
		text    string
		want    CloseReason
	}{
		{OctetCounted, "x", Malformed}, {OctetCounted, "12x", Malformed}, {Netstring, "5:hello;", Malformed},
		{Length{Bytes: 2, Inclusive: true}, "\x00\x01", Malformed}, {OctetCounted, "65", TooLong}, {Netstring, "640", TooLong},
	} {
		d := newDesk(&settings{framing: c.framing, maxRequest: 64})
		d.feed(0, c.text[:len(c.text)-1])
		if d.phase >= over {
			t.Errorf("%q: ended for %v before its last byte", c.text, d.reason)
		}
		d.feed(0, c.text[len(c.text)-1:])
		if d.phase < over || d.reason != c.want || errors.Is(d.err, ErrMalformed) != (c.want == Malformed) {
			t.Errorf("%q: phase %d, %v, %v; want the end for %v", c.text, d.phase, d.reason, d.err, c.want)
		}
	}
}

// A server without replies tells of requests, and of nothing else.
func TestWithoutRepliesNoneAreTold(t *testing.T) {
	var asked []string
	gate := gateOf(func(batch []Exchange) {
		for _, x := range batch {
			asked = append(asked, fmt.Sprintf("%d %q %v %v %d", x.Seq, x.Request, x.Reply == nil, x.RawReply.Bytes == nil, x.Took))
		}
	})
	set := &settings{replies: NoReplies, gate: gate}
	d := newDesk(set)
	d.session.hold = new(hold)
	d.read(7, zero)
	d.answer(d.handler, &d.out, []byte("a\nb\r\nc"), false)
	d.ask(&d.out, zero.Add(time.Second))
	d.wrote(&d.out, len(d.out.unsent()), zero.Add(time.Second))
	d.read(0, zero.Add(time.Second))
	d.answer(d.handler, &d.out, []byte("c"), true)
	d.ask(&d.out, zero.Add(time.Second))
	d.close(nil, zero.Add(time.Minute))
	want := `opened 0 "" 0s|received 1 "a" 0s|received 2 "b" 0s|received 3 "c" 0s|closed 3 "" 1m0s`
	if got := strings.Join(d.log, "|"); got != want || d.replied != 0 || len(d.out.buf) != 0 {
		t.Errorf("told %s, %d replied; want %s", got, d.replied, want)
	}
	want = `1 "a" true true 0|2 "b" true true 0|3 "c" true true 0`
	if got := strings.Join(asked, "|"); got != want {
		t.Errorf("the gate was asked about %s, want %s", got, want)
	}
}

// Bytes of no request are told once and counted, and are no begun request.
func TestStraysAreToldOnce(t *testing.T) {
	var told []string
	d := newDesk(&settings{framing: Framed([]byte("<<"), []byte(">>")), requestTimeout: 30 * time.Second, idleTimeout: time.Minute,
		observer: ObserverFunc(func(e *Event) {
			if e.Kind == Stray || e.Kind == Closed {
				told = append(told, fmt.Sprintf("%v %q %d", e.Kind, e.Body, e.Stray))
			}
		})})
	d.feed(time.Second, "xy<")
	if d.hinted = true; d.deadline().Sub(zero) != 31*time.Second {
		t.Errorf("what may be a start has begun: the clock runs out at %v, want 31s", d.deadline().Sub(zero))
	}
	d.feed(2*time.Second, "z")
	if got := d.deadline().Sub(zero); got != time.Minute {
		t.Errorf("it was none: the clock runs out at %v, want 1m, since no request has come", got)
	}
	d.feed(3*time.Second, "<<a>>\r\n<")
	if got := d.deadline().Sub(zero); got != 33*time.Second {
		t.Errorf("another may have begun: the clock runs out at %v, want 33s", got)
	}
	d.end(4 * time.Second)
	d.wantEnd(t, "<<a>>", Truncated)
	d.close(nil, zero.Add(time.Minute))
	if got, want := strings.Join(told, "|"), `stray "xy" 2|closed "" 6`; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// The events of replies have their bodies, also where the framing moves them.
func TestBodiesOfRepliesThatAreMoved(t *testing.T) {
	for _, framing := range []Framing{OctetCounted, Netstring, Length{Bytes: 1}, Framed([]byte("<<"), []byte(">>"))} {
		var raws []string
		gate := gateOf(func(batch []Exchange) {
			for _, x := range batch {
				raws = append(raws, fmt.Sprintf("%q at %d: %q", x.Reply, x.RawReply.At, x.RawReply.Bytes[x.RawReply.Body:][:len(x.Reply)]))
			}
		})
		var told []string
		d := newDesk(&settings{replies: framing, gate: gate, maxRequest: 20, observer: ObserverFunc(func(e *Event) {
			if e.Kind == Replied || e.Kind == Unasked {
				told = append(told, string(e.Body))
			}
		})})
		d.session.hold = new(hold)
		text := "a\nhello hello\n" + strings.Repeat("x", 21)
		d.read(len(text), zero)
		d.answer(d.handler, &d.out, []byte(text), false)
		d.ask(&d.out, zero)
		d.take(0, len(d.out.unsent()))
		if got, want := strings.Join(told, "|"), "a|hello hello|Error: request longer than 20 bytes"; got != want {
			t.Errorf("%T: told %q, want %q", framing, got, want)
		}
		at := 0
		for i, body := range []string{"a", "hello hello", "Error: request longer than 20 bytes"} {
			if want := fmt.Sprintf("%q at %d: %q", body, at, body); raws[i] != want {
				t.Errorf("%T: asked about %s, want %s", framing, raws[i], want)
			}
			at += len(appendMessage(nil, framing, []byte(body)))
		}
	}
}

func TestPanicKeepsItsStack(t *testing.T) {
	d := newDesk(&settings{handler: HandlerFunc(func([]byte, *Request) ([]byte, error) { panic("oops") })})
	d.feed(0, "a\n")
	var p *PanicError
	if !errors.As(d.err, &p) || p.Value != "oops" || !bytes.Contains(p.Stack, []byte("TestPanicKeepsItsStack")) {
		t.Errorf("err = %v, want a PanicError with the stack", d.err)
	}
}

func TestHandlerMayReturnAnySlice(t *testing.T) {
	var kept []byte
	for name, handler := range map[string]HandlerFunc{
		"dst":      func(dst []byte, req *Request) ([]byte, error) { return append(dst, req.Body...), nil },
		"its own":  func(dst []byte, req *Request) ([]byte, error) { return bytes.Clone(req.Body), nil },
		"the body": func(dst []byte, req *Request) ([]byte, error) { return req.Body, nil },
		"part of dst": func(dst []byte, req *Request) ([]byte, error) {
			return append(append(dst, "xx"...), req.Body...)[2:], nil
		},
		"an old slice": func(dst []byte, req *Request) ([]byte, error) { kept = append(kept[:0], req.Body...); return kept, nil },
	} {
		d := newDesk(&settings{handler: handler})
		d.feed(0, "one\ntwo\nthree\n")
		if d.sent.String() != "one\ntwo\nthree\n" {
			t.Errorf("%s: sent %q", name, &d.sent)
		}
	}
	d := newDesk(&settings{handler: HandlerFunc(func([]byte, *Request) ([]byte, error) { return nil, nil })})
	d.feed(0, "one\ntwo\n")
	if d.sent.String() != "\n\n" {
		t.Errorf("nil: sent %q, want two empty replies", &d.sent)
	}
}

// Output is bounded inside one read too.
func TestOutputIsBoundedWithinOneRead(t *testing.T) {
	const big = 10 << 10
	text := make([]byte, big)
	reply := HandlerFunc(func(dst []byte, _ *Request) ([]byte, error) { return append(dst, text...), nil })
	d := newDesk(&settings{handler: reply, observer: ObserverFunc(func(*Event) {})})
	in := []byte(strings.Repeat("x\n", 32<<10))
	out, replies, most := new(writeBuffer), 0, 0
	for range 40 { // rounds of 1,260 that it would take
		in = in[d.answer(d.handler, out, in, false):]
		most = max(most, len(out.buf))
		replies += len(out.marks)
		d.wrote(out, len(out.buf), zero)
		out.reset()
	}
	if limit := d.maxUnsent + big + 1; most > limit || replies < 40*(d.maxUnsent/big) {
		t.Errorf("%d replies with at most %d bytes at once, want %d with at most %d", replies, most, 40*26, limit)
	}
	d = newDesk(&settings{})
	d.answer(d.handler, out, []byte(strings.Repeat("x\n", 5000)), false)
	if len(out.marks) != maxUnsentReplies || d.phase != needsRoom {
		t.Errorf("%d replies at once (phase %d), want %d", len(out.marks), d.phase, maxUnsentReplies)
	}
}

func TestEventsTellTheConversation(t *testing.T) {
	d := newDesk(&settings{})
	d.feed(time.Second, "a\nbc\n")
	d.read(0, zero.Add(2*time.Second))
	d.run(2*time.Second, true)
	d.close(nil, zero.Add(3*time.Second))
	want := []string{
		`opened 0 "" 0s`, `received 1 "a" 0s`, `received 2 "bc" 0s`,
		`replied 1 "a" 0s`, `replied 2 "bc" 0s`, `closed 2 "" 3s`,
	}
	if got := strings.Join(d.log, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("told\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// A reply is told as replied once, when the write that took its last byte returns.
func TestRepliedIsToldAtTheLastByte(t *testing.T) {
	d := newDesk(&settings{})
	d.read(6, zero)
	d.answer(d.handler, &d.out, []byte("ab\ncd\n"), false)
	d.log = nil
	d.take(1, 2) // not its ending
	d.take(2, 2) // which came with the next reply's first byte
	d.take(3, 2)
	want := `replied 1 "ab" 2ns|replied 2 "cd" 3ns`
	if got := strings.Join(d.log, "|"); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

func TestEmptyReplyUnderChunksIsTold(t *testing.T) {
	d := newDesk(&settings{framing: Chunks, handler: HandlerFunc(func(dst []byte, _ *Request) ([]byte, error) { return dst, nil })})
	d.feed(0, "x")
	if got := d.log[len(d.log)-1]; got != `replied 1 "" 0s` {
		t.Errorf("told %s, want replied", got)
	}
}

// Each event has the wall clock's time as it was then, also after it was set; how long
// something took does not change with it.
func TestTimesAfterAStepOfTheWallClock(t *testing.T) {
	var told []string
	opened := time.Now()
	note := func(kind fmt.Stringer, at time.Time, took time.Duration) {
		told = append(told, fmt.Sprint(kind, " ", at.Round(0).Sub(opened.Round(0)), " ", took))
	}
	gate := gateOf(func(batch []Exchange) { note(Received, batch[0].Received, batch[0].Took) })
	for _, step := range []time.Duration{time.Hour, -time.Hour, 10000 * time.Hour} {
		told = nil
		d := newDesk(&settings{gate: gate, idleTimeout: time.Minute,
			observer: ObserverFunc(func(e *Event) { note(e.Kind, e.Time, e.Took) }),
			handler: HandlerFunc(func(dst []byte, req *Request) ([]byte, error) {
				note(Received, req.Time, 0)
				return dst, nil
			}),
		})
		d.session.opened, d.session.hold = opened, new(hold)
		at := func(d time.Duration) time.Time { return stepped(t, opened.Add(d), step) }
		d.read(2, at(time.Second))
		d.answer(d.handler, &d.out, []byte("a\nb"), false)
		d.ask(&d.out, at(2*time.Second))
		d.wrote(&d.out, len(d.out.unsent()), at(3*time.Second))
		if got := d.due(); got != 5*time.Second { // it did not run while the reply was unsent
			t.Errorf("step of %v: the next deadline is after %v, want the hint after 5s", step, got)
		}
		d.expire([]byte("b"), at(5*time.Second))
		d.close(nil, at(6*time.Second))
		var want []string
		for _, e := range []struct {
			kind     EventKind
			at, took time.Duration
		}{{Received, time.Second, 0}, {Received, time.Second, 0}, {Received, time.Second, time.Second},
			{Replied, 3 * time.Second, 2 * time.Second}, {Unfinished, 5 * time.Second, 0}, {Closed, 6 * time.Second, 6 * time.Second}} {
			want = append(want, fmt.Sprint(e.kind, " ", e.at+step, " ", e.took))
		}
		if got := told[1:]; strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("step of %v: told\n%s\nwant\n%s", step, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

type gateOf func(batch []Exchange)

func (f gateOf) Pass(_ *Session, batch []Exchange) bool { f(batch); return true }

// stepped is the time t, read from a wall clock that was set forward by step meanwhile: its
// monotonic part is t's. No clock can be set in a test, and package time has no way to say
// this, so it goes by the seconds in the layout of a time.Time with a monotonic part.
func stepped(t *testing.T, at time.Time, step time.Duration) time.Time {
	t.Helper()
	after := at
	*(*uint64)(unsafe.Pointer(&after)) += uint64(step/time.Second) << 30
	if after.Sub(at) != 0 || after.Round(0).Sub(at.Round(0)) != step {
		t.Fatalf("a time.Time is made otherwise: %v and %v", after, at)
	}
	return after
}

// The clocks, with times made up: when each runs out and that it stands still while
// the peer is not read.
func TestClocks(t *testing.T) {
	set := func() *settings {
		return &settings{firstByteTimeout: 3 * time.Second, requestTimeout: 30 * time.Second, idleTimeout: 60 * time.Second, writeTimeout: 10 * time.Second}
	}
	at := func(d *desk) time.Duration { return d.deadline().Sub(zero) }

	d := newDesk(set())
	if at(d) != 3*time.Second {
		t.Errorf("before the first byte: %v, want 3s", at(d))
	}
	d.feed(2*time.Second, "x")
	if at(d) != 4*time.Second {
		t.Errorf("a request has begun: %v, want the hint at 4s", at(d))
	}
	d.expire(d.in, zero.Add(4*time.Second))
	if last := d.log[len(d.log)-1]; last != `unfinished 1 "x" 0s` {
		t.Errorf("told %s, want unfinished", last)
	}
	if at(d) != 32*time.Second {
		t.Errorf("after the hint: %v, want 32s", at(d))
	}
	d.feed(20*time.Second, "y")
	if at(d) != 32*time.Second {
		t.Errorf("a drip moved the request's clock to %v, want 32s still", at(d))
	}
	d.expire(d.in, zero.Add(32*time.Second-1))
	if d.phase >= over {
		t.Errorf("ended a nanosecond early")
	}
	d.expire(d.in, zero.Add(32*time.Second))
	d.wantEnd(t, "", RequestTimeout)

	d = newDesk(set())
	d.feed(time.Second, "a\n")
	if at(d) != 61*time.Second {
		t.Errorf("idle from its reply: %v, want 61s", at(d))
	}
	d.expire(nil, zero.Add(61*time.Second))
	d.wantEnd(t, "a\n", IdleTimeout)

	d = newDesk(set())
	d.expire(nil, zero.Add(3*time.Second))
	d.wantEnd(t, "", FirstByteTimeout)

	// A handler took from 1 s to 40 s; a request had begun behind it. Its clock has
	// not moved meanwhile.
	d = newDesk(set())
	d.read(3, zero.Add(time.Second))
	used := d.answer(d.handler, &d.out, []byte("a\nb"), false)
	d.in = []byte("b")
	d.take(40*time.Second, len(d.out.unsent()))
	if d.hinted = true; used != 2 || at(d) != 70*time.Second {
		t.Errorf("the request's clock runs out at %v, want 30s after reading went on at 40s", at(d))
	}

	// Writing: ten seconds without progress, and sixty for the oldest byte.
	d = newDesk(set())
	d.read(2, zero.Add(time.Second))
	d.answer(d.handler, &d.out, []byte("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"), false)
	d.take(time.Second, 0)
	if at(d) != 11*time.Second {
		t.Errorf("a write is stalled since 1s: %v, want 11s", at(d))
	}
	for s := 5; s < 60; s += 5 {
		d.take(time.Duration(s)*time.Second, 1)
	}
	if at(d) != 61*time.Second {
		t.Errorf("its oldest byte may wait until %v, want 61s", at(d))
	}
	d.expire(nil, zero.Add(61*time.Second))
	if d.phase != broken || d.reason != WriteTimeout {
		t.Errorf("phase %d, %v; want broken for write_timeout", d.phase, d.reason)
	}

	// Off.
	d = newDesk(&settings{firstByteTimeout: -1, requestTimeout: -1, idleTimeout: -1, writeTimeout: -1})
	if !d.deadline().IsZero() {
		t.Errorf("with all clocks off the deadline is %v", d.deadline())
	}
}

// After a time in which nobody could look, each clock begins anew. What a reply took is what
// it took all the same.
func TestClocksBeginAnewAfterAPause(t *testing.T) {
	const pause = time.Hour
	for _, c := range []struct {
		name    string
		happens func(d *desk)
		want    time.Duration // from the end of the pause
	}{
		{"nothing has come", func(d *desk) {}, 3 * time.Second},
		{"idle", func(d *desk) { d.feed(time.Second, "a\n") }, 60 * time.Second},
		{"a begun request", func(d *desk) { d.feed(time.Second, "a"); d.hinted = true }, 30 * time.Second},
		{"a pending write", func(d *desk) {
			d.read(2, zero.Add(time.Second))
			d.answer(d.handler, &d.out, []byte("a\n"), false)
			d.take(time.Second, 1)
		}, 10 * time.Second},
		{"written, and not taken", func(d *desk) {
			d.feed(time.Second, "a\n\n")
			d.awaits(2, zero.Add(time.Second))
		}, 10 * time.Second},
	} {
		d := newDesk(&settings{firstByteTimeout: 3 * time.Second, requestTimeout: 30 * time.Second, idleTimeout: 60 * time.Second, writeTimeout: 10 * time.Second})
		c.happens(d)
		d.restartClocks(zero.Add(pause))
		if got := d.deadline().Sub(zero) - pause; got != c.want {
			t.Errorf("%s: the clock runs out %v after the pause, want %v", c.name, got, c.want)
		}
		if d.ranOut(zero.Add(pause+c.want-1)) || !d.ranOut(zero.Add(pause+c.want)) {
			t.Errorf("%s: it has not run out at %v after the pause, or before", c.name, c.want)
		}
	}
	d := newDesk(&settings{})
	d.read(2, zero.Add(time.Second))
	d.answer(d.handler, &d.out, []byte("a\n"), false)
	d.restartClocks(zero.Add(pause))
	d.take(pause, 2)
	if got, want := d.log[len(d.log)-1], fmt.Sprintf(`replied 1 "a" %v`, pause-time.Second); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// A clock begins anew once: who stops again and again, as a loop whose handlers take long, is
// no reason to keep a peer for ever.
func TestClocksBeginAnewOnce(t *testing.T) {
	for _, c := range []struct {
		name    string
		happens func(d *desk, at time.Duration)
		limit   time.Duration
	}{
		{"idle", func(d *desk, at time.Duration) { d.feed(at, "a\n") }, 60 * time.Second},
		{"a begun request", func(d *desk, at time.Duration) { d.feed(at, "a"); d.hinted = true }, 30 * time.Second},
		{"a pending write", func(d *desk, at time.Duration) {
			d.read(2, zero.Add(at))
			d.answer(d.handler, &d.out, []byte("a\n"), false)
			d.take(at, 1)
		}, 10 * time.Second},
	} {
		d := newDesk(&settings{requestTimeout: 30 * time.Second, idleTimeout: 60 * time.Second, writeTimeout: 10 * time.Second})
		c.happens(d, time.Second)
		for at := 2 * time.Second; at < 200*time.Second; at += 2 * time.Second {
			d.restartClocks(zero.Add(at))
		}
		if got := d.deadline().Sub(zero); got != 2*time.Second+c.limit {
			t.Errorf("%s: the clock runs out after %v, want %v", c.name, got, 2*time.Second+c.limit)
		}
	}
	d := newDesk(&settings{idleTimeout: 60 * time.Second})
	for at := time.Second; at < 200*time.Second; at += 2 * time.Second {
		d.feed(at, "a\n")
		d.restartClocks(zero.Add(at + time.Second))
		if got := d.deadline().Sub(zero) - at; got != 61*time.Second {
			t.Fatalf("the clock of who was idle from %v on runs out %v later, want 61s", at, got)
		}
	}
}

// What has come sets the clocks, also where there is no room to answer all of it.
func TestClocksOfWhoNeedsRoom(t *testing.T) {
	for _, before := range []string{"a\n", "a"} {
		d := newDesk(&settings{requestTimeout: 60 * time.Second, idleTimeout: 60 * time.Second, maxUnsent: 1})
		d.feed(time.Second, before)
		d.read(6, zero.Add(50*time.Second))
		d.answer(d.handler, &d.out, []byte("a\nb\nc\n"), false)
		if got := d.deadline().Sub(zero); d.phase != needsRoom || got != 110*time.Second {
			t.Errorf("phase %d, the clock runs out after %v; want 110s", d.phase, got)
		}
	}
}

// What belongs to no message is not heard of: who sends nothing else is idle, also where it begins a
// request now and then.
func TestStraysMoveNoClock(t *testing.T) {
	const idle = 60 * time.Second
	for _, c := range []struct {
		name string
		sent []string // ten seconds apart
		want time.Duration
	}{
		{"strays only", []string{"x", "x", "x", "x"}, idle},
		{"strays behind a request", []string{"<<a>", "x", "x", "x"}, 10*time.Second + idle},
		{"what may be a start, and is not", []string{"<", "x", "<", "x"}, idle},
		{"a request behind strays", []string{"x", "x", "<<a>"}, 30*time.Second + idle},
	} {
		d := newDesk(&settings{framing: Framed([]byte("<<"), []byte(">")), idleTimeout: idle, requestTimeout: 2 * idle})
		for i, text := range c.sent {
			d.feed(time.Duration(i+1)*10*time.Second, text)
		}
		if got := d.deadline().Sub(zero); d.phase != needsInput || got != c.want {
			t.Errorf("%s: phase %d, the clock runs out after %v; want %v", c.name, d.phase, got, c.want)
		}
	}
}

// However many requests come at once that are not replied to, a gate is asked about some at a time.
func TestGateIsAskedAboutSomeAtATime(t *testing.T) {
	const requests = 5 * maxUnsentReplies
	for name, take := range map[string]func(d *desk){
		"answered": func(d *desk) { d.run(0, false) },
		"heard":    func(d *desk) { d.hear(&d.out, d.in) },
	} {
		asked, most := 0, 0
		d := newDesk(&settings{replies: NoReplies, silent: true})
		d.session.hold = new(hold)
		d.gate = gateOf(func(batch []Exchange) {
			asked += len(batch)
			most = max(most, len(batch))
		})
		d.in = []byte(strings.Repeat("x\n", requests))
		d.read(len(d.in), zero)
		take(d)
		d.ask(&d.out, zero)
		if asked != requests || most > maxUnsentReplies {
			t.Errorf("%s: asked about %d of %d, %d at once", name, asked, requests, most)
		}
	}
}

// However many of the last bytes the peer does not take, no reply among them counts as such,
// and of those before at most what fits in 4 KiB does not.
func TestRepliesThatWereNotTakenDoNotCount(t *testing.T) {
	const requests = 400
	lengths := []int{1, 30, 200, 5000, 20000, 70}
	handler := HandlerFunc(func(dst []byte, req *Request) ([]byte, error) {
		return append(dst, make([]byte, lengths[req.Seq%uint64(len(lengths))])...), nil
	})
	for i, piece := range []int{1 << 20, 10000, 999, 1 << 20, 10000, 999} { // that the socket takes at once
		observer := []Observer{ObserverFunc(func(*Event) {}), endsOnly{}}[i/3]
		var whole []int // bytes up to the end of each reply
		d := newDesk(&settings{handler: handler, framing: Delimited('.'), observer: observer})
		d.marks = true // as with a Protocol, whatever the observer wants
		for range requests {
			d.read(2, zero)
			d.answer(d.handler, &d.out, []byte("x."), false)
			whole = append(whole, int(d.out.marks[len(d.out.marks)-1].last-d.out.sent)+int(d.out64()))
			if len(whole)%7 == 0 || len(whole) == requests {
				for !d.out.flushed() {
					d.take(0, min(piece, len(d.out.unsent())))
				}
				d.out.reset()
			}
		}
		written := whole[requests-1]
		for untaken := 0; untaken <= written; untaken += 1 + untaken/50 {
			c := *d.conversation
			kept := *d.delivery
			kept.milestones = slices.Clone(kept.milestones)
			c.delivery = &kept
			c.lose(untaken)
			most := 0
			for most < requests && whole[most] <= written-untaken {
				most++
			}
			if int(c.replied) > most {
				t.Fatalf("%d bytes of %d were not taken: %d replies count, but %d were taken", untaken, written, c.replied, most)
			}
			if most > int(c.replied) && whole[most-1]-wholeBefore(whole, int(c.replied)) > milestoneEvery {
				t.Fatalf("%d bytes of %d were not taken: %d replies count, though %d were taken", untaken, written, c.replied, most)
			}
			if c.out != uint64(written-untaken) {
				t.Fatalf("%d bytes count as written, want %d", c.out, written-untaken)
			}
		}
	}
}

// out64 is how many bytes were written.
func (d *desk) out64() uint64 { return d.conversation.out }

// wholeBefore is where reply n, counted from 1, ends.
func wholeBefore(whole []int, n int) int {
	if n == 0 {
		return 0
	}
	return whole[n-1]
}

// What a quick peer has taken leaves nothing behind.
func TestMilestonesAreForgotten(t *testing.T) {
	d := newDesk(&settings{observer: ObserverFunc(func(*Event) {})})
	line := strings.Repeat("x", 1000) + "\n"
	for range 1000 {
		d.feed(0, line)
		d.taken(len(line))
	}
	if n := len(d.delivery.milestones); n > 2 || cap(d.delivery.milestones) > 8 {
		t.Errorf("%d milestones are kept, in room for %d", n, cap(d.delivery.milestones))
	}
}

// Looking takes a system call: it is done behind the bytes for which there is something new to find out.
func TestWhatIsTakenIsNotLookedForBehindEachWrite(t *testing.T) {
	d := newDesk(&settings{observer: ObserverFunc(func(*Event) {})})
	looks, writes, line := 0, 100, []byte(strings.Repeat("x", 99)+"\n")
	for range writes {
		d.read(len(line), zero)
		d.answer(d.handler, &d.out, line, false)
		if d.wrote(&d.out, len(d.out.buf), zero) {
			looks++
		}
		d.out.reset()
	}
	if want := writes * len(line) / milestoneEvery; looks != want {
		t.Errorf("it was looked %d times behind %d writes of %d bytes, want %d", looks, writes, len(line), want)
	}
}

func TestNobodyIsHintedWithoutAnObserver(t *testing.T) {
	c := newTestConversation(&settings{requestTimeout: 30 * time.Second})
	c.read(1, zero)
	c.answer(c.handler, new(writeBuffer), []byte("x"), false)
	if got := c.deadline().Sub(zero); got != 30*time.Second {
		t.Errorf("the next deadline is at %v, want 30s", got)
	}
}

func TestDrainAnswersWhatIsHeld(t *testing.T) {
	d := newDesk(&settings{})
	d.read(4, zero)
	d.in = []byte("a\nb\nc")
	d.drain()
	if d.phase != over {
		t.Errorf("an idle conversation goes on through a drain")
	}
	d = newDesk(&settings{maxUnsent: 1})
	d.read(4, zero)
	d.in = []byte("a\nb\nc")
	d.in = d.in[d.answer(d.handler, &d.out, d.in, false):]
	d.drain()
	d.take(0, len(d.out.unsent()))
	d.out.reset()
	d.run(0, false)
	d.wantEnd(t, "a\nb\n", Draining)
}

func benchmarkConversation(b *testing.B, pipelined int, observer Observer) {
	handler, err := ParseTemplate(DefaultReply, nil)
	if err != nil {
		b.Fatal(err)
	}
	c := newTestConversation(&settings{handler: handler, observer: observer})
	in := []byte(strings.Repeat("session 1 msg 1\n", pipelined))
	out := new(writeBuffer)
	b.ReportAllocs()
	for b.Loop() {
		c.read(len(in), zero)
		c.answer(c.handler, out, in, false)
		if c.wrote(out, len(out.buf), zero) {
			c.taken(0)
		}
		out.reset()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pipelined), "ns/request")
}

func BenchmarkConversation1(b *testing.B)  { benchmarkConversation(b, 1, nil) }
func BenchmarkConversation16(b *testing.B) { benchmarkConversation(b, 16, nil) }
func BenchmarkConversation16Observed(b *testing.B) {
	benchmarkConversation(b, 16, ObserverFunc(func(*Event) {}))
}

// How many requests were answered is known to the byte, also if nobody wants to know of replies:
// of a write that was cut off, those whose replies got out whole.
func TestRepliesOfAWriteThatIsCutOffAreCounted(t *testing.T) {
	handler := HandlerFunc(func(dst []byte, req *Request) ([]byte, error) {
		return append(dst, strings.Repeat("x", int(req.Seq%3)+1)...), nil
	})
	for name, framing := range map[string]Framing{"line": Lines, "crlf": LinesCRLF, "length": LengthPrefixed, "delim": Delimited(0, 0),
		"frame": Framed([]byte{2}, []byte{3}), "octets": OctetCounted, "netstring": Netstring, "chunk": Chunks} {
		for _, observer := range []Observer{endsOnly{}, ObserverFunc(func(*Event) {})} {
			request, err := framing.End(append(framing.Begin(nil), 'a'), 0)
			if err != nil {
				t.Fatal(err)
			}
			for cut := 0; ; cut++ {
				d := newDesk(&settings{handler: handler, framing: framing, observer: observer})
				d.feed(0, string(request))
				d.feed(0, string(request))
				var ends []int // of the replies in the next write
				for range 3 {
					d.read(len(request), zero)
					d.answer(d.handler, &d.out, request, false)
					ends = append(ends, len(d.out.buf))
				}
				if cut > len(d.out.buf) {
					break
				}
				d.take(0, cut)
				d.countSent(&d.out)
				want := uint64(2)
				for _, end := range ends {
					if end <= cut {
						want++
					}
				}
				if d.replied != want || d.seq != 5 {
					t.Errorf("%s, %T: %d of %d bytes are written: %d of %d requests count as answered, want %d", name, observer, cut, len(d.out.buf), d.replied, d.seq, want)
				}
			}
		}
	}
}

// A request that has no reply is not one that was answered because a later one was not.
func TestRequestsWithoutReplyDoNotCountAsAnswered(t *testing.T) {
	handler := HandlerFunc(func(dst []byte, req *Request) ([]byte, error) {
		if req.Seq < 4 {
			return nil, ErrNoReply
		}
		return append(dst, "reply"...), nil
	})
	d := newDesk(&settings{handler: handler, observer: endsOnly{}})
	request := []byte("1\n2\n3\n4\n5\n")
	d.read(len(request), zero)
	d.answer(d.handler, &d.out, request, false)
	d.take(0, len("reply"))
	d.countSent(&d.out)
	if d.replied != 0 {
		t.Errorf("no reply was written whole, and request %d counts as answered", d.replied)
	}
}

// endsOnly wants to know of nothing but ends.
type endsOnly struct{}

func (endsOnly) Observe(*Event)            {}
func (endsOnly) Wants(kind EventKind) bool { return kind == Closed }

func TestRequestsAllocateNothing(t *testing.T) {
	handler, err := ParseTemplate("{conn} {seq} {message} {bytes} {host} {node} {local} {remote} {tls_name} {time}", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := newTestConversation(&settings{handler: handler, observer: ObserverFunc(func(*Event) {})})
	c.session.local = unique.Make(c.session.remote)
	in, out := []byte("a\nb\nc\n"), new(writeBuffer)
	allocs := testing.AllocsPerRun(100, func() {
		c.read(len(in), zero)
		c.answer(c.handler, out, in, false)
		c.wrote(out, len(out.buf), zero)
		out.reset()
	})
	if allocs != 0 {
		t.Errorf("%v allocations for three requests, want none", allocs)
	}
}
