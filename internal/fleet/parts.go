package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// A block travels in parts, none longer than NATS takes. Each part's Nats-Msg-Id names it: a digest of the
// block, the part's number, and how many there are, as 0123…cdef.1.3. So JetStream leaves out what comes
// twice, and who reads knows what is whole.

const (
	headerRoom = 256     // bytes of a message that its header may need
	maxParts   = 1 << 12 // of a block that is believed
	maxBlock   = 1 << 30 // bytes of a block that is believed
)

// messages are a block's, for a subject; limit is the longest that NATS takes.
func messages(subject string, block []byte, limit int64) []*nats.Msg {
	most := max(int(limit)-headerRoom, headerRoom)
	n := (len(block) + most - 1) / most
	name := digest(block)
	msgs := make([]*nats.Msg, 0, n)
	for i := range n {
		msg := nats.NewMsg(subject)
		msg.Header[nats.MsgIdHdr] = []string{fmt.Sprintf("%s.%d.%d", name, i+1, n)}
		msg.Data = block[i*most : min(len(block), (i+1)*most)]
		msgs = append(msgs, msg)
	}
	return msgs
}

func digest(block []byte) string {
	sum := sha256.Sum256(block)
	return hex.EncodeToString(sum[:16])
}

// A part is what its message's Nats-Msg-Id says.
type part struct {
	block string // its digest
	i, n  int    // the first is 1
}

func partOf(header nats.Header) (p part, ok bool) {
	fields := strings.Split(header.Get(nats.MsgIdHdr), ".")
	if len(fields) != 3 || len(fields[0]) != 32 {
		return part{}, false
	}
	i, err1 := strconv.Atoi(fields[1])
	n, err2 := strconv.Atoi(fields[2])
	p = part{fields[0], i, n}
	return p, err1 == nil && err2 == nil && 0 < i && i <= n && n <= maxParts
}

// A puzzle is a block of which some parts are there.
type puzzle struct {
	part  // the last that came
	bytes []byte
	first uint64 // sequence in the stream of the first part
}

// join adds a part. whole says that it was the last, and that the block is what its name says; ok is false
// if the part is not the one that comes next, or the block not what its name says: the puzzle is to be given up.
func (z *puzzle) join(p part, data []byte) (whole, ok bool) {
	switch {
	case z.n == 0:
		if p.i != 1 {
			return false, false
		}
	case p.block == z.block && p.n == z.n && p.i <= z.i:
		return false, true // again
	case p.block != z.block || p.n != z.n || p.i != z.i+1:
		return false, false
	}
	if len(z.bytes)+len(data) > maxBlock {
		return false, false
	}
	z.part, z.bytes = p, append(z.bytes, data...)
	if p.i < p.n {
		return false, true
	}
	ok = digest(z.bytes) == z.block
	return ok, ok
}
