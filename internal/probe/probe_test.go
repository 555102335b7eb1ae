package probe

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/parleytest"
)

const ms = time.Millisecond

// names finds these addresses after some time.
func names(after time.Duration, addresses ...string) func(context.Context, string, string) ([]netip.Addr, error) {
	return func(ctx context.Context, _, _ string) (list []netip.Addr, err error) {
		time.Sleep(after)
		for _, a := range addresses {
			list = append(list, netip.MustParseAddr(a))
		}
		return list, ctx.Err()
	}
}

// service is a Connect to a server in memory, which has a connection 3 ms after it was
// asked for and serves it as told.
func service(serve func(c *parleytest.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		time.Sleep(3 * ms)
		client, server := parleytest.ConnPair()
		go func() {
			serve(server)
			server.Close()
		}()
		return client, nil
	}
}

// hearLine waits for a request.
func hearLine(c *parleytest.Conn) string {
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSuffix(line, "\n")
}

// silent serves nothing until the peer leaves.
func silent(c *parleytest.Conn) { io.Copy(io.Discard, c) }

func TestProbes(t *testing.T) {
	ok := expect.Text("ok")
	for _, c := range []struct {
		name  string
		probe Probe
		serve func(c *parleytest.Conn)
		want  Finding
	}{
		{"connects only", Probe{}, silent, Finding{}},
		{"is answered", Probe{Request: []byte("a"), Expect: ok}, func(c *parleytest.Conn) {
			hearLine(c)
			time.Sleep(5 * ms)
			io.WriteString(c, "ok\n")
		}, Finding{Reply: 5 * ms, Message: []byte("ok")}},
		{"is answered with nothing", Probe{Request: []byte("a"), Expect: ok}, func(c *parleytest.Conn) {
			hearLine(c)
			time.Sleep(5 * ms)
			io.WriteString(c, "\n")
		}, Finding{Reply: 5 * ms, Message: []byte{}, Kind: dial.Mismatch}},
		{"is answered otherwise", Probe{Request: []byte("a"), Expect: ok}, func(c *parleytest.Conn) {
			hearLine(c)
			time.Sleep(5 * ms)
			io.WriteString(c, "okay\n")
		}, Finding{Reply: 5 * ms, Message: []byte("okay"), Kind: dial.Mismatch}},
		{"hears a banner", Probe{Banner: true, Expect: ok}, func(c *parleytest.Conn) {
			time.Sleep(7 * ms)
			io.WriteString(c, "ok\n")
			silent(c)
		}, Finding{Banner: 7 * ms, Message: []byte("ok")}},
		{"hears a banner and is answered", Probe{Banner: true, Request: []byte("a"), Expect: ok}, func(c *parleytest.Conn) {
			time.Sleep(7 * ms)
			io.WriteString(c, "220\n")
			hearLine(c)
			time.Sleep(5 * ms)
			io.WriteString(c, "ok\n")
		}, Finding{Banner: 7 * ms, Reply: 5 * ms, Message: []byte("ok")}},
		{"hears a banner and nothing else", Probe{Banner: true, Request: []byte("a"), Expect: ok}, func(c *parleytest.Conn) {
			time.Sleep(7 * ms)
			io.WriteString(c, "ok\n")
			silent(c)
		}, Finding{Banner: 7 * ms, Message: []byte("ok"), Kind: dial.ReplyTimeout}},
		{"hears nothing", Probe{Request: []byte("a")}, silent, Finding{Kind: dial.ReplyTimeout}},
		{"hears no banner", Probe{Banner: true}, silent, Finding{Kind: dial.ReplyTimeout}},
		{"is hung up on", Probe{Request: []byte("a")}, func(c *parleytest.Conn) { hearLine(c) }, Finding{Kind: dial.Closed}},
		{"is hung up on inside a reply", Probe{Request: []byte("a"), Framing: parley.LengthPrefixed}, func(c *parleytest.Conn) {
			c.Read(make([]byte, 5))
			c.Write([]byte{0, 0, 0, 5, 'h'})
		}, Finding{Kind: dial.Closed, unfinished: came("\x00\x00\x00\x05h", "its end")}},
		{"hears no newline", Probe{Request: []byte("a")}, func(c *parleytest.Conn) {
			hearLine(c)
			io.WriteString(c, "Test\r")
			silent(c)
		}, Finding{Kind: dial.ReplyTimeout, unfinished: came("Test\r", "its end")}},
		{"hears another ending than its framing's, then a reset", Probe{Request: []byte("a")}, func(c *parleytest.Conn) {
			hearLine(c)
			io.WriteString(c, "PONG\x00")
			time.Sleep(ms)
			c.Reset()
		}, Finding{Kind: dial.Reset, unfinished: came("PONG\x00", "its end")}},
		{"hears whole lines, but not all", Probe{Request: []byte("a"), Replies: pairs{parley.Lines}}, func(c *parleytest.Conn) {
			hearLine(c)
			io.WriteString(c, "one\n")
			silent(c)
		}, Finding{Kind: dial.ReplyTimeout, unfinished: came("one\n", "its end")}},
		{"hears a banner that is not whole", Probe{Banner: true}, func(c *parleytest.Conn) {
			io.WriteString(c, "220")
			silent(c)
		}, Finding{Kind: dial.ReplyTimeout, unfinished: came("220", "the end of a banner")}},
		{"hears a banner of one line and a reply of two", Probe{Banner: true, Request: []byte("a"), Replies: pairs{parley.Lines}}, func(c *parleytest.Conn) {
			time.Sleep(7 * ms)
			io.WriteString(c, "220-hi\n220 this is no reply either\n")
			hearLine(c)
			time.Sleep(5 * ms)
			io.WriteString(c, "one\ntwo\n")
		}, Finding{Banner: 7 * ms, Reply: 5 * ms, Message: []byte("one\ntwo")}},
		{"hears a banner of one line only", Probe{Banner: true, Replies: pairs{parley.Lines}, Expect: ok}, func(c *parleytest.Conn) {
			time.Sleep(7 * ms)
			io.WriteString(c, "ok\n")
			silent(c)
		}, Finding{Banner: 7 * ms, Message: []byte("ok")}},
		{"hears a banner of two lines, and another line with it",
			Probe{Banner: true, Greeting: pairs{parley.Lines}, Request: []byte("a"), Replies: pairs{parley.Lines}}, func(c *parleytest.Conn) {
				time.Sleep(7 * ms)
				io.WriteString(c, "220-a\n220 b\nhm\n")
				hearLine(c)
				io.WriteString(c, "1\n2\n")
			}, Finding{Banner: 7 * ms, Message: []byte("1\n2")}},
		{"hears the end of the reply", Probe{Request: []byte("a"), Framing: parley.UntilClose}, func(c *parleytest.Conn) {
			io.Copy(io.Discard, c)
			time.Sleep(5 * ms)
			io.WriteString(c, "1\n2\n")
		}, Finding{Reply: 5 * ms, Message: []byte("1\n2\n")}},
		{"is not answered", Probe{Request: []byte("a"), Replies: parley.NoReplies, Silent: true}, silent, Finding{Told: true}},
		{"is not answered, and not hung up on", Probe{Request: []byte("a"), Replies: parley.NoReplies, Silent: true}, func(c *parleytest.Conn) {
			silent(c)
			time.Sleep(2 * closesWithin)
		}, Finding{Told: true}},
		{"is reset instead of an answer that there is none of", Probe{Request: []byte("a"), Replies: parley.NoReplies, Silent: true}, func(c *parleytest.Conn) {
			hearLine(c)
			c.Reset()
		}, Finding{Kind: dial.Reset}},
		{"leaves out what is no reply", Probe{Request: []byte("a"), Framing: aside{parley.Lines}}, func(c *parleytest.Conn) {
			hearLine(c)
			io.WriteString(c, "!note\n!note\nok\n")
		}, Finding{Message: []byte("ok")}},
		{"hears the banner of a protocol", Probe{Banner: true, Greeting: aside{parley.Lines}, Framing: aside{parley.Lines}, Request: []byte("a")}, func(c *parleytest.Conn) {
			time.Sleep(7 * ms)
			io.WriteString(c, "!hello\n")
			hearLine(c)
			io.WriteString(c, "ok\n")
		}, Finding{Banner: 7 * ms, Message: []byte("ok")}},
		{"has the status wanted", Probe{Request: []byte("a"), Status: Status{"2x0", firstWord}}, func(c *parleytest.Conn) {
			hearLine(c)
			io.WriteString(c, "250 ok\n")
		}, Finding{Message: []byte("250 ok"), Status: "250"}},
		{"has another status", Probe{Request: []byte("a"), Status: Status{"2x0", firstWord}}, func(c *parleytest.Conn) {
			hearLine(c)
			io.WriteString(c, "251 ok\n")
		}, Finding{Message: []byte("251 ok"), Status: "251", wrongStatus: true, Kind: dial.Mismatch}},
		{"has the status, and is other than expected", Probe{Request: []byte("a"), Expect: ok, Status: Status{"250", firstWord}}, func(c *parleytest.Conn) {
			hearLine(c)
			io.WriteString(c, "250 no\n")
		}, Finding{Message: []byte("250 no"), Status: "250", Kind: dial.Mismatch}},
		{"has no status", Probe{Request: []byte("a"), Status: Status{"200", firstWord}}, func(c *parleytest.Conn) {
			hearLine(c)
			io.WriteString(c, "oops\n")
		}, Finding{Message: []byte("oops"), wrongStatus: true, Kind: dial.Mismatch}},
		{"is reset", Probe{Request: []byte("a")}, func(c *parleytest.Conn) { hearLine(c); c.Reset() }, Finding{Kind: dial.Reset}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.probe.Timeout = time.Second
				if c.probe.Banner && c.probe.Greeting == nil {
					c.probe.Greeting = parley.Lines
				}
				c.probe.Single = parley.Lines
				c.probe.BannerLacks = func([]byte) (string, string) { return "the end of a banner", "" }
				c.probe.ReplyLacks = func([]byte) (string, string) { return "its end", "" }
				c.probe.Dialer = dial.Dialer{Network: "tcp", Host: "x", Port: "7", LookupAddrs: names(2*ms, "10.0.0.1"), Connect: service(c.serve)}
				c.want.Time, c.want.Connected = time.Now(), true
				c.want.Steps = dial.Steps{Address: "10.0.0.1:7", Lookup: 2 * ms, Connect: 3 * ms}
				found := c.probe.Run(t.Context())
				if len(found) != 1 {
					t.Fatalf("%d findings, want one", len(found))
				}
				got := found[0]
				if (got.Err != nil) != (got.Kind != "" && got.Kind != dial.Mismatch) {
					t.Errorf("kind %q and error %v", got.Kind, got.Err)
				}
				if got.Err = nil; !same(got, c.want) {
					t.Errorf("got %+v, want %+v", got, c.want)
				}
				time.Sleep(2 * closesWithin) // the service ends too
			})
		})
	}
}

// aside is a protocol of lines; one that begins with "!" is no reply.
type aside struct{ parley.Framing }

func (a aside) Open() (requests, replies parley.Framing) {
	return a.Framing, &asideSide{Framing: a.Framing}
}

type asideSide struct {
	parley.Framing
	note parley.Note
}

func (a *asideSide) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	n, body, err := a.Framing.Next(buf, scanned, max, eof)
	a.note.Alone = strings.HasPrefix(string(body), "!")
	return n, body, err
}

func (a *asideSide) Note() parley.Note { return a.note }

func firstWord(reply []byte) (string, bool) {
	code, _, two := strings.Cut(string(reply), " ")
	return code, two
}

func came(text, lacks string) partial { return partial{bytes: []byte(text), lacks: lacks} }

// pairs is a framing in which a reply is two lines.
type pairs struct{ parley.Framing }

func (p pairs) Next(buf []byte, _, max int, eof bool) (n int, body []byte, err error) {
	for range 2 {
		k, line, err := p.Framing.Next(buf[n:], 0, max, eof)
		if err != nil || k == 0 {
			return 0, nil, err
		}
		body = buf[:n+len(line)]
		n += k
	}
	return n, body, nil
}

func same(a, b Finding) bool {
	return a.Time.Equal(b.Time) && a.Connected == b.Connected && a.Steps == b.Steps && a.Banner == b.Banner && a.Reply == b.Reply &&
		a.unfinished.String() == b.unfinished.String() && string(a.Message) == string(b.Message) && (a.Message == nil) == (b.Message == nil) && a.Kind == b.Kind &&
		a.Told == b.Told && a.Open == b.Open && a.ended == b.ended && a.Status == b.Status && a.wrongStatus == b.wrongStatus
}

// With All each address has its own finding, whatever the others are like.
func TestEachAddressIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := 0
		connect := func(ctx context.Context, network, address string) (net.Conn, error) {
			failed := func(err error) error { return &net.OpError{Op: "dial", Net: network, Err: err} }
			if address == "10.0.0.1:7" {
				<-ctx.Done()
				return nil, failed(ctx.Err())
			}
			time.Sleep(ms)
			if address == "10.0.0.3:7" {
				return nil, failed(syscall.ECONNREFUSED)
			}
			client, server := parleytest.ConnPair()
			open++
			go func() {
				silent(server)
				server.Close()
				open--
			}()
			return client, nil
		}
		p := Probe{All: true, Dialer: dial.Dialer{Network: "tcp", Host: "many", Port: "7", Timeout: time.Second,
			LookupAddrs: names(2*ms, "10.0.0.1", "10.0.0.2", "10.0.0.3"), Connect: connect}}
		var got []Finding
		for _, f := range p.Run(t.Context()) {
			got = append(got, Finding{Steps: f.Steps, Kind: f.Kind})
		}
		want := []Finding{
			{Steps: dial.Steps{Address: "10.0.0.1:7", Lookup: 2 * ms, Connect: time.Second}, Kind: dial.ConnectTimeout},
			{Steps: dial.Steps{Address: "10.0.0.2:7", Lookup: 2 * ms, Connect: ms}},
			{Steps: dial.Steps{Address: "10.0.0.3:7", Lookup: 2 * ms, Connect: ms}, Kind: dial.Refused},
		}
		if !slices.EqualFunc(got, want, same) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if synctest.Wait(); open != 0 {
			t.Errorf("%d connections left open", open)
		}
	})
}

// What an interrupt cut short is nobody's failure.
func TestAProbeThatIsCutShortFindsNothing(t *testing.T) {
	for _, all := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := Probe{All: all, Request: []byte("a"), Timeout: time.Minute, Dialer: dial.Dialer{Network: "tcp", Host: "x", Port: "7",
				LookupAddrs: names(0, "10.0.0.1", "10.0.0.2"), Connect: service(silent)}}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			begin := time.Now()
			// The next address's connection is made, 3 ms, and then not used.
			if found := p.Run(ctx); len(found) != 0 || time.Since(begin) > time.Second+3*ms {
				t.Errorf("all %v: %+v after %v, want nothing after 1s", all, found, time.Since(begin))
			}
		})
	}
}

func TestRetryBacksOffUntilPatienceRunsOut(t *testing.T) {
	for _, c := range []struct {
		name     string
		patience time.Duration
		each     time.Duration // what a try takes
		holds    int           // the try that does, from 1; 0 for none
		at       []time.Duration
	}{
		{"holds at once", time.Minute, 0, 1, []time.Duration{0}},
		{"holds later", time.Minute, 0, 7, []time.Duration{0, 100 * ms, 300 * ms, 700 * ms, 1500 * ms, 2500 * ms, 3500 * ms}},
		{"never holds", time.Second, 0, 0, []time.Duration{0, 100 * ms, 300 * ms, 700 * ms, 1000 * ms}},
		{"slow tries", time.Second, 450 * ms, 0, []time.Duration{0, 550 * ms}},
		{"a try that takes it all", time.Second, time.Second, 0, []time.Duration{0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			var at []time.Duration
			retry(t.Context(), c.patience, func(left time.Duration) bool {
				at = append(at, time.Since(begin))
				if want := c.patience - time.Since(begin); left != want {
					t.Errorf("%s: %v left, want %v", c.name, left, want)
				}
				time.Sleep(c.each)
				return len(at) == c.holds
			})
			if !slices.Equal(at, c.at) {
				t.Errorf("%s: tries at %v, want %v", c.name, at, c.at)
			}
		})
	}
}

func TestRoundsAreAnIntervalApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		repeat(t.Context(), 4, time.Second, func() {
			at = append(at, time.Since(begin))
			if len(at) == 2 {
				time.Sleep(2500 * ms) // longer than the interval: the next comes at once
			}
		})
		if want := []time.Duration{0, time.Second, 3500 * ms, 4500 * ms}; !slices.Equal(at, want) || time.Since(begin) != 4500*ms {
			t.Errorf("rounds at %v and the end after %v, want %v and no pause at the end", at, time.Since(begin), want)
		}
	})
}

func TestAnInterruptEndsPausesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2050*ms, cancel)
		begin, rounds, tries := time.Now(), 0, 0
		repeat(ctx, 100, time.Second, func() { rounds++ })
		if rounds != 3 || time.Since(begin) != 2050*ms {
			t.Errorf("%d rounds in %v, want 3 in 2.05s", rounds, time.Since(begin))
		}
		retry(ctx, time.Hour, func(time.Duration) bool { tries++; return false })
		if tries != 1 || time.Since(begin) != 2050*ms {
			t.Errorf("%d tries after the end of the context, want 1", tries)
		}
	})
}

func TestASummaryCounts(t *testing.T) {
	var s Summary
	if s.Lost() != 0 || s.spreads()[0].n != 0 {
		t.Errorf("the zero value has %d lost and %v", s.Lost(), s.spreads())
	}
	for _, f := range []Finding{
		{Connected: true, Steps: dial.Steps{Connect: ms, TLS: 4 * ms}, Reply: 3 * ms},
		{Connected: true, Steps: dial.Steps{Connect: 2 * ms}, Reply: 5 * ms, Kind: dial.Mismatch},
		{Connected: true, Steps: dial.Steps{Connect: 3 * ms}, Kind: dial.ReplyTimeout},
		{Steps: dial.Steps{Connect: time.Second}, Kind: dial.Refused},
		{Steps: dial.Steps{Connect: time.Second, TLS: time.Second}, Kind: dial.TLSFailed},
	} {
		s.add(&f)
	}
	if s.Probes != 5 || s.Held != 1 || s.Lost() != 3 || s.Failed[dial.Refused] != 1 || s.Failed[dial.TLSFailed] != 1 {
		t.Errorf("%d probes, %d held, %d lost, %v", s.Probes, s.Held, s.Lost(), s.Failed)
	}
	want := []spread{{"connect", 3, ms, 2 * ms, 3 * ms, 3 * ms}, {"TLS", 1, 4 * ms, 4 * ms, 4 * ms, 4 * ms}, {"reply", 2, 3 * ms, 3 * ms, 5 * ms, 5 * ms}, {name: "dialogue"}}
	if got := s.spreads(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSpreadIsByNearestRank(t *testing.T) {
	upTo := func(n int) (list []time.Duration) {
		for i := range n {
			list = append(list, time.Duration(n-i))
		}
		return list
	}
	for n, want := range map[int]spread{
		1: {"", 1, 1, 1, 1, 1}, 2: {"", 2, 1, 1, 2, 2}, 3: {"", 3, 1, 2, 3, 3}, 99: {"", 99, 1, 50, 99, 99},
		100: {"", 100, 1, 50, 99, 100}, 101: {"", 101, 1, 51, 100, 101}, 200: {"", 200, 1, 100, 198, 200},
	} {
		if got := newSpread("", upTo(n)); got != want {
			t.Errorf("1 to %d: %v, want %v", n, got, want)
		}
	}
}
