package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// A checksummer computes the CRC-32C of records: of their numbers and then of the lengths of
// their texts and messages, each as 8 bytes, little-endian, and then of the texts and
// messages themselves. What is NULL has the length -1.
type checksummer struct{ numbers []byte }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c *checksummer) begin(numbers ...int64) {
	c.numbers = c.numbers[:0]
	c.add(numbers...)
}

func (c *checksummer) add(numbers ...int64) {
	for _, n := range numbers {
		c.numbers = binary.LittleEndian.AppendUint64(c.numbers, uint64(n))
	}
}

func (c *checksummer) end(texts ...[]byte) int64 {
	for _, text := range texts {
		c.add(int64(lengthOf(text)))
	}
	sum := crc32.Checksum(c.numbers, castagnoli)
	for _, text := range texts {
		sum = crc32.Update(sum, castagnoli, text)
	}
	return int64(sum)
}

func (c *checksummer) exchange(id, session, seq, receivedNS, tookNS, requestCut, replyCut int64, request, reply []byte) int64 {
	c.begin(id, session, seq, receivedNS, tookNS, requestCut, replyCut)
	return c.end(request, reply)
}

// session is the checksum of a session; ended is the number of its end, 0 while it is open.
func (c *checksummer) session(s *Session, ended int64) int64 {
	c.begin(s.ID, int64(s.Number), s.Opened.UnixNano(), ended)
	if !s.Closed.IsZero() {
		c.add(s.Closed.UnixNano(), int64(s.Requests), int64(s.RepliedUpTo), int64(s.BytesIn), int64(s.BytesOut))
	}
	return c.end([]byte(s.Remote), []byte(s.Local), []byte(s.Reason))
}

func (c *checksummer) refusal(r *Refusal) int64 {
	c.begin(r.ID, r.At.UnixNano())
	return c.end([]byte(r.Remote), []byte(r.Local), []byte(r.Reason), r.Text)
}
