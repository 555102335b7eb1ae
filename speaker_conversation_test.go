package parley

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A talker is a Speaker that says what it has, as its function tells.
type talker struct {
	Handler
	speak func(now time.Duration) (message string, again time.Duration, err error)
}

const silence = "(silence)"

func (s talker) Speak(dst []byte, _ *Session, now time.Time) ([]byte, time.Time, error) {
	message, again, err := s.speak(now.Sub(zero))
	var at time.Time
	if again != 0 {
		at = zero.Add(again)
	}
	if message == silence {
		return nil, at, err
	}
	return append(dst, message...), at, err
}

// newSpeaker is a desk of a handler that speaks, with a clock of its own.
func newSpeaker(set *settings, clock *time.Duration, speak func(now time.Duration) (string, time.Duration, error)) *desk {
	set.handler = talker{orElse[Handler](set.handler, echo), speak}
	set.now = func() time.Time { return zero.Add(*clock) }
	d := newDesk(set)
	d.session.hold = new(hold)
	d.greet(d.handler, &d.out)
	d.take(*clock, len(d.out.unsent()))
	d.out.reset()
	return d
}

func TestSpeakerIsAskedBehindEachReplyAndAtItsTime(t *testing.T) {
	var clock time.Duration
	var asked []time.Duration
	says := []string{"hi", "there", silence, silence, "later", silence, silence}
	d := newSpeaker(new(settings), &clock, func(now time.Duration) (string, time.Duration, error) {
		asked = append(asked, now)
		said := says[0]
		says = says[1:]
		if len(asked) == 3 {
			return said, 5 * time.Second, nil
		}
		return said, 0, nil
	})
	if at := d.due(); at != 5*time.Second {
		t.Errorf("due at %v, want 5s", at)
	}
	clock = time.Second
	d.feed(clock, "a\n") // forgets the time that was named before
	clock = 6 * time.Second
	d.feed(clock, "b\nc")
	clock = 7 * time.Second
	d.feed(clock, "\n")
	d.end(clock)
	d.wantEnd(t, "hi\nthere\na\nb\nlater\nc\n", EndOfFile)
	if want := []time.Duration{0, 0, 0, time.Second, 6 * time.Second, 6 * time.Second, 7 * time.Second}; !slices.Equal(asked, want) {
		t.Errorf("asked at %v, want %v", asked, want)
	}
	if want := `message 0 "later" 0s`; !slices.Contains(d.log, want) {
		t.Errorf("told %q", d.log)
	}
}

// A speaker that never stops is held back by what its peer takes, and the peer is heard meanwhile.
func TestSpeakerIsHeldBack(t *testing.T) {
	for _, c := range []struct {
		name      string
		message   string
		maxUnsent int
		want      int
	}{
		{"by messages", "x", 0, maxUnsentReplies},
		{"by empty messages", "", 0, maxUnsentReplies},
		{"by bytes, one below", "12345678", 19, 3},
		{"by bytes", "12345678", 18, 2},
		{"by bytes, one above", "12345678", 17, 2},
		{"by bytes of one", "12345678", 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var clock time.Duration
			said := 0
			d := newSpeaker(&settings{maxUnsent: c.maxUnsent}, &clock, func(time.Duration) (string, time.Duration, error) {
				said++
				return c.message, 0, nil
			})
			if said != c.want || d.phase != needsInput {
				t.Fatalf("%d messages at once (phase %d), want %d", said, d.phase, c.want)
			}
			if at := d.due(); at == 0 || at > 1 {
				t.Errorf("due at %v, want at once", at)
			}
			clock = time.Second
			d.feed(clock, "a\n")
			if !strings.Contains(d.sent.String(), "\na\n") || d.phase == over {
				t.Errorf("the request was not answered (phase %d)", d.phase)
			}
			d.drain()
			d.feed(clock, "")
			if d.reason != Draining {
				t.Errorf("a drain ends it for %v", d.reason)
			}
		})
	}
}

// A peer that has half-closed gets all that there is to say now, and nothing later.
func TestSpeakerAndHalfClose(t *testing.T) {
	const many = 3*maxUnsentReplies + 1
	var clock time.Duration
	said := 0
	d := newSpeaker(new(settings), &clock, func(time.Duration) (string, time.Duration, error) {
		if said++; said <= many {
			return "x", 0, nil
		}
		return silence, time.Minute, nil
	})
	clock = time.Second
	d.end(clock)
	d.wantEnd(t, strings.Repeat("x\n", many), NoRequest)
}

// While it drains, what follows a reply is said, and nothing is waited for.
func TestSpeakerAndDrain(t *testing.T) {
	var clock time.Duration
	d := newSpeaker(new(settings), &clock, func(time.Duration) (string, time.Duration, error) {
		return silence, 10 * time.Second, nil
	})
	d.drain()
	d.wantEnd(t, "", Draining)

	said := 0
	d = newSpeaker(new(settings), &clock, func(time.Duration) (string, time.Duration, error) {
		if said++; said%2 == 0 {
			return "behind", 0, nil
		}
		return silence, 10 * time.Second, nil
	})
	d.draining = true
	clock = 11 * time.Second
	d.feed(clock, "a\n")
	d.wantEnd(t, "a\nbehind\n", Draining)
}

func TestSpeakerEndings(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name, message string
		err           error
		sent          string
		reason        CloseReason
	}{
		{"hangs up", "bye", fmt.Errorf("so: %w", ErrHangUp), "a\nbye\n", HangUp},
		{"hangs up without a word", silence, ErrHangUp, "a\n", HangUp},
		{"a mismatch", "no", ErrMismatch, "a\nno\n", Mismatch},
		{"fails", "secret", broken, "a\n", HandlerError},
		{"breaks the framing", "two\nlines", nil, "a\n", HandlerError},
		{"panics", "panic", nil, "a\n", HandlerError},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, gate := range []*ledger{nil, new(ledger)} {
				var clock time.Duration
				first := true
				set := new(settings)
				if gate != nil {
					set.gate = gate
				}
				d := newSpeaker(set, &clock, func(time.Duration) (string, time.Duration, error) {
					switch {
					case first:
						first = false
						return silence, 0, nil
					case c.message == "panic":
						panic("oops")
					}
					return c.message, 0, c.err
				})
				d.feed(0, "a\nb\n")
				d.wantEnd(t, c.sent, c.reason)
				if c.message == "panic" {
					if err := new(PanicError); !errors.As(d.err, &err) || err.Value != "oops" {
						t.Errorf("ended with %v", d.err)
					}
				}
				if gate == nil {
					continue
				}
				want := []string{`"a" "a"`}
				if strings.Count(c.sent, "\n") == 2 {
					want = append(want, fmt.Sprintf(`"" "%s"`, c.message))
				}
				if c.message != "panic" { // the engine does, which tells of what is left
					want = append(want, `loose "b\n"`)
				}
				if !slices.Equal(gate.kept, want) {
					t.Errorf("kept %q, want %q", gate.kept, want)
				}
			}
		})
	}
}

// A ledger is a gate that lets everything pass.
type ledger struct{ kept []string }

func (l *ledger) Pass(_ *Session, batch []Exchange) bool {
	for _, x := range batch {
		if x.Request == nil && x.Reply == nil {
			l.kept = append(l.kept, fmt.Sprintf("loose %q", x.RawRequest.Bytes))
		} else {
			l.kept = append(l.kept, fmt.Sprintf("%q %q", x.Request, x.Reply))
		}
	}
	return true
}

// A panic while it greets ends the session as one behind a reply does.
func TestSpeakerPanicsAtTheOpening(t *testing.T) {
	var clock time.Duration
	d := newSpeaker(new(settings), &clock, func(time.Duration) (string, time.Duration, error) { panic("oops") })
	d.wantEnd(t, "", HandlerError)
}

// What it says is no sign of life of the peer's request: that has its time, and no more.
func TestSpeakerDoesNotStretchTheRequestClock(t *testing.T) {
	var clock time.Duration
	d := newSpeaker(&settings{requestTimeout: 30 * time.Second, idleTimeout: time.Minute}, &clock, func(now time.Duration) (string, time.Duration, error) {
		if now%(20*time.Second) == 1 {
			return silence, now - 1 + 20*time.Second, nil
		}
		clock++
		return "tick", 0, nil
	})
	clock = time.Second
	d.hinted = true
	d.feed(clock, "half")
	if at := d.due(); at != 20*time.Second {
		t.Fatalf("due at %v, want 20s", at)
	}
	clock = 20 * time.Second
	d.expire(d.in, zero.Add(clock))
	d.run(clock, false)
	if limit, reason := d.limit(); limit != 31*time.Second || reason != RequestTimeout {
		t.Errorf("limit %v for %v, want 31s", limit, reason)
	}
	clock = 31 * time.Second
	d.expire(d.in, zero.Add(clock))
	d.wantEnd(t, "tick\ntick\n", RequestTimeout)
}

// A server that speaks is not idle; that it will is not enough.
func TestSpeakerAndIdleClock(t *testing.T) {
	var clock time.Duration
	says := []string{silence, "tick", silence}
	d := newSpeaker(&settings{idleTimeout: time.Minute}, &clock, func(now time.Duration) (string, time.Duration, error) {
		said := says[0]
		says = says[1:]
		return said, now + 50*time.Second, nil
	})
	d.heard = true
	clock = 50 * time.Second
	d.run(clock, false)
	if limit, reason := d.limit(); limit != 110*time.Second || reason != IdleTimeout {
		t.Errorf("limit %v for %v, want 1m50s", limit, reason)
	}
	clock = 110 * time.Second
	d.expire(nil, zero.Add(clock))
	d.wantEnd(t, "tick\n", IdleTimeout)
}

// Where there are no replies there is nothing to say it in.
func TestSpeakerWithoutReplies(t *testing.T) {
	var clock time.Duration
	d := newSpeaker(&settings{replies: NoReplies}, &clock, func(time.Duration) (string, time.Duration, error) {
		t.Error("asked")
		return "x", 0, nil
	})
	d.feed(0, "a\n")
	d.end(0)
	d.wantEnd(t, "", EndOfFile)
}
