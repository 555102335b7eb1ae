package load

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/parleytest"
)

// A service in memory, for a bubble of made-up time.
type service struct {
	serve  func(conn *parleytest.Conn)
	dials  atomic.Int64
	refuse func(dial int64) error // nil to accept all
	closed sync.WaitGroup
}

// answering is a service with a parley server.
func answering(handler parley.HandlerFunc) *service {
	srv := &parley.Server{Handler: handler}
	return &service{serve: func(conn *parleytest.Conn) { srv.ServeConn(conn) }}
}

// speaking is a service that does as told with each line.
func speaking(answer func(line string, conn *parleytest.Conn) (more bool)) *service {
	return &service{serve: func(conn *parleytest.Conn) {
		defer conn.Close()
		in := bufio.NewScanner(conn)
		for in.Scan() {
			if !answer(in.Text(), conn) {
				return
			}
		}
	}}
}

func (s *service) dial(context.Context) (net.Conn, dial.Steps, error) {
	if n := s.dials.Add(1); s.refuse != nil {
		if err := s.refuse(n); err != nil {
			return nil, dial.Steps{}, err
		}
	}
	client, server := parleytest.ConnPair()
	s.closed.Go(func() { s.serve(server) })
	return client, dial.Steps{Address: "memory", Lookup: time.Millisecond, Connect: 2 * time.Millisecond}, nil
}

// run runs the plan against the service. Time is that of the bubble.
func (s *service) run(t *testing.T, ctx context.Context, plan Plan) *Result {
	t.Helper()
	plan.Dial, plan.Sleep = s.dial, time.Sleep
	if plan.Messages == nil {
		plan.Messages = ParseMessages([]byte("{n}"))
		plan.Expect, _ = expect.Parse("contains")
	}
	result, err := plan.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.closed.Wait()
	return result
}

func echo(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil }

// within reports whether got is want, give or take.
func within(got, want, give time.Duration) bool { return got >= want-give && got <= want+give }

// A service that stalls for a second in every ten: a tenth of the requests that are due
// fall into a stall, each waits for what is left of it, and so a hundredth of all waits for
// 0.9 s or longer. The open loop shows that. The closed loop, and the service time, do not:
// while the service stalls they do not ask.
func TestOpenLoopShowsAStallAndClosedLoopHidesIt(t *testing.T) {
	const rate = 200
	stalling := func(usual time.Duration) *service {
		start := time.Now()
		return answering(func(dst []byte, req *parley.Request) ([]byte, error) {
			if at := time.Since(start) % (10 * time.Second); at >= 9*time.Second {
				time.Sleep(10*time.Second - at)
			}
			time.Sleep(usual)
			return echo(dst, req)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		open := stalling(0).run(t, t.Context(), Plan{Rate: rate, Connections: 10, Duration: 20 * time.Second})
		if open.Requests != 20*rate || open.Replies != open.Requests || open.Unsent != 0 {
			t.Errorf("open loop: %d requests, %d replies, %d unsent; want %d, as many, 0", open.Requests, open.Replies, open.Unsent, 20*rate)
		}
		const give = 10 * time.Millisecond // the requests are 5 ms apart, and the last of a stall wait for those before
		for percent, want := range map[float64]time.Duration{
			85: 0, 95: 500 * time.Millisecond, 99: 900 * time.Millisecond, 99.9: 990 * time.Millisecond,
		} {
			if got := open.Response.Quantile(percent); !within(got, want, give) {
				t.Errorf("open loop: p%v of the response time is %v, want %v", percent, got, want)
			}
		}
		if got := open.Service.Quantile(99); got > give {
			t.Errorf("open loop: p99 of the service time is %v; it should not know of requests that waited to be sent", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		closed := stalling(5*time.Millisecond).run(t, t.Context(), Plan{Connections: 10, Duration: 20 * time.Second})
		if got := closed.Service.Quantile(99); got > 6*time.Millisecond {
			t.Errorf("closed loop: p99 is %v; it should hide the stall, which is why there is an open one", got)
		}
		if got := closed.Service.Max(); !within(got, time.Second, 10*time.Millisecond) {
			t.Errorf("closed loop: the longest took %v, want 1s", got)
		}
	})
}

// With several in flight on a connection an open loop does not wait for replies either.
func TestOpenLoopSendsWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := answering(func(dst []byte, req *parley.Request) ([]byte, error) {
			time.Sleep(20 * time.Millisecond)
			return echo(dst, req)
		})
		r := s.run(t, t.Context(), Plan{Rate: 100, Connections: 1, InFlight: 50, Duration: time.Second})
		// One after the other takes 20 ms each, one is due every 10: the i-th waits 10 i.
		if r.Requests != 100 || r.Unsent != 0 || r.Late != 0 {
			t.Errorf("%d requests, %d unsent, %d late; want 100, 0, 0", r.Requests, r.Unsent, r.Late)
		}
		if got := r.Response.Max(); !within(got, 1010*time.Millisecond, 5*time.Millisecond) {
			t.Errorf("the last took %v from when it was due, want 1.01s", got)
		}
		if got := r.Lag.Max(); got > time.Millisecond {
			t.Errorf("the generator says it was late by %v, want not at all: it had to wait for room", got)
		}
	})
}

func TestEveryReplyIsJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := speaking(func(line string, conn *parleytest.Conn) bool {
			reply := "re " + line + "\n"
			switch {
			case strings.HasSuffix(line, "2"):
				reply = "something else\n"
			case strings.HasSuffix(line, "4"):
				reply += "and more\n"
			case strings.HasSuffix(line, "6"):
				time.Sleep(1500 * time.Millisecond)
			case strings.HasSuffix(line, "8"):
				return false
			case strings.HasSuffix(line, "9"):
				time.Sleep(10 * time.Second)
			}
			io.WriteString(conn, reply)
			return true
		})
		r := s.run(t, t.Context(), Plan{Connections: 1, Requests: 100, Timeout: time.Second})
		if r.Requests != 100 || r.Replies != 60 || r.Mismatched != 10 || r.Extra != 10 || r.Late != 10 || r.Missing != 20 {
			t.Errorf("%d requests, %d replies, %d mismatched, %d extra, %d late, %d missing; want 100, 60, 10, 10, 10, 20",
				r.Requests, r.Replies, r.Mismatched, r.Extra, r.Late, r.Missing)
		}
		if r.Errors[dial.Closed] != 10 || r.Errors[dial.ReplyTimeout] != 10 || len(r.Errors) != 2 {
			t.Errorf("errors %v, want closed 10, reply_timeout 10", r.Errors)
		}
		if n := r.Service.Count(); n != 60 {
			t.Errorf("%d times are in the figures, want those of the 60 good replies", n)
		}
		if got := r.Service.Max(); got > time.Second {
			t.Errorf("the longest time in the figures is %v, over the limit", got)
		}
		if r.Connects < 20 {
			t.Errorf("%d connections, want a new one for each that was lost", r.Connects)
		}
	})
}

// What comes after the last reply is extra too.
func TestExtraAfterTheLastReply(t *testing.T) {
	for _, plan := range []Plan{{Requests: 10}, {Requests: 10, Rate: 100}, {Requests: 10, InFlight: 5}} {
		synctest.Test(t, func(t *testing.T) {
			s := speaking(func(line string, conn *parleytest.Conn) bool {
				io.WriteString(conn, line+"\n")
				if line == "10" {
					time.Sleep(100 * time.Millisecond)
					io.WriteString(conn, "one more\n")
				}
				return true
			})
			if r := s.run(t, t.Context(), plan); r.Replies != 10 || r.Extra != 1 || r.Elapsed > 99*time.Millisecond {
				t.Errorf("%+v: %d replies, %d extra, in %v; want 10, 1, at once", plan, r.Replies, r.Extra, r.Elapsed)
			}
		})
	}
}

// Requests that were due and could not be sent are not forgotten.
func TestUnsentRequestsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := answering(func(dst []byte, req *parley.Request) ([]byte, error) {
			time.Sleep(100 * time.Millisecond)
			return echo(dst, req)
		})
		r := s.run(t, t.Context(), Plan{Rate: 100, Connections: 1, Warmup: time.Second, Duration: 5 * time.Second})
		if r.Unsent == 0 || r.Requests+r.Unsent < 490 || r.Requests+r.Unsent > 600 {
			t.Errorf("%d requests and %d unsent, want most of 500 unsent", r.Requests, r.Unsent)
		}
		// Ten a second go through; the ones that were due in the warm-up come first.
		if r.Requests > 20 {
			t.Errorf("%d requests counted, want few: those of the warm-up are still in the way", r.Requests)
		}
	})
}

func TestRunsOfANumberOfRequests(t *testing.T) {
	for _, plan := range []Plan{
		{Connections: 1}, {Connections: 7}, {Connections: 7, InFlight: 3}, {Connections: 2, Rate: 1000},
		{Connections: 3, InFlight: 4, Rate: 1000}, {Connections: 3, ConnectEach: true}, {Connections: 3, ConnectEach: true, Rate: 500},
	} {
		synctest.Test(t, func(t *testing.T) {
			var served atomic.Int64
			s := answering(func(dst []byte, req *parley.Request) ([]byte, error) {
				served.Add(1)
				return echo(dst, req)
			})
			plan.Requests = 100
			r := s.run(t, t.Context(), plan)
			if served.Load() != 100 || r.Replies != 100 || r.Failed() || r.Unsent != 0 || len(r.Errors) != 0 {
				t.Errorf("%+v: the service saw %d requests; %+v", plan, served.Load(), r)
			}
			if wire := uint64(9*2 + 90*3 + 4); r.BytesSent != wire || r.BytesReceived != wire {
				t.Errorf("%d bytes sent, %d received; want %d each", r.BytesSent, r.BytesReceived, wire)
			}
			connections := uint64(plan.Connections)
			if plan.ConnectEach {
				connections = 100
			}
			if r.Connects != connections || r.Connect.Count() != int64(connections) || r.Connect.Quantile(50).Round(10*time.Microsecond) != 2*time.Millisecond {
				t.Errorf("%d connections, %d times of them, p50 %v; want %d of 2ms", r.Connects, r.Connect.Count(), r.Connect.Quantile(50), connections)
			}
			if (r.FirstReply.Count() == 100) != plan.ConnectEach {
				t.Errorf("connect each %v, %d times of first replies", plan.ConnectEach, r.FirstReply.Count())
			}
		})
	}
}

func TestWarmupIsNotCounted(t *testing.T) {
	for _, rate := range []float64{0, 100} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			s := answering(func(dst []byte, req *parley.Request) ([]byte, error) {
				if time.Since(start) < 2*time.Second {
					time.Sleep(100 * time.Millisecond) // slow at first
				}
				time.Sleep(10 * time.Millisecond)
				return echo(dst, req)
			})
			var told []Second
			r := s.run(t, t.Context(), Plan{Connections: 20, Rate: rate, Warmup: 3 * time.Second, Duration: 5 * time.Second,
				Watch: func(s Second) { told = append(told, s) }})
			if got := r.Service.Max(); got > 11*time.Millisecond {
				t.Errorf("rate %v: the longest took %v, but the slow ones were in the warm-up", rate, got)
			}
			if r.Elapsed != 5*time.Second || len(r.Seconds) < 5 || len(r.Seconds) > 6 {
				t.Errorf("rate %v: counted for %v in %d seconds, want 5s", rate, r.Elapsed, len(r.Seconds))
			}
			warm := 0
			for _, s := range told {
				if s.At <= 0 {
					warm++
				}
			}
			if warm < 3 {
				t.Errorf("rate %v: %d seconds of the warm-up were told, want 3", rate, warm)
			}
			if rate > 0 && r.Requests != 500 {
				t.Errorf("%d requests counted, want 500", r.Requests)
			}
		})
	}
}

func TestAnInterruptReportsWhatWasMeasured(t *testing.T) {
	for _, plan := range []Plan{{Connections: 3}, {Connections: 3, Rate: 100}, {Connections: 3, InFlight: 4}, {Connections: 3, ConnectEach: true}} {
		synctest.Test(t, func(t *testing.T) {
			s := answering(func(dst []byte, req *parley.Request) ([]byte, error) {
				time.Sleep(30 * time.Millisecond)
				return echo(dst, req)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			plan.Duration = time.Hour
			r := s.run(t, ctx, plan)
			if !r.Interrupted || r.Failed() || len(r.Errors) != 0 || r.Replies < 200 || r.Elapsed != 2500*time.Millisecond {
				t.Errorf("%+v: got %+v, want good replies of 2.5s", plan, r)
			}
		})
	}
}

func TestALostConnectionIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := speaking(func(line string, conn *parleytest.Conn) bool {
			io.WriteString(conn, line+"\n")
			return !strings.HasSuffix(line, "0") // closes after every tenth
		})
		s.refuse = func(dial int64) error {
			if dial%2 == 0 {
				return &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
			}
			return nil
		}
		r := s.run(t, t.Context(), Plan{Connections: 1, Requests: 100})
		if r.Requests != 100 || r.Replies+r.Missing != 100 || r.Missing != 9 {
			t.Errorf("%d requests, %d replies, %d missing; want 100, 91, 9", r.Requests, r.Replies, r.Missing)
		}
		if r.Errors[dial.Refused] == 0 || r.Errors[dial.Closed]+r.Errors[dial.Reset] != 9 {
			t.Errorf("errors %v, want some refused and 9 closed or, if the request was already on its way, reset", r.Errors)
		}
	})
}

// An attempt to connect that the end of a run cuts short is no error.
func TestARunEndsWhileItConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := speaking(func(line string, conn *parleytest.Conn) bool { return false })
		plan := Plan{Duration: time.Second, Messages: ParseMessages([]byte("x"))}
		plan.Dial = func(ctx context.Context) (net.Conn, dial.Steps, error) {
			if s.dials.Load() > 0 {
				<-ctx.Done()
				return nil, dial.Steps{}, &net.OpError{Op: "dial", Err: ctx.Err()}
			}
			return s.dial(ctx)
		}
		r, err := plan.Run(t.Context())
		if err != nil || r.Errors[dial.Closed]+r.Errors[dial.Reset] != 1 || len(r.Errors) != 1 {
			t.Errorf("errors %v, %v; want only that of the connection that was lost", r.Errors, err)
		}
		s.closed.Wait()
	})
}

// When all requests have been sent no connection is made for more, and when the service
// is away for good the rest are not waited for.
func TestARunOfRequestsEndsWithItsService(t *testing.T) {
	for _, plan := range []Plan{{}, {Rate: 100}, {InFlight: 4}, {Rate: 100, InFlight: 4}} {
		for _, last := range []string{"10", "5"} {
			synctest.Test(t, func(t *testing.T) {
				s := speaking(func(line string, conn *parleytest.Conn) bool {
					io.WriteString(conn, line+"\n")
					return line != last
				})
				s.refuse = func(dial int64) error {
					if dial > 1 {
						return &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
					}
					return nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				plan.Requests, plan.Timeout = 10, 5*time.Second
				r := s.run(t, ctx, plan)
				if r.Interrupted || r.GaveUp != (r.Requests < 10) || last == "10" && r.Replies != 10 {
					t.Errorf("closed after %s: %d requests, %d replies, gave up %v, interrupted %v", last, r.Requests, r.Replies, r.GaveUp, r.Interrupted)
				}
			})
		}
	}
}

// Requests that are due in numbers past counting, or hardly ever, do not keep a run from
// its end.
func TestExtremeRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := func() *service {
			return speaking(func(string, *parleytest.Conn) bool { time.Sleep(time.Hour); return false })
		}
		plan := Plan{Rate: 1e9, Duration: time.Minute, Warmup: time.Minute, Timeout: 10 * time.Second}
		if r := stuck().run(t, t.Context(), plan); r.Unsent != 60e9 {
			t.Errorf("%d unsent, want a billion a second for a minute", r.Unsent)
		}
		plan.Requests = 1000
		if r := stuck().run(t, t.Context(), plan); r.Unsent != 1000 {
			t.Errorf("%d unsent, want all of the 1,000", r.Unsent)
		}
		plan = Plan{Rate: 1e-12, Duration: time.Minute}
		if r := answering(echo).run(t, t.Context(), plan); r.Replies != 1 || r.Unsent != 0 {
			t.Errorf("%d replies, %d unsent; want the first request only", r.Replies, r.Unsent)
		}
	})
}

func TestNoConnectionAtAllIsAnError(t *testing.T) {
	for _, plan := range []Plan{{Connections: 4}, {Connections: 4, ConnectEach: true}} {
		plan.Messages = ParseMessages([]byte("x"))
		plan.Dial = func(context.Context) (net.Conn, dial.Steps, error) {
			return nil, dial.Steps{}, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		if _, err := plan.Run(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%+v: err = %v, want connection refused", plan, err)
		}
	}
}

func TestAnInterruptedWarmupIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := answering(func(dst []byte, req *parley.Request) ([]byte, error) {
			time.Sleep(10 * time.Millisecond)
			return echo(dst, req)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := s.run(t, ctx, Plan{Warmup: time.Minute, Duration: time.Minute})
		if r.Requests != 0 || r.BytesSent != 0 || r.BytesReceived != 0 || r.Elapsed != 0 || !r.Interrupted {
			t.Errorf("got %+v, want nothing counted", r)
		}
	})
}

// A reply that took longer than a histogram of minutes could hold is told as it was.
func TestAnHourIsAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := answering(func(dst []byte, req *parley.Request) ([]byte, error) {
			time.Sleep(time.Hour)
			return echo(dst, req)
		})
		r := s.run(t, t.Context(), Plan{Requests: 1, Timeout: 2 * time.Hour})
		if got := r.Service.Max(); !within(got, time.Hour, 10*time.Second) {
			t.Errorf("it took %v, want 1h", got)
		}
	})
}

// A service that reads no more while its replies are not read is not waited for with more
// to write: both would wait until the timeout.
func TestLargeRequestsAreAnsweredWhileTheyAreSent(t *testing.T) {
	dialer := serveSockets(t, func(conn *net.TCPConn) {
		conn.SetReadBuffer(64 << 10)
		buf := make([]byte, 64<<10)
		for n, err := conn.Read(buf); err == nil; n, err = conn.Read(buf) {
			conn.Write(buf[:n])
		}
	})
	exact, _ := expect.Parse("exact")
	for _, plan := range []Plan{{Connections: 1}, {Connections: 2, InFlight: 500}, {ConnectEach: true}, {Rate: 1000, InFlight: 500}} {
		plan.Dial, plan.Expect, plan.Timeout = dialer.Dial, exact, 30*time.Second
		plan.Messages, plan.Requests = SizedMessages(12<<20), 2
		if plan.InFlight > 0 {
			plan.Messages, plan.Requests = SizedMessages(64<<10), 300
		}
		r, err := plan.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Replies != plan.Requests || r.Failed() || len(r.Errors) > 0 {
			t.Errorf("%d in flight, connect each %v, rate %v: %d replies, %d missing, %d late, errors %v",
				plan.InFlight, plan.ConnectEach, plan.Rate, r.Replies, r.Missing, r.Late, r.Errors)
		}
	}
}

// Sleeping may be late on a busy machine, but is never early.
func TestSleepIsNeverEarly(t *testing.T) {
	sleep, done := preciseSleep()
	defer done()
	for _, d := range []time.Duration{time.Nanosecond, 50 * time.Microsecond, 3 * time.Millisecond} {
		start := time.Now()
		sleep(d)
		if took := time.Since(start); took < d {
			t.Errorf("a sleep of %v took %v", d, took)
		}
	}
}
