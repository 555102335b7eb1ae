package web

import (
	"slices"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// Faults are counted and stand at the exchange that they befell: a server's as its events name them,
// a tap's, which are told behind those.
func TestFaultsStandAtTheirExchanges(t *testing.T) {
	for side, events := range map[string][]parley.Event{
		"server": {
			{Kind: parley.Faulted, Seq: 1, Fault: "request.delay=5ms"},
			{Kind: parley.Received, Seq: 1, Fault: "request.delay=5ms"},
			{Kind: parley.Faulted, Seq: 1, Fault: "reply.drop"},
			{Kind: parley.Replied, Seq: 1, Fault: "reply.drop"},
			{Kind: parley.Received, Seq: 2},
			{Kind: parley.Faulted, Seq: 2, Fault: "reply.cut=1"},
			{Kind: parley.Closed, Seq: 2, Reason: parley.Fault, Fault: "reply.cut=1"},
		},
		"tap": {
			{Kind: parley.Received, Seq: 1},
			{Kind: parley.Faulted, Seq: 1, Fault: "request.delay=5ms"},
			{Kind: parley.Replied, Seq: 1},
			{Kind: parley.Faulted, Seq: 1, Fault: "reply.drop"},
			{Kind: parley.Received, Seq: 2},
			{Kind: parley.Replied, Seq: 2},
			{Kind: parley.Faulted, Seq: 2, Fault: "reply.cut=1"},
			{Kind: parley.Closed, Seq: 2, Reason: parley.Fault, Fault: "reply.cut=1"},
		},
	} {
		p := New(Options{})
		s := parley.NewSession(1, nil, nil, time.Now())
		p.Observe(&parley.Event{Kind: parley.Opened, Session: s})
		for _, e := range events {
			if e.Session = s; !p.Wants(e.Kind) {
				t.Errorf("%v is not wanted", e.Kind)
			}
			p.Observe(&e)
		}
		p.Observe(&parley.Event{Kind: parley.Refused, Session: parley.NewSession(0, nil, nil, time.Now()), Reason: parley.Fault, Fault: "refuse"})
		told := p.snapshot(cursor{}, fineSpan)
		var faults []string
		for _, x := range told.Exchanges {
			faults = append(faults, x.Fault)
		}
		if want := []string{"request.delay=5ms, reply.drop", "reply.cut=1", "refuse"}; !slices.Equal(faults, want) || told.Totals.Faults != 4 {
			t.Errorf("%s: %q, %d in all; want %q, 4", side, faults, told.Totals.Faults, want)
		}
	}
}
