package fleet

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-tcp/parley/internal/journal"
)

const (
	tick       = time.Second // how often a worker with nothing to read looks what else there is to do
	holeGrace  = time.Second // how long the stream has to give what is missing, out of order
	maxAhead   = 64          // blocks behind a hole that are held meanwhile
	aheadBytes = 32 << 20
	maxPuzzles = 16
	farBehind  = 4 * maxParts // messages of the stream between the first part of a block and its last
	readAhead  = 2 << 20      // bytes that NATS may send before they are asked for
)

// A worker records what one node publishes, in the order of the stream.
type worker struct {
	c       *Collection
	token   string
	restart chan struct{} // the stream is another

	mu     sync.Mutex
	claims map[string]claim // by journal: what a shipper says that is not recorded yet
	past   uint64           // all of the stream up to there is recorded
	rewind bool

	// What follows is the worker's own.
	before  map[string]journal.Position // at the last look, by journal
	seen    uint64                      // the last of the stream that was read
	puzzles map[string]*puzzle
	ahead   []held
	bytes   int
	due     time.Time // when what is missing is asked for
}

// A held block lies behind a hole.
type held struct {
	block *journal.Block
	first uint64 // its first part's sequence
	size  int
}

// again has the worker read the stream anew, from its beginning or from its mark.
func (w *worker) again(rewind bool) {
	w.mu.Lock()
	w.rewind = w.rewind || rewind
	w.mu.Unlock()
	select {
	case w.restart <- struct{}{}:
	default:
	}
}

func (w *worker) hear(one claim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.claims) < maxPuzzles || w.claims[one.Journal].Journal != "" {
		w.claims[one.Journal] = one
	}
}

func (w *worker) isPast(sequence uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.past >= sequence
}

// run works until ctx ends. Its error is that of a journal that cannot be written.
func (w *worker) run(ctx context.Context) error {
	var pause backoff
	for ctx.Err() == nil {
		began := time.Now()
		err := w.read(ctx)
		var bad *JournalError
		if errors.As(err, &bad) {
			return err
		}
		if time.Since(began) > longestWait {
			pause.reset()
		}
		if err := w.settle(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(min(pause.wait(), 2*tick)):
		case <-w.restart:
		case <-ctx.Done():
		}
	}
	return nil
}

// read reads the stream until it fails, or is another. There may be none: then what the shippers have is
// asked for nevertheless.
func (w *worker) read(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	rewind := w.rewind
	w.rewind, w.past = false, 0
	w.puzzles, w.ahead, w.bytes, w.due = make(map[string]*puzzle), nil, 0, time.Time{}
	w.mu.Unlock()
	start := uint64(1)
	if !rewind {
		start = w.c.start(w.token)
	}
	consumer, err := w.c.link.js.OrderedConsumer(ctx, streamName, jetstream.OrderedConsumerConfig{
		FilterSubjects:   []string{"parley." + w.token + ".records"},
		DeliverPolicy:    jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:      start,
		MaxResetAttempts: 1,
	})
	if err != nil {
		return err
	}
	w.seen = start - 1
	w.setPast(w.seen)
	messages, err := consumer.Messages(jetstream.PullMaxBytes(max(readAhead, int(w.c.link.nc.MaxPayload()))))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		select {
		case <-w.restart:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		msg, err := messages.Next(jetstream.NextMaxWait(tick))
		switch {
		case errors.Is(err, nats.ErrTimeout):
			if err := w.settle(ctx); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if err := w.take(ctx, msg); err != nil {
				return err
			}
		}
		if !w.due.IsZero() && (time.Now().After(w.due) || len(w.ahead) >= maxAhead || w.bytes >= aheadBytes) {
			if err := w.fill(ctx); err != nil {
				return err
			}
		}
		w.setPast(w.recorded())
	}
}

func (w *worker) setPast(sequence uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.past = sequence
}

// take takes a message of the stream. What is no block, or not this node's, is left out.
func (w *worker) take(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	w.seen = meta.Sequence.Stream
	maps.DeleteFunc(w.puzzles, func(_ string, z *puzzle) bool { return w.seen-z.first > farBehind }) // nobody ends them
	p, ok := partOf(msg.Headers())
	if !ok {
		return nil
	}
	z := w.puzzles[p.block]
	if z == nil {
		if len(w.puzzles) >= maxPuzzles {
			clear(w.puzzles) // of blocks that nobody ends
		}
		z = &puzzle{first: w.seen}
		w.puzzles[p.block] = z
	}
	whole, ok := z.join(p, msg.Data())
	if !ok || whole {
		delete(w.puzzles, p.block)
	}
	if !whole {
		return nil
	}
	b, err := journal.ParseBlock(z.bytes)
	if err != nil || token(b.Node) != w.token {
		return nil
	}
	return w.put(ctx, held{b, z.first, len(z.bytes)})
}

// put records a block, and what was held for it; or holds it, if it lies behind a hole.
func (w *worker) put(ctx context.Context, h held) error {
	var hole *journal.HoleError
	err := w.c.add(h.block, w.c.mark(w.done()), false)
	switch {
	case errors.As(err, &hole):
		w.ahead, w.bytes = append(w.ahead, h), w.bytes+h.size
		if w.due.IsZero() {
			w.due = time.Now().Add(holeGrace)
		}
		return nil
	case err != nil:
		return w.isBad(ctx, err)
	}
	return w.release(ctx)
}

// release records what of the blocks that are held has no hole before it any more.
func (w *worker) release(ctx context.Context) error {
	for again := true; again; {
		again = false
		for i, h := range w.ahead {
			if !w.c.position(h.block.Journal).Covers(h.block.From) {
				continue
			}
			w.ahead = append(w.ahead[:i:i], w.ahead[i+1:]...)
			w.bytes -= h.size
			if err := w.c.add(h.block, w.c.mark(w.done()), false); err != nil {
				return w.isBad(ctx, err)
			}
			again = true
			break
		}
	}
	if len(w.ahead) == 0 {
		w.due = time.Time{}
	}
	return nil
}

// recorded is up to where the stream is recorded: before all that is held.
func (w *worker) recorded() uint64 {
	sequence := w.seen
	for _, h := range w.ahead {
		sequence = min(sequence, h.first-1)
	}
	return sequence
}

// done is up to where the stream need not be read again: before blocks of which only parts have come, too.
func (w *worker) done() uint64 {
	sequence := w.recorded()
	for _, z := range w.puzzles {
		sequence = min(sequence, z.first-1)
	}
	return sequence
}

// isBad tells a journal that cannot be written from one that was closed meanwhile.
func (w *worker) isBad(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &JournalError{err}
}

// fill asks for what is missing before the first block that is held, and gives it up when it has waited for
// long enough.
func (w *worker) fill(ctx context.Context) error {
	b := w.ahead[0].block
	began, told := time.Now(), false
	var pause backoff
	for !w.c.position(b.Journal).Covers(b.From) {
		moved, err := w.heal(ctx, b.Node, b.Journal, b.From)
		var bad *JournalError
		switch {
		case errors.As(err, &bad), ctx.Err() != nil:
			return err
		case moved:
			pause.reset()
			continue
		}
		if !told {
			told = true
			w.c.waits(b.Journal, true)
			w.c.opt.Note("node %s: the stream has lost records of it, and its shipper does not give them (%v); waiting for it, %v at most", b.Node, whyNot(w.c.link, err), w.c.opt.Wait)
		}
		left := w.c.opt.Wait - time.Since(began)
		if left <= 0 {
			w.c.opt.Note("node %s: records are given up after %v: %s", b.Node, w.c.opt.Wait, records(between(w.c.position(b.Journal), b.From)))
			if err := w.c.skip(b, "lost by NATS, and the node's shipper was not there"); err != nil {
				return w.isBad(ctx, err)
			}
			break
		}
		if err := sleep(ctx, min(pause.wait(), left)); err != nil {
			return err
		}
	}
	w.c.waits(b.Journal, false)
	if told {
		w.c.opt.Note("node %s: it goes on", b.Node)
	}
	w.due = time.Time{}
	if len(w.ahead) > 1 {
		w.due = time.Now()
	}
	return w.release(ctx)
}

// whyNot is why a shipper has not given what it was asked for; without an error it had nothing.
func whyNot(l *link, err error) error {
	switch {
	case err == nil:
		return errors.New("it has them no more")
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded):
		return errors.New("it is away")
	}
	return l.reason(err)
}

// heal gets one block from a shipper. moved says that it brought something.
func (w *worker) heal(ctx context.Context, node, of string, until journal.Position) (moved bool, err error) {
	from := w.c.position(of)
	b, err := w.c.ask(ctx, node, of, from)
	if err != nil || b == nil {
		return false, err
	}
	if err := w.c.add(b, w.c.markOf(of), true); err != nil {
		var hole *journal.HoleError
		if errors.As(err, &hole) {
			return false, err
		}
		return false, w.isBad(ctx, err)
	}
	return w.c.position(of) != from, nil
}

// settle asks for what shippers say they have shipped, if the stream does not bring it: nothing of it has
// come since they said so the last time.
func (w *worker) settle(ctx context.Context) error {
	w.mu.Lock()
	claims := make([]claim, 0, len(w.claims))
	for _, one := range w.claims {
		claims = append(claims, one)
	}
	clear(w.claims)
	w.mu.Unlock()
	for _, one := range claims {
		at := w.c.position(one.Journal)
		still := w.before[one.Journal] == at
		if w.before == nil {
			w.before = make(map[string]journal.Position)
		}
		w.before[one.Journal] = at
		for still && !w.c.position(one.Journal).Covers(one.Shipped) {
			moved, err := w.heal(ctx, one.Node, one.Journal, one.Shipped)
			var bad *JournalError
			if errors.As(err, &bad) {
				return err
			}
			if !moved {
				break
			}
		}
	}
	return nil
}
