package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/parleytest"
)

// scriptOf is a script of lines.
func scriptOf(t *testing.T, lines ...string) *Script {
	t.Helper()
	d, err := dialogue.Parse("f", []byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	framing, err := dialect.Parse("line")
	if err != nil {
		t.Fatal(err)
	}
	return &Script{Dialogue: d, Framing: framing}
}

// playing runs a script against a service in made-up time.
func playing(t *testing.T, ctx context.Context, s *service, plan Plan) *Result {
	t.Helper()
	plan.Dial, plan.Sleep = s.dial, time.Sleep
	r, err := plan.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.closed.Wait()
	return r
}

// counted says what came of the dialogues, and how often each step was as expected.
func counted(r *Result) string {
	text := fmt.Sprintf("%d: %d held, %d mismatched, %d missing, errors %v;", r.Requests, r.Replies, r.Mismatched, r.Missing, r.Errors)
	for _, s := range r.Steps {
		text += fmt.Sprintf(" %d:%d", s.Index+1, s.Count())
	}
	return text
}

// Each connection plays again and again: with a greeting once, and with numbers and catches of its own.
// Each step has its times; a pause is in that of the whole alone.
func TestADialogueIsPlayedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		heard := map[string]int{}
		s := &service{serve: func(conn *parleytest.Conn) {
			defer conn.Close()
			mu.Lock()
			id := len(heard)
			heard[fmt.Sprint("connection ", id)] = 0
			mu.Unlock()
			fmt.Fprintf(conn, "hello key%d\n", id)
			in := bufio.NewScanner(conn)
			for in.Scan() {
				var n, c int
				if got, _ := fmt.Sscanf(in.Text(), fmt.Sprintf("login %%d %%d key%d", id), &n, &c); got == 2 {
					mu.Lock()
					heard[fmt.Sprint("play ", n)]++
					mu.Unlock()
					time.Sleep(20 * time.Millisecond)
					fmt.Fprintf(conn, "session s%d.%d\n", c, n)
					continue
				}
				time.Sleep(30 * time.Millisecond)
				fmt.Fprintf(conn, "%s is over\n", strings.TrimPrefix(in.Text(), "logout "))
			}
		}}
		script := scriptOf(t, "< ~ ^hello (?P<key>\\w+)$", "> login {n} {conn} {key}", "< ~ ^session (?P<id>\\S+)", "wait 50ms", "> logout {id}", "< = {id} is over")
		r := playing(t, t.Context(), s, Plan{Script: script, Connections: 2, Requests: 20})
		if got, want := counted(r), "20: 20 held, 0 mismatched, 0 missing, errors map[]; 1:2 2:20 3:20 5:20 6:20"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if len(heard) != 22 || heard["play 1"] != 1 || heard["play 20"] != 1 {
			t.Errorf("the server heard %v", heard)
		}
		for i, want := range []time.Duration{0, 0, 20 * time.Millisecond, 0, 30 * time.Millisecond} {
			if got := r.Steps[i].Quantile(50); !within(got, want, want/100) {
				t.Errorf("step %d took %v, want %v", r.Steps[i].Index+1, got, want)
			}
		}
		if got := r.Service.Quantile(50); !within(got, 100*time.Millisecond, 200*time.Microsecond) {
			t.Errorf("all of it took %v, want 100 ms", got)
		}
	})
}

// In an open loop dialogues are due at a rate, and counted from then: one that waits for a
// connection has waited.
func TestAnOpenLoopPacesDialogues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := speaking(func(line string, conn *parleytest.Conn) bool {
			if line == "4" {
				time.Sleep(500 * time.Millisecond)
			}
			io.WriteString(conn, line+"\n")
			return true
		})
		r := playing(t, t.Context(), s, Plan{Script: scriptOf(t, "> {n}", "< = {n}"), Rate: 10, Duration: time.Second})
		if got, want := counted(r), "10: 10 held, 0 mismatched, 0 missing, errors map[]; 1:10 2:10"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		// The fourth and those that were due while it took its time: 500, 400, 300, 200 and 100 ms.
		if got := r.Response.Quantile(90); !within(got, 400*time.Millisecond, time.Millisecond) {
			t.Errorf("p90 of the response time is %v, want 400 ms", got)
		}
		if got := r.Service.Quantile(90); got > time.Millisecond {
			t.Errorf("p90 of the service time is %v; only one took long", got)
		}
	})
}

// A dialogue that comes to another end is counted as what it is, the first of each kind is shown, and
// the run goes on over another connection.
func TestDialoguesThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		odd         func(line string, conn *parleytest.Conn) bool // what comes of each fifth
		plan        Plan
		want, shown string
		dials       int64
	}{
		"mismatch": {
			odd:  func(line string, conn *parleytest.Conn) bool { io.WriteString(conn, "no \x1b"+line+"\n"); return true },
			want: "10: 8 held, 2 mismatched, 0 missing, errors map[]; 1:10 2:8", dials: 3,
			shown: `mismatched: step 2 (f:2): want = yes 5, got no \x1b5`,
		},
		"mismatch, a connection for each": {
			odd:  func(line string, conn *parleytest.Conn) bool { io.WriteString(conn, "no\n"); return true },
			plan: Plan{ConnectEach: true},
			want: "10: 8 held, 2 mismatched, 0 missing, errors map[]; 1:10 2:8", dials: 11,
			shown: "mismatched: step 2 (f:2): want = yes 5, got no",
		},
		"closed": {
			odd:  func(line string, conn *parleytest.Conn) bool { return false },
			want: "10: 8 held, 0 mismatched, 2 missing, errors map[closed:2]; 1:10 2:8", dials: 3,
			shown: "missing: step 2 (f:2): want = yes 5, but the server closed",
		},
		"silent, in an open loop": {
			odd:  func(string, *parleytest.Conn) bool { time.Sleep(time.Hour); return false },
			plan: Plan{Rate: 100},
			want: "10: 8 held, 0 mismatched, 2 missing, errors map[reply_timeout:2]; 1:10 2:8", dials: 2,
			shown: "missing: step 2 (f:2): want = yes 5, but nothing came within 1s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := speaking(func(line string, conn *parleytest.Conn) bool {
					if strings.HasSuffix(line, "5") || strings.HasSuffix(line, "0") {
						return c.odd(line, conn)
					}
					io.WriteString(conn, "yes "+line+"\n")
					return true
				})
				plan := c.plan
				plan.Script, plan.Requests, plan.Timeout = scriptOf(t, "> {n}", "< = yes {n}"), 10, time.Second
				r := playing(t, t.Context(), s, plan)
				if got := counted(r); got != c.want || s.dials.Load() != c.dials {
					t.Errorf("%s over %d connections, want %s over %d", got, s.dials.Load(), c.want, c.dials)
				}
				for outcome, e := range r.Examples {
					if got := fmt.Sprintf("%s: %s", outcome, e.Failed.Why); got != c.shown || len(r.Examples) != 1 {
						t.Errorf("shown: %s, want %s", got, c.shown)
					}
				}
			})
		})
	}
}

// A dialogue that ends its connection, or goes over to TLS on it, has one for each play.
func TestADialogueForEachConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{serve: func(conn *parleytest.Conn) {
			defer conn.Close()
			io.WriteString(conn, "hello\n")
			all, err := io.ReadAll(conn)
			fmt.Fprintf(conn, "%q %v\n", all, err)
		}}
		script := scriptOf(t, "< = hello", "tls", "> bye {n}", "eof", "< ~ ^\"over TLS: bye (?P<n2>\\d+).n\" <nil>$", "< eof")
		script.StartTLS = func(_ context.Context, conn net.Conn) (net.Conn, error) {
			_, err := io.WriteString(conn, "over TLS: ")
			return conn, err
		}
		r := playing(t, t.Context(), s, Plan{Script: script, Connections: 2, Requests: 6, ConnectEach: true})
		if got, want := counted(r), "6: 6 held, 0 mismatched, 0 missing, errors map[]; 1:6 2:6 3:6 4:6 5:6 6:6"; got != want || r.Connects != 6 {
			t.Errorf("%s over %d connections, want %s over 6", got, r.Connects, want)
		}
		if r.FirstReply.Count() != 0 {
			t.Error("what is the first reply of a dialogue?")
		}
	})
}

// An interrupt ends a pause, or a wait for the server; the dialogue that was under way is not counted.
func TestInterruptedDialogues(t *testing.T) {
	for _, last := range []string{"wait 1h", "< = more"} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			s := speaking(func(line string, conn *parleytest.Conn) bool { io.WriteString(conn, line+"\n"); return true })
			time.AfterFunc(3*time.Second, cancel)
			begin := time.Now()
			r := playing(t, ctx, s, Plan{Script: scriptOf(t, "> {n}", "< = {n}", last), Timeout: time.Minute})
			if got, want := counted(r), "0: 0 held, 0 mismatched, 0 missing, errors map[];"; !strings.HasPrefix(got, want) || !r.Interrupted || time.Since(begin) != 3*time.Second {
				t.Errorf("%s: %s after %v, want %s after 3 s", last, got, time.Since(begin), want)
			}
		})
	}
}

// What no play can do better ends the run, also in the warm-up.
func TestADialogueThatCannotBePlayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := speaking(func(line string, conn *parleytest.Conn) bool { io.WriteString(conn, line+"\n"); return true })
		begin := time.Now()
		r, err := (&Plan{Dial: s.dial, Script: scriptOf(t, "> a\\nb"), Warmup: time.Minute, Duration: time.Hour}).Run(t.Context())
		s.closed.Wait()
		var failure *dialogue.Failure
		if !errors.As(err, &failure) || !failure.Local() || time.Since(begin) > time.Second {
			t.Errorf("%v, %v after %v", r, err, time.Since(begin))
		}
	})
}

// What the service says may be what cannot be sent back. That is one play, and not all of them.
func TestAPlayThatCannotGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{serve: func(conn *parleytest.Conn) {
			defer conn.Close()
			for i := 1; ; i++ {
				if _, err := conn.Read(make([]byte, 100)); err != nil {
					return
				}
				fmt.Fprintf(conn, "%s\x00", strings.Repeat("\n", i/6))
			}
		}}
		script := scriptOf(t, "> key?", "< ~ (?s)(?P<key>.*)", "> key {key}", "< *")
		script.Framing, _ = dialect.Parse("line/delim:00")
		r := playing(t, t.Context(), s, Plan{Script: script, Requests: 9})
		if got, want := counted(r), "9: 7 held, 0 mismatched, 2 missing, errors map[io_error:2]; 1:9 2:9 3:7 4:7"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// Each step may take its time; all of them together may take longer.
func TestALongDialogueIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := speaking(func(line string, conn *parleytest.Conn) bool {
			time.Sleep(900 * time.Millisecond)
			io.WriteString(conn, line+"\n")
			return true
		})
		script := scriptOf(t, "> 1", "< = 1", "> 2", "< = 2", "> 3", "< = 3", "> 4", "< = 4")
		r := playing(t, t.Context(), s, Plan{Script: script, Requests: 2, Timeout: time.Second})
		if got, want := counted(r), "2: 2 held, 0 mismatched, 0 missing, errors map[]; 1:2 2:2 3:2 4:2 5:2 6:2 7:2 8:2"; got != want || r.Late > 0 {
			t.Errorf("%s, %d late; want %s", got, r.Late, want)
		}
	})
}
