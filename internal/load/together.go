package load

import (
	"cmp"
	"maps"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/parley-tcp/parley/internal/dial"
)

// Together is how several machines put a load on.
type Together struct {
	Shares []Share

	// Spread is how far apart the first and the last began, by their own clocks brought into line.
	// These are in line to Uncertain at least.
	Spread, Uncertain time.Duration
}

// A Share is what one machine did.
type Share struct {
	Machine     string
	Connections int           // that it was to have
	Behind      time.Duration // the first that began
	Requests    uint64
	Rate        float64       // as of a Result
	P99         time.Duration // of the response time, or of writes where there are no replies
	CPU         float64

	// Lost is why its result never came, "" if it did: what the machine did is in no total then, and here
	// there is nothing but what it was to do.
	Lost string
}

// Lost are the machines whose results never came.
func (r *Result) Lost() (lost []Share) {
	if r.Together != nil {
		for _, s := range r.Together.Shares {
			if s.Lost != "" {
				lost = append(lost, s)
			}
		}
	}
	return lost
}

// Seen is the time that a user of the service sees: of writes where there are no replies.
func (r *Result) Seen() Times {
	if r.Write.Count() > 0 {
		return r.Write
	}
	return r.Response
}

// Merge is the result of a load, of those of its parts: what one machine would have measured that had all
// their samples. There is at least one. Seconds are left out: their percentiles are no sum of those of
// the parts, so who has the histograms of the seconds merges these with MergeSeconds.
func Merge(parts ...*Result) *Result {
	all := &Result{Errors: map[dial.Kind]uint64{}, Began: parts[0].Began}
	firsts := make(examples)
	for _, p := range parts {
		all.Requests += p.Requests
		all.Replies += p.Replies
		all.Taken += p.Taken
		all.Mismatched += p.Mismatched
		all.Missing += p.Missing
		all.Late += p.Late
		all.Extra += p.Extra
		all.Within += p.Within
		all.Unsent += p.Unsent
		all.Connects += p.Connects
		all.Resumed += p.Resumed
		all.BytesSent += p.BytesSent
		all.BytesReceived += p.BytesReceived
		for kind, n := range p.Errors {
			all.Errors[kind] += n
		}
		all.NoTLS = cmp.Or(all.NoTLS, p.NoTLS)
		for outcome, example := range p.Examples {
			firsts.add(outcome, example)
		}
		if p.Began.Before(all.Began) {
			all.Began = p.Began
		}
		all.Elapsed = max(all.Elapsed, p.Elapsed)
		all.Interrupted = all.Interrupted || p.Interrupted
		all.GaveUp = all.GaveUp || p.GaveUp
		all.CPU = max(all.CPU, p.CPU)
		for i, times := range p.times() {
			times.mergeInto(all.times()[i])
		}
		for i, step := range p.Steps {
			if i == len(all.Steps) {
				all.Steps = append(all.Steps, StepTimes{Index: step.Index, Step: step.Step})
			}
			step.mergeInto(&all.Steps[i].Times)
		}
	}
	all.Examples = maps.Clone(map[Outcome]*Example(firsts))
	all.Rate = all.rate()
	return all
}

func (r *Result) times() []*Times {
	return []*Times{&r.Service, &r.Response, &r.Lag, &r.Connect, &r.Handshake, &r.Greeting, &r.Lookup, &r.FirstReply, &r.Write}
}

// mergeInto adds the times to those of sum, which are of the same precision.
func (t Times) mergeInto(sum *Times) {
	if t.Histogram == nil {
		return
	}
	if sum.Histogram == nil {
		sum.Histogram = hdrhistogram.New(t.Histogram.LowestTrackableValue(), t.Histogram.HighestTrackableValue(), int(t.Histogram.SignificantFigures()))
	}
	sum.Histogram.Merge(t.Histogram)
}

// MergeSeconds is a second of a load, of those of its parts, of which there is at least one. They have their
// histograms.
func MergeSeconds(parts ...Second) Second {
	all := parts[0]
	all.Replies, all.Bad, all.Open = 0, 0, 0
	latencies := newHistogram()
	for _, s := range parts {
		all.At, all.Length = max(all.At, s.At), max(all.Length, s.Length)
		all.Done = min(all.Done, s.Done) // it is over when the last is
		all.Replies += s.Replies
		all.Bad += s.Bad
		all.Open += s.Open
		latencies.Merge(s.Response)
	}
	all.setTimes(latencies)
	return all
}

// setTimes sets what is told of response times.
func (s *Second) setTimes(latencies *hdrhistogram.Histogram) {
	quantile := func(percent float64) time.Duration { return time.Duration(latencies.ValueAtQuantile(percent)) }
	s.P50, s.P95, s.P99, s.Response = quantile(50), quantile(95), quantile(99), latencies
}
