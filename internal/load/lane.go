package load

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
)

// A lane is one connection at a time and the requests that wait for their replies on it.
type lane struct {
	*run
	id     uint64 // {conn} in a message
	shard  *shard
	poller *poller        // for a closed loop; nil if there is none
	client *parley.Client // nil while it is not connected
	wire   meter
	batch  [][]byte // requests to be sent in one write

	room chan struct{} // for duplex: a token for each request that may be in flight

	connected time.Duration

	mu      sync.Mutex
	conn    net.Conn
	leaving bool     // our end of file is out
	flights []flight // a ring of InFlight places, so that bodies are used again
	oldest  int
	open    int // how many are in use
}

// A flight is a request that has been sent, or is about to be.
type flight struct {
	ticket
	sent time.Duration
	lag  time.Duration // how much later it was sent than it could have been
	body []byte
}

func newLane(r *run, i int) *lane {
	return &lane{run: r, id: uint64(i + 1), shard: r.shards[i%len(r.shards)], flights: make([]flight, r.InFlight)}
}

// work sends and receives until the run is over, on as many connections as it takes.
func (l *lane) work() {
	defer l.hangUp()
	converse := l.closedLoop
	switch {
	case l.ConnectEach:
		l.connectEach()
		return
	case l.Rate > 0 || l.large:
		converse = l.duplex
	}
	pause := minRetry
	for l.client != nil || l.reconnect() {
		heard := l.wire.in.Load()
		err := converse()
		if err == nil {
			return
		}
		l.lost(err)
		if l.wire.in.Load() > heard {
			pause = minRetry
		} else { // a service that accepts and closes is as good as away
			l.rest(pause)
			pause = min(2*pause, maxRetry)
		}
	}
}

// connect makes a connection.
func (l *lane) connect(ctx context.Context) error {
	conn, steps, err := l.Dial(ctx)
	if err != nil {
		return err
	}
	l.connected = l.now()
	l.shard.count(func(t *tally) {
		t.connects++
		record(t.connect, steps.Connect)
		record(t.lookup, steps.Lookup)
	})
	l.mu.Lock()
	l.conn, l.leaving = conn, false
	l.mu.Unlock()
	l.wire.Conn = conn
	l.client = parley.NewClient(&l.wire, l.Framing)
	return nil
}

// reconnect makes a lost connection again, with pauses that double, until the run is
// over.
func (l *lane) reconnect() bool {
	for pause := minRetry; l.sending.Err() == nil; pause = min(2*pause, maxRetry) {
		err := l.connect(l.sending)
		if err == nil {
			return true
		}
		l.failed(err)
		l.rest(pause)
	}
	return false
}

// rest is a pause that ends with the run.
func (l *lane) rest(pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-l.sending.Done():
	}
}

// failed counts an error, unless the run caused it by its end.
func (l *lane) failed(err error) {
	if l.waiting.Err() == nil && !errors.Is(err, context.Canceled) {
		l.shard.count(func(t *tally) { t.errors[KindOf(err)]++ })
	}
}

// hangUp closes the connection.
func (l *lane) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.Close()
	}
	l.conn, l.client = nil, nil
}

// interrupt wakes whoever waits for the connection.
func (l *lane) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.SetDeadline(longAgo)
	}
}

// lost ends a connection that failed: what waits for a reply gets none.
func (l *lane) lost(err error) {
	l.hangUp()
	unanswered := uint64(0)
	for f, ok := l.first(); ok; f, ok = l.first() {
		if f.counted {
			unanswered++
		}
		l.land()
	}
	if l.waiting.Err() != nil {
		return // nobody waited for them
	}
	now := l.now()
	l.shard.count(func(t *tally) {
		if unanswered > 0 {
			t.last = max(t.last, now)
		}
		t.errors[KindOf(err)]++
		t.requests += unanswered
		t.missing += unanswered
	})
}

// depart lays out the request for a ticket and notes that it is under way.
func (l *lane) depart(t ticket, now, free time.Duration) (body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &l.flights[(l.oldest+l.open)%len(l.flights)]
	f.ticket, f.sent, f.lag = t, now, now-max(t.due, free)
	f.body = l.Messages.Append(f.body[:0], t.n, l.id)
	l.open++
	return f.body
}

// first is the flight whose reply comes next. It is not used again before land.
func (l *lane) first() (*flight, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &l.flights[l.oldest], l.open > 0
}

func (l *lane) land() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.oldest = (l.oldest + 1) % len(l.flights)
	l.open--
	if l.room != nil {
		l.room <- struct{}{}
	}
}

// interruptIfLate wakes whoever waits if a reply has taken so long that it is not waited for.
func (l *lane) interruptIfLate(now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && l.late(now) {
		l.conn.SetDeadline(longAgo)
	}
}

func (l *lane) isConnected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn != nil
}

func (l *lane) late(now time.Duration) bool {
	return l.open > 0 && now-l.flights[l.oldest].sent >= 2*l.Timeout
}

// closedLoop sends a request for each reply that comes.
func (l *lane) closedLoop() error {
	if l.poller != nil {
		if ok, err := l.poller.drive(l); ok {
			return err
		}
	}
	err := l.send(l.now())
	for err == nil {
		err = l.goOn()
	}
	return l.unlessLeft(err)
}

// goOn receives what has come, and sends as many requests.
func (l *lane) goOn() error {
	now, err := l.receive()
	if err != nil || l.leaving {
		return err
	}
	return l.send(now)
}

// send sends as many requests as there is room for in flight, and leaves when there are no
// more and all have been answered.
func (l *lane) send(now time.Duration) error {
	l.batch = l.batch[:0]
	for l.open < l.InFlight {
		t, ok := l.take(now)
		if !ok {
			break
		}
		l.batch = append(l.batch, l.depart(t, now, now))
	}
	switch {
	case l.open == 0:
		l.leave()
	case len(l.batch) > 0:
		return l.client.Send(context.Background(), l.batch...)
	}
	return nil
}

// duplex sends each request when it is due, whatever has been answered, as far as there
// is room in flight. Replies are received beside it. A closed loop with much in flight needs
// that too: a service that waits for its replies to be read reads no more requests.
func (l *lane) duplex() error {
	l.room = make(chan struct{}, l.InFlight)
	for range l.InFlight {
		l.room <- struct{}{}
	}
	var lost error
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		lost = l.receiveAll()
	}()
	err := l.sendAll(broken)
	if err != nil {
		l.mu.Lock()
		l.conn.Close()
		l.mu.Unlock()
	} else {
		l.leave()
	}
	<-broken
	return cmp.Or(err, lost)
}

// sendAll sends until there are no more tickets and all replies have come, or until the
// connection is broken.
func (l *lane) sendAll(broken <-chan struct{}) error {
	for {
		select {
		case <-l.room:
		case <-broken:
			return nil
		}
		free := l.now()
		t, ok := l.next(free, broken)
		if !ok {
			l.awaitReplies(broken)
			return nil
		}
		if err := l.client.Send(context.Background(), l.depart(t, l.now(), free)); err != nil {
			return err
		}
	}
}

// awaitReplies waits until nothing is in flight. One token is the caller's already.
func (l *lane) awaitReplies(broken <-chan struct{}) {
	for range l.InFlight - 1 {
		select {
		case <-l.room:
		case <-broken:
			return
		}
	}
}

// connectEach has a connection for each request.
func (l *lane) connectEach() {
	pause := minRetry
	for {
		free := l.now()
		t, ok := l.next(free, nil)
		if !ok {
			return
		}
		body := l.depart(t, l.now(), free)
		err := l.connect(l.waiting)
		if err != nil {
			l.lost(err)
			l.rest(pause)
			pause = min(2*pause, maxRetry)
			continue
		}
		pause = minRetry
		if err = l.exchange(body); err != nil {
			l.lost(err)
		}
		l.hangUp()
	}
}

// exchange sends a request and receives its reply, at the same time if it is large.
func (l *lane) exchange(body []byte) error {
	if !l.large {
		if err := l.client.Send(l.waiting, body); err != nil {
			return err
		}
		_, err := l.receive()
		return err
	}
	client := l.client
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() { client.Send(l.waiting, body) }) // what breaks it ends receiving too
	_, err := l.receive()
	l.hangUp() // a request that was answered early is not sent to its end
	return err
}

// next is the ticket for the next request, if there is one before the connection is
// broken.
func (l *lane) next(now time.Duration, broken <-chan struct{}) (t ticket, ok bool) {
	if l.Rate == 0 {
		return l.take(now)
	}
	select {
	case t, ok = <-l.tickets:
	case <-broken:
	}
	return t, ok
}

// receiveAll receives until the connection ends.
func (l *lane) receiveAll() error {
	for {
		if _, err := l.receive(); err != nil {
			return l.unlessLeft(err)
		}
	}
}

// unlessLeft is what ended the connection: no error once we have left.
func (l *lane) unlessLeft(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving {
		return nil
	}
	return err
}

// receive waits for a reply, and takes those that have come with it. It returns when
// that was.
func (l *lane) receive() (time.Duration, error) {
	reply, err := l.client.Receive(context.Background())
	for errors.Is(err, os.ErrDeadlineExceeded) && l.spared() {
		reply, err = l.client.Receive(context.Background())
	}
	now := l.now()
	for ok := true; ok && err == nil; reply, ok, err = l.client.TryReceive() {
		if ok {
			l.judge(reply, now)
		}
	}
	return now, err
}

// spared reports whether an interruption was meant for a reply that has come after all.
func (l *lane) spared() bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving || l.waiting.Err() != nil || l.late(now) {
		return false
	}
	l.conn.SetDeadline(time.Time{})
	return true
}

// judge counts a reply.
func (l *lane) judge(reply []byte, now time.Duration) {
	f, ok := l.first()
	if !ok {
		if now >= l.from {
			l.shard.count(func(t *tally) { t.extra++ })
		}
		return
	}
	l.settle(f, l.Expect.Holds(f.body, reply), now)
	l.land()
}

// settle counts the reply of a flight.
func (l *lane) settle(f *flight, held bool, now time.Duration) {
	service := now - f.sent
	late := service > l.Timeout
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	t := l.shard.tally
	if held && !late && now >= l.from && (l.until == 0 || now <= l.until) {
		t.within++
	}
	if !f.counted {
		return
	}
	t.requests++
	t.last = max(t.last, now)
	switch {
	case late:
		t.late++
	case !held:
		t.mismatched++
	default:
		t.replies++
		record(t.service, service)
		if l.Rate > 0 {
			record(t.response, now-f.due)
			record(t.lag, f.lag)
		}
		if l.ConnectEach {
			record(t.first, now-l.connected)
		}
	}
}

// leave half-closes a connection that is done with. What still comes is extra, if it
// comes before the server closes, or soon.
func (l *lane) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaving = true
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		l.conn.SetReadDeadline(longAgo)
		return
	}
	l.conn.SetReadDeadline(time.Now().Add(min(l.Timeout, farewell)))
}

// A meter counts the bytes of a connection.
type meter struct {
	net.Conn
	in, out atomic.Uint64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.in.Add(uint64(n))
	return n, err
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.Conn.Write(p)
	m.out.Add(uint64(n))
	return n, err
}

// traffic is what has gone over the wire.
type traffic struct{ in, out uint64 }

func (r *run) bytes() (t traffic) {
	for _, l := range r.lanes {
		t.in += l.wire.in.Load()
		t.out += l.wire.out.Load()
	}
	return t
}
