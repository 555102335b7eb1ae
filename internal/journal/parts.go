package journal

import (
	"time"

	"github.com/parley-tcp/parley"
)

// A record is an exchange; its bytes are the next ones of its batch.
type record struct {
	session            int64
	seq                uint64
	received           int64 // ns since 1970
	took               time.Duration
	request, reply     int   // lengths; -1 if there is none
	requestAt, replyAt int64 // where they lie in the streams; -1 if they are without their framing
	loose, secret      bool

	requestHead, requestTail, replyHead, replyTail   int // bytes of framing
	requestCut, replyCut, requestRawCut, replyRawCut uint64
	requestWhole, replyWhole                         int // bytes before parts were replaced; 0 if none were
}

// newRecord is the record of an exchange, and its bytes.
func newRecord(session int64, x *parley.Exchange) (r record, request, reply []byte) {
	r = record{session: session, seq: x.Seq, received: x.Received.UnixNano(), took: x.Took, secret: x.Secret,
		requestCut: x.RequestCut, replyCut: x.ReplyCut, requestRawCut: x.RawRequest.Cut, replyRawCut: x.RawReply.Cut,
		requestWhole: x.RequestWhole, replyWhole: x.ReplyWhole}
	r.loose = x.Request == nil && x.Reply == nil && (x.RawRequest.Bytes != nil || x.RawReply.Bytes != nil)
	request, r.requestAt, r.requestHead, r.requestTail = r.take(x.Request, &x.RawRequest)
	reply, r.replyAt, r.replyHead, r.replyTail = r.take(x.Reply, &x.RawReply)
	r.request, r.reply = lengthOf(request), lengthOf(reply)
	return r, request, reply
}

// take is what there is of one message. Where its framing is not known it goes without.
func (r *record) take(body []byte, raw *parley.Raw) (bytes []byte, at int64, head, tail int) {
	switch tail := len(raw.Bytes) - raw.Body - len(body); {
	case raw.Bytes == nil || tail < 0 || body == nil && !r.loose:
		return body, -1, 0, 0
	case r.loose:
		return raw.Bytes, int64(raw.At), 0, 0
	default:
		return raw.Bytes, int64(raw.At), raw.Body, tail
	}
}

func lengthOf(message []byte) int {
	if message == nil {
		return -1
	}
	return len(message)
}

// The column parts has, from its lowest bit on, how many bytes of framing stand behind the
// reply, before it, behind the request and before it; whether the bytes belong to no message;
// whether they are secret; and how many exchanges ago the last one of the session was, 0 if
// there was none.
const (
	tailBits, headBits = 8, 7
	maxTail, maxHead   = 1<<tailBits - 1, 1<<headBits - 1

	replyHeadAt   = tailBits
	requestTailAt = replyHeadAt + headBits
	requestHeadAt = requestTailAt + tailBits
	looseAt       = requestHeadAt + headBits
	secretAt      = looseAt + 1
	backAt        = secretAt + 1

	// maxBack stands for all that is longer ago: there is another session's exchange, or none.
	maxBack = 1<<31 - 1
)

// parts is the column. What does not fit is in cuts.
func (r *record) parts(back int64) int64 {
	return int64(min(r.replyTail, maxTail)) | int64(min(r.replyHead, maxHead))<<replyHeadAt |
		int64(min(r.requestTail, maxTail))<<requestTailAt | int64(min(r.requestHead, maxHead))<<requestHeadAt |
		bit(r.loose)<<looseAt | bit(r.secret)<<secretAt | min(back, maxBack)<<backAt
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// takeParts is the reverse of parts.
func (r *record) takeParts(parts int64) {
	r.replyTail, r.replyHead = int(parts&maxTail), int(parts>>replyHeadAt&maxHead)
	r.requestTail, r.requestHead = int(parts>>requestTailAt&maxTail), int(parts>>requestHeadAt&maxHead)
	r.loose, r.secret = parts>>looseAt&1 != 0, parts>>secretAt&1 != 0
}

// isRare says whether there is more to say of it than fits into its row.
func (r *record) isRare() bool {
	return r.requestCut|r.replyCut|r.requestRawCut|r.replyRawCut > 0 ||
		r.requestWhole|r.replyWhole != 0 || max(r.requestHead, r.replyHead) > maxHead || max(r.requestTail, r.replyTail) > maxTail
}

// side is the reverse: a message without its framing, and as it was on the wire.
func (r *record) side(bytes []byte, at int64, head, tail int, cut uint64) (body []byte, raw parley.Raw) {
	switch {
	case bytes == nil || at < 0:
		return bytes, parley.Raw{}
	case r.loose:
		return nil, parley.Raw{Bytes: bytes, At: uint64(at), Cut: cut}
	}
	head = min(max(head, 0), len(bytes)) // what is damaged may say anything
	end := max(head, len(bytes)-max(tail, 0))
	return bytes[head:end], parley.Raw{Bytes: bytes, Body: head, At: uint64(at), Cut: cut}
}
