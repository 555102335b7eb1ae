package web

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// said are the requests that a snapshot tells.
func said(s snapshot) (requests []string) {
	for _, x := range s.Exchanges {
		requests = append(requests, string(x.Request.Start))
	}
	return requests
}

func TestABrowserIsToldWhatWasAndThenWhatIsNew(t *testing.T) {
	p := New(Options{Server: "127.0.0.1:6969", Upstream: "127.0.0.1:7000"})
	addr := parleytest.Start(t, &parley.Server{Handler: echo, Observer: p})
	next := "" // as a browser has it
	askFor := func(want string) snapshot {
		t.Helper()
		s := decode[snapshot](t, ask(p, "GET", "/state?after="+next, nil).Body.String())
		got := fmt.Sprintf("whole %v, %q, %d requests, %d unplotted, %d points, %d sessions", s.Whole, said(s), s.Totals.Requests, s.Unplotted, len(s.Points), len(s.Sessions))
		if got != want {
			t.Errorf("a browser is told %s; want %s", got, want)
		}
		next = s.Cursor
		return s
	}
	askFor(`whole true, [], 0 requests, 0 unplotted, 0 points, 0 sessions`)
	say(t, addr, "a\n")
	if s := askFor(`whole false, ["a"], 1 requests, 1 unplotted, 0 points, 1 sessions`); s.Server != "127.0.0.1:6969" || s.Upstream != "127.0.0.1:7000" || s.History {
		t.Errorf("it is told of %q, %q, %v", s.Server, s.Upstream, s.History)
	}
	askFor(`whole false, [], 1 requests, 1 unplotted, 0 points, 0 sessions`)
	p.tick(time.Unix(10, 0), true)
	if s := askFor(`whole false, [], 1 requests, 0 unplotted, 1 points, 1 sessions`); s.Points[0].Requests != 1 || s.Points[0].Replies != 1 || s.Points[0].P50 == 0 {
		t.Errorf("the point is %+v", s.Points[0])
	}
	p.tick(time.Unix(11, 0), true)
	if s := askFor(`whole false, [], 1 requests, 0 unplotted, 1 points, 1 sessions`); !reflect.DeepEqual(s.Points[0], point{At: 11, Seconds: 1}) {
		t.Errorf("the point of a second in which nothing was is %+v", s.Points[0])
	}
	say(t, addr, "b\nc\n")
	askFor(`whole false, ["b" "c"], 3 requests, 2 unplotted, 0 points, 2 sessions`)

	// Another run's cursor, or none that ever was, is one that knows nothing.
	for _, bad := range []string{"", "x", "1-2-3-4", "1-2-3-4-5", strings.Replace(next, "-", "-9", 1), "-1--1--1--1--1"} {
		next = bad
		askFor(`whole true, ["a" "b" "c"], 3 requests, 2 unplotted, 2 points, 2 sessions`)
	}
}

// A browser that asks too seldom is told how much it missed.
func TestASlowBrowserIsToldWhatItMissed(t *testing.T) {
	p := New(Options{})
	known := parseCursor(p.snapshot(cursor{}, fineSpan).Cursor)
	keep := func(n int) {
		for range n {
			p.state.keep(&exchange{Request: &message{}})
		}
	}
	keep(toldExchanges)
	if s := p.snapshot(known, fineSpan); s.Skipped != 0 || len(s.Exchanges) != toldExchanges {
		t.Errorf("%d told and %d skipped, want all told", len(s.Exchanges), s.Skipped)
	}
	keep(maxExchanges)
	if s := p.snapshot(known, fineSpan); s.Skipped != maxExchanges || len(s.Exchanges) != toldExchanges {
		t.Errorf("%d told and %d skipped, want %d and %d", len(s.Exchanges), s.Skipped, toldExchanges, maxExchanges)
	}
	if s := p.snapshot(cursor{}, fineSpan); s.Skipped != 0 || !s.Whole {
		t.Errorf("one that knew nothing missed %d", s.Skipped)
	}
}

func TestABrowserIsToldWhatIsNotShipped(t *testing.T) {
	lag := Lag{Records: 3, Oldest: 2 * time.Second, Away: true}
	p := New(Options{Lag: func() Lag { return lag }})
	if s := decode[snapshot](t, ask(p, "GET", "/state", nil).Body.String()); s.Lag == nil || *s.Lag != lag {
		t.Errorf("a browser is told %+v, want %+v", s.Lag, lag)
	}
	if s := decode[snapshot](t, ask(New(Options{}), "GET", "/state", nil).Body.String()); s.Lag != nil {
		t.Errorf("a browser is told %+v of what nobody ships", *s.Lag)
	}
}
