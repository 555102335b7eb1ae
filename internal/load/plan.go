// Package load puts a load on a request/reply service, judges every reply and measures
// how long it took.
//
// A run is a closed loop or an open one. In a closed loop each connection sends its next
// request when a reply is there: it shows how fast the service can go, but a stall
// also keeps the requests from being sent that would have felt it. In an open loop requests
// are due at a given rate, whatever the service does, and are counted from when they were
// due: that is the response time, what somebody who comes by sees. The service time, from the
// actual sending, is measured beside it.
package load

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/expect"
)

// A Plan is a load and what is expected of the service under it.
type Plan struct {
	// Dial makes a connection and says what it took. It may be called by many
	// goroutines at a time.
	Dial func(context.Context) (net.Conn, dial.Steps, error)

	Framing  parley.Framing // as of a parley.Dialer
	Replies  parley.Framing // the same; with parley.NoReplies what is measured is what is taken
	Banner   bool           // the first message on a connection is a greeting: nothing is sent before, and it is no reply
	Messages *Messages      // the requests; nil with a Script
	Expect   expect.Rule    // of each reply; the zero value does not judge
	Script   *Script        // what is played in place of requests and replies: wherever these are counted, a dialogue is

	Connections int     // at once; 1 if zero
	InFlight    int     // requests sent on one connection before the first of their replies; 1 if zero
	Rate        float64 // requests due a second, all in all: an open loop; 0 is a closed loop
	ConnectEach bool    // a connection for each request

	Warmup   time.Duration // first, and not counted
	Duration time.Duration // of what is counted; no end if zero
	Requests uint64        // to be counted; no end if zero

	// The longest reply that is taken, in bytes. If zero, all connections together hold 64 MiB:
	// each gets its share, from 64 KiB to 16 MiB.
	MaxReply int

	// Lacks says what a reply of which only this came, framing included, lacks to be whole, and what
	// may help. Not asked if nil.
	Lacks func(came []byte) (lacks, advice string)

	// Conceal says what a request with credentials is in words without them; ok is false for one
	// that has none. Not asked if nil.
	Conceal func(request []byte) (words string, ok bool)

	// A reply that takes longer than Timeout is late. When one has taken twice that,
	// its connection is given up. 10 s if zero.
	Timeout time.Duration

	// Watch, if not nil, is told of each second of the run, by one goroutine.
	Watch func(Second)

	// Part is which part of a load this is that several machines put on together. Rate is then that of all
	// of them, everything else of this one.
	Part Part

	// Begin, if not nil, is called when the connections are made and says when the load begins: at once
	// if that is past. After an error it does not.
	Begin func(context.Context) (time.Time, error)

	// Elsewhere, if not nil, carries the plan out in place of this process: on other machines.
	Elsewhere func(context.Context, *Plan) (*Result, error)

	// Sleep is how an open loop waits until a request is due: precisely, to some µs, if nil.
	Sleep func(time.Duration)
}

// A Part is one of the parts of a load. Of the requests, as one machine would number them, it has every
// Of-th from the one numbered Index+1: so no two parts have the same number, and in an open loop all
// together are due when those of one machine would be. The zero value is all of the load.
type Part struct {
	Index, Of   int
	Connections int // of the parts before it: {conn} goes on from there
}

// number is what the n-th request of the part, from 1, is of the whole load.
func (p Part) number(n uint64) uint64 {
	return (n-1)*uint64(max(1, p.Of)) + uint64(p.Index) + 1
}

// A Second is what happened in one second of a run, or in the rest of one at its end.
type Second struct {
	At      time.Duration // its end, from the beginning of what is counted; up to 0 in the warm-up
	Length  time.Duration
	Replies uint64        // that were as expected and in time; with Taken, requests that were taken
	Taken   bool          // nobody replies
	Played  bool          // they are dialogues
	Bad     uint64        // mismatched, missing, late and extra ones, and connections that failed
	P50     time.Duration // of the response time, as the others
	P95     time.Duration
	P99     time.Duration
	Open    int     // requests that wait for their replies when it ends
	Done    float64 // share of the run, warm-up included; 0 if it has no end

	// Response holds the response times in ns, in a closed loop the service times, with Taken
	// those of writes. It is valid during the call of Watch.
	Response *hdrhistogram.Histogram
}

// Counted is how much of it was counted: the warm-up may end within it.
func (s Second) Counted() time.Duration { return min(s.Length, s.At) }

// What the replies that are being received may hold, in bytes.
const (
	maxHeld       = 64 << 20 // on all connections
	leastMaxReply = 64 << 10 // on each
	mostMaxReply  = 16 << 20
)

// Silent reports whether there are no replies.
func (p *Plan) Silent() bool { return p.Replies == parley.NoReplies }

// ReplyLimit is the longest reply that is taken, in bytes.
func (p *Plan) ReplyLimit() int {
	return cmp.Or(p.MaxReply, min(max(maxHeld/max(p.Connections, 1), leastMaxReply), mostMaxReply))
}

// Digest is the SHA-256 of the requests, or of the dialogue, in hexadecimal digits.
func (p *Plan) Digest() string {
	hash := sha256.New()
	if p.Script != nil {
		hash.Write(p.Script.Dialogue.Append(nil))
	} else {
		p.Messages.write(hash)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// Run puts the load on and returns what was measured, also if ctx ends before its time:
// then the requests that still wait for their replies are not counted. It fails only if
// not one connection could be made, if Begin did, or if a dialogue cannot be played whatever the service
// says: then with its *dialogue.Failure.
func (p *Plan) Run(ctx context.Context) (*Result, error) {
	if p.Elsewhere != nil {
		return p.Elsewhere(ctx, p)
	}
	r := newRun(p)
	if err := r.connectAll(ctx); err != nil {
		return nil, err
	}
	if err := r.awaitBegin(ctx); err != nil {
		return nil, err
	}
	r.start()
	r.watch(ctx)
	if fault := r.fault.Load(); fault != nil {
		return nil, *fault
	}
	return r.result(), nil
}
