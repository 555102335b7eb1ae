package journal

import (
	"encoding/binary"
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/parley-tcp/parley"
)

// A Pcap writes events as a capture file that Wireshark and tshark open: each session is a
// TCP stream with a handshake, its requests and replies at their times, and its end.
//
// Of Events with Filter.Loose, each direction of a stream has the bytes that went over the
// wire, and where they are not kept a gap in the sequence numbers, as where packets were lost
// in a capture, of 1 GiB at most: for the rest of a message that is cut, for one of which parts were
// concealed, and for what is not recorded or not selected. What is known not to have got out is left out. Only of what an older parley has
// recorded, without its framing, a message is its bytes and a newline.
//
// The packets are made up, and acknowledged at once. An end is an orderly close, begun by the side that began it, or a
// reset, as its reason says. A session whose opening is not among the events gets its
// handshake at its first one. The ends of a Unix socket get addresses of 192.0.2.0/24.
type Pcap struct {
	out     io.Writer
	streams map[int64]*stream // by Session.ID
	buf     []byte

	refusals int64 // so far
}

const (
	pcapMagic   = 0xa1b23c4d // times in ns
	pcapSnapLen = 256 << 10
	linkTypeRaw = 101 // a packet begins with its IP header

	protocolTCP = 6
	hopLimit    = 64
	tcpHeader   = 20
	window      = 0xffff // times 2^windowScale: no message ever fills it, nor does a gap
	windowScale = 14
)

const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// NewPcap writes the file's header.
func NewPcap(out io.Writer) (*Pcap, error) {
	p := &Pcap{out: out, streams: make(map[int64]*stream)}
	h := binary.LittleEndian.AppendUint32(nil, pcapMagic)
	h = binary.LittleEndian.AppendUint16(h, 2) // version 2.4
	h = binary.LittleEndian.AppendUint16(h, 4)
	h = append(h, 0, 0, 0, 0, 0, 0, 0, 0) // times are UTC, of unknown accuracy
	h = binary.LittleEndian.AppendUint32(h, pcapSnapLen)
	h = binary.LittleEndian.AppendUint32(h, linkTypeRaw)
	_, err := out.Write(h)
	return p, err
}

// Write adds an event's packets. Events must come in the order of time.
func (p *Pcap) Write(e Event) error {
	p.buf = p.buf[:0]
	if e.Kind == parley.Refused {
		p.refused(e)
		_, err := p.out.Write(p.buf)
		return err
	}
	s := p.streams[e.Session.ID]
	if s == nil {
		s = newStream(e.Session)
		if e.Kind == parley.Opened {
			s.client.placed, s.server.placed = true, true
		}
		p.streams[e.Session.ID] = s
		p.handshake(s, e.Time)
	}
	switch e.Kind {
	case parley.Received:
		body, raw := onWire(e.Exchange.Request, e.Exchange.RawRequest, e.Exchange.RequestWhole)
		p.message(&s.client, &s.server, e.Time, body, raw, math.MaxUint64)
	case parley.Replied:
		p.reply(s, &e)
	case parley.Stray:
		_, raw := onWire(nil, e.Exchange.RawRequest, e.Exchange.RequestWhole)
		p.message(&s.client, &s.server, e.Time, nil, raw, math.MaxUint64)
		p.reply(s, &e)
	case parley.Closed:
		p.skipTo(&s.client, &s.server, e.Time, e.Session.BytesIn)
		p.skipTo(&s.server, &s.client, e.Time, e.Session.BytesOut)
		p.end(s, e.Time, e.Session.Reason)
		delete(p.streams, e.Session.ID)
	}
	_, err := p.out.Write(p.buf)
	return err
}

// refused adds a connection that was let in only to be told why not.
func (p *Pcap) refused(e Event) {
	p.refusals++
	connection := *e.Session
	connection.ID = -p.refusals // unlike that of any session
	s := newStream(&connection)
	p.handshake(s, e.Time)
	if e.Text != nil {
		p.message(&s.server, &s.client, e.Time, e.Text, e.RawText, math.MaxUint64)
	}
	p.end(s, e.Time, connection.Reason)
}

// A stream is one session as TCP has it.
type stream struct{ client, server side }

// A side is one end of a stream.
type side struct {
	at     netip.AddrPort
	seq    uint32 // of the next byte it sends
	sent   uint64 // bytes before that one
	placed bool   // sent is known: the stream does not begin within the session, or has bytes of it
	exact  bool   // it has bytes as they were on the wire
}

// newStream gives both ends a first sequence number that another session between the same
// two ports does not have: it would look like a repetition of this one.
func newStream(s *Session) *stream {
	client, server := endpoints(s)
	first := uint32(s.ID) * 0x9e3779b1
	return &stream{side{at: client, seq: first}, side{at: server, seq: first + 1<<31}}
}

// endpoints are both ends' addresses, of one family. Where there are none, numbers of the
// network for documentation stand in, a port a session.
func endpoints(s *Session) (client, server netip.AddrPort) {
	from, to := s.Ends()
	client, err := netip.ParseAddrPort(from)
	if err == nil {
		server, err = netip.ParseAddrPort(to)
	}
	if err == nil && client.Addr().Is4() == server.Addr().Is4() {
		return client, server
	}
	const ports = 1 << 14
	host := byte(2 + s.ID/ports%250)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, host}), uint16(49152+s.ID%ports)),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 6969)
}

func (p *Pcap) handshake(s *stream, at time.Time) {
	p.send(&s.client, &s.server, at, flagSYN, nil)
	p.send(&s.server, &s.client, at, flagSYN|flagACK, nil)
	p.send(&s.client, &s.server, at, flagACK, nil)
}

// reply sends what the server said as far as it is known to have got out.
func (p *Pcap) reply(s *stream, e *Event) {
	limit := uint64(math.MaxUint64)
	body, raw := onWire(e.Exchange.Reply, e.Exchange.RawReply, e.Exchange.ReplyWhole)
	switch {
	case e.Session.Closed.IsZero(): // nobody knows
	case raw.Bytes != nil && !e.Session.LooksOn():
		limit = e.Session.BytesOut
	case e.Session.Replied(e.Exchange.Seq) == "no":
		return
	}
	p.message(&s.server, &s.client, e.Time, body, raw, limit)
}

// onWire is a message as it was on the wire: nothing of one of which parts were concealed.
func onWire(body []byte, raw parley.Raw, whole int) ([]byte, parley.Raw) {
	if whole > 0 {
		raw.Bytes = raw.Bytes[:0]
		return nil, raw
	}
	return body, raw
}

// message sends a message, of a raw one what lies before the limit, behind what is missing.
func (p *Pcap) message(from, to *side, at time.Time, body []byte, raw parley.Raw, limit uint64) {
	if raw.Bytes == nil {
		if body != nil {
			p.segments(from, to, at, append(body[:len(body):len(body)], '\n'))
		}
		return
	}
	if !from.placed {
		from.placed, from.sent = true, raw.At
	}
	from.exact = true
	bytes := raw.Bytes
	if raw.At >= limit {
		return
	}
	bytes = bytes[:min(uint64(len(bytes)), limit-raw.At)]
	p.skipTo(from, to, at, raw.At)
	// Of what is damaged something may come twice.
	bytes = bytes[min(uint64(len(bytes)), from.sent-raw.At):]
	p.segments(from, to, at, bytes)
}

// maxGap is how much a gap leaves out: a sequence number that is 2 GiB ahead is taken for one
// that was before, and what follows would be too.
const maxGap = 1 << 30

// skipTo leaves out what is missing before a byte, and has it acknowledged: so it was not lost,
// but is not in the capture.
func (p *Pcap) skipTo(from, to *side, at time.Time, byte uint64) {
	if !from.exact || byte <= from.sent {
		return
	}
	from.seq += uint32(min(byte-from.sent, maxGap))
	from.sent = byte
	p.send(to, from, at, flagACK, nil)
}

// segments sends bytes in segments, and acknowledges them.
func (p *Pcap) segments(from, to *side, at time.Time, rest []byte) {
	if len(rest) == 0 {
		return
	}
	from.sent += uint64(len(rest))
	for len(rest) > 0 {
		n := min(len(rest), mss(from.at))
		flags := byte(flagACK)
		if n == len(rest) {
			flags |= flagPSH
		}
		p.send(from, to, at, flags, rest[:n])
		rest = rest[n:]
	}
	p.send(to, from, at, flagACK, nil)
}

// mss is how many bytes of a message fit into a packet of 1500.
func mss(at netip.AddrPort) int {
	if at.Addr().Is4() {
		return 1460
	}
	return 1440
}

func (p *Pcap) end(s *stream, at time.Time, reason string) {
	first, second := &s.server, &s.client
	switch reason {
	case parley.EndOfFile.String(), parley.Blank.String(), parley.NoRequest.String(), parley.Truncated.String():
		first, second = second, first
	case parley.Reset.String():
		p.send(&s.client, &s.server, at, flagRST|flagACK, nil)
		return
	case parley.WriteTimeout.String(), parley.DrainCut.String(), parley.ServerClosed.String(), parley.IOError.String(),
		parley.Unreachable.String(), parley.UpstreamReset.String():
		p.send(&s.server, &s.client, at, flagRST|flagACK, nil)
		return
	}
	p.send(first, second, at, flagFIN|flagACK, nil)
	p.send(second, first, at, flagFIN|flagACK, nil)
	p.send(first, second, at, flagACK, nil)
}

// send appends a packet with its record header.
func (p *Pcap) send(from, to *side, at time.Time, flags byte, data []byte) {
	header := len(p.buf)
	p.buf = append(p.buf, make([]byte, 16)...)
	packet := len(p.buf)
	p.buf = appendPacket(p.buf, from, to, flags, data)
	size := uint32(len(p.buf) - packet)
	for i, word := range []uint32{uint32(at.Unix()), uint32(at.Nanosecond()), size, size} {
		binary.LittleEndian.PutUint32(p.buf[header+4*i:], word)
	}
	from.seq += uint32(len(data))
	if flags&(flagSYN|flagFIN) != 0 {
		from.seq++
	}
}

func appendPacket(dst []byte, from, to *side, flags byte, data []byte) []byte {
	segment := appendSegment(nil, from, to, flags, data)
	source, target := from.at.Addr(), to.at.Addr()
	if source.Is4() {
		start := len(dst)
		dst = append(dst, 0x45, 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(20+len(segment)))
		dst = append(dst, 0, 0, 0x40, 0, hopLimit, protocolTCP, 0, 0) // may not be fragmented
		dst = append(append(dst, source.AsSlice()...), target.AsSlice()...)
		binary.BigEndian.PutUint16(dst[start+10:], ^sum(dst[start:], 0))
	} else {
		dst = append(dst, 0x60, 0, 0, 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(segment)))
		dst = append(dst, protocolTCP, hopLimit)
		dst = append(append(dst, source.AsSlice()...), target.AsSlice()...)
	}
	return append(dst, segment...)
}

func appendSegment(dst []byte, from, to *side, flags byte, data []byte) []byte {
	var options []byte
	if flags&flagSYN != 0 { // the largest segment, the scale of the window, and an end
		options = append(binary.BigEndian.AppendUint16([]byte{2, 4}, uint16(mss(from.at))), 3, 3, windowScale, 0)
	}
	ack := to.seq
	if flags&flagACK == 0 {
		ack = 0
	}
	dst = binary.BigEndian.AppendUint16(dst, from.at.Port())
	dst = binary.BigEndian.AppendUint16(dst, to.at.Port())
	dst = binary.BigEndian.AppendUint32(dst, from.seq)
	dst = binary.BigEndian.AppendUint32(dst, ack)
	dst = append(dst, byte(tcpHeader+len(options))/4<<4, flags)
	dst = binary.BigEndian.AppendUint16(dst, window)
	dst = append(dst, 0, 0, 0, 0) // the checksum, and nothing urgent
	dst = append(append(dst, options...), data...)

	pseudo := append(from.at.Addr().AsSlice(), to.at.Addr().AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(dst)))
	pseudo = append(pseudo, 0, 0, 0, protocolTCP)
	binary.BigEndian.PutUint16(dst[16:], ^sum(dst, sum(pseudo, 0)))
	return dst
}

// sum is the one's complement sum of 16-bit words (RFC 1071), which goes on from another.
func sum(p []byte, from uint16) uint16 {
	total := uint32(from)
	for ; len(p) > 1; p = p[2:] {
		total += uint32(binary.BigEndian.Uint16(p))
	}
	if len(p) > 0 {
		total += uint32(p[0]) << 8
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}
