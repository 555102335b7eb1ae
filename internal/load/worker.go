package load

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
)

// A worker is one connection at a time and the requests that wait for their replies on it.
type worker struct {
	*run
	id       uint64 // {conn} in a message
	recorder *recorder
	poller   *poller        // for a closed loop; nil if there is none
	client   *parley.Client // nil while it is not connected
	actor    *actor         // for dialogues, in place of client; else nil
	wire     countingConn
	batch    [][]byte // requests to be sent in one write

	room chan struct{} // for duplex: a token for each request that may be in flight

	connected  time.Duration
	unfinished []byte // what came of a reply on the connection that was closed last

	mu          sync.Mutex
	conn        net.Conn
	halfClosed  bool      // our end of file is out
	requests    []request // a ring of InFlight places, so that bodies are used again
	oldest      int
	outstanding int // how many places are in use
}

// A request has been sent, or is about to be, and waits for its reply.
type request struct {
	job
	sent time.Duration
	lag  time.Duration // how much later it was sent than it could have been
	body []byte
}

func newWorker(r *run, i int) *worker {
	w := &worker{run: r, id: uint64(r.Part.Connections + i + 1), recorder: r.recorders[i%len(r.recorders)], requests: make([]request, r.InFlight)}
	if r.Script != nil {
		w.actor = newActor(r, w.id)
	}
	return w
}

// work sends and receives until the run is over, on as many connections as it takes.
func (w *worker) work() {
	defer w.hangUp()
	converse := w.closedLoop
	switch {
	case w.ConnectEach:
		w.connectEach()
		return
	case w.Script != nil:
		converse = w.playAll
	case w.Rate > 0 || w.large || w.Silent():
		converse = w.duplex
	}
	pause := minPause
	for w.isConnected() || w.reconnect() {
		heard := w.wire.in.Load()
		err := converse()
		if err == nil {
			return
		}
		w.connectionLost(err)
		if w.wire.in.Load() > heard {
			pause = minPause
		} else { // a service that accepts and closes is as good as away
			w.pause(pause)
			pause = min(2*pause, maxPause)
		}
	}
}

// connect makes a connection.
func (w *worker) connect(ctx context.Context) error {
	conn, steps, err := w.Dial(ctx)
	if err != nil {
		return err
	}
	w.recorder.count(func(s *stats) {
		s.connects++
		record(s.connect, steps.Connect)
		record(s.lookup, steps.Lookup)
		if over, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
			record(s.handshake, steps.TLS)
			if over.ConnectionState().DidResume {
				s.resumed++
			}
		}
	})
	w.mu.Lock()
	w.conn, w.halfClosed = conn, false
	w.mu.Unlock()
	w.wire.Conn = conn
	if w.Script != nil {
		w.actor.begin(&w.wire)
		return nil
	}
	w.client, w.unfinished = w.newClient(&w.wire), nil
	if w.Banner {
		err = w.hearGreeting(ctx)
	}
	w.connected = w.now()
	return err
}

// hearGreeting waits for what the server says first. What has come with it no request has asked
// for. Without a greeting the connection is of no use.
func (w *worker) hearGreeting(ctx context.Context) error {
	took, err := w.greeting(ctx, w.client)
	if err == nil {
		w.recorder.count(func(s *stats) { record(s.greeting, took) })
	}
	for ok := err == nil; ok; {
		var message []byte
		if message, ok, err = w.client.TryReceive(); ok && !w.client.Note().Alone {
			w.countExtra(message, w.now())
		}
	}
	if err != nil {
		w.hangUp()
	}
	return err
}

// A GreetingError is why a greeting did not come.
type GreetingError struct {
	Came []byte // what did, framing included
	Err  error
}

func (e *GreetingError) Error() string { return "no greeting: " + e.Err.Error() }
func (e *GreetingError) Unwrap() error { return e.Err }

// greeting waits for the greeting on a connection.
func (r *run) greeting(ctx context.Context, client *parley.Client) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	begin := r.now()
	if _, err = client.Receive(ctx); err != nil {
		err = &GreetingError{bytes.Clone(client.Unfinished()), err}
	}
	return r.now() - begin, err
}

// newClient is a client of the connection, with the plan's limit of a reply.
func (r *run) newClient(conn net.Conn) *parley.Client {
	dialer := parley.Dialer{Framing: r.Framing, Replies: r.Replies, MaxReply: r.ReplyLimit(),
		NetDial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	client, _ := dialer.Dial(context.Background(), "") // NetDial does not fail
	return client
}

// reconnect makes a lost connection again, with pauses that double, until the run is
// over.
func (w *worker) reconnect() bool {
	for pause := minPause; w.sending.Err() == nil; pause = min(2*pause, maxPause) {
		err := w.connect(w.sending)
		if err == nil {
			return true
		}
		w.failed(err)
		w.pause(pause)
	}
	return false
}

// pause ends with the run.
func (w *worker) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.sending.Done():
	}
}

// failed counts an error, unless the run caused it by its end.
func (w *worker) failed(err error) {
	if w.waiting.Err() == nil && !errors.Is(err, context.Canceled) {
		w.recorder.count(func(s *stats) { s.fail(err) })
	}
}

// hangUp closes the connection.
func (w *worker) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		closeAtOnce(w.conn)
	}
	if w.client != nil {
		w.unfinished = w.client.Unfinished()
	}
	w.conn, w.client = nil, nil
}

// closeAtOnce closes a connection that is lost, or whose end has been said already. TLS would say
// it once more, and wait for a peer that takes nothing.
func closeAtOnce(conn net.Conn) {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn()
	}
	conn.Close()
}

// interrupt wakes whoever waits for the connection.
func (w *worker) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		w.conn.SetDeadline(longAgo)
	}
}

// prepare writes the request of a job into its place and notes that it is in flight.
func (w *worker) prepare(j job, now, free time.Duration) (body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	req := &w.requests[(w.oldest+w.outstanding)%len(w.requests)]
	req.job, req.sent, req.lag = j, now, now-max(j.due, free)
	req.body = w.Messages.Append(req.body[:0], j.n, w.id)
	w.outstanding++
	return req.body
}

// oldestRequest is the one whose reply comes next. Its place is not used again before finish.
func (w *worker) oldestRequest() (*request, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &w.requests[w.oldest], w.outstanding > 0
}

// finish frees the place of the oldest request.
func (w *worker) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.oldest = (w.oldest + 1) % len(w.requests)
	w.outstanding--
	if w.room != nil {
		w.room <- struct{}{}
	}
}

// interruptIfLate wakes whoever waits if a reply has taken so long that it is not waited for.
func (w *worker) interruptIfLate(now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil && w.late(now) {
		w.conn.SetDeadline(longAgo)
	}
}

func (w *worker) isConnected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conn != nil
}

func (w *worker) late(now time.Duration) bool {
	return w.outstanding > 0 && (now-w.requests[w.oldest].sent)/2 >= w.lateAfter
}

// closedLoop sends a request for each reply that comes.
func (w *worker) closedLoop() error {
	if w.poller != nil {
		if ok, err := w.poller.serve(w); ok {
			return err
		}
	}
	err := w.send(w.now())
	for err == nil {
		err = w.receiveAndSend()
	}
	return w.unlessHalfClosed(err)
}

// receiveAndSend receives what has come, and sends as many requests.
func (w *worker) receiveAndSend() error {
	now, err := w.receive()
	if err != nil || w.halfClosed {
		return err
	}
	return w.send(now)
}

// send sends as many requests as there is room for in flight, and half-closes when there are
// no more and all have been answered.
func (w *worker) send(now time.Duration) error {
	w.batch = w.batch[:0]
	for w.outstanding < w.InFlight {
		j, ok := w.take(now)
		if !ok {
			break
		}
		w.batch = append(w.batch, w.prepare(j, now, now))
	}
	switch {
	case w.outstanding == 0:
		w.halfClose(closeTimeout)
	case len(w.batch) > 0:
		return w.client.Send(context.Background(), w.batch...)
	}
	return nil
}

// duplex sends each request when it is due, whatever has been answered, as far as there
// is room in flight. Replies are received beside it. A closed loop with much in flight needs
// that too: a service that waits for its replies to be read reads no more requests. Where nobody
// replies, what comes anyway is not to be in the way.
func (w *worker) duplex() error {
	w.room = make(chan struct{}, w.InFlight)
	for range w.InFlight {
		w.room <- struct{}{}
	}
	var lost error
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		lost = w.receiveAll()
	}()
	err := w.sendAll(broken)
	if err != nil {
		w.mu.Lock()
		closeAtOnce(w.conn)
		w.mu.Unlock()
	} else {
		w.halfClose(closeTimeout)
	}
	<-broken
	return cmp.Or(err, lost)
}

// sendAll sends until there are no more jobs and all replies have come, or until the
// connection is broken. Where nobody replies a request is done with when all of it has been taken.
func (w *worker) sendAll(broken <-chan struct{}) error {
	for {
		select {
		case <-w.room:
		case <-broken:
			return nil
		}
		if isClosed(broken) { // there may be room too
			return nil
		}
		free := w.now()
		j, ok := w.next(free, broken)
		if !ok {
			w.awaitReplies(broken)
			return nil
		}
		if err := w.client.Send(context.Background(), w.prepare(j, w.now(), free)); err != nil {
			return err
		}
		if w.Silent() {
			w.taken(w.now())
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// taken counts the oldest request as taken.
func (w *worker) taken(now time.Duration) {
	if req, ok := w.oldestRequest(); ok {
		w.count(req, nil, now)
		w.finish()
	}
}

// awaitReplies waits until nothing is in flight. One token is the caller's already.
func (w *worker) awaitReplies(broken <-chan struct{}) {
	for range w.InFlight - 1 {
		select {
		case <-w.room:
		case <-broken:
			return
		}
	}
}

// connectEach has a connection for each request, or dialogue.
func (w *worker) connectEach() {
	pause := minPause
	for {
		free := w.now()
		j, ok := w.next(free, nil)
		if !ok {
			return
		}
		body := w.prepare(j, w.now(), free)
		err := w.connect(w.waiting)
		if err != nil {
			w.connectionLost(err)
			w.pause(pause)
			pause = min(2*pause, maxPause)
			continue
		}
		pause = minPause
		if w.Script != nil {
			err = w.playOne(j)
		} else if err = w.exchange(body); err == nil {
			err = w.drain()
		}
		if err != nil {
			w.connectionLost(err)
		}
		w.hangUp()
	}
}

// exchange sends a request and receives its reply, at the same time if it is large.
func (w *worker) exchange(body []byte) error {
	switch {
	case w.Silent():
		w.mu.Lock()
		w.requests[w.oldest].sent = w.now() // a write is what is timed, and not the connecting before it
		w.mu.Unlock()
		if err := w.client.Send(w.waiting, body); err != nil {
			return err
		}
		w.taken(w.now())
		return nil
	case !w.large:
		if err := w.client.Send(w.waiting, body); err != nil {
			return err
		}
		return w.receiveReply()
	}
	client, conn := w.client, w.conn
	var sending sync.WaitGroup
	sending.Go(func() { client.Send(w.waiting, body) }) // what breaks it ends receiving too
	err := w.receiveReply()
	conn.SetWriteDeadline(longAgo) // a request that was answered early is not sent to its end
	sending.Wait()
	return err
}

// receiveReply receives until nothing is in flight. The end of the connection may be what ended
// the reply.
func (w *worker) receiveReply() error {
	for {
		_, err := w.receive()
		if _, waits := w.oldestRequest(); !waits {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// drain half-closes a connection whose request has been answered. What still comes until the
// server closes, or for a moment, is extra: a reply that is there too early is not counted
// for the one that was asked for without a word. Where there are no replies nothing tells that the
// request has arrived, and to close would be to reset it if the server has said anything: it is
// given the time that is always given at the end of a connection.
func (w *worker) drain() error {
	timeout := drainTimeout
	if w.Silent() {
		timeout = closeTimeout
	}
	w.halfClose(timeout)
	return w.receiveAll()
}

// next is the job of the next request, if there is one before the connection is broken.
func (w *worker) next(now time.Duration, broken <-chan struct{}) (j job, ok bool) {
	if w.Rate == 0 {
		return w.take(now)
	}
	select {
	case j, ok = <-w.jobs:
	case <-broken:
	}
	return j, ok
}

// receiveAll receives until the connection ends.
func (w *worker) receiveAll() error {
	for {
		if _, err := w.receive(); err != nil {
			return w.unlessHalfClosed(err)
		}
	}
}

// unlessHalfClosed is what ended the connection: no error once our own end of file is out.
// The beginning of a message is extra then too.
func (w *worker) unlessHalfClosed(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.halfClosed || w.Silent() && dial.KindOf(err) == dial.Reset { // what was taken may be lost
		return err
	}
	if unfinished := w.client.Unfinished(); len(unfinished) > 0 {
		w.countExtra(unfinished, w.now())
	}
	return nil
}

// receive waits for a reply, and takes those that have come with it. It returns when
// that was.
func (w *worker) receive() (time.Duration, error) {
	reply, err := w.client.Receive(context.Background())
	for errors.Is(err, os.ErrDeadlineExceeded) && w.stillInTime() {
		reply, err = w.client.Receive(context.Background())
	}
	now := w.now()
	for ok := true; ok && err == nil; reply, ok, err = w.client.TryReceive() {
		if ok && !w.client.Note().Alone {
			w.judge(reply, now)
		}
	}
	return now, err
}

// stillInTime reports whether an interruption was meant for a reply that has come after all.
func (w *worker) stillInTime() bool {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.halfClosed || w.waiting.Err() != nil || w.late(now) {
		return false
	}
	w.conn.SetDeadline(time.Time{})
	return true
}

// halfClose half-closes a connection that is done with. What still comes is extra, if it
// comes before the server closes, or within timeout.
func (w *worker) halfClose(timeout time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.halfClosed = true
	half, ok := w.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		w.conn.SetReadDeadline(longAgo)
		return
	}
	w.conn.SetReadDeadline(time.Now().Add(min(w.Timeout, timeout)))
}
