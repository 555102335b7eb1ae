package probe

import (
	"slices"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
)

// A Summary is what several probes came to. Its zero value is ready.
type Summary struct {
	Probes, Held                  int
	Failed                        map[dial.Kind]int
	connect, tls, reply, dialogue []time.Duration
}

// add counts one more.
func (s *Summary) add(f *Finding) {
	s.Probes++
	if f.Kind == "" {
		s.Held++
	} else {
		if s.Failed == nil {
			s.Failed = make(map[dial.Kind]int)
		}
		s.Failed[f.Kind]++
	}
	if f.Connected {
		s.connect = append(s.connect, f.Connect)
	}
	if f.Connected && f.TLS > 0 {
		s.tls = append(s.tls, f.TLS)
	}
	if f.Reply > 0 {
		s.reply = append(s.reply, f.Reply)
	}
	if f.Dialogue > 0 {
		s.dialogue = append(s.dialogue, f.Dialogue)
	}
}

// Lost is how many went unanswered. A reply other than expected is an answer, and so is one over a
// certificate that expires too early.
func (s *Summary) Lost() int {
	return s.Probes - s.Held - s.Failed[dial.Mismatch] - s.Failed[Expiring]
}

// spreads are those of connecting and of TLS handshakes, when it could be done, of the replies that
// came, and of the dialogues that held.
func (s *Summary) spreads() []spread {
	return []spread{newSpread("connect", s.connect), newSpread("TLS", s.tls), newSpread("reply", s.reply), newSpread("dialogue", s.dialogue)}
}

// A spread says how the times of a step lie.
type spread struct {
	name                  string
	n                     int // how many there are; the times are 0 if none
	min, median, p99, max time.Duration
}

func newSpread(name string, times []time.Duration) spread {
	n := len(times)
	if n == 0 {
		return spread{name: name}
	}
	sorted := slices.Sorted(slices.Values(times))
	rank := func(percent int) time.Duration { return sorted[(n*percent+99)/100-1] } // the nearest rank
	return spread{name: name, n: n, min: sorted[0], median: rank(50), p99: rank(99), max: sorted[n-1]}
}
