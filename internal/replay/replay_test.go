package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/parleytest"
)

// start is when the recordings of these tests begin.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a moment of a recording.
func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

// exchange is one whose reply came after a millisecond.
func exchange(seq uint64, seconds float64, request, reply string) Exchange {
	return Exchange{Seq: seq, Received: at(seconds), Took: time.Millisecond, Request: []byte(request), Reply: []byte(reply)}
}

func named(framing string) dialect.Framing {
	f, err := dialect.Parse(framing)
	if err != nil {
		panic(err)
	}
	return f
}

func each(sessions ...Session) iter.Seq2[Session, error] {
	return (&Recording{Sessions: sessions}).All()
}

// A target is a server in memory for the time of a test.
type target struct {
	serve   func(conn *parleytest.Conn)
	mu      sync.Mutex
	begun   time.Time
	arrived []string // each request, with when it came
	serving sync.WaitGroup
}

// echoing is a target that sends back what comes.
func echoing() *target {
	tg := &target{begun: time.Now()}
	tg.serve = func(conn *parleytest.Conn) {
		srv := &parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			tg.mu.Lock()
			defer tg.mu.Unlock()
			tg.arrived = append(tg.arrived, fmt.Sprintf("%v %s", time.Since(tg.begun), req.Body))
			return append(dst, req.Body...), nil
		})}
		srv.ServeConn(conn)
	}
	return tg
}

func (tg *target) dial(context.Context) (net.Conn, error) {
	client, server := parleytest.ConnPair()
	tg.serving.Go(func() {
		defer server.Close()
		tg.serve(server)
	})
	return client, nil
}

// playAll runs a replay against the target and returns the differences as text.
func playAll(t *testing.T, r *Replay, tg *target, sessions ...Session) (Summary, []string) {
	t.Helper()
	var differences []string
	r.Dial = tg.dial
	r.Differs = func(d Difference) {
		line := fmt.Sprintf("%d.%d want %q got %q", d.Session, d.Seq, d.Want, d.Got)
		if d.Lost != "" {
			line += ": " + d.Lost
		}
		differences = append(differences, line)
	}
	sum, err := r.Run(t.Context(), each(sessions...))
	if err != nil {
		t.Errorf("Run = %v", err)
	}
	tg.serving.Wait()
	if sum.Differences != len(differences) {
		t.Errorf("the summary has %d differences, told were %d", sum.Differences, len(differences))
	}
	return sum, differences
}

func checkSame(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Sessions and requests come when they did, or so many times as fast.
func TestPace(t *testing.T) {
	sessions := []Session{
		{Number: 1, Opened: at(0), Closed: at(100), Exchanges: []Exchange{exchange(1, 1, "a", "a"), exchange(2, 60, "d", "d")}},
		{Number: 2, Opened: at(10), Closed: at(50), Exchanges: []Exchange{exchange(1, 20, "b", "b"), exchange(2, 40, "c", "c")}},
		{Number: 3, Opened: at(200), Closed: at(201), Exchanges: []Exchange{exchange(1, 200, "e", "e")}},
	}
	for _, c := range []struct {
		speed float64
		want  []string
	}{
		{0, []string{"1s a", "20s b", "40s c", "1m0s d", "3m20s e"}},
		{10, []string{"100ms a", "2s b", "4s c", "6s d", "20s e"}},
		{0.5, []string{"2s a", "40s b", "1m20s c", "2m0s d", "6m40s e"}},
	} {
		t.Run(fmt.Sprint(c.speed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tg := echoing()
				sum, differences := playAll(t, &Replay{Speed: c.speed}, tg, sessions...)
				checkSame(t, tg.arrived, c.want...)
				checkSame(t, differences)
				if want := (Summary{Sessions: 3, Requests: 5, Replies: 5}); sum != want {
					t.Errorf("%+v, want %+v", sum, want)
				}
			})
		})
	}
}

// With no waiting, sessions overlap as they did and follow each other, and what others were told, as they did.
func TestConcurrencyIsAsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := echoing()
		tg.serve = func(conn *parleytest.Conn) { // a second for each request
			c := parley.NewClient(conn, nil)
			for {
				body, err := c.Receive(context.Background())
				if err != nil {
					return
				}
				tg.mu.Lock()
				tg.arrived = append(tg.arrived, fmt.Sprintf("%v %s", time.Since(tg.begun), body))
				tg.mu.Unlock()
				time.Sleep(time.Second)
				c.Send(context.Background(), body)
			}
		}
		_, differences := playAll(t, &Replay{Speed: math.Inf(1)}, tg,
			Session{Number: 1, Opened: at(0), Closed: at(10), Exchanges: []Exchange{exchange(1, 1, "1", "1"), exchange(2, 9, "1", "1")}},
			Session{Number: 2, Opened: at(5), Exchanges: []Exchange{exchange(1, 6, "2", "2")}},
			Session{Number: 3, Opened: at(11), Closed: at(12), Exchanges: []Exchange{exchange(1, 11, "3", "3")}},
			Session{Number: 4, Opened: at(12), Closed: at(13), Exchanges: []Exchange{exchange(1, 12, "4", "4")}},
		)
		checkSame(t, differences)
		slices.Sort(tg.arrived)
		checkSame(t, tg.arrived, "0s 1", "1s 1", "1s 2", "2s 3", "3s 4")
	})
}

// A session begins when all is there that others had been told before: what it finds may be their doing.
// One that is told no more does not hold it up for longer than it waits itself.
func TestWhatOthersWereToldIsThere(t *testing.T) {
	for _, c := range []struct {
		name string
		lost bool
		want time.Duration // of the session that comes later
	}{
		{"late", false, 3 * time.Second},
		{"never", true, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tg := echoing()
				tg.serve = func(conn *parleytest.Conn) {
					s := parley.NewClient(conn, nil)
					for {
						body, err := s.Receive(context.Background())
						if err != nil {
							return
						}
						switch string(body) {
						case "subscribe":
							time.Sleep(3 * time.Second)
							if c.lost {
								continue
							}
						case "publish":
							if got := time.Since(tg.begun); got != c.want {
								t.Errorf("published after %v, want %v", got, c.want)
							}
						}
						s.Send(context.Background(), body)
					}
				}
				_, differences := playAll(t, &Replay{}, tg,
					Session{Number: 1, Opened: at(0), Closed: at(10), Exchanges: []Exchange{
						exchange(1, 0, "subscribe", "subscribe"), exchange(2, 9, "bye", "bye"),
					}},
					Session{Number: 2, Opened: at(0.5), Closed: at(0.6), Exchanges: []Exchange{exchange(1, 0.5, "publish", "publish")}},
				)
				if c.lost != (len(differences) > 0) {
					t.Errorf("differences %q", differences)
				}
			})
		})
	}
}

// A request waits for all that the server had said before it, and for no more.
func TestLockstepIsAsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := echoing()
		tg.serve = func(conn *parleytest.Conn) {
			c := parley.NewClient(conn, nil)
			ctx := context.Background()
			time.Sleep(time.Second)
			c.Send(ctx, []byte("hello"))
			for range 2 { // both, before either is answered
				body, _ := c.Receive(ctx)
				tg.arrived = append(tg.arrived, fmt.Sprintf("%v %s", time.Since(tg.begun), body))
			}
			c.Send(ctx, []byte("A"))
			time.Sleep(time.Second)
			c.Send(ctx, []byte("B"))
			body, _ := c.Receive(ctx)
			tg.arrived = append(tg.arrived, fmt.Sprintf("%v %s", time.Since(tg.begun), body))
		}
		a, b := exchange(1, 1, "a", "A"), exchange(2, 2, "b", "B")
		a.Took, b.Took = 3*time.Second, 3*time.Second
		unanswered := exchange(3, 6, "c", "")
		unanswered.Reply = nil
		sum, differences := playAll(t, &Replay{Speed: math.Inf(1)}, tg, Session{Number: 1, Opened: at(0), Exchanges: []Exchange{
			a, b, unanswered, {Received: at(0.5), Reply: []byte("hello")},
		}})
		checkSame(t, differences)
		checkSame(t, tg.arrived, "1s a", "1s b", "2s c")
		if want := (Summary{Sessions: 1, Requests: 3, Replies: 3, Unasked: 1, Unanswered: 1}); sum != want {
			t.Errorf("%+v, want %+v", sum, want)
		}
	})
}

func TestDifferences(t *testing.T) {
	says := func(text string) func(*parleytest.Conn) {
		return func(conn *parleytest.Conn) {
			conn.Read(make([]byte, 100))
			io.WriteString(conn, text)
		}
	}
	silent := func(conn *parleytest.Conn) { io.Copy(io.Discard, conn); time.Sleep(time.Hour) }
	one := exchange(1, 0, "a", "took 12 ms")
	cutReply := one
	cutReply.ReplyCut = 5
	cutRequest := exchange(2, 1, "b", "B")
	cutRequest.RequestCut = 1
	for _, c := range []struct {
		name   string
		serve  func(*parleytest.Conn)
		replay Replay
		record []Exchange
		want   []string
		sum    Summary
	}{
		{"the same", says("took 12 ms\n"), Replay{}, []Exchange{one}, nil, Summary{}},
		{"another reply", says("took 7 ms\n"), Replay{}, []Exchange{one}, []string{`1.1 want "took 12 ms" got "took 7 ms"`}, Summary{}},
		{"an empty reply", says("\n"), Replay{}, []Exchange{one}, []string{`1.1 want "took 12 ms" got ""`}, Summary{}},
		{"ignored", says("took 7 ms\n"), Replay{Ignore: []*regexp.Regexp{regexp.MustCompile(`x+`), regexp.MustCompile(`\d+`)}}, []Exchange{one}, nil, Summary{}},
		{"ignored is not absent", says("took  ms\n"), Replay{Ignore: []*regexp.Regexp{regexp.MustCompile(`\d+`)}}, []Exchange{one}, []string{`1.1 want "took 12 ms" got "took  ms"`}, Summary{}},
		{"one too many", says("took 12 ms\nand more\n"), Replay{}, []Exchange{one}, []string{`1.0 want "" got "and more"`}, Summary{}},
		{"none", says(""), Replay{}, []Exchange{one}, []string{`1.1 want "took 12 ms" got "": closed by the server`}, Summary{Broken: 1}},
		{"none, so the rest is not played", says(""), Replay{}, []Exchange{one, exchange(2, 1, "b", "B")}, []string{`1.1 want "took 12 ms" got "": closed by the server`}, Summary{Broken: 1}},
		{"a reset", func(conn *parleytest.Conn) { conn.Read(make([]byte, 100)); conn.Reset() }, Replay{}, []Exchange{one},
			[]string{`1.1 want "took 12 ms" got "": connection reset by peer`}, Summary{Broken: 1}},
		{"silence", silent, Replay{Timeout: time.Minute}, []Exchange{one}, []string{`1.1 want "took 12 ms" got "": nothing more within 1m0s`}, Summary{Broken: 1}},
		{"no end of file", func(conn *parleytest.Conn) { says("took 12 ms\n")(conn); silent(conn) }, Replay{}, []Exchange{one}, nil, Summary{}},
		{"the beginning of a long reply", says("took 12 ms12345\n"), Replay{}, []Exchange{cutReply}, nil, Summary{}},
		{"a long reply of another length", says("took 12 ms1234\n"), Replay{}, []Exchange{cutReply}, []string{`1.1 want "took 12 ms" got "took 12 ms1234"`}, Summary{}},
		{"a request that is not whole", says("took 12 ms\n"), Replay{}, []Exchange{one, cutRequest}, nil, Summary{Cut: 1}},
		{"a stream in other pieces", func(conn *parleytest.Conn) {
			conn.Read(make([]byte, 100))
			io.WriteString(conn, "took")
			time.Sleep(time.Second)
			io.WriteString(conn, " 12 ms\nend")
		}, Replay{Framing: named("chunk")}, []Exchange{exchange(1, 0, "a", "to"), {Received: at(1), Reply: []byte("ok 12 ")}, {Received: at(2), Reply: []byte("ms\nend")}}, nil, Summary{}},
		{"a stream that ends early", func(conn *parleytest.Conn) { says("took")(conn) }, Replay{Framing: named("chunk")}, []Exchange{one},
			[]string{`1.1 want "took 12 ms" got "took": closed by the server`}, Summary{Broken: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sum, differences := playAll(t, &c.replay, &target{serve: c.serve}, Session{Number: 1, Opened: at(0), Exchanges: c.record})
				checkSame(t, differences, c.want...)
				if sum.Broken != c.sum.Broken || sum.Cut != c.sum.Cut || sum.Requests != 1 || sum.Replies != 1 {
					t.Errorf("%+v", sum)
				}
			})
		})
	}
}

// A server that keeps the connection open has a second for its last words.
func TestServerThatDoesNotClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := echoing()
		tg.serve = func(conn *parleytest.Conn) {
			io.Copy(io.Discard, conn)
			time.Sleep(lastWords - 1)
			io.WriteString(conn, "in time\n")
			time.Sleep(2 * time.Nanosecond)
			io.WriteString(conn, "too late\n")
		}
		_, differences := playAll(t, &Replay{}, tg, Session{Number: 1, Opened: at(0)})
		checkSame(t, differences, `1.0 want "" got "in time"`)
	})
}

func TestUnreachableTarget(t *testing.T) {
	refused := errors.New("refused")
	r := &Replay{Dial: func(context.Context) (net.Conn, error) { return nil, refused }}
	sum, err := r.Run(t.Context(), each(Session{Opened: at(0)}, Session{Opened: at(0)}))
	if want := (Summary{Unreachable: 2, Err: refused}); sum != want || err != nil {
		t.Errorf("%+v, %v, want %+v", sum, err, want)
	}
}

// What cannot be sent as it was is an error, not a difference.
func TestRequestThatTheFramingCannotCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := echoing()
		r := &Replay{Dial: tg.dial}
		_, err := r.Run(t.Context(), each(Session{Number: 7, Opened: at(0), Exchanges: []Exchange{exchange(1, 0, "a\nb", "")}}))
		if err == nil || !strings.Contains(err.Error(), "request 1 of session 7 does not go with this framing: a newline") {
			t.Errorf("Run = %v", err)
		}
		tg.serving.Wait()
	})
}

// Where messages run together, a session has come to those that are there, whatever the rest of them waits for.
func TestWhatOthersWereToldRunsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		published := make(chan struct{})
		tg := echoing()
		tg.serve = func(conn *parleytest.Conn) {
			buf := make([]byte, 100)
			n, _ := conn.Read(buf)
			if string(buf[:n]) == "publish" {
				close(published)
				return
			}
			io.WriteString(conn, "ok")
			<-published
			io.WriteString(conn, "message")
			conn.Read(buf)
		}
		_, differences := playAll(t, &Replay{Framing: named("chunk")}, tg,
			Session{Number: 1, Opened: at(0), Closed: at(10), Exchanges: []Exchange{
				exchange(1, 0, "subscribe", "ok"), {Received: at(2), Reply: []byte("message")},
			}},
			Session{Number: 2, Opened: at(1), Closed: at(3), Exchanges: []Exchange{{Seq: 1, Received: at(2), Request: []byte("publish")}}})
		checkSame(t, differences)
		if took := time.Since(tg.begun); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// The end of ctx, and an error of the recording, end it at once.
func TestRunIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := echoing()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := &Replay{Dial: tg.dial}
		_, err := r.Run(ctx, each(Session{Opened: at(0), Exchanges: []Exchange{exchange(1, 100, "a", "a")}}, Session{Opened: at(200)}))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(tg.begun) != time.Second {
			t.Errorf("Run = %v after %v, want the deadline's after 1s", err, time.Since(tg.begun))
		}
		torn := errors.New("torn")
		_, err = r.Run(t.Context(), func(yield func(Session, error) bool) {
			_ = yield(Session{Opened: at(0), Exchanges: []Exchange{exchange(1, 100, "a", "a")}}, nil) && yield(Session{}, torn)
		})
		if err != torn {
			t.Errorf("Run = %v, want the recording's error", err)
		}
		tg.serving.Wait()
	})
}

// A session is looked at when it begins and when it ends, however many others are open
// meanwhile: a hundred thousand that were open at once are played in seconds.
func TestManySessionsAreOpenAtOnce(t *testing.T) {
	const n = 100000
	refused := errors.New("refused")
	for _, closed := range []time.Time{{}, at(1000)} {
		sessions := make([]Session, n)
		for i := range sessions {
			sessions[i] = Session{Opened: at(1), Closed: closed}
		}
		r := &Replay{Speed: math.Inf(1), Dial: func(context.Context) (net.Conn, error) { return nil, refused }}
		run := newRun(t.Context(), nil, r)
		run.all(each(sessions...))
		run.playing.Wait()
		want := n // none of these had ended by then
		if closed.IsZero() {
			want = 0 // and for these nobody ever waits
		}
		if got := len(run.earlier); got != want || run.sum.Unreachable != n {
			t.Errorf("closed %v: %d sessions are kept to be waited for, want %d; %d were begun", closed, got, want, run.sum.Unreachable)
		}
	}
}

// A clock that was set back while it was recorded changes nothing in what followed what.
func TestClockThatWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := echoing()
		_, differences := playAll(t, &Replay{}, tg, Session{Number: 1, Opened: at(0), Closed: at(-3590), Exchanges: []Exchange{
			exchange(1, 1, "a", "a"), exchange(2, -3600, "b", "b"), exchange(3, -3598, "c", "c"),
		}})
		checkSame(t, differences)
		checkSame(t, tg.arrived, "1s a", "1.001s b", "3.001s c")
	})
	synctest.Test(t, func(t *testing.T) { // nor in which session followed which
		tg := echoing()
		_, differences := playAll(t, &Replay{Speed: math.Inf(1)}, tg,
			Session{Number: 1, Opened: at(0), Closed: at(3), Exchanges: []Exchange{exchange(1, 9, "a", "a"), exchange(2, 10, "b", "b")}},
			Session{Number: 2, Opened: at(4), Closed: at(5), Exchanges: []Exchange{exchange(1, 4, "c", "c")}})
		checkSame(t, differences)
		checkSame(t, tg.arrived, "0s a", "0s b", "0s c")
	})
}
