// Package capture makes sessions of a packet capture: it puts the TCP connections in it together
// and tells an onlooker of the tap what each side said, when, and how it ended. So a capture of some
// traffic makes the same messages and exchanges as a tap that passes it on.
//
// A connection is a session from its SYN on, or from the first bytes of it if the capture begins
// later. Bytes come in the order of their sequence numbers, each once, and not before what their
// sender had received when it sent them. What was acknowledged and is not in the capture is
// missing: that is told once the capture is a second further, or holds too much behind it.
package capture

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/tap"
)

// A Summary is what was in a capture.
type Summary struct {
	Packets   int // read of the file
	TCP       int // of those, segments of TCP
	UDP       int
	Fragments int // of IP: they are not put together
	Damaged   int // cut short before their data, or not what they say they are
	Other     int // of another protocol, or link

	First, Last time.Time // of the packets

	UnknownLink string // of a packet whose link cannot be read; empty if there is none

	Sessions  int
	Exchanges int // requests, with their replies if there are any; counted for a Gate
	Midway    int // sessions of which the capture does not have the beginning
	Open      int // sessions of which it does not have the end
	Repeated  int // segments with nothing new
	Outside   int // segments that are too far from what was said to belong there
	Gaps      int // places where bytes are missing
	Missing   uint64

	Broken error // what ends the capture before its end; nil if nothing does
}

// ErrNoCapture is that of a file that is neither pcap nor pcapng.
var ErrNoCapture = errors.New("not a capture: neither pcap nor pcapng")

// Options say what sessions are told to. The zero value tells nobody.
type Options struct {
	Requests, Replies parley.Framing // as of a tap.Tap
	MaxMessage        int            // the same
	Observer          parley.Observer
	Gate              parley.Gate

	First func(server bool, p []byte)             // told of the first bytes of each side; may be nil
	Gap   func(s *parley.Session, missing string) // told of what is missing; may be nil
}

// Read reads a capture, which may be compressed by gzip, to its end, or until ctx ends: the error is
// its cause then. One that ends within a packet, or is damaged in the middle, is read up to
// there.
func Read(ctx context.Context, in io.Reader, opt Options) (*Summary, error) {
	source, err := open(in)
	if err != nil {
		return nil, err
	}
	r := newReader(ctx, opt)
	for ctx.Err() == nil {
		data, info, link, err := source.next()
		if err != nil {
			if err != io.EOF {
				r.Broken = fmt.Errorf("behind packet %d: %w", r.Packets, plain(err))
			}
			break
		}
		r.packet(data, info, link)
	}
	r.leaveAll()
	return &r.Summary, context.Cause(ctx)
}

// plain has an end of file that comes too early be said in words.
func plain(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends too early")
	}
	return err
}

// A source is an open file of packets.
type source interface {
	// next returns the next packet, which is valid until the one after it, and what its link is.
	next() (data []byte, info gopacket.CaptureInfo, link layers.LinkType, err error)
}

func open(in io.Reader) (source, error) {
	file := bufio.NewReaderSize(in, 64<<10)
	if first, _ := file.Peek(2); string(first) == "\x1f\x8b" {
		unzipped, err := gzip.NewReader(file)
		if err != nil {
			return nil, fmt.Errorf("%w, compressed by gzip (%w)", ErrNoCapture, err)
		}
		file = bufio.NewReaderSize(unzipped, 64<<10)
	}
	first, err := file.Peek(4)
	switch {
	case err != nil && err != io.EOF:
		return nil, err
	case string(first) == "\n\r\r\n":
		r, err := pcapgo.NewNgReader(file, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		if err != nil {
			return nil, fmt.Errorf("%w (%w)", ErrNoCapture, plain(err))
		}
		return newFormat{r}, nil
	case !slices.Contains(magics, string(first)):
		return nil, ErrNoCapture
	}
	r, err := pcapgo.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNoCapture, plain(err))
	}
	return oldFormat{r}, nil
}

// magics are what files of pcap begin with: times in µs or ns, in either order of bytes.
var magics = []string{"\xa1\xb2\xc3\xd4", "\xd4\xc3\xb2\xa1", "\xa1\xb2\x3c\x4d", "\x4d\x3c\xb2\xa1"}

// An oldFormat is a file of pcap.
type oldFormat struct{ *pcapgo.Reader }

func (f oldFormat) next() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
	data, info, err := f.ZeroCopyReadPacketData()
	return data, info, f.LinkType(), err
}

// A newFormat is a file of pcapng, in which each interface has a link of its own.
type newFormat struct{ *pcapgo.NgReader }

func (f newFormat) next() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
	data, info, err := f.ZeroCopyReadPacketData()
	if err != nil {
		return nil, info, 0, err
	}
	link, _ := info.AncillaryData[0].(layers.LinkType)
	return data, info, link, nil
}

// A reader puts connections together.
type reader struct {
	Summary
	ctx     context.Context
	opt     Options
	tap     tap.Tap
	packets *decoder
	connections
	now time.Time // of the packet that is looked at
}

func newReader(ctx context.Context, opt Options) *reader {
	r := &reader{ctx: ctx, opt: opt, packets: newDecoder(), connections: newConnections()}
	r.tap = tap.Tap{Framing: opt.Requests, Replies: opt.Replies, MaxMessage: opt.MaxMessage, Observer: opt.Observer}
	if opt.Gate != nil {
		r.tap.Gate = r
	}
	return r
}

// Pass counts exchanges for the gate.
func (r *reader) Pass(s *parley.Session, batch []parley.Exchange) bool {
	for i := range batch {
		if batch[i].Seq > 0 && batch[i].Request != nil {
			r.Exchanges++
		}
	}
	return r.opt.Gate.Pass(s, batch)
}

// packet looks at one packet.
func (r *reader) packet(data []byte, info gopacket.CaptureInfo, link layers.LinkType) {
	r.Packets++
	r.now = r.timeOf(info.Timestamp)
	r.Last = r.now
	if r.Packets == 1 {
		r.First = r.now
	}
	s, kind := r.packets.decode(link, data, info)
	switch kind {
	case isTCP:
		r.TCP++
		r.segment(s)
	case isUDP:
		r.UDP++
	case isFragment:
		r.Fragments++
	case isDamaged:
		r.Damaged++
	default:
		r.Other++
		if first(link, data) == gopacket.LayerTypeZero {
			r.UnknownLink = link.String()
		}
	}
}

// timeOf is a packet's time. One that has none, or that nobody can mean, has that of the one before.
func (r *reader) timeOf(t time.Time) time.Time {
	if year := t.UTC().Year(); year >= 1970 && year < 2262 {
		return t.UTC()
	}
	if r.Last.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return r.Last
}

// session numbers a new session.
func (r *reader) session(c *connection) *parley.Session {
	r.Sessions++
	return parley.NewSession(uint64(r.Sessions), net.TCPAddrFromAddrPort(c.client), net.TCPAddrFromAddrPort(c.server), r.now)
}
