package web

import (
	"fmt"
	"slices"
	"testing"

	"github.com/parley-tcp/parley"
)

// Those that ended badly are not pushed out by those that ended well, of either there are so many, and all are counted.
func TestBadEndsStay(t *testing.T) {
	p := New(Options{})
	number := uint64(0)
	over := func(reason parley.CloseReason) {
		number++
		s := parley.NewSession(number, nil, nil, at(int(number)))
		p.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: at(int(number))})
		p.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(int(number)), Reason: reason})
	}
	kept := func() string {
		return look(p, func(s *state) string { return fmt.Sprint(len(s.bad), len(s.closed), len(s.sessions)) })
	}
	over(parley.Reset)
	for range maxClosed + 1 {
		over(parley.EndOfFile)
	}
	if got, want := kept(), fmt.Sprint(1, maxClosed, maxClosed+1); got != want {
		t.Errorf("kept are %s, want %s", got, want)
	}
	if told := get[[]session](t, p, "/ended?reason=reset"); len(told) != 1 || told[0].Number != 1 {
		t.Errorf("reset are %+v", told)
	}
	if told := get[[]session](t, p, "/ended?reason=eof"); len(told) != toldEnded || told[0].Number != number {
		t.Errorf("of eof %d are told, the first is %d", len(told), told[0].Number)
	}
	told := get[struct {
		Sessions []session
		Ends     []end
	}](t, p, "/state")
	if len(told.Sessions) != toldClosed+1 || !slices.ContainsFunc(told.Sessions, func(s session) bool { return s.Reason == "reset" }) {
		t.Errorf("told are %d sessions", len(told.Sessions))
	}
	for range maxBad - 3 {
		over(parley.IdleTimeout)
	}
	for i, want := range []int{maxBad - 1, maxBad, maxBad} {
		over(parley.TooLong)
		if got := look(p, func(s *state) int { return len(s.bad) }); got != want {
			t.Errorf("%d: %d bad ones are kept, want %d", i, got, want)
		}
	}
	p.Observe(&parley.Event{Kind: parley.Refused, Session: parley.NewSession(0, nil, nil, at(0)), Reason: parley.Denied, Time: at(0)})
	got := fmt.Sprint(get[struct{ Ends []end }](t, p, "/state").Ends)
	if want := fmt.Sprintf("[{reset 1 true false} {eof %d false false} {idle_timeout %d true false} {too_long 3 true false} {denied 1 true true}]", maxClosed+1, maxBad-3); got != want {
		t.Errorf("the ends are\n%s, want\n%s", got, want)
	}
}
