package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/natsconn"
)

const (
	lookEvery   = time.Second      // how often the stream is looked at for nodes that are new
	censusEvery = 10 * time.Second // how often the shippers are asked how far they are
	censusTakes = time.Second      // how long their answers are waited for
	onceTakes   = 10 * time.Second // how long NATS may be away for who wants only what is there
	maxToken    = 3 * 255          // of a node's name; a longer subject has the server hang up
	maxNodes    = 4 << 10          // past which further ones are not believed in
)

// CollectOptions are what a Collection needs to know.
type CollectOptions struct {
	NATS natsconn.Options
	Wait time.Duration // for the shipper of records that are missing in the stream, before they are given up; 1h if 0
	Once bool          // end once all that there is has been collected
	Note func(format string, a ...any)
}

// DefaultWait is how long what is missing is waited for.
const DefaultWait = time.Hour

// A Collection records what the shippers of many nodes publish in one journal.
type Collection struct {
	opt  CollectOptions
	link *link

	into *journal.Collector
	away outage // of Run

	mu      sync.Mutex
	sources map[string]*NodeCount // by journal
	epoch   epoch
	workers map[string]*worker // by token
}

// A NodeCount is what has been collected of a node's journal.
type NodeCount struct {
	Node, Journal string
	Records       int64            // added by this run
	Position      journal.Position // up to which all is recorded
	Healed        int64            // records that the stream had not, and the node's journal had
	Waiting       bool             // for records that are missing
	mark          uint64
}

// An epoch is the life of a stream: one that was made anew counts from 1 again.
type epoch struct {
	created time.Time
	last    uint64 // its last sequence
}

const sequenceBits = 40 // of a mark; above them is the tag

// tag tells epochs apart in a mark.
func (e epoch) tag() uint64 {
	h := fnv.New32a()
	fmt.Fprint(h, e.created.UnixNano())
	return uint64(h.Sum32()) << sequenceBits &^ (1 << 63) // which SQLite keeps for the sign
}

// NewCollection opens or makes the journal in a file. Run collects into it, and closes it. The error is a
// *JournalError, or says what of the options is wrong.
func NewCollection(file string, opt CollectOptions) (*Collection, error) {
	if err := opt.NATS.Check(); err != nil {
		return nil, err
	}
	opt.Wait = cmp.Or(opt.Wait, DefaultWait)
	c := &Collection{opt: opt, sources: make(map[string]*NodeCount), workers: make(map[string]*worker)}
	var err error
	if c.into, err = journal.Collect(file, journal.CollectOptions{}); err != nil {
		return nil, &JournalError{err}
	}
	for _, s := range c.into.Sources() {
		c.sources[s.Journal] = &NodeCount{Node: s.Node, Journal: s.Journal, Position: s.Position, mark: s.Mark}
	}
	return c, nil
}

// Run collects until stop ends, or until all is there if only that is wanted. Its error is a *JournalError, or
// that NATS was away for too long for what was wanted.
func (c *Collection) Run(stop context.Context) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(stop))
	defer context.AfterFunc(stop, func() { cancel(nil) })()
	var err error
	if c.link, err = connect(ctx, c.opt.NATS); err != nil {
		if ctx.Err() != nil {
			err = nil
		}
		return errors.Join(err, c.close())
	}
	var tasks sync.WaitGroup
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var asked time.Time
	for ctx.Err() == nil {
		var claims []claim
		err := c.look(ctx, &tasks, cancel)
		if err == nil && (time.Since(asked) >= censusEvery || c.opt.Once) {
			if claims, err = c.census(ctx); err == nil {
				c.hear(ctx, claims, &tasks, cancel)
				asked = time.Now()
			}
		}
		c.state(ctx, err)
		if c.opt.Once && err == nil && c.hasAll(ctx, claims) {
			break
		}
		if c.opt.Once && err != nil && time.Since(c.away.since) > onceTakes {
			cancel(fmt.Errorf("cannot collect from NATS at %s: %w", natsconn.Shown(c.opt.NATS.URLs), c.link.reason(err)))
		}
		select {
		case <-look.C:
		case <-c.link.back:
		case <-ctx.Done():
		}
	}
	cancel(nil)
	c.link.close() // so that no worker waits for it
	tasks.Wait()
	err = c.close()
	if cause := context.Cause(ctx); cause != context.Canceled {
		return cause
	}
	return err
}

func (c *Collection) close() error {
	if err := c.into.Close(); err != nil {
		return &JournalError{err}
	}
	return nil
}

// state notes whether NATS is there, and tells what is news of that.
func (c *Collection) state(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	at := natsconn.Shown(c.opt.NATS.URLs)
	if err == nil {
		if was, since := c.away.isOver(); was {
			c.opt.Note("collecting from %s goes on after %v", at, time.Since(since).Round(time.Second))
		}
	} else if why := c.link.reason(err); c.away.goesOn(why) {
		c.opt.Note("collecting from %s waits: %v", at, why)
	}
}

// look finds the nodes that the stream has records of, and whether the stream is still the one it was.
func (c *Collection) look(ctx context.Context, tasks *sync.WaitGroup, fail context.CancelCauseFunc) error {
	if !c.link.nc.IsConnected() {
		return errAway
	}
	stream, err := c.link.js.Stream(ctx, streamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // a shipper makes it
	}
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(allRecords))
	if err != nil {
		return err
	}
	now := epoch{info.Created, info.State.LastSeq}
	c.mu.Lock()
	anew := !c.epoch.created.IsZero() && !now.created.Equal(c.epoch.created) || now.last < c.epoch.last
	c.epoch = now
	workers := make([]*worker, 0, len(c.workers))
	for _, w := range c.workers {
		workers = append(workers, w)
	}
	c.mu.Unlock()
	for subject := range info.State.Subjects {
		c.worker(ctx, tokenOf(subject), tasks, fail)
	}
	if anew {
		c.opt.Note("the stream %s was made anew, or has lost its end: it is read from its beginning", streamName)
		for _, w := range workers {
			w.again(true)
		}
	}
	return nil
}

// worker has somebody work for a node.
func (c *Collection) worker(ctx context.Context, token string, tasks *sync.WaitGroup, fail context.CancelCauseFunc) *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[token]
	if w == nil && token != "" && len(token) <= maxToken && len(c.workers) < maxNodes {
		w = &worker{c: c, token: token, restart: make(chan struct{}, 1), claims: make(map[string]claim)}
		c.workers[token] = w
		tasks.Go(func() {
			if err := w.run(ctx); err != nil {
				fail(err)
			}
		})
	}
	return w
}

// census asks all shippers how far they are.
func (c *Collection) census(ctx context.Context) (claims []claim, err error) {
	inbox := nats.NewInbox()
	sub, err := c.link.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	if err := c.link.nc.PublishRequest(census, inbox, nil); err != nil {
		return nil, err
	}
	until, cancel := context.WithTimeout(ctx, censusTakes)
	defer cancel()
	for len(claims) < maxNodes {
		msg, err := sub.NextMsgWithContext(until)
		if err != nil {
			break // their time is over, or there is nobody
		}
		var one claim
		if isLetter(msg.Data, &one) && one.Journal != "" {
			claims = append(claims, one)
		}
	}
	return claims, ctx.Err()
}

// hear tells the workers what the shippers say.
func (c *Collection) hear(ctx context.Context, claims []claim, tasks *sync.WaitGroup, fail context.CancelCauseFunc) {
	for _, one := range claims {
		if w := c.worker(ctx, token(one.Node), tasks, fail); w != nil {
			w.hear(one)
		}
	}
}

// hasAll says whether all is recorded that the stream has, and all that shippers say they have shipped.
func (c *Collection) hasAll(ctx context.Context, claims []claim) bool {
	for _, one := range claims {
		if !c.position(one.Journal).Covers(one.Shipped) {
			return false
		}
	}
	c.mu.Lock()
	workers := make([]*worker, 0, len(c.workers))
	for _, w := range c.workers {
		workers = append(workers, w)
	}
	anything := !c.epoch.created.IsZero()
	c.mu.Unlock()
	if !anything {
		return true
	}
	stream, err := c.link.js.Stream(ctx, streamName)
	if err != nil {
		return false
	}
	for _, w := range workers {
		last, err := stream.GetLastMsgForSubject(ctx, "parley."+w.token+".records")
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil || !w.isPast(last.Sequence):
			return false
		}
	}
	return true
}

func (c *Collection) position(journal string) (p journal.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sources[journal]; s != nil {
		return s.Position
	}
	return p
}

// add records a block. A block that begins behind what is there is a *journal.HoleError.
func (c *Collection) add(b *journal.Block, mark uint64, healed bool) error {
	added, err := c.into.Add(b, mark)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sources[b.Journal]
	if s == nil {
		s = &NodeCount{Journal: b.Journal}
		c.sources[b.Journal] = s
	}
	s.Node, s.mark = b.Node, mark
	s.Position = further(s.Position, b.To)
	s.Records += int64(added)
	if healed {
		s.Healed += int64(added)
	}
	return nil
}

// skip gives up what is missing before a position.
func (c *Collection) skip(b *journal.Block, why string) error {
	if err := c.into.Skip(b.Journal, b.Node, b.From, why); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sources[b.Journal]
	if s == nil {
		s = &NodeCount{Journal: b.Journal, Node: b.Node}
		c.sources[b.Journal] = s
	}
	s.Position = further(s.Position, b.From)
	return nil
}

// waits notes that a journal's records are missing, or no more.
func (c *Collection) waits(journal string, so bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sources[journal]; s != nil {
		s.Waiting = so
	}
}

// markOf is the mark of a journal's last block.
func (c *Collection) markOf(journal string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sources[journal]; s != nil {
		return s.mark
	}
	return 0
}

// Count is what has been collected so far, by node.
func (c *Collection) Count() []NodeCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := make([]NodeCount, 0, len(c.sources))
	for _, s := range c.sources {
		counts = append(counts, *s)
	}
	slices.SortFunc(counts, func(a, b NodeCount) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Journal, b.Journal))
	})
	return counts
}

// start is from which sequence a node's records are to be read: behind the marks that are of this stream.
func (c *Collection) start(node string) (sequence uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sources {
		at := s.mark & (1<<sequenceBits - 1)
		if token(s.Node) == node && s.mark&^at == c.epoch.tag() && at <= c.epoch.last {
			sequence = max(sequence, at)
		}
	}
	return sequence + 1
}

// mark is a sequence of the stream as it is now.
func (c *Collection) mark(sequence uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch.tag() | sequence
}

// ask gets the block behind a position from the shipper of a journal; nil if that has nothing there.
func (c *Collection) ask(ctx context.Context, node, of string, from journal.Position) (*journal.Block, error) {
	text, err := json.Marshal(question{of, from})
	if err != nil {
		return nil, err
	}
	inbox := nats.NewInbox()
	sub, err := c.link.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	if err := c.link.nc.PublishRequest(askOf(node), inbox, text); err != nil {
		return nil, err
	}
	var whole puzzle
	for {
		until, cancel := context.WithTimeout(ctx, apiTimeout)
		msg, err := sub.NextMsgWithContext(until)
		cancel()
		if err != nil {
			return nil, err
		}
		if len(msg.Data) == 0 {
			return nil, nil
		}
		p, ok := partOf(msg.Header)
		if !ok {
			continue
		}
		done, ok := whole.join(p, msg.Data)
		switch {
		case !ok:
			whole = puzzle{}
		case done:
			b, err := journal.ParseBlock(whole.bytes)
			if err != nil {
				return nil, err
			}
			if b.Journal != of {
				return nil, errors.New("the answer is of another journal")
			}
			return b, nil
		}
	}
}
