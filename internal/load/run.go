package load

import (
	"cmp"
	"context"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
)

const (
	dialsAtOnce   = 128                    // when a run begins: below the usual backlogs
	minPause      = 10 * time.Millisecond  // before a lost connection is made again, doubling
	maxPause      = time.Second            //
	backlogLimit  = time.Second            // for what is overdue when an open loop ends
	closeTimeout  = time.Second            // for a server to close after our end of file
	drainTimeout  = 10 * time.Millisecond  // and with a connection for each request, once that is answered
	maxSleep      = 100 * time.Millisecond // the longest sleep without a look whether the run is over
	socketBuffers = 64 << 10               // bytes that the sockets of a connection hold, so that sending them does not wait
	forever       = 100 * 365 * 24 * time.Hour
)

// longAgo is a deadline that wakes whoever waits.
var longAgo = time.Unix(1, 0)

// A run is a Plan being carried out. Its times are durations since base.
type run struct {
	*Plan
	base      time.Time
	began     time.Duration // the first request is due
	from      time.Duration // requests are counted from here
	until     time.Duration // and no more are due from here; 0 is never
	jobs      chan job      // of an open loop
	large     bool          // what is in flight on a connection does not fit into its sockets
	lateAfter time.Duration // of a reply; the steps of a dialogue have each their own time
	workers   []*worker
	recorders []*recorder
	totals    totals

	fault   atomic.Pointer[error] // of a dialogue that cannot be played as it is
	taken   atomic.Uint64         // requests
	counted atomic.Uint64         // of these
	working sync.WaitGroup
	idle    chan struct{} // closed when all workers have ended

	waiting context.Context // ends when replies are not waited for any more
	cut     context.CancelFunc
	sending context.Context // ends, with it or before, when no more requests are to be sent
	end     context.CancelFunc

	interrupted time.Duration // when, 0 if it was not
	connectedAt time.Duration // when there was a connection last
	gaveUp      bool          // since there was none for too long
	unsent      uint64        // requests that were due when an open loop ended; written by pace
	usedBefore  usage         // what this process had used when counting began
	bytesBefore traffic       // and what had gone over the wire
}

// A job is one request that is to be sent.
type job struct {
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
	r := &run{Plan: &plan, base: time.Now(), idle: make(chan struct{}), totals: newTotals()}
	if r.lateAfter = plan.Timeout; plan.Script != nil {
		r.lateAfter = forever
	}
	r.large = uint64(plan.InFlight)*uint64(plan.Messages.Longest()) > socketBuffers
	r.waiting, r.cut = context.WithCancel(context.Background())
	r.sending, r.end = context.WithCancel(r.waiting)
	for range min(plan.Connections, runtime.GOMAXPROCS(0)) {
		r.recorders = append(r.recorders, newRecorder(plan.Script.size()))
	}
	for i := range plan.Connections {
		r.workers = append(r.workers, newWorker(r, i))
	}
	return r
}

// addDurations adds two of 0 or more. The longest duration is "never" to those who ask for it.
func addDurations(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// now is the time since base. It reads only the monotonic clock.
func (r *run) now() time.Duration { return time.Since(r.base) }

// connectAll makes the connections, and fails if none can be made. With a connection
// for each request it only sees whether one can.
func (r *run) connectAll(ctx context.Context) error {
	if r.ConnectEach {
		return r.tryToConnect(ctx)
	}
	errs := make([]error, len(r.workers))
	places := make(chan struct{}, dialsAtOnce)
	var dialling sync.WaitGroup
	for i, w := range r.workers {
		places <- struct{}{}
		dialling.Go(func() {
			if errs[i] = w.connect(ctx); errs[i] != nil {
				w.failed(errs[i])
			}
			<-places
		})
	}
	dialling.Wait()
	if ctx.Err() == nil && slices.Contains(errs, nil) {
		return nil
	}
	r.hangUp()
	return cmp.Or(context.Cause(ctx), errs[0])
}

func (r *run) hangUp() {
	for _, w := range r.workers {
		w.hangUp()
	}
}

// tryToConnect makes a connection, which is not counted.
func (r *run) tryToConnect(ctx context.Context) error {
	conn, _, err := r.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if r.Banner {
		_, err = r.greeting(ctx, r.newClient(conn))
	}
	return err
}

// spinning is how long before the beginning nothing is slept away any more: a machine that is busy
// wakes a process late, and those that begin together are to begin within a millisecond.
const spinning = 2 * time.Millisecond

// awaitBegin waits until the load is to begin.
func (r *run) awaitBegin(ctx context.Context) error {
	if r.Begin == nil {
		return nil
	}
	at, err := r.Begin(ctx)
	if err != nil {
		r.hangUp()
		return err
	}
	sleep, done := r.sleeper()
	defer done()
	for left := time.Until(at); left > 0 && ctx.Err() == nil; left = time.Until(at) {
		if left > spinning {
			sleep(min(left-spinning, maxSleep))
		}
	}
	return nil
}

// start begins to send.
func (r *run) start() {
	r.began = r.now()
	r.connectedAt = r.began
	r.from = addDurations(r.began, r.Warmup)
	if r.Duration > 0 {
		r.until = addDurations(r.from, r.Duration)
	}
	if r.Warmup == 0 {
		r.usedBefore, r.bytesBefore = usageNow(), r.bytes()
	}
	if r.Rate > 0 {
		r.jobs = make(chan job)
		r.working.Go(r.pace)
	}
	stopPollers := func() {}
	if r.Rate == 0 && !r.large && !r.ConnectEach && !r.Silent() && r.Script == nil {
		stopPollers = r.startPollers()
	}
	for _, w := range r.workers {
		r.working.Go(w.work)
	}
	go func() {
		defer close(r.idle)
		r.working.Wait()
		stopPollers()
	}()
}

// interrupt ends the run without waiting for replies.
func (r *run) interrupt() {
	r.cut()
	for _, w := range r.workers {
		w.interrupt()
	}
}

// take is the next job of a closed loop, unless the run is over.
func (r *run) take(now time.Duration) (job, bool) {
	j := job{due: now, counted: now >= r.from}
	if r.until > 0 && now >= r.until || r.sending.Err() != nil {
		return j, false
	}
	return r.number(j)
}

// number gives the job its number, unless there have been enough.
func (r *run) number(j job) (job, bool) {
	if j.counted && r.Requests > 0 && r.counted.Add(1) > r.Requests {
		r.end() // a lost connection is not made again for nothing
		return j, false
	}
	j.n = r.Part.number(r.taken.Add(1))
	return j, true
}

// pace hands out the jobs of an open loop, each when it is due: to whichever worker
// has room, or as soon as one has.
func (r *run) pace() {
	defer close(r.jobs)
	sleep, done := r.sleeper()
	defer done()
	for i := uint64(0); ; i++ {
		j, ok := r.jobAt(i)
		if !ok {
			return
		}
		for wait := j.due - r.now(); wait > 0 && r.sending.Err() == nil; wait = j.due - r.now() {
			sleep(min(wait, maxSleep))
		}
		select {
		case r.jobs <- j:
		case <-r.sending.Done():
			r.countUnsent(j, i)
			return
		}
	}
}

// jobAt is the i-th job of an open loop.
func (r *run) jobAt(i uint64) (job, bool) {
	due := r.due(i)
	if r.until > 0 && due >= r.until {
		return job{}, false
	}
	return r.number(job{due: due, counted: due >= r.from})
}

// due is when the i-th job of an open loop is. The floating point holds whatever the product comes to.
func (r *run) due(i uint64) time.Duration {
	ofAll := float64(i)*float64(max(1, r.Part.Of)) + float64(r.Part.Index)
	return r.began + time.Duration(min(ofAll/r.Rate*float64(time.Second), float64(forever)))
}

// countUnsent counts the jobs from the i-th on, which is j, that were due when no worker had
// room for them.
// They may be too many to be taken one by one.
func (r *run) countUnsent(j job, i uint64) {
	end := r.now() + 1
	if r.until > 0 {
		end = min(end, r.until)
	}
	first := max(i, r.dueBefore(r.from))
	r.unsent = max(first, r.dueBefore(end)) - first
	if r.Requests > 0 {
		left := r.Requests - r.counted.Load()
		if j.counted {
			left++
		}
		r.unsent = min(r.unsent, left)
	}
}

// dueBefore is how many jobs of an open loop are due before then.
func (r *run) dueBefore(then time.Duration) uint64 {
	least, most := uint64(0), uint64(math.MaxInt64) // more than an int has where it is of 32 bits
	for least < most {
		i := least + (most-least)/2
		if r.due(i) < then {
			least = i + 1
		} else {
			most = i
		}
	}
	return least
}

// sleeper is how pace sleeps.
func (r *run) sleeper() (sleep func(time.Duration), done func()) {
	if r.Sleep != nil {
		return r.Sleep, func() {}
	}
	return preciseSleep()
}

// watch tells of each second, until all workers have ended.
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
		end = time.After(addDurations(r.until-r.now(), r.overtime()))
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
			r.interruptLate()
			if r.serviceGone() {
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

// overtime is how long what is overdue when an open loop ends may still be sent.
func (r *run) overtime() time.Duration {
	if r.Rate > 0 {
		return backlogLimit
	}
	return 0
}

// interruptLate gives up the connections whose replies have taken too long.
func (r *run) interruptLate() {
	now := r.now()
	for _, w := range r.workers {
		w.interruptIfLate(now)
	}
}

// serviceGone reports whether the service has been away for Timeout. A run that ends at a given
// time waits for it to come back; one of a number of requests would wait for ever.
func (r *run) serviceGone() bool {
	now := r.now()
	if r.until > 0 || r.ConnectEach || slices.ContainsFunc(r.workers, (*worker).isConnected) {
		r.connectedAt = now
	}
	return now-r.connectedAt >= r.Timeout
}
