package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
)

// A heard is what was told of a capture, a line each.
type heard struct {
	lines   []string
	batches []parley.Exchange
}

func (h *heard) Observe(e *parley.Event) {
	line := fmt.Sprintf("%d %v", e.Session.Number(), e.Kind)
	switch e.Kind {
	case parley.Opened:
		line += fmt.Sprintf(" %s to %s", e.Session.AppendRemote(nil), e.Session.AppendLocal(nil))
	case parley.Received, parley.Unasked, parley.Stray:
		line += fmt.Sprintf(" %q", e.Body)
	case parley.Replied:
		line += fmt.Sprintf(" %d %q %v", e.Seq, e.Body, e.Took)
	case parley.Closed:
		line += fmt.Sprintf(" %v in %d out %d", e.Reason, e.In, e.Out)
	case parley.FramingLost:
		line += " " + e.Err.Error()
	}
	h.lines = append(h.lines, line)
}

func (h *heard) Pass(s *parley.Session, batch []parley.Exchange) bool {
	for _, x := range batch {
		x.Request, x.Reply = bytes.Clone(x.Request), bytes.Clone(x.Reply)
		x.RawRequest.Bytes, x.RawReply.Bytes = bytes.Clone(x.RawRequest.Bytes), bytes.Clone(x.RawReply.Bytes)
		h.batches = append(h.batches, x)
	}
	return true
}

// A file is a capture that a test makes.
type file struct {
	bytes.Buffer
	w    *pcapgo.Writer
	now  time.Time
	snap int // bytes of a packet that are kept; all if 0
}

func newFile(link layers.LinkType) *file {
	f := &file{now: time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)}
	f.w = pcapgo.NewWriterNanos(&f.Buffer)
	f.w.WriteFileHeader(1<<18, link)
	return f
}

func (f *file) packet(parts ...gopacket.SerializableLayer) {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, parts...); err != nil {
		panic(err)
	}
	data := buf.Bytes()
	length := len(data)
	if f.snap > 0 && f.snap < length {
		data = data[:f.snap]
	}
	f.now = f.now.Add(time.Millisecond)
	if err := f.w.WritePacket(gopacket.CaptureInfo{Timestamp: f.now, CaptureLength: len(data), Length: length}, data); err != nil {
		panic(err)
	}
}

// A talk is a connection of a capture, in packets of IP alone unless there is a link.
type talk struct {
	f              *file
	client, server netip.AddrPort
	seq            [2]uint32
	link           func(isV6 bool) []gopacket.SerializableLayer
}

func (f *file) talk(client, server string) *talk {
	return &talk{f: f, client: netip.MustParseAddrPort(client), server: netip.MustParseAddrPort(server), seq: [2]uint32{1000, 5000}}
}

func (t *talk) send(from int, at, ack uint32, flags string, data string) {
	a, b := t.client, t.server
	if from == 1 {
		a, b = b, a
	}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(a.Port()), DstPort: layers.TCPPort(b.Port()), Seq: at, Ack: ack, Window: 1000}
	tcp.SYN, tcp.FIN, tcp.RST, tcp.ACK = strings.Contains(flags, "S"), strings.Contains(flags, "F"), strings.Contains(flags, "R"), strings.Contains(flags, "A")
	var all []gopacket.SerializableLayer
	if t.link != nil {
		all = t.link(a.Addr().Is6())
	}
	if a.Addr().Is4() {
		all = append(all, &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IP(a.Addr().AsSlice()), DstIP: net.IP(b.Addr().AsSlice())})
	} else {
		all = append(all, &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: net.IP(a.Addr().AsSlice()), DstIP: net.IP(b.Addr().AsSlice())})
	}
	t.f.packet(append(all, tcp, gopacket.Payload(data))...)
}

// say sends what follows.
func (t *talk) say(from int, data string) {
	t.send(from, t.seq[from], t.seq[1-from], "A", data)
	t.seq[from] += uint32(len(data))
}

func (t *talk) open() {
	t.send(0, t.seq[0], 0, "S", "")
	t.seq[0]++
	t.send(1, t.seq[1], t.seq[0], "SA", "")
	t.seq[1]++
	t.say(0, "")
}

func (t *talk) end(from int) {
	t.send(from, t.seq[from], t.seq[1-from], "FA", "")
	t.seq[from]++
}

func (t *talk) close() {
	t.end(0)
	t.end(1)
	t.say(0, "")
}

const (
	clientAddr = "10.0.0.1:40000"
	serverAddr = "10.0.0.2:7000"
	opened     = "1 opened 10.0.0.1:40000 to 10.0.0.2:7000"
)

func read(t *testing.T, in io.Reader, framing string) (*Summary, *heard) {
	t.Helper()
	f, err := dialect.Parse(framing)
	if err != nil {
		t.Fatal(err)
	}
	f = f.Onlooker()
	h := new(heard)
	sum, err := Read(t.Context(), in, Options{Requests: f.Requests, Replies: f.Replies, Observer: h, Gate: h})
	if err != nil {
		t.Fatal(err)
	}
	return sum, h
}

// told compares what is told of a capture.
func told(t *testing.T, f *file, want ...string) *Summary {
	t.Helper()
	sum, h := read(t, bytes.NewReader(f.Bytes()), "line")
	if !slices.Equal(h.lines, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(h.lines, "\n"), strings.Join(want, "\n"))
	}
	return sum
}

var wholeTalk = []string{opened, `1 received "one"`, `1 replied 1 "1" 1ms`, `1 received "two"`, `1 replied 2 "2" 1ms`, "1 closed eof in 8 out 4"}

// The same conversation is read of every kind of link, and with either order of bytes.
func TestLinks(t *testing.T) {
	eth := func(v6 bool) *layers.Ethernet {
		e := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
		if v6 {
			e.EthernetType = layers.EthernetTypeIPv6
		}
		return e
	}
	raw := func(n int, fill func(p []byte, v6 bool)) func(bool) []gopacket.SerializableLayer {
		return func(v6 bool) []gopacket.SerializableLayer {
			p := make([]byte, n)
			fill(p, v6)
			return []gopacket.SerializableLayer{gopacket.Payload(p)}
		}
	}
	etherType := func(p []byte, v6 bool) {
		binary.BigEndian.PutUint16(p, 0x0800)
		if v6 {
			binary.BigEndian.PutUint16(p, 0x86dd)
		}
	}
	for name, link := range map[string]struct {
		link layers.LinkType
		of   func(bool) []gopacket.SerializableLayer
	}{
		"raw":      {layers.LinkTypeRaw, nil},
		"ethernet": {layers.LinkTypeEthernet, func(v6 bool) []gopacket.SerializableLayer { return []gopacket.SerializableLayer{eth(v6)} }},
		"vlan": {layers.LinkTypeEthernet, func(v6 bool) []gopacket.SerializableLayer {
			e := eth(v6)
			tag := &layers.Dot1Q{VLANIdentifier: 7, Type: e.EthernetType}
			e.EthernetType = layers.EthernetTypeDot1Q
			return []gopacket.SerializableLayer{e, tag}
		}},
		"qinq": {layers.LinkTypeEthernet, func(v6 bool) []gopacket.SerializableLayer {
			e := eth(v6)
			inner := &layers.Dot1Q{VLANIdentifier: 7, Type: e.EthernetType}
			e.EthernetType = layers.EthernetTypeQinQ
			return []gopacket.SerializableLayer{e, &layers.Dot1Q{VLANIdentifier: 8, Type: layers.EthernetTypeDot1Q}, inner}
		}},
		"sll":  {layers.LinkTypeLinuxSLL, raw(16, func(p []byte, v6 bool) { etherType(p[14:], v6) })},
		"sll2": {layers.LinkTypeLinuxSLL2, raw(20, func(p []byte, v6 bool) { etherType(p, v6) })},
		"null": {layers.LinkTypeNull, raw(4, func(p []byte, v6 bool) {
			p[0] = 2
			if v6 {
				p[0] = 30
			}
		})},
	} {
		for _, ends := range [][2]string{{clientAddr, serverAddr}, {"[fd00::1]:40000", "[fd00::2]:7000"}} {
			t.Run(name+" "+ends[0], func(t *testing.T) {
				f := newFile(link.link)
				c := f.talk(ends[0], ends[1])
				c.link = link.of
				c.open()
				c.say(0, "one\n")
				c.say(1, "1\n")
				c.say(0, "two\n")
				c.say(1, "2\n")
				c.close()
				want := slices.Clone(wholeTalk)
				want[0] = "1 opened " + ends[0] + " to " + ends[1]
				told(t, f, want...)
			})
		}
	}
}

// What network and kernel do to segments is not seen in what was said.
func TestReassembly(t *testing.T) {
	for name, talking := range map[string]func(c *talk){
		"repeated": func(c *talk) {
			c.open()
			c.say(0, "one\n")
			c.send(0, c.seq[0]-4, c.seq[1], "A", "one\n")
			c.send(0, c.seq[0]-4, c.seq[1], "A", "on")
			c.say(1, "1\n")
			c.send(0, c.seq[0]-1, c.seq[1], "A", "\x00") // keep-alive
			c.say(0, "two\n")
			c.say(1, "2\n")
			c.close()
			c.end(1)
		},
		"overlapping": func(c *talk) {
			c.open()
			c.send(0, 1001, c.seq[1], "A", "on")
			c.send(0, 1001, c.seq[1], "A", "one\n")
			c.seq[0] = 1005
			c.say(1, "1\n")
			c.send(0, 1007, c.seq[1], "A", "o\n")
			c.send(0, 1006, c.seq[1], "A", "wo\n")
			c.send(0, 1003, c.seq[1], "A", "e\ntw")
			c.seq[0] = 1009
			c.say(1, "2\n")
			c.close()
		},
		"out of order": func(c *talk) {
			c.open()
			c.send(0, 1003, c.seq[1], "A", "e\n")
			c.send(0, 1001, c.seq[1], "A", "on")
			c.seq[0] = 1005
			c.say(1, "1\n")
			c.send(1, 5003, 1009, "A", "2\n") // before the request that it answers
			c.send(0, 1005, 5003, "A", "two\n")
			c.seq = [2]uint32{1009, 5005}
			c.close()
		},
		"the end first": func(c *talk) {
			c.open()
			c.say(0, "one\n")
			c.say(1, "1\n")
			c.say(0, "two\n")
			c.send(1, 5005, 1009, "FA", "")
			c.send(1, 5003, 1009, "A", "2\n")
			c.seq[1] = 5006
			c.end(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(layers.LinkTypeRaw)
			talking(f.talk(clientAddr, serverAddr))
			_, h := read(t, bytes.NewReader(f.Bytes()), "line")
			tookSome := regexp.MustCompile(` [0-9]+m?s$`)
			for i, line := range h.lines {
				h.lines[i] = tookSome.ReplaceAllString(line, " 1ms")
			}
			if !slices.Equal(h.lines, wholeTalk) {
				t.Errorf("told\n%s", strings.Join(h.lines, "\n"))
			}
		})
	}
}

// Sequence numbers begin again at 0.
func TestSequenceWraps(t *testing.T) {
	f := newFile(layers.LinkTypeRaw)
	c := f.talk(clientAddr, serverAddr)
	c.seq = [2]uint32{0xfffffffd, 0xffffffff}
	c.open()
	c.say(0, "one\n")
	c.say(1, "1\n")
	c.say(0, "two\n")
	c.say(1, "2\n")
	c.close()
	told(t, f, wholeTalk...)
}

// What was acknowledged and never comes is missing: it is told where and how much, what there was of
// its message is kept with how much it lacks, and no reply is taken for that of another request.
func TestWhatIsMissing(t *testing.T) {
	f := newFile(layers.LinkTypeRaw)
	c := f.talk(clientAddr, serverAddr)
	c.open()
	c.say(0, "one\ntw")
	c.seq[0] += 10
	c.say(1, "1\n2\n")
	c.say(0, "three\n")
	f.now = f.now.Add(missingAfter)
	c.say(1, "3\n")
	c.close()
	sum, h := read(t, bytes.NewReader(f.Bytes()), "line")
	want := []string{
		opened, `1 received "one"`,
		"1 framing_lost the client's byte 16: 10 bytes before it are missing; from there its bytes are shown as they come",
		`1 replied 1 "1" 1ms`, `1 message "2"`, `1 received "three\n"`, `1 message "3"`, "1 closed eof in 22 out 6",
	}
	if !slices.Equal(h.lines, want) {
		t.Errorf("told\n%s", strings.Join(h.lines, "\n"))
	}
	if sum.Gaps != 1 || sum.Missing != 10 {
		t.Errorf("%d gaps of %d bytes, want 1 of 10", sum.Gaps, sum.Missing)
	}
	i := slices.IndexFunc(h.batches, func(x parley.Exchange) bool { return x.RawRequest.Cut > 0 })
	if i < 0 || string(h.batches[i].RawRequest.Bytes) != "tw" || h.batches[i].RawRequest.Cut != 10 || h.batches[i].RawRequest.At != 4 {
		t.Errorf("%+v", h.batches)
	}
}

// The last bytes of packets that a capture has cut short are missing, without anybody waiting for them.
func TestPacketsCutShort(t *testing.T) {
	f := newFile(layers.LinkTypeRaw)
	f.snap = 45
	c := f.talk(clientAddr, serverAddr)
	c.open()
	c.say(0, "one\n")
	c.say(1, "1\n")
	c.say(0, "two and more\n")
	c.say(1, "2\n")
	c.close()
	told(t, f, opened, `1 received "one"`, `1 replied 1 "1" 1ms`,
		"1 framing_lost the client's byte 17: 8 bytes before it are missing; from there its bytes are shown as they come",
		`1 message "2"`, "1 closed eof in 17 out 4")
}

// How a connection began and ended is told as the tap tells it.
func TestBeginningsAndEnds(t *testing.T) {
	for name, test := range map[string]struct {
		talk func(c *talk)
		want []string
		sum  Summary
	}{
		"refused": {func(c *talk) {
			c.send(0, 1000, 0, "S", "")
			c.send(1, 0, 1001, "RA", "")
		}, []string{opened, "1 closed unreachable in 0 out 0"}, Summary{Sessions: 1}},
		"nobody answers": {func(c *talk) {
			c.send(0, 1000, 0, "S", "")
			c.send(0, 1000, 0, "S", "")
		}, []string{opened}, Summary{Sessions: 1, Open: 1}},
		"reset by the client": {func(c *talk) {
			c.open()
			c.say(0, "one\n")
			c.send(0, c.seq[0], c.seq[1], "RA", "")
		}, []string{opened, `1 received "one"`, "1 closed reset in 4 out 0"}, Summary{Sessions: 1}},
		"reset by the server": {func(c *talk) {
			c.open()
			c.say(0, "one\ntw")
			c.send(1, c.seq[1], 0, "R", "")
			c.say(0, "late")
		}, []string{opened, `1 received "one"`, `1 received "tw"`, "1 closed upstream_reset in 6 out 0"}, Summary{Sessions: 1, Repeated: 0}},
		"a look": {func(c *talk) {
			c.open()
			c.send(0, c.seq[0], c.seq[1], "R", "")
		}, []string{opened, "1 closed no_request in 0 out 0"}, Summary{Sessions: 1}},
		"nothing said": {func(c *talk) {
			c.open()
			c.close()
		}, []string{opened, "1 closed no_request in 0 out 0"}, Summary{Sessions: 1}},
		"inside a request": {func(c *talk) {
			c.open()
			c.say(0, "on")
			c.close()
		}, []string{opened, `1 received "on"`, "1 closed eof in 2 out 0"}, Summary{Sessions: 1}},
		"not ended": {func(c *talk) {
			c.open()
			c.say(0, "one\n")
			c.end(0)
		}, []string{opened, `1 received "one"`}, Summary{Sessions: 1, Open: 1}},
		"begun before, the reply first": {func(c *talk) {
			c.say(1, "1\n")
			c.say(0, "two\n")
			c.say(1, "2\n")
			c.close()
		}, []string{opened, `1 message "1"`, `1 received "two"`, `1 replied 1 "2" 1ms`, "1 closed eof in 4 out 4"}, Summary{Sessions: 1, Midway: 1}},
		"begun with its answer": {func(c *talk) {
			c.send(1, 4999, 1000, "SA", "")
			c.say(0, "two\n")
			c.say(1, "2\n")
			c.close()
		}, []string{opened, `1 received "two"`, `1 replied 1 "2" 1ms`, "1 closed eof in 4 out 2"}, Summary{Sessions: 1}},
		"over before": {func(c *talk) {
			c.say(0, "")
			c.end(1)
			c.send(0, c.seq[0], 0, "R", "")
		}, nil, Summary{}},
		"the same ports again": {func(c *talk) {
			c.open()
			c.say(0, "one\n")
			c.close()
			c.seq = [2]uint32{90000, 80000}
			c.open()
			c.say(0, "two\n")
			c.seq = [2]uint32{9000, 8000}
			c.open()
			c.close()
		}, []string{opened, `1 received "one"`, "1 closed eof in 4 out 0", "2 opened 10.0.0.1:40000 to 10.0.0.2:7000", `2 received "two"`,
			"3 opened 10.0.0.1:40000 to 10.0.0.2:7000", "3 closed no_request in 0 out 0"}, Summary{Sessions: 3, Open: 1}},
		"data with the first packet": {func(c *talk) {
			c.send(0, 1000, 0, "S", "one\n")
			c.send(1, 5000, 1005, "SA", "1\n")
			c.seq = [2]uint32{1005, 5003}
			c.close()
		}, []string{opened, `1 received "one"`, `1 replied 1 "1" 1ms`, "1 closed eof in 4 out 2"}, Summary{Sessions: 1}},
		"only the client's packets": {func(c *talk) {
			c.send(0, 1000, 0, "S", "")
			c.send(0, 1001, 5001, "A", "")
			c.send(0, 1001, 5001, "A", "one\n")
			c.send(0, 1005, 5003, "A", "two\n")
		}, []string{opened, `1 received "one"`, "1 framing_lost the server's byte 2: 2 bytes before it are missing; from there its bytes are shown as they come",
			`1 received "two"`}, Summary{Sessions: 1, Open: 1, Gaps: 1, Missing: 2}},
		"far outside": {func(c *talk) {
			c.open()
			c.send(0, c.seq[0]+1<<30+1, c.seq[1], "A", "x")
			c.send(0, c.seq[0]+1<<30, c.seq[1]+1<<30+1, "A", "y\n")
			c.say(0, "one\n")
			c.say(1, "1\n")
		}, []string{opened, `1 received "one"`, `1 replied 1 "1" 1ms`,
			"1 framing_lost the client's byte 1073741824: 1073741820 bytes before it are missing; from there its bytes are shown as they come", `1 received "y\n"`},
			Summary{Sessions: 1, Open: 1, Outside: 1, Gaps: 1, Missing: 1<<30 - 4}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(layers.LinkTypeRaw)
			test.talk(f.talk(clientAddr, serverAddr))
			sum := told(t, f, test.want...)
			got := Summary{Sessions: sum.Sessions, Midway: sum.Midway, Open: sum.Open, Outside: sum.Outside, Gaps: sum.Gaps, Missing: sum.Missing}
			if got != test.sum {
				t.Errorf("%+v, want %+v", got, test.sum)
			}
		})
	}
}

// Who was a server before, or has the lower port, is one when nobody has seen who began.
func TestWhichSideServes(t *testing.T) {
	f := newFile(layers.LinkTypeRaw)
	known := f.talk("10.0.0.9:5", "10.0.0.2:60000")
	known.open()
	known.close()
	of := f.talk("10.0.0.1:40000", "10.0.0.2:60000")
	of.say(0, "one\n")
	lower := f.talk("10.0.0.3:41000", "10.0.0.4:40999")
	lower.say(1, "hello\n")
	sum, h := read(t, bytes.NewReader(f.Bytes()), "line")
	want := []string{"1 opened 10.0.0.9:5 to 10.0.0.2:60000", "1 closed no_request in 0 out 0",
		"2 opened 10.0.0.1:40000 to 10.0.0.2:60000", `2 received "one"`, "3 opened 10.0.0.3:41000 to 10.0.0.4:40999", `3 message "hello"`}
	if !slices.Equal(h.lines, want) || sum.Midway != 2 {
		t.Errorf("told\n%s\n%+v", strings.Join(h.lines, "\n"), sum)
	}
}

// A capture may have any kind of pcap or pcapng, packed or not, and its times are kept to what it has of them.
func TestFormats(t *testing.T) {
	f := newFile(layers.LinkTypeRaw)
	c := f.talk(clientAddr, serverAddr)
	c.open()
	c.say(0, "one\n")
	c.say(1, "1\n")
	c.say(0, "two\n")
	c.say(1, "2\n")
	c.close()
	nano := f.Bytes()

	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(nano)
	z.Close()

	var ng bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&ng, pcapgo.NgInterface{LinkType: layers.LinkTypeRaw, TimestampResolution: 9}, pcapgo.DefaultNgWriterOptions)
	if err != nil {
		t.Fatal(err)
	}
	// Of another kind, with other times.
	other, err := w.AddInterface(pcapgo.NgInterface{LinkType: layers.LinkTypeNull, TimestampResolution: 6})
	if err != nil {
		t.Fatal(err)
	}
	micro, big := new(bytes.Buffer), bytes.Clone(nano[:24])
	m := pcapgo.NewWriter(micro)
	m.WriteFileHeader(1<<18, layers.LinkTypeRaw)
	swap := func(p []byte) {
		for ; len(p) > 0; p = p[4:] {
			slices.Reverse(p[:4])
		}
	}
	swap(big[:4])
	slices.Reverse(big[4:6])
	slices.Reverse(big[6:8])
	swap(big[8:24])
	source, err := open(bytes.NewReader(nano))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		data, info, _, err := source.next()
		if err == io.EOF {
			break
		}
		m.WritePacket(info, data)
		head := binary.LittleEndian.AppendUint32(nil, uint32(info.Timestamp.Unix()))
		for _, n := range []int{info.Timestamp.Nanosecond(), len(data), len(data)} {
			head = binary.LittleEndian.AppendUint32(head, uint32(n))
		}
		swap(head)
		big = append(append(big, head...), data...)
		if i%2 == 1 {
			data = append([]byte{2, 0, 0, 0}, data...)
			info.InterfaceIndex, info.Length, info.CaptureLength = other, len(data), len(data)
		}
		if err := w.WritePacket(info, data); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	for name, data := range map[string][]byte{"ns": nano, "big-endian": big, "gzip": packed.Bytes(), "ng": ng.Bytes(), "µs": micro.Bytes()} {
		t.Run(name, func(t *testing.T) {
			sum, h := read(t, bytes.NewReader(data), "line")
			if !slices.Equal(h.lines, wholeTalk) || sum.Broken != nil {
				t.Errorf("told\n%s\n%+v", strings.Join(h.lines, "\n"), sum)
			}
			if want := time.Date(2026, 11, 26, 8, 0, 0, int(4*time.Millisecond), time.UTC); !h.batches[0].Received.Equal(want) {
				t.Errorf("received at %v, want %v", h.batches[0].Received, want)
			}
			if len(data) > 60 && name != "gzip" {
				sum, _ = read(t, bytes.NewReader(data[:len(data)-3]), "line")
				if sum.Broken == nil || sum.Packets == 0 {
					t.Errorf("of a file that ends within a packet: %+v", sum)
				}
			}
		})
	}
	for name, data := range map[string]string{"text": "GET / HTTP/1.1\r\n\r\n", "nothing": "", "one byte": "x", "gzip of text": "\x1f\x8bno"} {
		if _, err := Read(t.Context(), strings.NewReader(data), Options{}); !errors.Is(err, ErrNoCapture) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who has much to say behind what never comes does not have all of it kept.
func TestWhatWaitsIsBounded(t *testing.T) {
	f := newFile(layers.LinkTypeRaw)
	f.now = f.now.Add(-time.Hour)
	c := f.talk(clientAddr, serverAddr)
	c.open()
	c.seq[0] += 5
	said := strings.Repeat("x", 999) + "\n"
	for range 20 {
		c.say(0, said)
		f.now = f.now.Add(-time.Millisecond)
	}
	h := new(heard)
	r := newReader(t.Context(), Options{Observer: h})
	r.limits.stream = 10 * (len(said) + heldSegment)
	source, err := open(bytes.NewReader(f.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for {
		data, info, link, err := source.next()
		if err != nil {
			break
		}
		r.packet(data, info, link)
		most = max(most, r.held)
	}
	r.leaveAll()
	if most > r.limits.stream || r.held != 0 || r.Missing != 5 {
		t.Errorf("held %d at most, %d at the end, %d bytes missing", most, r.held, r.Missing)
	}

	// So it is with connections.
	r = newReader(t.Context(), Options{Observer: h})
	r.limits.connections = 3
	f = newFile(layers.LinkTypeRaw)
	for i := range 5 {
		f.talk(fmt.Sprintf("10.0.0.1:%d", 4000+i), serverAddr).open()
	}
	source, _ = open(bytes.NewReader(f.Bytes()))
	for data, info, link, err := source.next(); err == nil; data, info, link, err = source.next() {
		r.packet(data, info, link)
	}
	if len(r.all) != 3 || r.Sessions != 5 || r.Open != 2 {
		t.Errorf("%d connections kept of %d, %d given up", len(r.all), r.Sessions, r.Open)
	}
}

// What is no TCP is counted, and what cannot be read is named.
func TestWhatElseThereIs(t *testing.T) {
	f := newFile(layers.LinkTypeEthernet)
	ends := func(kind layers.EthernetType) *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: kind}
	}
	ip := func(protocol layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2}}
	}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolIPv6Fragment, SrcIP: net.IP(netip.MustParseAddr("fd00::1").AsSlice()), DstIP: net.IP(netip.MustParseAddr("fd00::2").AsSlice())}
	fragment, last := ip(layers.IPProtocolTCP), ip(layers.IPProtocolTCP)
	fragment.Flags, last.FragOffset = layers.IPv4MoreFragments, 10
	tcp := func() *layers.TCP { return &layers.TCP{SrcPort: 1, DstPort: 2, ACK: true} }
	f.packet(ends(layers.EthernetTypeIPv4), ip(layers.IPProtocolUDP), &layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload("x"))
	f.packet(ends(layers.EthernetTypeIPv4), fragment, tcp(), gopacket.Payload("part"))
	f.packet(ends(layers.EthernetTypeIPv4), last, gopacket.Payload("rest"))
	f.packet(ends(layers.EthernetTypeIPv6), ip6, gopacket.Payload([]byte{6, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3}))
	f.packet(ends(layers.EthernetTypeARP), gopacket.Payload("arp"))
	f.packet(ends(layers.EthernetTypeIPv4), gopacket.Payload("short"))
	f.packet(ends(layers.EthernetTypeIPv4), ip(layers.IPProtocolTCP), gopacket.Payload("no header"))
	f.packet(ends(layers.EthernetTypeIPv4), ip(layers.IPProtocolTCP), tcp())
	sum, h := read(t, bytes.NewReader(f.Bytes()), "line")
	if sum.Packets != 8 || sum.UDP != 1 || sum.Fragments != 3 || sum.Other != 1 || sum.Damaged != 2 || sum.TCP != 1 || sum.Sessions != 0 || len(h.lines) > 0 {
		t.Errorf("%+v, %q", sum, h.lines)
	}
	f = newFile(layers.LinkTypeIEEE802_11)
	f.packet(gopacket.Payload("over the air"))
	if sum, _ := read(t, bytes.NewReader(f.Bytes()), "line"); sum.Other != 1 || sum.UnknownLink == "" {
		t.Errorf("%+v", sum)
	}
}

// ours is a capture as parley log writes it, of one session in which a reply was cut and one message is missing.
func ours(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	p, err := journal.NewPcap(&out)
	if err != nil {
		t.Fatal(err)
	}
	at := func(ms int) time.Time { return time.Date(2026, 11, 26, 8, 0, 0, ms*1e6+123456, time.UTC) }
	s := &journal.Session{ID: 7, Remote: clientAddr, Local: serverAddr, Opened: at(0), Closed: at(9), Reason: "eof", Requests: 3, RepliedUpTo: 3, BytesIn: 20, BytesOut: 30,
		About: journal.About{Role: "tap"}}
	raw := func(text string, at, cut int) parley.Raw {
		return parley.Raw{Bytes: []byte(text), At: uint64(at), Cut: uint64(cut)}
	}
	x := &journal.Exchange{Session: 7, Seq: 1, Received: at(1), Took: 2e6, Request: []byte("one"), RawRequest: raw("one\n", 0, 0), Reply: []byte("1"), RawReply: raw("1\n", 0, 0)}
	y := &journal.Exchange{Session: 7, Seq: 3, Received: at(5), Took: 2e6, Request: []byte("three"), RawRequest: raw("three\n", 14, 0), Reply: []byte("beg"), ReplyCut: 20, RawReply: raw("beg", 6, 21)}
	for _, e := range []journal.Event{
		{Kind: parley.Opened, Time: at(0)}, {Kind: parley.Received, Time: at(1), Exchange: x}, {Kind: parley.Replied, Time: at(3), Exchange: x},
		{Kind: parley.Received, Time: at(5), Exchange: y}, {Kind: parley.Replied, Time: at(7), Exchange: y}, {Kind: parley.Closed, Time: at(9)},
	} {
		e.Session = s
		if err := p.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// A capture that parley has written has the same messages at the same times, to the ns, and what it does
// not have is missing.
func TestOurOwnCaptures(t *testing.T) {
	sum, h := read(t, bytes.NewReader(ours(t)), "line")
	want := []string{opened, `1 received "one"`, `1 replied 1 "1" 2ms`,
		"1 framing_lost the client's byte 14: 10 bytes before it are missing; from there its bytes are shown as they come", `1 received "three\n"`,
		"1 framing_lost the server's byte 6: 4 bytes before it are missing; from there its bytes are shown as they come", `1 message "beg"`,
		"1 closed eof in 20 out 30"}
	if !slices.Equal(h.lines, want) || sum.Gaps != 3 || sum.Missing != 10+4+21 {
		t.Errorf("told\n%s\n%+v", strings.Join(h.lines, "\n"), sum)
	}
	if got, want := h.batches[0].Received, time.Date(2026, 11, 26, 8, 0, 0, 1123456, time.UTC); !got.Equal(want) || string(h.batches[0].RawReply.Bytes) != "1\n" {
		t.Errorf("%+v, want it received at %v", h.batches[0], want)
	}
}
