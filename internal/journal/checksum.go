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

// exchange is the checksum of an exchange as version 2 has it: without parts.
func (c *checksummer) exchange(id int64, r *record, request, reply []byte) int64 {
	c.begin(id, r.session, int64(r.seq), r.received, int64(r.took), int64(r.requestCut), int64(r.replyCut))
	return c.end(request, reply)
}

// linked is that of version 3, and of version 4 if nothing was replaced.
func (c *checksummer) linked(id int64, r *record, parts int64, request, reply []byte) int64 {
	c.begin(id, r.session, int64(r.seq), r.received, int64(r.took), int64(r.requestCut), int64(r.replyCut), r.requestAt, r.replyAt, parts)
	if r.isRare() {
		c.add(int64(r.requestRawCut), int64(r.replyRawCut), int64(r.requestHead), int64(r.requestTail), int64(r.replyHead), int64(r.replyTail))
	}
	if r.requestWhole|r.replyWhole != 0 {
		c.add(int64(r.requestWhole), int64(r.replyWhole))
	}
	return c.end(request, reply)
}

// session is the checksum of a session; ended is the number of its end, 0 while it is open.
// origin and last are of version 3; origin is 0 in those before.
func (c *checksummer) session(s *Session, ended, origin, last int64) int64 {
	c.begin(s.ID, int64(s.Number), s.Opened.UnixNano(), ended)
	if !s.Closed.IsZero() {
		c.add(s.Closed.UnixNano(), int64(s.Requests), int64(s.RepliedUpTo), int64(s.BytesIn), int64(s.BytesOut))
	}
	if origin == 0 {
		return c.end([]byte(s.Remote), []byte(s.Local), []byte(s.Reason))
	}
	c.add(origin, last, int64(s.Stray))
	texts := [8][]byte{[]byte(s.Remote), []byte(s.Local), []byte(s.Reason), []byte(s.TLSVersion), []byte(s.TLSName), []byte(s.Proxied), []byte(s.OutLocal), []byte(s.OutRemote)}
	if s.OutLocal == "" && s.OutRemote == "" { // as before version 5
		return c.end(texts[:6]...)
	}
	return c.end(texts[:]...)
}

func (c *checksummer) identity(journal string) int64 {
	c.begin()
	return c.end([]byte(journal))
}

func (c *checksummer) cursor(name string, p Position) int64 {
	c.begin()
	c.position(p)
	return c.end([]byte(name))
}

func (c *checksummer) source(id int64, s *Source) int64 {
	c.begin(id, int64(s.Mark))
	c.position(s.Position)
	return c.end([]byte(s.Journal), []byte(s.Node))
}

func (c *checksummer) gap(g *missed, node string) int64 {
	c.begin(g.From, g.To, g.Exchanges, g.Sessions)
	return c.end([]byte(g.Reason), []byte(node))
}

func (c *checksummer) writer(w writerRow) int64 {
	c.begin(w.pid, w.since, w.session)
	return c.end()
}

func (c *checksummer) position(p Position) {
	for _, n := range p.numbers() {
		c.add(*n)
	}
}

func (c *checksummer) collected(id, source, session int64) int64 {
	c.begin(id, source, session)
	return c.end()
}

func (c *checksummer) origin(id int64, a *About) int64 {
	c.begin(id)
	return c.end([]byte(a.Framing), []byte(a.Role), []byte(a.Listener), []byte(a.Upstream), []byte(a.Node))
}

func (c *checksummer) fault(f *Fault) int64 {
	c.begin(f.ID, f.Session, f.At.UnixNano(), int64(f.Seq))
	return c.end([]byte(f.Fault))
}

// refusal is the checksum of a refusal; origin is 0 in versions before 3.
func (c *checksummer) refusal(r *Refusal, origin int64) int64 {
	c.begin(r.ID, r.At.UnixNano())
	if origin == 0 {
		return c.end([]byte(r.Remote), []byte(r.Local), []byte(r.Reason), r.Text)
	}
	c.add(origin, int64(r.RawText.Body))
	return c.end([]byte(r.Remote), []byte(r.Local), []byte(r.Reason), r.Text, r.RawText.Bytes)
}
