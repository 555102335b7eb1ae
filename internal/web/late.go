package web

import (
	"cmp"
	"slices"
)

// addLate adds to what a journal tells of a session what memory has and the journal does not: the last of it, which
// is still on its way there when a session ends, and requests that the server never saw, by a fault.
func (t *transcript) addLate(remembered []*exchange) {
	isUnasked := func(x *exchange) bool { return x.Seq == 0 && x.Request == nil }
	var lastSeq uint64
	missing := 0 // of what was said unasked
	for _, x := range t.Exchanges {
		lastSeq = max(lastSeq, x.Seq)
		if isUnasked(x) {
			missing--
		}
	}
	for _, x := range remembered {
		if isUnasked(x) {
			missing++
		}
	}
	whole := len(t.Exchanges) < maxTranscript // else what is missing may be older
	var late []*exchange
	for _, x := range slices.Backward(remembered) {
		switch {
		case isUnasked(x):
			if missing--; missing < 0 || !whole {
				continue
			}
		case x.Seq > 0 && x.Seq <= lastSeq:
			continue
		}
		late = append(late, x)
	}
	slices.Reverse(late)
	t.Exchanges = append(t.Exchanges, late...)
	slices.SortStableFunc(t.Exchanges, func(a, b *exchange) int { return cmp.Compare(a.At, b.At) })
	t.Exchanges = t.Exchanges[max(0, len(t.Exchanges)-maxTranscript):]
}
