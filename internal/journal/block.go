package journal

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// ErrNotABlock is returned for bytes that are something else than a Block.
var ErrNotABlock = errors.New("not a block of a journal's records")

// A Block is a run of consecutive records of one journal: all whose numbers are above those of From
// and up to those of To, whatever is left of them. Each session that a record names comes with its
// row.
type Block struct {
	Journal  string   // the journal's own id: 32 hex digits
	Node     string   // of its newest origin
	From, To Position //
	Missing  int64    // exchanges between the two that the journal has no more: they were deleted, or are damaged

	records
}

// records are what a block has of a journal's tables. They are encoded as they are, so their texts
// may be any bytes.
type records struct {
	Origins   []origin       `cbor:"1,keyasint"`
	Sessions  []namedSession `cbor:"2,keyasint"` // in the order of their ids
	Exchanges exchanges      `cbor:"3,keyasint"`
	Refusals  []refused      `cbor:"4,keyasint"`
	Faults    []faulted      `cbor:"5,keyasint"`
	Gaps      []missed       `cbor:"6,keyasint"`
}

type origin struct {
	_                                       struct{} `cbor:",toarray"`
	Framing, Role, Listener, Upstream, Node string
}

// A namedSession is a session that records name, or that began or ended.
type namedSession struct {
	_                                                 struct{} `cbor:",toarray"`
	ID                                                int64
	There                                             bool // its row is; if not, all else is zero
	Origin                                            int  // its place in Origins, from 1; 0 if it is not known
	Number                                            int64
	Remote, Local                                     string
	Opened                                            int64
	Over                                              bool // it has ended, and Closed to Stray say how
	Ended                                             int64
	Closed                                            int64
	Reason                                            string
	Requests, RepliedUpTo, In, Out, Stray             int64
	TLSVersion, TLSName, Proxied, OutLocal, OutRemote string
}

// exchanges are kept by columns, which takes a third of the time and half of the room.
type exchanges struct {
	_                  struct{} `cbor:",toarray"`
	IDs                []int64  // behind the one before, or behind From
	Sessions           []int    // places in Sessions
	Seqs               []int64
	Received           []int64 // behind the one before; the first as it is
	Took               []int64
	Requests, Replies  []int // lengths and 1; 0 if there is none
	RequestAt, ReplyAt []int64
	Parts              []int64 // as the column of that name, without the exchange before
	Rare               []rare
	Bytes              []byte // of requests and replies, in turn

	newest int64 // when the last one was received, of who adds
}

// A rare is what cuts says of an exchange.
type rare struct {
	_                                                struct{} `cbor:",toarray"`
	Exchange                                         int      // its place
	RequestCut, ReplyCut, RequestRawCut, ReplyRawCut int64
	RequestHead, RequestTail, ReplyHead, ReplyTail   int
	RequestWhole, ReplyWhole                         int
}

type refused struct {
	_                     struct{} `cbor:",toarray"`
	ID, At                int64
	Origin                int // as of a session
	Remote, Local, Reason string
	Told                  []byte
	Framed                bool // Told is with its framing, and Head and Length say where the text lies
	Head, Length          int
}

type faulted struct {
	_       struct{} `cbor:",toarray"`
	ID      int64
	Session int // its place in Sessions
	At, Seq int64
	Fault   string
}

type missed struct {
	_                   struct{} `cbor:",toarray"`
	ID, From, To        int64
	Exchanges, Sessions int64
	Reason              string
}

// Records is how many there are in it: exchanges, openings, ends, refusals, faults and gaps.
func (b *Block) Records() int {
	n := len(b.Exchanges.IDs) + len(b.Refusals) + len(b.Faults) + len(b.Gaps)
	for i := range b.Sessions {
		s := &b.Sessions[i]
		n += int(bit(s.There && s.ID > b.From.Opened && s.ID <= b.To.Opened) + bit(s.Over && s.Ended > b.From.Ended))
	}
	return n
}

// A wireBlock is a block as it is encoded.
type wireBlock struct {
	Format  int      `cbor:"1,keyasint"`
	Journal string   `cbor:"2,keyasint"`
	Node    string   `cbor:"3,keyasint"`
	From    [6]int64 `cbor:"4,keyasint"`
	To      [6]int64 `cbor:"5,keyasint"`
	Records records  `cbor:"6,keyasint"`
}

// blockFormat is the form that is written and read here.
const blockFormat = 1

const (
	maxInBlock  = 1 << 20 // records of one kind
	blockNested = 8       // arrays and maps in each other
)

var (
	encoding cbor.UserBufferEncMode
	decoding cbor.DecMode
)

func init() {
	var err error
	if encoding, err = (cbor.EncOptions{String: cbor.StringToByteString}).UserBufferEncMode(); err != nil {
		panic(err)
	}
	if decoding, err = (cbor.DecOptions{
		MaxArrayElements: maxInBlock, MaxMapPairs: 64, MaxNestedLevels: blockNested,
		IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, DupMapKey: cbor.DupMapKeyEnforcedAPF,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, ByteStringToString: cbor.ByteStringToStringAllowed,
	}).DecMode(); err != nil {
		panic(err)
	}
}

// Append appends the block as CBOR, which ParseBlock reads.
func (b *Block) Append(dst []byte) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	err := encoding.MarshalToBuffer(&wireBlock{blockFormat, b.Journal, b.Node, b.From.array(), b.To.array(), b.records}, buf)
	return buf.Bytes(), err
}

// ParseBlock is the reverse of Block.Append. What it reads may be anybody's: the error is
// ErrNotABlock if it is not what Append makes. It takes up to some ten times the room of the bytes,
// to which it keeps no reference.
func ParseBlock(p []byte) (*Block, error) {
	var w wireBlock
	if err := decoding.Unmarshal(p, &w); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNotABlock, "its encoding is not that of one")
	}
	b := &Block{Journal: w.Journal, Node: w.Node, From: positionOf(w.From), To: positionOf(w.To), records: w.Records}
	if w.Format != blockFormat {
		return nil, fmt.Errorf("%w: its form is %d, and %d is known here", ErrNotABlock, w.Format, blockFormat)
	}
	if why := b.check(); why != "" {
		return nil, fmt.Errorf("%w: %s", ErrNotABlock, why)
	}
	b.countMissing()
	return b, nil
}

func (b *Block) countMissing() {
	b.Missing = b.To.Exchange - b.From.Exchange - int64(len(b.Exchanges.IDs))
}

// check is what is wrong with a block that somebody has sent; empty if nothing is. Behind it no
// number leads out of the block, and all can be kept.
func (b *Block) check() string {
	switch {
	case !isIdentity(b.Journal):
		return "no journal is called so"
	case !b.From.Covers(Position{}) || !b.To.Covers(b.From):
		return "it ends before it begins"
	case !b.checkSessions():
		return "its sessions are none"
	case !b.checkExchanges():
		return "its exchanges are none"
	case !b.checkOthers():
		return "its refusals, faults or gaps are none"
	}
	return ""
}

func (b *Block) checkSessions() bool {
	last := int64(0)
	for i := range b.Sessions {
		s := &b.Sessions[i]
		if s.ID <= last || s.Origin < 0 || s.Origin > len(b.Origins) || s.Over && !s.There || s.Ended > b.To.Ended ||
			min(s.Number, s.Ended, s.Requests, s.RepliedUpTo, s.In, s.Out, s.Stray) < 0 {
			return false
		}
		last = s.ID
	}
	return true
}

func (b *Block) checkExchanges() bool {
	x := &b.Exchanges
	n := len(x.IDs)
	for _, length := range []int{len(x.Sessions), len(x.Seqs), len(x.Received), len(x.Took), len(x.Requests), len(x.Replies), len(x.RequestAt), len(x.ReplyAt), len(x.Parts)} {
		if length != n {
			return false
		}
	}
	for i := range x.Rare {
		r := &x.Rare[i]
		if r.Exchange < 0 || r.Exchange >= n || i > 0 && r.Exchange <= x.Rare[i-1].Exchange ||
			min(r.RequestCut, r.ReplyCut, r.RequestRawCut, r.ReplyRawCut) < 0 ||
			min(r.RequestHead, r.RequestTail, r.ReplyHead, r.ReplyTail, r.RequestWhole, r.ReplyWhole) < 0 {
			return false
		}
	}
	id, bytes := b.From.Exchange, len(x.Bytes)
	for i := range n {
		request, reply := x.Requests[i]-1, x.Replies[i]-1
		if x.IDs[i] < 1 || x.IDs[i] > b.To.Exchange-id || x.Sessions[i] < 0 || x.Sessions[i] >= len(b.Sessions) || x.Seqs[i] < 0 ||
			min(request, reply) < -1 || max(request, 0) > bytes || max(reply, 0) > bytes-max(request, 0) ||
			min(x.RequestAt[i], x.ReplyAt[i]) < -1 || x.Parts[i] < 0 || x.Parts[i] >= 1<<backAt {
			return false
		}
		id += x.IDs[i]
		bytes -= max(request, 0) + max(reply, 0)
	}
	framed := bytes == 0
	b.each(func(_ int64, _ int, r *record, _, _ []byte) {
		framed = framed && (r.requestAt < 0 || r.requestTail <= max(r.request, 0)-r.requestHead) &&
			(r.replyAt < 0 || r.replyTail <= max(r.reply, 0)-r.replyHead)
	})
	return framed
}

// add adds an exchange, which the journal keeps as a record and its bytes. from is the id of the
// one before.
func (x *exchanges) add(id, from int64, session int, r *record, request, reply []byte) {
	if r.isRare() {
		x.Rare = append(x.Rare, rare{Exchange: len(x.IDs), RequestCut: int64(r.requestCut), ReplyCut: int64(r.replyCut),
			RequestRawCut: int64(r.requestRawCut), ReplyRawCut: int64(r.replyRawCut),
			RequestHead: r.requestHead, RequestTail: r.requestTail, ReplyHead: r.replyHead, ReplyTail: r.replyTail,
			RequestWhole: r.requestWhole, ReplyWhole: r.replyWhole})
	}
	received := r.received
	if n := len(x.IDs); n > 0 {
		received -= x.newest
	}
	x.newest = r.received
	x.IDs = append(x.IDs, id-from)
	x.Sessions = append(x.Sessions, session)
	x.Seqs = append(x.Seqs, int64(r.seq))
	x.Received = append(x.Received, received)
	x.Took = append(x.Took, int64(r.took))
	x.Requests = append(x.Requests, lengthOf(request)+1)
	x.Replies = append(x.Replies, lengthOf(reply)+1)
	x.RequestAt = append(x.RequestAt, r.requestAt)
	x.ReplyAt = append(x.ReplyAt, r.replyAt)
	x.Parts = append(x.Parts, r.parts(0))
	x.Bytes = append(append(x.Bytes, request...), reply...)
}

// each uses the exchanges in their order, with the places of their sessions.
func (b *Block) each(use func(id int64, session int, r *record, request, reply []byte)) {
	x := &b.Exchanges
	id, received, bytes, others := b.From.Exchange, int64(0), x.Bytes, x.Rare
	for i := range x.IDs {
		id += x.IDs[i]
		received += x.Received[i]
		r := record{seq: uint64(x.Seqs[i]), received: received, took: time.Duration(x.Took[i]),
			request: x.Requests[i] - 1, reply: x.Replies[i] - 1, requestAt: x.RequestAt[i], replyAt: x.ReplyAt[i]}
		r.takeParts(x.Parts[i])
		if len(others) > 0 && others[0].Exchange == i {
			others[0].addTo(&r)
			others = others[1:]
		}
		var request, reply []byte
		request, bytes = taken(bytes, r.request)
		reply, bytes = taken(bytes, r.reply)
		use(id, x.Sessions[i], &r, request, reply)
	}
}

func (c *rare) addTo(r *record) {
	r.requestCut, r.replyCut, r.requestRawCut, r.replyRawCut = uint64(c.RequestCut), uint64(c.ReplyCut), uint64(c.RequestRawCut), uint64(c.ReplyRawCut)
	r.requestHead, r.requestTail, r.replyHead, r.replyTail = c.RequestHead, c.RequestTail, c.ReplyHead, c.ReplyTail
	r.requestWhole, r.replyWhole = c.RequestWhole, c.ReplyWhole
}

func (b *Block) checkOthers() bool {
	last := b.From.Refused
	for i := range b.Refusals {
		r := &b.Refusals[i]
		if r.ID <= last || r.ID > b.To.Refused || r.Origin < 0 || r.Origin > len(b.Origins) ||
			r.Framed && (r.Told == nil || min(r.Head, r.Length) < 0 || r.Length > len(r.Told)-r.Head) {
			return false
		}
		last = r.ID
	}
	last = b.From.Fault
	for i := range b.Faults {
		f := &b.Faults[i]
		if f.ID <= last || f.ID > b.To.Fault || f.Session < 0 || f.Session >= len(b.Sessions) || f.Seq < 0 {
			return false
		}
		last = f.ID
	}
	last = b.From.Gap
	for i := range b.Gaps {
		g := &b.Gaps[i]
		if g.ID <= last || g.ID > b.To.Gap || min(g.Exchanges, g.Sessions) < 0 {
			return false
		}
		last = g.ID
	}
	return true
}
