package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/natsconn"
)

const (
	cursorName = "ship"
	blockBytes = 512 << 10              // of a block, if none of its records is longer
	window     = 8                      // blocks that may be on their way
	pollEvery  = 250 * time.Millisecond // how often the journal is looked at while it has nothing new
	keepEvery  = time.Second            // how often the cursor is written at most
	awayGrace  = time.Second            // how long a stop waits for a NATS that is away
)

// ShipOptions are what a Shipper needs to know.
type ShipOptions struct {
	NATS   natsconn.Options
	Stream Stream
	Drain  time.Duration                 // how long a stop may take to ship what the journal still has
	Note   func(format string, a ...any) // tells the operator that the state has changed, a line each
}

// A LeftError says that a shipper has stopped with records not shipped. They stay in the journal, and the
// next one goes on there.
type LeftError struct {
	Records int64
	Err     error // why they are
}

func (e *LeftError) Error() string {
	return fmt.Sprintf("%s left in the journal, to be shipped the next time: %v", records(e.Records), e.Err)
}

func (e *LeftError) Unwrap() error { return e.Err }

func records(n int64) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
}

// A Shipper publishes the records of a journal to a stream, from where the one before it ended, while
// somebody writes the journal; and it answers who asks for records that the stream has lost.
type Shipper struct {
	opt    ShipOptions
	follow *journal.Follower // for the stream
	beside sync.Mutex
	other  *journal.Follower // for who asks, and for the lag
	link   *link

	journal, node string

	buf  []byte // a block, encoded
	kept time.Time

	mu      sync.Mutex
	shipped journal.Position // acknowledged, without holes
	newest  journal.Position
	marks   []mark // of newest, those that are not shipped
	away    outage // in which nothing is shipped
	count   ShipCount
}

// A mark says what the newest records were at a time.
type mark struct {
	at  time.Time
	pos journal.Position
}

// A ShipCount is what a shipper has done, and has to do.
type ShipCount struct {
	Records, Blocks, Bytes int64         // shipped and acknowledged
	Answers                int64         // blocks for who asked
	Left                   int64         // records that are in the journal and not yet acknowledged
	Behind                 time.Duration // how long the oldest of them has waited
	Away                   bool          // nothing is acknowledged at present
}

// NewShipper opens the journal in a file. Run ships it, and closes it. The error is a *JournalError, or says what of
// the options is wrong.
func NewShipper(file string, opt ShipOptions) (*Shipper, error) {
	if err := opt.NATS.Check(); err != nil {
		return nil, err
	}
	s := &Shipper{opt: opt}
	var err error
	if s.follow, err = journal.Follow(file); err != nil {
		return nil, &JournalError{err}
	}
	s.journal, s.node = s.follow.Journal(), s.follow.Node()
	if s.other, err = journal.Follow(file); err == nil {
		s.shipped, err = s.follow.Cursor(cursorName)
	}
	if err != nil {
		s.close()
		return nil, &JournalError{err}
	}
	return s, nil
}

func (s *Shipper) close() {
	if s.link != nil {
		s.link.close()
	}
	for _, f := range []*journal.Follower{s.follow, s.other} {
		if f != nil {
			f.Close()
		}
	}
}

// Run ships until ctx ends, and then what is left, for as long as the options say. Its error is a *LeftError
// if that was not enough, or that of a journal that cannot be read.
func (s *Shipper) Run(ctx context.Context) error {
	defer s.close()
	var err error
	if s.link, err = connect(ctx, s.opt.NATS); err != nil {
		return s.left(err)
	}
	beside, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	tasks.Go(func() { s.answer(beside) })
	tasks.Go(func() { s.watch(beside) })

	err = s.run(ctx)
	s.keep(true)
	return err
}

// left is that there is something left, and why; nil if there is nothing.
func (s *Shipper) left(why error) error {
	s.measure(context.Background())
	if n := s.Count().Left; n > 0 {
		return &LeftError{n, why}
	}
	return nil
}

// run has sessions until one of them has come to the end.
func (s *Shipper) run(ctx context.Context) error {
	drained, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.opt.Drain, cancel) })()
	var pause backoff
	for {
		moved, err := s.session(ctx, drained)
		var bad *JournalError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &bad):
			s.mu.Lock()
			s.away.goesOn(bad)
			s.mu.Unlock()
			return bad
		case moved:
			pause.reset()
		}
		if drained.Err() == nil {
			s.isAway(s.link.reason(err))
		}
		if !s.pause(ctx, drained, &pause) {
			return s.left(s.whyAway())
		}
	}
}

// pause waits for the next try: until NATS is back, or for longer from one time to the next. It says that there
// is to be none: the time for it is over, or NATS is away at a stop.
func (s *Shipper) pause(ctx, drained context.Context, b *backoff) (again bool) {
	d := b.wait()
	timer := time.NewTimer(d/2 + rand.N(d/2+1)) // a thousand shippers are not to come at once
	defer timer.Stop()
	stopping := ctx.Done()
	var gone <-chan time.Time
	for {
		select {
		case <-s.link.back:
			return sleep(drained, rand.N(firstWait)) == nil
		case <-timer.C:
			return true
		case <-stopping:
			stopping, gone = nil, time.After(awayGrace)
		case <-gone:
			if !s.link.nc.IsConnected() {
				return false
			}
		case <-drained.Done():
			return false
		}
	}
}

// A flight is a block on its way.
type flight struct {
	to    journal.Position
	size  int
	count int64
	acks  []jetstream.PubAckFuture
}

// session publishes from the last acknowledged record on, several blocks at a time, until something fails:
// then all behind that record is published again by the next one. It returns nil once ctx has ended and all
// is shipped. moved says that something was acknowledged.
func (s *Shipper) session(ctx, drained context.Context) (moved bool, err error) {
	if !s.link.nc.IsConnected() {
		return false, errAway
	}
	defer s.link.js.CleanupPublisher()
	asked, cancel := context.WithTimeout(drained, apiTimeout)
	defer cancel()
	if err := s.opt.Stream.ensure(asked, s.link); err != nil {
		return false, err
	}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	var sent []flight
	from, more, last := s.Shipped(), true, false
	for {
		stopping := ctx.Err() != nil
		if more && len(sent) < window {
			f, err := s.send(drained, from)
			switch {
			case err != nil:
				return moved, err
			case f == nil:
				more, last = false, stopping
			default:
				sent, from = append(sent, *f), f.to
			}
		}
		if !more && len(sent) == 0 {
			s.isBack()
			if last {
				return moved, nil
			}
		}
		var ok <-chan *jetstream.PubAck
		var failed <-chan error
		if len(sent) > 0 {
			ok, failed = sent[0].acks[0].Ok(), sent[0].acks[0].Err()
		}
		var full <-chan struct{} // ready at once if there is room for more
		if more && len(sent) < window {
			full = closed
		}
		select {
		case <-ok:
			moved = true
			if f := &sent[0]; len(f.acks) > 1 {
				f.acks = f.acks[1:]
				continue
			}
			s.confirm(&sent[0])
			sent = sent[1:]
		case err := <-failed:
			if errors.Is(err, jetstream.ErrAsyncPublishTimeout) {
				s.link.nc.ForceReconnect() // the server may be cut off from the others
			}
			return moved, err
		case <-full:
		case <-poll.C:
			if !s.link.nc.IsConnected() {
				return moved, errAway
			}
			more = true
			s.keep(false)
		case <-stopped(ctx, stopping):
			more = true
		case <-drained.Done():
			return moved, errors.New("the time for it is over")
		}
	}
}

// closed is ready.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// stopped is ready once ctx ends, if that is news.
func stopped(ctx context.Context, known bool) <-chan struct{} {
	if known {
		return nil
	}
	return ctx.Done()
}

// send publishes the next block, if there is one.
func (s *Shipper) send(ctx context.Context, from journal.Position) (*flight, error) {
	limit := s.link.nc.MaxPayload()
	block, err := s.follow.Next(ctx, from, min(blockBytes, int(limit)-headerRoom))
	if err != nil {
		return nil, s.isBad(ctx, err)
	}
	if block == nil {
		return nil, nil
	}
	if s.buf, err = block.Append(s.buf[:0]); err != nil {
		return nil, &JournalError{err}
	}
	f := &flight{to: block.To, size: len(s.buf), count: int64(block.Records())}
	for _, msg := range messages(recordsOf(block.Node), s.buf, limit) {
		ack, err := s.link.js.PublishMsgAsync(msg, jetstream.WithRetryAttempts(0), jetstream.WithExpectStream(streamName))
		if err != nil {
			return nil, err
		}
		f.acks = append(f.acks, ack)
	}
	return f, nil
}

// isBad tells what is wrong with the journal from the end of the time to read it.
func (s *Shipper) isBad(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("the time for it is over")
	}
	return &JournalError{err}
}

// confirm moves the cursor behind a block that is acknowledged.
func (s *Shipper) confirm(f *flight) {
	s.mu.Lock()
	s.shipped = further(s.shipped, f.to)
	s.newest = further(s.newest, s.shipped)
	s.count.Records += f.count
	s.count.Blocks++
	s.count.Bytes += int64(f.size)
	for len(s.marks) > 0 && s.shipped.Covers(s.marks[0].pos) {
		s.marks = s.marks[1:]
	}
	s.mu.Unlock()
	s.isBack()
	s.keep(false)
}

// keep writes the cursor now and then. A cursor that is too old costs blocks that are published again, and
// are left out as duplicates.
func (s *Shipper) keep(now bool) {
	if !now && time.Since(s.kept) < keepEvery {
		return
	}
	s.kept = time.Now()
	s.follow.Keep(cursorName, s.Shipped())
}

// Shipped is how far all is shipped.
func (s *Shipper) Shipped() journal.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shipped
}

// watch looks how much there is to ship.
func (s *Shipper) watch(ctx context.Context) {
	for s.measure(ctx); sleep(ctx, time.Second) == nil; {
		s.measure(ctx)
	}
}

// maxMarks is how many times are remembered at which there was something to ship: half of them go when
// there are more.
const maxMarks = 1 << 10

func (s *Shipper) measure(ctx context.Context) {
	s.beside.Lock()
	newest, err := s.other.Newest(ctx)
	s.beside.Unlock()
	if err != nil {
		return // of a journal that cannot be read more is said where it is shipped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = further(s.newest, newest)
	if s.shipped.Covers(newest) {
		s.marks = s.marks[:0]
		return
	}
	if n := len(s.marks); n > 0 && s.marks[n-1].pos == newest {
		return
	}
	s.marks = append(s.marks, mark{time.Now(), newest})
	if len(s.marks) > maxMarks {
		half := s.marks[:0]
		for i := 0; i < len(s.marks); i += 2 {
			half = append(half, s.marks[i])
		}
		s.marks = half
	}
}

// Count is what has been done so far.
func (s *Shipper) Count() ShipCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.count
	c.Left = between(s.shipped, s.newest)
	if len(s.marks) > 0 {
		c.Behind = time.Since(s.marks[0].at)
	}
	c.Away = s.away.why != nil
	return c
}

// Gauges are the numbers of Count.
func (s *Shipper) Gauges() []Gauge {
	return []Gauge{
		{"parley_ship_lag_records", "Records in the journal that are not yet shipped.", func() float64 { return float64(s.Count().Left) }},
		{"parley_ship_lag_seconds", "How long the oldest of them has waited.", func() float64 { return s.Count().Behind.Seconds() }},
		{"parley_ship_up", "Whether the stream takes what is shipped.", func() float64 {
			if s.Count().Away {
				return 0
			}
			return 1
		}},
	}
}

// whyAway is why a stop leaves something.
func (s *Shipper) whyAway() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.away.why, fmt.Errorf("%v were not enough", s.opt.Drain))
}

// isAway notes that nothing is shipped any more, and tells what is news of that.
func (s *Shipper) isAway(why error) {
	s.mu.Lock()
	news := s.away.goesOn(why)
	s.mu.Unlock()
	if news {
		s.opt.Note("shipping to %s waits: %v; what there is stays in the journal, and is shipped once that is over", natsconn.Shown(s.opt.NATS.URLs), why)
	}
}

// isBack notes that all is well again.
func (s *Shipper) isBack() {
	s.mu.Lock()
	news, since := s.away.isOver()
	left := between(s.shipped, s.newest)
	s.mu.Unlock()
	if news {
		s.opt.Note("shipping to %s goes on after %v, %s behind", natsconn.Shown(s.opt.NATS.URLs), time.Since(since).Round(time.Second), records(left))
	}
}

// answer tells who asks what journal this is, and gives them its records: one question after the other, and
// at half of the time at most, whoever asks.
func (s *Shipper) answer(ctx context.Context) {
	asked := make(chan *nats.Msg, 16) // what comes while it is full is lost, and asked again
	node := s.node
	for _, subject := range []string{census, askOf(node)} {
		sub, err := s.link.nc.ChanSubscribe(subject, asked)
		if err != nil {
			return // the link is closed
		}
		defer sub.Unsubscribe()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case msg := <-asked:
			begin := time.Now()
			if natsconn.IsInbox(msg.Reply) {
				s.reply(ctx, msg, node)
			}
			if sleep(ctx, time.Since(begin)) != nil {
				return
			}
		}
	}
}

func (s *Shipper) reply(ctx context.Context, msg *nats.Msg, node string) {
	if msg.Subject == census {
		if text, err := json.Marshal(claim{Node: node, Journal: s.journal, Shipped: s.Shipped()}); err == nil {
			msg.Respond(text)
		}
		return
	}
	var q question
	if !isLetter(msg.Data, &q) || q.Journal != s.journal {
		return // of another shipper of this node's
	}
	limit := s.link.nc.MaxPayload()
	s.beside.Lock()
	block, err := s.other.Next(ctx, q.From, min(blockBytes, int(limit)-headerRoom))
	s.beside.Unlock()
	switch {
	case err != nil:
		return
	case block == nil:
		msg.Respond(nil) // there is nothing behind that
		return
	}
	bytes, err := block.Append(nil)
	if err != nil {
		return
	}
	for _, part := range messages(msg.Reply, bytes, limit) {
		if s.link.nc.PublishMsg(part) != nil {
			return
		}
	}
	s.mu.Lock()
	s.count.Answers++
	s.mu.Unlock()
}
