package web

import (
	"slices"
	"testing"
)

// A session whose last exchanges the journal does not have yet is told whole, and nothing twice.
func TestWhatIsLateInTheJournalIsTold(t *testing.T) {
	said := &message{Bytes: 1, Start: []byte("x")}
	asked := func(seq uint64, at int64) *exchange { return &exchange{Seq: seq, At: at, Request: said, Reply: said} }
	unasked := func(at int64) *exchange { return &exchange{At: at, Reply: said} }
	dropped := func(at int64) *exchange { return &exchange{At: at, Request: said, Fault: "request.drop"} }
	for name, c := range map[string]struct{ recorded, remembered, want []*exchange }{
		"all is there":           {[]*exchange{asked(1, 1), unasked(2)}, []*exchange{asked(1, 1), unasked(3)}, []*exchange{asked(1, 1), unasked(2)}},
		"the last is missing":    {[]*exchange{asked(1, 1)}, []*exchange{asked(1, 1), asked(2, 2), unasked(3)}, []*exchange{asked(1, 1), asked(2, 2), unasked(3)}},
		"memory has the end":     {[]*exchange{asked(1, 1), asked(2, 2)}, []*exchange{asked(3, 3)}, []*exchange{asked(1, 1), asked(2, 2), asked(3, 3)}},
		"the server never saw":   {[]*exchange{asked(1, 1), asked(2, 3)}, []*exchange{asked(1, 1), dropped(2), asked(2, 3)}, []*exchange{asked(1, 1), dropped(2), asked(2, 3)}},
		"memory has forgotten":   {[]*exchange{unasked(1), asked(1, 2)}, nil, []*exchange{unasked(1), asked(1, 2)}},
		"memory has the earlier": {[]*exchange{unasked(1), unasked(5)}, []*exchange{unasked(1)}, []*exchange{unasked(1), unasked(5)}},
	} {
		told := transcript{Exchanges: c.recorded}
		told.addLate(c.remembered)
		if !slices.EqualFunc(told.Exchanges, c.want, func(a, b *exchange) bool {
			return a.At == b.At && a.Seq == b.Seq && (a.Request == nil) == (b.Request == nil)
		}) {
			t.Errorf("%s: %d exchanges are told, want %d", name, len(told.Exchanges), len(c.want))
		}
	}
}
