package load

import (
	"maps"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
)

// A Result is what a run measured. Requests of the warm-up are in none of its numbers.
type Result struct {
	Requests   uint64  // sent, and their fate is known
	Replies    uint64  // as expected and in time: only these are in the latencies
	Taken      uint64  // where there are no replies: requests that were taken, by the peer or on the way to it
	Mismatched uint64  // were other than expected
	Missing    uint64  // never came; where there are no replies, requests that were not taken
	Late       uint64  // came after Timeout
	Extra      uint64  // came with no request open
	Within     uint64  // replies, or requests taken, whichever they are of, that came while it was counted
	Rate       float64 // Within a second
	Unsent     uint64  // requests of an open loop that were due and could not be sent in time
	Connects   uint64  // connections made, those before the warm-up included
	Resumed    uint64  // of these, that resumed the TLS session of one before
	Errors     map[dial.Kind]uint64
	NoTLS      string // why TLS failed the first time, if it did

	Examples map[Outcome]*Example // the first of each kind that was not as it should be

	Began         time.Time     // when counting did
	Elapsed       time.Duration // since then
	Interrupted   bool
	GaveUp        bool   // before all requests were sent, since there was no connection for Timeout
	BytesSent     uint64 // endings included
	BytesReceived uint64

	// Times. Response and Lag are those of an open loop, Lookup and FirstReply those
	// of a connection for each request, Handshake is of TLS, Greeting of servers that speak first, and
	// Write is in place of Service and Response where there are no replies.
	Service, Response, Lag, Connect, Handshake, Greeting, Lookup, FirstReply, Write Times

	Steps []StepTimes // of a dialogue, but its pauses

	Seconds []Second // the parts of the counted time
	CPU     float64  // the share of its cores that this process used, 0 if unknown; of machines that of the busiest

	Together *Together // how several machines put it on; nil if one did
}

// Failed reports whether replies were not what or when they should have been.
func (r *Result) Failed() bool { return r.Mismatched+r.Missing+r.Late+r.Extra > 0 }

// Bad counts whatever was other than a reply as expected and in time.
func (r *Result) Bad() uint64 {
	n := r.Mismatched + r.Missing + r.Late + r.Extra + r.Unsent
	for _, k := range r.Errors {
		n += k
	}
	return n
}

func (r *run) result() *Result {
	t := r.totals.total
	wire := r.bytes()
	res := &Result{
		Requests: t.requests, Replies: t.replies,
		Mismatched: t.mismatched, Missing: t.missing, Late: t.late, Extra: t.extra, Within: t.within,
		Unsent: r.unsent, Connects: t.connects, Resumed: t.resumed, Errors: maps.Clone(t.errors), NoTLS: t.noTLS, Examples: maps.Clone(map[Outcome]*Example(t.examples)),
		Began: r.base.Add(r.from), Elapsed: r.elapsed(), Interrupted: r.interrupted > 0, GaveUp: r.gaveUp,
		BytesSent: wire.out - r.bytesBefore.out, BytesReceived: wire.in - r.bytesBefore.in,
		Service: Times{t.service}, Response: Times{t.response}, Lag: Times{t.lag},
		Connect: Times{t.connect}, Handshake: Times{t.handshake}, Greeting: Times{t.greeting}, Lookup: Times{t.lookup}, FirstReply: Times{t.first},
		Steps:   r.stepTimes(),
		Seconds: r.totals.seconds,
		CPU:     usageNow().share(r.usedBefore),
	}
	r.conceal(res.Examples)
	res.Rate = res.rate()
	if r.Rate == 0 {
		res.Response = res.Service // a request is due when it is sent
	}
	if r.Silent() {
		res.Taken, res.Replies = res.Replies, 0
		res.Write, res.Service, res.Response = res.Service, Times{newHistogram()}, Times{newHistogram()}
	}
	return res
}

func (r *Result) rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Within) / r.Elapsed.Seconds()
}

// conceal says of requests with credentials what is shown for them.
func (p *Plan) conceal(examples map[Outcome]*Example) {
	for _, e := range examples {
		if p.Conceal != nil && e.Request.Size > 0 {
			e.Words, _ = p.Conceal(e.Request.Bytes)
		}
	}
}

// elapsed is how long was counted.
func (r *run) elapsed() time.Duration {
	end := r.totals.total.last
	switch {
	case r.interrupted > 0:
		end = r.interrupted
	case r.until > 0 && (r.Requests == 0 || r.totals.total.requests < r.Requests):
		end = r.until
	}
	return max(0, end-r.from)
}
