package probe

import (
	"slices"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
)

// A Summary is what several probes came to. Its zero value is ready.
type Summary struct {
	Probes, Held   int
	Failed         map[dial.Kind]int
	connect, reply []time.Duration
}

// Add counts one more.
func (s *Summary) Add(f *Finding) {
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
	if f.Reply > 0 {
		s.reply = append(s.reply, f.Reply)
	}
}

// Lost is how many went unanswered. A reply other than expected is an answer.
func (s *Summary) Lost() int { return s.Probes - s.Held - s.Failed[dial.Mismatch] }

// Connect is how long connecting took, when it could be done.
func (s *Summary) Connect() Spread { return spreadOf(s.connect) }

// Reply is how long replies took, those that came.
func (s *Summary) Reply() Spread { return spreadOf(s.reply) }

// A Spread says how durations lie.
type Spread struct {
	N                     int // how many they are; the others are 0 if none
	Min, Median, P99, Max time.Duration
}

func spreadOf(durations []time.Duration) Spread {
	n := len(durations)
	if n == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(durations))
	rank := func(percent int) time.Duration { return sorted[(n*percent+99)/100-1] } // the nearest rank
	return Spread{N: n, Min: sorted[0], Median: rank(50), P99: rank(99), Max: sorted[n-1]}
}
