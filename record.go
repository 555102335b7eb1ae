package parley

import (
	"math"
	"time"
)

// What a conversation notes of messages: for its observers where a reply lies until it is written, and
// for its gate each message, with its raw bytes, and all bytes that are of none.

// keepRequest keeps what the gate is to be asked about, with what is there of its raw bytes.
func (c *conversation) keepRequest(out *writeBuffer, body []byte) {
	out.asked = Exchange{Seq: c.seq, Received: c.arrived, Request: nonNil(body), RawRequest: out.asked.RawRequest, Secret: c.note().Secret}
}

// noteReply notes the reply at out.buf[before:], of which the body was at out.buf[start:end] before
// its framing completed it.
func (c *conversation) noteReply(out *writeBuffer, before, start, end int, secret bool) {
	if c.protocol != nil || c.movesBody {
		start, end = c.bodyOf(out.buf, before, start, end)
	}
	out.marks = append(out.marks, mark{c.seq, out.arrived, start, end, len(out.buf), secret})
	if c.gate != nil {
		x := &out.batch[len(out.batch)-1]
		x.Reply, x.RawReply = nonNil(out.buf[start:end]), c.rawReply(out, out.buf, before, start)
	}
}

// noteUnasked notes that there is a message at the end of the write buffer that answers no
// request.
func (c *conversation) noteUnasked(out *writeBuffer, received time.Time, before, start, end int) {
	if c.marks || c.tells(Unasked) {
		out.marks = append(out.marks, mark{0, out.arrived, start, end, len(out.buf), false})
	}
	if c.gate != nil {
		out.batch = append(out.batch, Exchange{Received: received, Reply: out.buf[start:end], RawReply: c.rawReply(out, out.buf, before, start)})
	}
}

// bodyOf says where the body of the message at buf[before:] is, which was at buf[start:end] before
// its framing completed it.
func (c *conversation) bodyOf(buf []byte, before, start, end int) (from, to int) {
	switch {
	case c.protocol != nil: // whose bodies are whole
		return before, len(buf)
	case c.movesBody:
		if _, body, err := c.replies.Next(buf[before:], 0, math.MaxInt, true); err == nil {
			from = before + rawOf(buf[before:], body, 0).Body
			return from, from + len(body)
		}
	}
	return start, end
}

// rawOf is a message that was read, behind at bytes before it.
func rawOf(raw, body []byte, at uint64) Raw {
	return Raw{Bytes: raw, Body: min(cap(raw)-cap(body), len(raw)-len(body)), At: at}
}

// rawReply is the message that was put at buf[before:], for the write buffer.
func (c *conversation) rawReply(out *writeBuffer, buf []byte, before, body int) Raw {
	return Raw{Bytes: buf[before:], Body: body - before, At: c.out + uint64(before-out.sent)}
}

// nonNil is a message that is there, also if it is empty: nil would be none.
func nonNil(message []byte) []byte {
	if message == nil {
		return []byte{}
	}
	return message
}

// keepLoose takes up all of the input once the conversation is over. The gate is told of what
// lies behind the last request.
func (c *conversation) keepLoose(out *writeBuffer, in []byte, used int) int {
	if c.phase != over || used == len(in) {
		return used
	}
	c.keep(out, in[used:], c.in-uint64(len(in)-used))
	return len(in)
}

// keep has the gate told of bytes that belong to no message. Inlined in each place, its exchange would double what
// answer needs of a stack, and a goroutine that is idle keeps what it has needed.
//
//go:noinline
func (c *conversation) keep(out *writeBuffer, loose []byte, at uint64) {
	if c.gate != nil {
		out.batch = append(out.batch, Exchange{Received: c.arrived, RawRequest: Raw{Bytes: loose, At: at}})
	}
}

// recordLoose tells the gate of bytes that were read and of which no request will be made. It is
// not waited for: there is no reply to hold back.
func (c *conversation) recordLoose(held []byte) {
	if c.gate != nil && len(held) > 0 {
		c.pass([]Exchange{{Received: c.arrived, RawRequest: Raw{Bytes: held, At: c.in - uint64(len(held))}}})
		c.session.hold.drop()
	}
}

// ask asks the gate about the replies that it was not asked about before, and reports
// whether it holds them. The requests' bytes are in the input still.
func (c *conversation) ask(out *writeBuffer, now time.Time) (held bool) {
	if len(out.batch) == 0 {
		return false
	}
	for i := range out.batch {
		if x := &out.batch[i]; x.Reply != nil {
			x.Took = now.Sub(x.Received)
		}
	}
	c.pass(out.batch)
	clear(out.batch) // it refers to buffers that go back to their pools
	out.batch = out.batch[:0]
	return !c.session.released()
}

func (c *conversation) pass(batch []Exchange) {
	c.session.hold.batches.Store(1)
	if c.gate.Pass(c.session, batch) {
		c.session.hold.drop()
	}
}
