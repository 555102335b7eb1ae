package agent

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/parley-tcp/parley/internal/load"
)

// A merger makes seconds of a whole load of those of its parts, as soon as every part has told of one.
type merger struct {
	parts map[int]int                 // of each part that goes on, the latest second that it has told of
	told  int                         // the latest that was made
	held  map[int]map[int]load.Second // of those that come next, what each part has told
	show  func(load.Second)
	all   []load.Second // those counted, without their histograms
}

func newMerger(parts int, show func(load.Second)) *merger {
	m := &merger{parts: map[int]int{}, told: before, held: map[int]map[int]load.Second{}, show: show}
	for i := range parts {
		m.parts[i] = before
	}
	return m
}

// before is before every second: a warm-up of two years has none earlier.
const before = -1 << 26

// tick is how late a second may be told of, and still be that second.
const tick = 250 * time.Millisecond

// numberOf is which second of the counted time one is: the first is 1, those of the warm-up 0 or less.
func numberOf(s load.Second) int {
	n := int((s.At - tick) / time.Second)
	if s.At > tick {
		n++ // the division has cut it down
	}
	if s.At > 0 {
		n = max(n, 1)
	}
	return n
}

// add takes a second of a part.
func (m *merger) add(part int, s load.Second) {
	n := numberOf(s)
	if _, goesOn := m.parts[part]; !goesOn {
		return
	}
	m.parts[part] = max(m.parts[part], n)
	switch {
	case n > m.told:
	case s.At <= 0:
		return // of a warm-up that is over
	default:
		n = m.told + 1 // late: it counts with the next
	}
	if m.held[n] == nil {
		m.held[n] = map[int]load.Second{}
	}
	if earlier, both := m.held[n][part]; both {
		length := earlier.Length + s.Length
		open := s.Open
		s = load.MergeSeconds(earlier, s)
		s.Length, s.Open = length, open
	}
	m.held[n][part] = s
	m.tell()
}

// end says that a part tells of no more seconds.
func (m *merger) end(part int) {
	delete(m.parts, part)
	m.tell()
}

// tell makes the seconds that no part may still add to.
func (m *merger) tell() {
	for len(m.held) > 0 {
		next := math.MaxInt
		for n := range m.held {
			next = min(next, n)
		}
		for _, latest := range m.parts {
			if latest < next {
				return
			}
		}
		s := load.MergeSeconds(slices.Collect(maps.Values(m.held[next]))...)
		delete(m.held, next)
		m.told = next
		if m.show != nil {
			m.show(s)
		}
		if s.At > 0 {
			s.Response = nil
			m.all = append(m.all, s)
		}
	}
}
