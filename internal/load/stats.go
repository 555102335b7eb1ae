package load

import (
	"cmp"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/parley-tcp/parley/internal/dial"
)

// longest is the longest time that is told from longer ones. In an open loop over hours
// that a service does not keep up with, the last requests have waited for most of them.
const longest = 24 * time.Hour

// timeDigits are those to which times are kept.
const timeDigits = 3

// newHistogram counts times in ns.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(longest), timeDigits)
}

// stats is what was counted. Its histograms hold ns.
type stats struct {
	requests   uint64 // whose fate is known
	replies    uint64 // as expected and in time: those of the latencies
	within     uint64 // replies that came in the counted time, to whichever requests
	mismatched uint64
	missing    uint64
	late       uint64
	extra      uint64
	connects   uint64
	resumed    uint64 // of the connections' TLS sessions
	errors     map[dial.Kind]uint64
	noTLS      string        // why TLS failed the first time, in words: its kind says next to nothing
	last       time.Duration // when the fate of the last request was known
	examples   examples

	service  *hdrhistogram.Histogram // from the sending of a request to its reply
	response *hdrhistogram.Histogram // from when it was due
	lag      *hdrhistogram.Histogram // from when it could be sent until it was
	connect  *hdrhistogram.Histogram
	lookup   *hdrhistogram.Histogram
	first    *hdrhistogram.Histogram // from a connection's making, or its greeting, to its first reply
	greeting *hdrhistogram.Histogram // from a connection's making to its greeting

	handshake *hdrhistogram.Histogram // of TLS
}

func newStats() *stats {
	return &stats{
		errors:   make(map[dial.Kind]uint64),
		examples: make(examples),
		service:  newHistogram(), response: newHistogram(), lag: newHistogram(),
		connect: newHistogram(), lookup: newHistogram(), first: newHistogram(), greeting: newHistogram(), handshake: newHistogram(),
	}
}

func (s *stats) histograms() [8]*hdrhistogram.Histogram {
	return [...]*hdrhistogram.Histogram{s.service, s.response, s.lag, s.connect, s.lookup, s.first, s.greeting, s.handshake}
}

func (s *stats) bad() uint64 {
	n := s.mismatched + s.missing + s.late + s.extra
	for _, k := range s.errors {
		n += k
	}
	return n
}

// fail counts a connection that failed.
func (s *stats) fail(err error) {
	kind := kindOf(err)
	s.errors[kind]++
	if kind == dial.TLSFailed && s.noTLS == "" {
		s.noTLS = dial.Reason(err)
	}
}

// add takes over what another has counted.
func (s *stats) add(other *stats) {
	s.requests += other.requests
	s.replies += other.replies
	s.within += other.within
	s.mismatched += other.mismatched
	s.missing += other.missing
	s.late += other.late
	s.extra += other.extra
	s.connects += other.connects
	s.resumed += other.resumed
	s.last = max(s.last, other.last)
	for kind, n := range other.errors {
		s.errors[kind] += n
	}
	s.noTLS = cmp.Or(s.noTLS, other.noTLS)
	for outcome, example := range other.examples {
		s.examples.add(outcome, example)
	}
	theirs := other.histograms()
	for i, h := range s.histograms() {
		if theirs[i].TotalCount() > 0 {
			h.Merge(theirs[i])
		}
	}
}

func (s *stats) reset() {
	hs := s.histograms()
	clear(s.errors)
	clear(s.examples)
	for _, h := range hs {
		if h.TotalCount() > 0 {
			h.Reset()
		}
	}
	*s = stats{errors: s.errors, examples: s.examples, service: hs[0], response: hs[1], lag: hs[2], connect: hs[3], lookup: hs[4], first: hs[5], greeting: hs[6], handshake: hs[7]}
}

// record records a time, the longest one if it is longer.
func record(h *hdrhistogram.Histogram, took time.Duration) {
	h.RecordValue(int64(min(max(took, 0), longest)))
}

// A recorder has the statistics of some workers, one recorder for each CPU. Reading them holds
// nobody up: they are exchanged for empty ones.
type recorder struct {
	mu    sync.Mutex
	stats *stats
	spare *stats
	steps []*hdrhistogram.Histogram // of a dialogue, of the whole run
}

func newRecorder(steps int) *recorder {
	r := &recorder{stats: newStats(), spare: newStats()}
	for range steps {
		r.steps = append(r.steps, newStepHistogram())
	}
	return r
}

// count has something counted.
func (r *recorder) count(what func(*stats)) {
	r.mu.Lock()
	what(r.stats)
	r.mu.Unlock()
}

// interval returns what was counted since the last call. It is valid until the next.
func (r *recorder) interval() *stats {
	r.spare.reset()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats, r.spare = r.spare, r.stats
	return r.spare
}

// totals is all that was counted, and the seconds of it.
type totals struct {
	total   *stats
	second  *stats // of the one that is being told
	seconds []Second
}

func newTotals() totals { return totals{total: newStats(), second: newStats()} }

// shortest is what is told of by itself: a run's last moment is not.
const shortest = 50 * time.Millisecond

// collect brings together what was counted between two times, and tells of it.
func (r *run) collect(begin, end time.Duration) {
	all := &r.totals
	all.second.reset()
	for _, recorder := range r.recorders {
		all.second.add(recorder.interval())
	}
	all.total.add(all.second)
	if end-begin < shortest && len(all.seconds) > 0 {
		return
	}
	latencies := all.second.service
	if r.Rate > 0 && !r.Silent() {
		latencies = all.second.response
	}
	t := Second{
		At:      end - r.from,
		Length:  end - begin,
		Replies: all.second.replies,
		Taken:   r.Silent(),
		Played:  r.Script != nil,
		Bad:     all.second.bad(),
		Open:    r.open(),
		Done:    r.done(end),
	}
	t.setTimes(latencies)
	if begin < r.from {
		t.At = min(t.At, 0)
	}
	if t.At > 0 {
		all.seconds = append(all.seconds, t)
		all.seconds[len(all.seconds)-1].Response = nil
	}
	if r.Watch != nil {
		r.Watch(t)
	}
}

// open is how many requests wait for their replies.
func (r *run) open() (n int) {
	for _, w := range r.workers {
		w.mu.Lock()
		n += w.outstanding
		w.mu.Unlock()
	}
	return n
}

// done is the share of the run that is over.
func (r *run) done(now time.Duration) float64 {
	share := 0.0
	if r.until > 0 {
		share = float64(now-r.began) / float64(r.until-r.began)
	}
	if r.Requests > 0 {
		share = max(share, float64(r.totals.total.requests)/float64(r.Requests))
	}
	return min(1, share)
}
