package load

import (
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the longest time that is told from longer ones. In an open loop over hours
// that a service does not keep up with, the last requests have waited for most of them.
const longest = 24 * time.Hour

// newHistogram counts times in ns, to three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(longest), 3)
}

// A tally is what was counted. Its histograms hold ns.
type tally struct {
	requests   uint64 // whose fate is known
	replies    uint64 // as expected and in time: those of the latencies
	within     uint64 // replies that came in the counted time, to whichever requests
	mismatched uint64
	missing    uint64
	late       uint64
	extra      uint64
	connects   uint64
	errors     map[Kind]uint64
	last       time.Duration // when the fate of the last request was known

	service  *hdrhistogram.Histogram // from the sending of a request to its reply
	response *hdrhistogram.Histogram // from when it was due
	lag      *hdrhistogram.Histogram // from when it could be sent until it was
	connect  *hdrhistogram.Histogram
	lookup   *hdrhistogram.Histogram
	first    *hdrhistogram.Histogram // from a connection's making to its first reply
}

func newTally() *tally {
	return &tally{
		errors:  make(map[Kind]uint64),
		service: newHistogram(), response: newHistogram(), lag: newHistogram(),
		connect: newHistogram(), lookup: newHistogram(), first: newHistogram(),
	}
}

func (t *tally) histograms() [6]*hdrhistogram.Histogram {
	return [...]*hdrhistogram.Histogram{t.service, t.response, t.lag, t.connect, t.lookup, t.first}
}

func (t *tally) bad() uint64 {
	n := t.mismatched + t.missing + t.late + t.extra
	for _, k := range t.errors {
		n += k
	}
	return n
}

// add takes over what another has counted.
func (t *tally) add(other *tally) {
	t.requests += other.requests
	t.replies += other.replies
	t.within += other.within
	t.mismatched += other.mismatched
	t.missing += other.missing
	t.late += other.late
	t.extra += other.extra
	t.connects += other.connects
	t.last = max(t.last, other.last)
	for kind, n := range other.errors {
		t.errors[kind] += n
	}
	theirs := other.histograms()
	for i, h := range t.histograms() {
		if theirs[i].TotalCount() > 0 {
			h.Merge(theirs[i])
		}
	}
}

func (t *tally) reset() {
	hs := t.histograms()
	errors := t.errors
	clear(errors)
	for _, h := range hs {
		if h.TotalCount() > 0 {
			h.Reset()
		}
	}
	*t = tally{errors: errors, service: hs[0], response: hs[1], lag: hs[2], connect: hs[3], lookup: hs[4], first: hs[5]}
}

// record records a time, the longest one if it is longer.
func record(h *hdrhistogram.Histogram, took time.Duration) {
	h.RecordValue(int64(min(max(took, 0), longest)))
}

// A shard is the tally that some lanes share. Nobody waits while it is read: it is
// exchanged for an empty one.
type shard struct {
	mu    sync.Mutex
	tally *tally
	spare *tally
}

func newShard() *shard { return &shard{tally: newTally(), spare: newTally()} }

// count has something counted.
func (s *shard) count(what func(*tally)) {
	s.mu.Lock()
	what(s.tally)
	s.mu.Unlock()
}

// take returns what was counted since the last call. It is valid until the next.
func (s *shard) take() *tally {
	s.spare.reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally, s.spare = s.spare, s.tally
	return s.spare
}

// A ledger is all that was counted, and the seconds of it.
type ledger struct {
	total   *tally
	second  *tally // of the one that is being told
	seconds []Second
}

func newLedger() ledger { return ledger{total: newTally(), second: newTally()} }

// shortest is what is told of by itself: a run's last moment is not.
const shortest = 50 * time.Millisecond

// collect brings together what was counted between two times, and tells of it.
func (r *run) collect(begin, end time.Duration) {
	l := &r.ledger
	l.second.reset()
	for _, s := range r.shards {
		l.second.add(s.take())
	}
	l.total.add(l.second)
	if end-begin < shortest && len(l.seconds) > 0 {
		return
	}
	latencies := l.second.service
	if r.Rate > 0 {
		latencies = l.second.response
	}
	t := Second{
		At:       end - r.from,
		Length:   end - begin,
		Replies:  l.second.replies,
		Bad:      l.second.bad(),
		P50:      time.Duration(latencies.ValueAtQuantile(50)),
		P99:      time.Duration(latencies.ValueAtQuantile(99)),
		Done:     r.done(end),
		Response: latencies,
	}
	if begin < r.from {
		t.At = min(t.At, 0)
	}
	if t.At > 0 {
		l.seconds = append(l.seconds, t)
		l.seconds[len(l.seconds)-1].Response = nil
	}
	if r.Watch != nil {
		r.Watch(t)
	}
}

// done is the share of the run that is over.
func (r *run) done(now time.Duration) float64 {
	switch {
	case r.until > 0:
		return min(1, float64(now-r.began)/float64(r.until-r.began))
	case r.Requests > 0:
		return min(1, float64(r.ledger.total.requests)/float64(r.Requests))
	}
	return 0
}

// A Result is what a run measured. Requests of the warm-up are in none of its numbers.
type Result struct {
	Requests   uint64  // sent, and their fate is known
	Replies    uint64  // as expected and in time: only these are in the latencies
	Mismatched uint64  // were other than expected
	Missing    uint64  // never came
	Late       uint64  // came after Timeout
	Extra      uint64  // came with no request open
	Rate       float64 // replies a second, of those that came while it was counted
	Unsent     uint64  // requests of an open loop that were due and could not be sent in time
	Connects   uint64  // connections made, those before the warm-up included
	Errors     map[Kind]uint64

	Began         time.Time     // when counting did
	Elapsed       time.Duration // since then
	Interrupted   bool
	GaveUp        bool   // before all requests were sent, since there was no connection for Timeout
	BytesSent     uint64 // endings included
	BytesReceived uint64

	// Times. Response and Lag are those of an open loop, Lookup and FirstReply those
	// of a connection for each request.
	Service, Response, Lag, Connect, Lookup, FirstReply Times

	Seconds []Second // the parts of the counted time
	CPU     float64  // the share of its cores that this process used, 0 if unknown
}

// bad counts whatever was other than a reply as expected and in time.
func (r *Result) bad() uint64 {
	n := r.Mismatched + r.Missing + r.Late + r.Extra + r.Unsent
	for _, k := range r.Errors {
		n += k
	}
	return n
}

func (r *run) result() *Result {
	t := r.ledger.total
	wire := r.bytes()
	res := &Result{
		Requests: t.requests, Replies: t.replies,
		Mismatched: t.mismatched, Missing: t.missing, Late: t.late, Extra: t.extra,
		Unsent: r.unsent, Connects: t.connects, Errors: maps.Clone(t.errors),
		Began: r.base.Add(r.from), Elapsed: r.elapsed(), Interrupted: r.interrupted > 0, GaveUp: r.gaveUp,
		BytesSent: wire.out - r.bytesBefore.out, BytesReceived: wire.in - r.bytesBefore.in,
		Service: Times{t.service}, Response: Times{t.response}, Lag: Times{t.lag},
		Connect: Times{t.connect}, Lookup: Times{t.lookup}, FirstReply: Times{t.first},
		Seconds: r.ledger.seconds,
		CPU:     usageNow().share(r.usedBefore),
	}
	if res.Elapsed > 0 {
		res.Rate = float64(t.within) / res.Elapsed.Seconds()
	}
	if r.Rate == 0 {
		res.Response = res.Service // a request is due when it is sent
	}
	return res
}

// elapsed is how long was counted.
func (r *run) elapsed() time.Duration {
	end := r.ledger.total.last
	switch {
	case r.interrupted > 0:
		end = r.interrupted
	case r.until > 0 && (r.Requests == 0 || r.ledger.total.requests < r.Requests):
		end = r.until
	}
	return max(0, end-r.from)
}
