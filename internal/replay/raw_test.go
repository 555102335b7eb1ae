package replay

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/parleytest"
)

// raw is an exchange with what the client sent, of which there was so much before.
func raw(before uint64, bytes string, x Exchange) Exchange {
	x.Raw, x.Before = []byte(bytes), before
	return x
}

// loose are bytes of no message.
func loose(before uint64, seconds float64, bytes string) Exchange {
	return raw(before, bytes, Exchange{Received: at(seconds)})
}

// What the client sent goes out byte for byte and in its order: endings of either kind, a blank
// line, and a rest that is no message.
func TestWhatWasSentGoesOutAsItWas(t *testing.T) {
	unanswered := exchange(4, 3, "d", "")
	unanswered.Reply = nil
	for _, c := range []struct {
		name   string
		record []Exchange
		want   string
	}{
		{"endings", []Exchange{raw(0, "a\r\n", exchange(1, 1, "a", "A")), raw(3, "b\n", exchange(2, 2, "b", "B"))}, "a\r\nb\n"},
		{"a blank line and what is behind it", []Exchange{raw(0, "a\n", exchange(1, 1, "a", "A")), loose(2, 2, "\r\nmore\n")}, "a\n\r\nmore\n"},
		{"an unfinished rest", []Exchange{raw(0, "a\n", exchange(1, 1, "a", "A")), loose(2, 2, "res")}, "a\nres"},
		{"what is recorded before the request that it follows", []Exchange{loose(2, 1, "\x00"), raw(0, "a\n", exchange(1, 1, "a", "A"))}, "a\n\x00"},
		{"what is recorded behind the request that it precedes", []Exchange{raw(1, "a\n", exchange(1, 1, "a", "A")), loose(0, 1, "\x00")}, "\x00a\n"},
		{"a request without reply", []Exchange{raw(0, "a\n", exchange(1, 1, "a", "A")), raw(2, "d\r\n", unanswered)}, "a\nd\r\n"},
		{"what is not there whole", []Exchange{raw(0, "a\n", exchange(1, 1, "a", "A")), {Received: at(2), Raw: []byte("x"), Before: 2, RequestCut: 3}}, "a\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got bytes.Buffer
				tg := &target{serve: func(conn *parleytest.Conn) {
					lines := bufio.NewReader(io.TeeReader(conn, &got))
					for _, x := range c.record {
						if x.Reply == nil {
							continue
						}
						lines.ReadString('\n')
						conn.Write(append(x.Reply, '\n'))
					}
					io.Copy(io.Discard, lines)
				}}
				_, differences := playAll(t, &Replay{}, tg, Session{Number: 1, Opened: at(0), Framing: named("line"), Exchanges: c.record})
				checkSame(t, differences)
				if got.String() != c.want {
					t.Errorf("sent %q, want %q", &got, c.want)
				}
			})
		})
	}
}

// What the client's end of file had ended is followed by one: nothing would be answered before.
func TestRequestThatEndOfFileEnds(t *testing.T) {
	untilClose := dialect.Framing{Name: "close", Requests: parley.UntilClose}
	for _, c := range []struct {
		name    string
		framing dialect.Framing
		record  []Exchange
	}{
		{"a line without its end", named("line"), []Exchange{raw(0, "a\n", exchange(1, 0, "a", "2")), raw(2, "b", exchange(2, 1, "b", "3"))}},
		{"until close", untilClose, []Exchange{raw(0, "ab", exchange(1, 0, "ab", "2"))}},
		{"until close, of an old recording", untilClose, []Exchange{exchange(1, 0, "ab", "2")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tg := &target{serve: func(conn *parleytest.Conn) {
					srv := &parley.Server{Framing: c.framing.Requests, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
						return fmt.Append(dst, int(req.Seq)+1), nil
					})}
					srv.ServeConn(conn)
				}}
				sum, differences := playAll(t, &Replay{}, tg, Session{Number: 1, Opened: at(0), Framing: c.framing, Exchanges: c.record})
				checkSame(t, differences)
				if sum.Broken != 0 || sum.Replies != len(c.record) {
					t.Errorf("%+v", sum)
				}
			})
		})
	}
}

// shouting is a protocol of lines. The server's that begin with ! came unasked, the client's are
// not replied to; what begins with ? is none of it.
type shouting struct{ parley.Framing }

func (shouting) Open() (requests, replies parley.Framing) {
	return &shouted{Framing: parley.Lines}, &shouted{Framing: parley.Lines}
}

type shouted struct {
	parley.Framing
	note parley.Note
}

func (s *shouted) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	if len(buf) > 0 && buf[0] == '?' {
		return 0, nil, fmt.Errorf("a question: %w", parley.ErrMalformed)
	}
	n, _, err := s.Framing.Next(buf, scanned, max, eof)
	if n > 0 {
		s.note = parley.Note{Alone: buf[0] == '!'}
	}
	return n, buf[:n], err
}

func (s *shouted) End(dst []byte, start int) ([]byte, error) {
	s.note = parley.Note{Alone: dst[start] == '!'}
	if bytes.HasSuffix(dst, []byte("\n")) {
		return dst, nil
	}
	return append(dst, '\n'), nil
}

func (s *shouted) Note() parley.Note { return s.note }

// A protocol knows replies from what came unasked: each is compared with its own kind, in
// whatever order they come.
func TestProtocolTellsWhatCameUnasked(t *testing.T) {
	asked := func(seq, before uint64, seconds float64, request, reply string) Exchange {
		x := exchange(seq, seconds, request, reply)
		if reply == "" {
			x.Reply = nil
		}
		return raw(before, request, x)
	}
	for _, c := range []struct {
		name string
		says []string // after each line of the client
		want []string
	}{
		{"as it was", []string{"!hi\nA\n!1\n", "", "C\n!2\n"}, nil},
		{"in another order", []string{"A\n!hi\n!1\n", "", "!2\nC\n"}, nil},
		{"another reply", []string{"A\n!hi\n!1\n", "", "X\n!2\n"}, []string{`1.3 want "C\n" got "X\n"`}},
		{"one too many of each", []string{"A\n!hi\n!1\n", "", "!2\n!3\nC\nD\n"}, []string{`1.0 want "" got "!3\n"`, `1.0 want "" got "D\n"`}},
		{"one is missing", []string{"A\n!hi\n!1\n", "", "C\n"}, []string{`1.0 want "!2\n" got "": nothing more within 10s`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tg := &target{serve: func(conn *parleytest.Conn) {
					lines := bufio.NewReader(conn)
					for _, says := range c.says {
						lines.ReadString('\n')
						io.WriteString(conn, says)
					}
					io.Copy(io.Discard, lines)
				}}
				_, differences := playAll(t, &Replay{Speed: math.Inf(1)}, tg, Session{Number: 1, Opened: at(0), Framing: dialect.Framing{Name: "shouting", Requests: shouting{}}, Exchanges: []Exchange{
					asked(1, 0, 1, "a\n", "A\n"), asked(2, 2, 2, "!b\n", ""), {Received: at(1.1), Reply: []byte("!hi\n")}, asked(3, 5, 3, "c\n", "C\n"),
					{Received: at(1.2), Reply: []byte("!1\n")}, {Received: at(4), Reply: []byte("!2\n")},
				}})
				checkSame(t, differences, c.want...)
			})
		})
	}
}

// From where a peer broke its protocol, what the server says is compared as one run of bytes.
func TestProtocolThatIsBroken(t *testing.T) {
	for _, c := range []struct {
		name string
		want []string
		says []string
	}{
		{"as it was", nil, []string{"?fu", "zz", "y"}},
		{"otherwise", []string{`1.1 want "?fuzzy" got "?fussy"`}, []string{"?fu", "ssy"}},
		{"not", []string{`1.1 want "?fuzzy" got "f\ny\n": nothing more within 10s`}, []string{"f\n", "y\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tg := &target{serve: func(conn *parleytest.Conn) {
					conn.Read(make([]byte, 100))
					for _, says := range c.says {
						io.WriteString(conn, says)
						synctest.Wait()
					}
					io.Copy(io.Discard, conn)
				}}
				first := raw(0, "?a", exchange(1, 1, "?a", "?fuz"))
				_, differences := playAll(t, &Replay{Speed: math.Inf(1)}, tg, Session{Number: 1, Opened: at(0), Framing: dialect.Framing{Name: "shouting", Requests: shouting{}}, Exchanges: []Exchange{
					first, {Received: at(2), Reply: []byte("zy")},
				}})
				checkSame(t, differences, c.want...)
			})
		})
	}
}

// Each session is played in its own framing.
func TestFramingIsTheSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := &target{serve: func(conn *parleytest.Conn) { io.Copy(conn, conn) }}
		_, differences := playAll(t, &Replay{Framing: named("delim:00")}, tg,
			Session{Number: 1, Opened: at(0), Closed: at(1), Framing: named("line"), Exchanges: []Exchange{raw(0, "a\r\n", exchange(1, 0, "a", "a"))}},
			Session{Number: 2, Opened: at(2), Closed: at(3), Framing: named("length"), Exchanges: []Exchange{raw(0, "\x00\x00\x00\x02b\n", exchange(1, 2, "b\n", "b\n"))}},
			Session{Number: 3, Opened: at(4), Closed: at(5), Exchanges: []Exchange{exchange(1, 4, "c\n", "c\n")}},
		)
		checkSame(t, differences)
	})
}

// With Banner nothing is sent before the server has greeted, in its words of now; a greeting that
// the recording has is compared instead.
func TestBanner(t *testing.T) {
	one := exchange(1, 1, "a", "A")
	greeting := Exchange{Received: at(0.5), Reply: []byte("220 now")}
	for _, c := range []struct {
		name   string
		banner bool
		says   string
		record []Exchange
		want   []string
	}{
		{"recorded", false, "220 now\n", []Exchange{greeting, one}, nil},
		{"recorded, with Banner", true, "220 now\n", []Exchange{greeting, one}, nil},
		{"recorded, another", true, "220 new\n", []Exchange{greeting, one}, []string{`1.0 want "220 now" got "220 new"`}},
		{"not recorded", true, "220 now\n", []Exchange{one}, nil},
		{"none comes", true, "", []Exchange{one}, []string{`1.0 want "" got "": no greeting, nothing more within 10s`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tg := &target{}
				tg.serve = func(conn *parleytest.Conn) {
					sent := make(chan string)
					go func() {
						defer close(sent)
						buf := make([]byte, 100)
						for {
							n, err := conn.Read(buf)
							if err != nil {
								return
							}
							sent <- string(buf[:n])
						}
					}()
					select { // it is slow to greet, and hangs up on who does not wait
					case early, ok := <-sent:
						if ok {
							t.Errorf("%q was sent before the greeting", early)
						}
					case <-time.After(5 * time.Second):
						if c.says != "" {
							io.WriteString(conn, c.says)
							<-sent
							io.WriteString(conn, "A\n")
						}
					}
					for range sent {
					}
				}
				_, differences := playAll(t, &Replay{Speed: math.Inf(1), Banner: c.banner}, tg, Session{Number: 1, Opened: at(0), Exchanges: c.record})
				checkSame(t, differences, c.want...)
			})
		})
	}
}

// Where the server has greeted before Dial returns, a recorded greeting is not awaited, however many
// messages it is.
func TestGreeted(t *testing.T) {
	said := func(s float64, text string) Exchange { return Exchange{Received: at(s), Reply: []byte(text)} }
	for _, c := range []struct {
		framing, request, reply string
		record                  []Exchange
	}{
		{"smtp", "NOOP\r\n", "250 OK\r\n", []Exchange{said(0.1, "220 mx\r\n")}},
		{"line", "a", "A", []Exchange{said(0.1, "220-mx"), said(0.2, "220 mx")}},
		{"line", "a", "A", nil},
	} {
		t.Run(c.framing, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tg := &target{serve: func(conn *parleytest.Conn) {
					conn.Read(make([]byte, 100))
					fmt.Fprintf(conn, "%s\r\n", strings.TrimSpace(c.reply))
					io.Copy(io.Discard, conn)
				}}
				f, err := dialect.Parse(c.framing)
				if err != nil {
					t.Fatal(err)
				}
				_, differences := playAll(t, &Replay{Speed: math.Inf(1), Framing: f, Greeted: true}, tg,
					Session{Number: 1, Opened: at(0), Exchanges: append(c.record, exchange(1, 1, c.request, c.reply))})
				checkSame(t, differences)
			})
		})
	}
}

// A reply longer than a client takes by default is compared, if one so long was recorded.
func TestLongReply(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 17<<20)
	for _, c := range []struct {
		name string
		cut  int
	}{{"whole", 0}, {"cut", 16 << 20}} {
		t.Run(c.name, func(t *testing.T) {
			tg := &target{serve: func(conn *parleytest.Conn) {
				conn.Read(make([]byte, 100))
				conn.Write(append(bytes.Clone(long), '\n'))
				io.Copy(io.Discard, conn)
			}}
			x := exchange(1, 0, "a", "")
			x.Reply, x.ReplyCut = long[c.cut:], uint64(c.cut)
			_, differences := playAll(t, &Replay{}, tg, Session{Number: 1, Opened: at(0), Exchanges: []Exchange{x}})
			if len(differences) > 0 {
				t.Errorf("%d differences, the first %.200s", len(differences), differences[0])
			}
		})
	}
}

// What was recorded of one moment is played so that it can be: a reply behind its request, the
// server's error text behind what it is about, and the next request behind the reply.
func TestMomentIsPlayedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := &target{serve: func(conn *parleytest.Conn) {
			lines := bufio.NewReader(conn)
			for _, says := range []string{"A\n", "B\n", "Error\n"} {
				lines.ReadString('\n')
				if n := lines.Buffered(); n > 0 {
					t.Errorf("%d bytes came ahead before %q", n, says)
				}
				io.WriteString(conn, says)
			}
		}}
		a, b := raw(0, "a\n", exchange(1, 1, "a", "A")), raw(2, "b\n", exchange(2, 1, "b", "B"))
		a.Took, b.Took = 0, 0
		a.SaidBefore, b.SaidBefore = 0, 2
		text := Exchange{Received: at(2), Reply: []byte("Error"), SaidBefore: 4}
		_, differences := playAll(t, &Replay{Speed: math.Inf(1)}, tg, Session{Number: 1, Opened: at(0), Exchanges: []Exchange{a, b, text, loose(4, 2, "?\n")}})
		checkSame(t, differences)
	})
}

// What the server said together is compared in its order, whatever times its messages were
// recorded with.
func TestServersMessagesAreInTheOrderOfTheirBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := &target{serve: func(conn *parleytest.Conn) {
			bufio.NewReader(conn).ReadString('\n')
			io.WriteString(conn, "A\npush\nlast\n")
			io.Copy(io.Discard, conn)
		}}
		a := raw(0, "a\n", exchange(1, 1, "a", "A"))
		push := Exchange{Received: at(1.001), Reply: []byte("push"), SaidBefore: 2}
		last := Exchange{Received: at(1.001).Add(-time.Nanosecond), Reply: []byte("last"), SaidBefore: 7}
		a.Took += time.Nanosecond
		_, differences := playAll(t, &Replay{Speed: math.Inf(1)}, tg, Session{Number: 1, Opened: at(0), Exchanges: []Exchange{last, push, a}})
		checkSame(t, differences)
	})
}

// Once both sides have left HTTP there are no messages any more: what the server says is compared
// as one run of bytes.
func TestProtocolThatIsLeft(t *testing.T) {
	const ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\n"
	const agree = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\n"
	for _, c := range []struct {
		name string
		says []string
		want []string
	}{
		{"in other pieces", []string{"p", "ong!"}, nil},
		{"otherwise", []string{"pang", "!"}, []string{`1.2 want "pong!" got "pang!"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tg := &target{serve: func(conn *parleytest.Conn) {
					conn.Read(make([]byte, 1000))
					io.WriteString(conn, agree)
					conn.Read(make([]byte, 1000))
					for _, says := range c.says {
						io.WriteString(conn, says)
						synctest.Wait()
					}
					io.Copy(io.Discard, conn)
				}}
				_, differences := playAll(t, &Replay{Speed: math.Inf(1)}, tg, Session{Number: 1, Opened: at(0), Framing: named("http"), Exchanges: []Exchange{
					raw(0, ask, exchange(1, 1, ask, agree)), raw(uint64(len(ask)), "ping", exchange(2, 2, "ping", "pon")), {Received: at(3), Reply: []byte("g!")},
				}})
				checkSame(t, differences, c.want...)
			})
		})
	}
}
