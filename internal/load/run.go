package load

import (
	"cmp"
	"context"
	"math"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
)

const (
	dialsAtOnce = 128                    // when a run begins: below the usual backlogs
	minRetry    = 10 * time.Millisecond  // before a lost connection is made again, doubling
	maxRetry    = time.Second            //
	backlogTime = time.Second            // for what is overdue when an open loop ends
	farewell    = time.Second            // for a server to close after our end of file
	restless    = 100 * time.Millisecond // the longest sleep without a look whether the run is over
	buffered    = 64 << 10               // bytes that the sockets of a connection hold, so that sending them does not wait
	forever     = 100 * 365 * 24 * time.Hour
)

// longAgo is a deadline that wakes whoever waits.
var longAgo = time.Unix(1, 0)

// A run is a Plan being carried out. Its times are durations since base.
type run struct {
	*Plan
	base    time.Time
	began   time.Duration // the first request is due
	from    time.Duration // requests are counted from here
	until   time.Duration // and no more are due from here; 0 is never
	tickets chan ticket   // of an open loop
	large   bool          // what is in flight on a connection does not fit into its sockets
	lanes   []*lane
	shards  []*shard
	ledger  ledger

	taken   atomic.Uint64 // requests
	counted atomic.Uint64 // of these
	working sync.WaitGroup
	idle    chan struct{} // closed when all lanes have ended

	waiting context.Context // ends when replies are not waited for any more
	cut     context.CancelFunc
	sending context.Context // ends, with it or before, when no more requests are to be sent
	end     context.CancelFunc

	interrupted time.Duration // when, 0 if it was not
	seen        time.Duration // when there was a connection last
	gaveUp      bool          // since there was none for too long
	unsent      uint64        // requests that were due when an open loop ended; written by pace
	usedBefore  usage         // what this process had used when counting began
	bytesBefore traffic       // and what had gone over the wire
}

// A ticket allows one request to be sent.
type ticket struct {
	n       uint64        // its number, from 1
	due     time.Duration // when
	counted bool
}

func newRun(p *Plan) *run {
	plan := *p
	plan.Connections = cmp.Or(p.Connections, 1)
	plan.InFlight = cmp.Or(p.InFlight, 1)
	plan.Timeout = cmp.Or(p.Timeout, 10*time.Second)
	if plan.Framing == nil {
		plan.Framing = parley.Lines
	}
	r := &run{Plan: &plan, base: time.Now(), idle: make(chan struct{}), ledger: newLedger()}
	r.large = plan.InFlight*plan.Messages.Longest() > buffered
	r.waiting, r.cut = context.WithCancel(context.Background())
	r.sending, r.end = context.WithCancel(r.waiting)
	for range min(plan.Connections, runtime.GOMAXPROCS(0)) {
		r.shards = append(r.shards, newShard())
	}
	for i := range plan.Connections {
		r.lanes = append(r.lanes, newLane(r, i))
	}
	return r
}

// now is the time since base. It reads only the monotonic clock.
func (r *run) now() time.Duration { return time.Since(r.base) }

// connectAll makes the connections, and fails if none can be made. With a connection
// for each request it only sees whether one can.
func (r *run) connectAll(ctx context.Context) error {
	if r.ConnectEach {
		conn, _, err := r.Dial(ctx)
		if err == nil {
			conn.Close()
		}
		return err
	}
	errs := make([]error, len(r.lanes))
	places := make(chan struct{}, dialsAtOnce)
	var dialling sync.WaitGroup
	for i, l := range r.lanes {
		places <- struct{}{}
		dialling.Go(func() {
			if errs[i] = l.connect(ctx); errs[i] != nil {
				l.failed(errs[i])
			}
			<-places
		})
	}
	dialling.Wait()
	if ctx.Err() == nil && slices.Contains(errs, nil) {
		return nil
	}
	for _, l := range r.lanes {
		l.hangUp()
	}
	return cmp.Or(context.Cause(ctx), errs[0])
}

// start begins to send.
func (r *run) start() {
	r.began = r.now()
	r.seen = r.began
	r.from = r.began + r.Warmup
	if r.Duration > 0 {
		r.until = r.from + r.Duration
	}
	if r.Warmup == 0 {
		r.usedBefore, r.bytesBefore = usageNow(), r.bytes()
	}
	if r.Rate > 0 {
		r.tickets = make(chan ticket)
		r.working.Go(r.pace)
	}
	dismiss := func() {}
	if r.Rate == 0 && !r.large && !r.ConnectEach {
		dismiss = r.hirePollers()
	}
	for _, l := range r.lanes {
		r.working.Go(l.work)
	}
	go func() {
		defer close(r.idle)
		r.working.Wait()
		dismiss()
	}()
}

// interrupt ends the run without waiting for replies.
func (r *run) interrupt() {
	r.cut()
	for _, l := range r.lanes {
		l.interrupt()
	}
}

// take allows a closed loop its next request.
func (r *run) take(now time.Duration) (ticket, bool) {
	t := ticket{due: now, counted: now >= r.from}
	if r.until > 0 && now >= r.until || r.sending.Err() != nil {
		return t, false
	}
	return r.number(t)
}

// number gives the request its number, unless there have been enough.
func (r *run) number(t ticket) (ticket, bool) {
	if t.counted && r.Requests > 0 && r.counted.Add(1) > r.Requests {
		r.end() // a lost connection is not made again for nothing
		return t, false
	}
	t.n = r.taken.Add(1)
	return t, true
}

// pace hands out the tickets of an open loop, each when it is due: to whichever lane
// has room, or as soon as one has.
func (r *run) pace() {
	defer close(r.tickets)
	sleep, done := r.sleeper()
	defer done()
	for i := uint64(0); ; i++ {
		t, ok := r.ticket(i)
		if !ok {
			return
		}
		for wait := t.due - r.now(); wait > 0 && r.sending.Err() == nil; wait = t.due - r.now() {
			sleep(min(wait, restless))
		}
		select {
		case r.tickets <- t:
		case <-r.sending.Done():
			r.leave(t, i)
			return
		}
	}
}

// ticket is the i-th of an open loop.
func (r *run) ticket(i uint64) (ticket, bool) {
	due := r.due(i)
	if r.until > 0 && due >= r.until {
		return ticket{}, false
	}
	return r.number(ticket{due: due, counted: due >= r.from})
}

// due is when the i-th ticket of an open loop is.
func (r *run) due(i uint64) time.Duration {
	return r.began + time.Duration(min(float64(i)/r.Rate*float64(time.Second), float64(forever)))
}

// leave counts the tickets from t, the i-th, on that were due and nobody had room for.
// They may be too many to be taken one by one.
func (r *run) leave(t ticket, i uint64) {
	end := r.now() + 1
	if r.until > 0 {
		end = min(end, r.until)
	}
	first := max(i, r.dueBefore(r.from))
	r.unsent = max(first, r.dueBefore(end)) - first
	if r.Requests > 0 {
		left := r.Requests - r.counted.Load()
		if t.counted {
			left++
		}
		r.unsent = min(r.unsent, left)
	}
}

// dueBefore is how many tickets of an open loop are due before then.
func (r *run) dueBefore(then time.Duration) uint64 {
	return uint64(sort.Search(math.MaxInt, func(i int) bool { return r.due(uint64(i)) >= then }))
}

// sleeper is how pace sleeps.
func (r *run) sleeper() (sleep func(time.Duration), done func()) {
	if r.sleep != nil {
		return r.sleep, func() {}
	}
	return preciseSleep()
}

// watch tells of each second, until all lanes have ended.
func (r *run) watch(ctx context.Context) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	late := time.NewTicker(max(r.Timeout/8, time.Millisecond))
	defer late.Stop()
	var counting, end <-chan time.Time
	if r.Warmup > 0 {
		counting = time.After(r.from - r.now())
	}
	if r.until > 0 {
		end = time.After(r.until - r.now() + r.patience())
	}
	interrupted := ctx.Done()
	last := r.now()
	tell := func() {
		now := r.now()
		r.collect(last, now)
		last = now
	}
	for {
		select {
		case <-second.C:
			tell()
		case <-late.C:
			r.giveUp()
			if r.gone() {
				r.gaveUp = true
				r.end()
			}
		case <-counting:
			counting = nil
			r.usedBefore, r.bytesBefore = usageNow(), r.bytes()
			tell()
			second.Reset(time.Second)
		case <-end:
			r.end()
		case <-interrupted:
			interrupted = nil
			r.interrupted = r.now()
			r.interrupt()
		case <-r.idle:
			if counting != nil { // nothing was
				r.bytesBefore = r.bytes()
			}
			tell()
			return
		}
	}
}

// patience is how long what is overdue when an open loop ends may still be sent.
func (r *run) patience() time.Duration {
	if r.Rate > 0 {
		return backlogTime
	}
	return 0
}

// giveUp gives up the connections whose replies have taken too long.
func (r *run) giveUp() {
	now := r.now()
	for _, l := range r.lanes {
		l.interruptIfLate(now)
	}
}

// gone reports whether the service has been away for Timeout. A run that ends at a given
// time waits for it to come back; one of a number of requests would wait for ever.
func (r *run) gone() bool {
	now := r.now()
	if r.until > 0 || r.ConnectEach || slices.ContainsFunc(r.lanes, (*lane).isConnected) {
		r.seen = now
	}
	return now-r.seen >= r.Timeout
}
