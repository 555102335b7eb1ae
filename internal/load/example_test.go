package load

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/parleytest"
)

// In whichever way a run goes about its connections, the first of each kind that was not as it
// should be can be shown.
func TestTheFirstOfEachKindIsKept(t *testing.T) {
	long := strings.Repeat("long", maxExcerpt)
	for name, plan := range map[string]Plan{
		"closed loop": {}, "open loop": {Rate: 100}, "in flight": {InFlight: 2}, "a connection for each": {ConnectEach: true},
	} {
		// With two in flight what comes behind a reply is taken for the next one, if that has
		// been asked for by then.
		one := plan.InFlight < 2
		synctest.Test(t, func(t *testing.T) {
			s := speaking(func(line string, conn *parleytest.Conn) bool {
				switch {
				case line == "2" || line == "12":
					io.WriteString(conn, "what?"+long+"\n")
				case one && (line == "4" || line == "14"):
					io.WriteString(conn, line+"\n\x1b"+line+"\n")
				case line == "6" || line == "16":
					time.Sleep(1500 * time.Millisecond)
					io.WriteString(conn, line+"\n")
				case line == "8" || line == "18":
					io.WriteString(conn, "half of "+line+"\r")
					time.Sleep(time.Hour)
				default:
					io.WriteString(conn, line+"\n")
				}
				return true
			})
			plan.Connections, plan.Requests, plan.Timeout = 1, 20, time.Second
			plan.Lacks = func(came []byte) (string, string) { return fmt.Sprintf("%d came", len(came)), "" }
			r := s.run(t, t.Context(), plan)
			want := map[Outcome]string{
				Mismatched: `"2" (1) "what?longl" (16389) ""`, Late: `"6" (1) "6" (1) ""`,
				Missing: `"8" (1) "half of 8\r" (10) "reply_timeout"`,
			}
			if one {
				want[Extra] = `"" (0) "\x1b4" (2) ""`
			}
			if len(r.Examples) != len(want) {
				t.Fatalf("%s: examples %v, want one of each kind; %+v", name, r.Examples, r)
			}
			for outcome, want := range want {
				if lacks := r.Examples[Missing].Lacks; lacks != "10 came" {
					t.Errorf("%s: the one that is missing lacks %q", name, lacks)
				}
				e := r.Examples[outcome]
				got := fmt.Sprintf("%q (%d) %.10q (%d) %q", e.Request.Bytes, e.Request.Size, e.Reply.Bytes, e.Reply.Size, e.Cause)
				if got != want || len(e.Reply.Bytes) > maxExcerpt {
					t.Errorf("%s: the first that was %s is %s with %d bytes kept, want %s", name, outcome, got, len(e.Reply.Bytes), want)
				}
			}
		})
	}
}

// A reply that is there before it was asked for is not taken for the reply without a word.
func TestWhatComesBehindAReplyIsExtraWithAConnectionForEach(t *testing.T) {
	for name, c := range map[string]struct {
		greeting string
		reply    func(line string, conn *parleytest.Conn)
		extra    uint64
	}{
		"nothing": {"", func(line string, conn *parleytest.Conn) { io.WriteString(conn, line+"\n") }, 0},
		"a greeting": {"220 hi\n", func(line string, conn *parleytest.Conn) {
			time.Sleep(5 * time.Millisecond)
			io.WriteString(conn, line+"\n")
		}, 10},
		"the beginning of another": {"", func(line string, conn *parleytest.Conn) { io.WriteString(conn, line+"\nhalf") }, 10},
		"two more":                 {"", func(line string, conn *parleytest.Conn) { io.WriteString(conn, line+"\na\nb\n") }, 20},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &service{serve: func(conn *parleytest.Conn) {
				io.WriteString(conn, c.greeting)
				buf := make([]byte, 100)
				n, _ := conn.Read(buf)
				c.reply(strings.TrimSuffix(string(buf[:n]), "\n"), conn)
				io.Copy(io.Discard, conn)
				time.Sleep(time.Second) // it is not waited for
				conn.Close()
			}}
			began := time.Now()
			r := s.run(t, t.Context(), Plan{Messages: ParseMessages([]byte("{n}")), ConnectEach: true, Connections: 1, Requests: 10})
			if r.Replies != 10 || r.Extra != c.extra || r.Failed() != (c.extra > 0) {
				t.Errorf("%s: %d replies, %d extra, failed %v; want 10 and %d", name, r.Replies, r.Extra, r.Failed(), c.extra)
			}
			if took := time.Since(began); took > 1200*time.Millisecond {
				t.Errorf("%s: took %v, want 15 ms a connection and the last server's second at most", name, took)
			}
		})
	}
}

// All connections together hold a bounded part of replies that do not end.
func TestEndlessRepliesAreCapped(t *testing.T) {
	for _, each := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const connections, limit = 4, 64 << 10
			var most atomic.Int64 // bytes that were taken on a connection
			s := &service{serve: func(conn *parleytest.Conn) {
				n, block := 0, make([]byte, 16<<10)
				for {
					k, err := conn.Write(block)
					if n += k; err != nil {
						most.Store(max(most.Load(), int64(n)))
						return
					}
				}
			}}
			r := s.run(t, t.Context(), Plan{Messages: ParseMessages([]byte("{n}")), ConnectEach: each, Connections: connections, Requests: connections, MaxReply: limit})
			if r.Missing != connections || r.Errors[dial.TooLong] != connections {
				t.Errorf("%d missing, errors %v; want %d too long", r.Missing, r.Errors, connections)
			}
			if e := r.Examples[Missing]; e == nil || e.Cause != dial.TooLong || e.Reply.Size < limit || e.Reply.Size > 2*limit {
				t.Errorf("the first that is missing is %+v, want a bit more than %d bytes, too long", e, limit)
			}
			if n := most.Load(); n > 4*limit {
				t.Errorf("%d bytes were taken, want about %d", n, limit)
			}
		})
	}
	for connections, want := range map[int]int{0: 16 << 20, 1: 16 << 20, 4: 16 << 20, 16: 4 << 20, 1000: 67108, 1024: 64 << 10, 100_000: 64 << 10} {
		if got := (&Plan{Connections: connections}).ReplyLimit(); got != want {
			t.Errorf("%d connections: a reply may have %d bytes, want %d", connections, got, want)
		}
	}
}

// Who writes the longest time means never.
func TestTheLargestLimits(t *testing.T) {
	for name, plan := range map[string]Plan{
		"duration":           {Duration: math.MaxInt64, Requests: 10},
		"timeout":            {Timeout: math.MaxInt64, Requests: 10},
		"open loop":          {Rate: 10, Duration: math.MaxInt64, Timeout: math.MaxInt64, Requests: 10},
		"requests":           {Requests: math.MaxUint64, Duration: time.Second},
		"reply":              {MaxReply: math.MaxInt, Requests: 10},
		"warm-up and others": {Warmup: time.Second, Duration: math.MaxInt64 - 1, Timeout: math.MaxInt64 - 1, Requests: 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := answering(func(dst []byte, req *parley.Request) ([]byte, error) {
				time.Sleep(50 * time.Millisecond)
				return echo(dst, req)
			})
			plan.Connections = 1
			if r := s.run(t, t.Context(), plan); r.Replies < 10 || r.Failed() || r.Elapsed > 2*time.Second {
				t.Errorf("%s: %d replies, %d late, %d missing in %v; want ten or more and nothing else", name, r.Replies, r.Late, r.Missing, r.Elapsed)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := answering(echo)
		plan := Plan{Warmup: math.MaxInt64, Duration: math.MaxInt64, Connections: 1}
		done := make(chan *Result)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		plan.Rate = 10
		go func() { done <- s.run(t, ctx, plan) }()
		if r := <-done; r.Requests != 0 || !r.Interrupted {
			t.Errorf("%d requests of a warm-up were counted, interrupted %v", r.Requests, r.Interrupted)
		}
	})
}

// With a number and a duration a run ends with whichever comes first.
func TestANumberAndADuration(t *testing.T) {
	for _, c := range []struct {
		requests uint64
		want     uint64
		elapsed  time.Duration
	}{{5, 5, 500 * time.Millisecond}, {1000, 10, time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			s := answering(func(dst []byte, req *parley.Request) ([]byte, error) {
				time.Sleep(100 * time.Millisecond)
				return echo(dst, req)
			})
			var last Second
			r := s.run(t, t.Context(), Plan{Connections: 1, Requests: c.requests, Duration: time.Second, Watch: func(s Second) { last = s }})
			if r.Requests != c.want || r.Elapsed != c.elapsed {
				t.Errorf("%d requests or a second: %d in %v, want %d in %v", c.requests, r.Requests, r.Elapsed, c.want, c.elapsed)
			}
			if last.Done != 1 {
				t.Errorf("%d requests or a second: %v of it is done at the end, want all", c.requests, last.Done)
			}
		})
	}
}
