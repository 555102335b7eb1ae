package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// checked is a framing that nobody has but this test: a kind, a length, the body and its sum.
type checked struct{}

func (checked) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	if len(buf) < 3 {
		return 0, nil, nil
	}
	n := int(binary.LittleEndian.Uint16(buf[1:]))
	switch {
	case n > max:
		return 0, nil, parley.ErrTooLong
	case len(buf) < n+4:
		return 0, nil, nil
	}
	return n + 4, buf[3 : n+3], nil
}

func (checked) Begin(dst []byte) []byte { return append(dst, 'k', 0, 0) }

func (checked) End(dst []byte, start int) ([]byte, error) {
	body := dst[start+3:]
	if len(body) > 1<<16-1 {
		return dst, errors.New("too long")
	}
	binary.LittleEndian.PutUint16(dst[start+1:], uint16(len(body)))
	sum := byte(0)
	for _, b := range body {
		sum += b
	}
	return append(dst, sum), nil
}

// tooLong is more than the limit of the servers here.
var tooLong = strings.Repeat("x", 101)

// spoken is what clients send: of the framings each with what is no message, and how it ends.
var spoken = map[string]struct {
	framing, replies parley.Framing
	sent             string
}{
	"line":             {parley.Lines, nil, "one\ntwo\r\n\x00\xff\nlast"},
	"line, blank":      {parley.Lines, nil, "one\n\r\nwhat is behind"},
	"line, too long":   {parley.Lines, nil, "one\n" + tooLong + "\nand more\n"},
	"line, no replies": {parley.Lines, parley.NoReplies, "one\ntwo\n"},
	"line, close":      {parley.Lines, parley.UntilClose, "one\n"},
	"crlf":             {parley.LinesCRLF, nil, "one\r\ntwo\n"},
	"chunk":            {parley.Chunks, nil, "one\r\n"},
	"length":           {parley.Length{Bytes: 2, Little: true, Inclusive: true}, nil, "\x05\x00one\x02\x01"},
	"length, too long": {parley.LengthPrefixed, nil, "\x00\x00\x00\x03one\xff\xff\xff\xff"},
	"delim":            {parley.Delimited([]byte("\r\n\r\n")...), nil, "a: 1\r\nb: 2\r\n\r\nc\r\n\r\nlast\r\n\r"},
	"frame":            {parley.Framed([]byte{0x0b}, []byte{0x1c, 0x0d}), nil, "stray\x0bone\x1c\r\n\n\x0btwo\x1c\rrest\x0bunfinished"},
	"octets":           {parley.OctetCounted, nil, "3 one12 <1>two\nlines7 never"},
	"netstring":        {parley.Netstring, nil, "3:one,5:hello,"},
	"netstring, wrong": {parley.Netstring, nil, "3:one,5:helloX"},
	"close":            {parley.UntilClose, nil, "all\nof it"},
	"made up":          {checked{}, nil, "k\x03\x00one\x42k\x00\x00\x00k\x09\x00unfin"},
}

// recorded has a client say something to a server whose exchanges are kept, and returns the
// journal, where the client was, and all that it got.
func recorded(t *testing.T, srv *parley.Server, about About, sent string) (r *Reader, stream string, got []byte) {
	t.Helper()
	w, err := Create(filepath.Join(t.TempDir(), "j"), Options{About: about})
	if err != nil {
		t.Fatal(err)
	}
	srv.Gate, srv.Observer = w, w
	addr := parleytest.Start(t, srv)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).CloseWrite()
	if got, err = io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err = Open(w.file.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, c.LocalAddr().String() + " " + c.RemoteAddr().String(), got
}

// upper answers with as many bytes as it is asked, and one more.
var upper = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
	return append(append(dst, bytes.ToUpper(req.Body)...), '!'), nil
})

// followed is what tshark says of each stream of a capture: both directions by the client's
// address, and by both ends' since a port may be used again, with what is missing as it says it.
func followed(t *testing.T, capture []byte) map[string][2]string {
	t.Helper()
	follow := func(n int) []string { return []string{"-z", fmt.Sprintf("follow,tcp,raw,%d", n)} }
	lines := tshark(t, capture, append(fields("tcp.stream"), follow(0)...)...) // most have one stream, and are read once
	last := 0
	for i, line := range lines {
		if strings.HasPrefix(line, "===") {
			lines = lines[i:]
			break
		}
		var n int
		fmt.Sscan(line, &n)
		last = max(last, n)
	}
	if last > 0 {
		args := []string{"-q"}
		for n := range last {
			args = append(args, follow(n+1)...)
		}
		lines = append(lines, tshark(t, capture, args...)...)
	}
	streams := make(map[string][2]string)
	client, stream := "", ""
	for _, line := range lines {
		if node, ok := strings.CutPrefix(line, "Node 0: "); ok {
			client = node
			continue
		}
		if node, ok := strings.CutPrefix(line, "Node 1: "); ok {
			stream = client + " " + node
			streams[client], streams[stream] = [2]string{}, [2]string{}
			continue
		}
		part, replies := strings.CutPrefix(line, "\t")
		if data, err := hex.DecodeString(part); err == nil && len(data) > 0 {
			both := streams[stream]
			both[bit(replies)] += string(data)
			streams[client], streams[stream] = both, both
		}
	}
	return streams
}

// What tshark follows is what the client has sent and got, to the byte, whatever the framing.
func TestCaptureIsTrueToTheByte(t *testing.T) {
	var out bytes.Buffer
	p, err := NewPcap(&out)
	if err != nil {
		t.Fatal(err)
	}
	type conversation struct{ name, sent, got string }
	conversations := make(map[string]conversation)
	for name, c := range spoken {
		for _, engine := range []parley.Engine{parley.Goroutines, parley.LoopsIfPossible} {
			srv := &parley.Server{Handler: upper, Framing: c.framing, Replies: c.replies, MaxRequest: 100, Engine: engine}
			r, stream, got := recorded(t, srv, About{Role: "server"}, c.sent)
			conversations[stream] = conversation{fmt.Sprint(name, ", ", engine), c.sent, string(got)}
			for _, e := range collect(t, r.Events(t.Context(), Filter{Loose: true})) {
				if err := p.Write(e); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	streams := followed(t, out.Bytes())
	for stream, c := range conversations {
		if got := streams[stream]; got != [2]string{c.sent, c.got} {
			t.Errorf("%s: tshark follows %q, want %q", c.name, got, [2]string{c.sent, c.got})
		}
	}
	if bad := tshark(t, out.Bytes(), "-Y", "_ws.malformed || tcp.checksum.status != Good || tcp.analysis.flags && !tcp.analysis.reused_ports"); bad[0] != "" {
		t.Errorf("tshark complains of:\n%s", strings.Join(bad, "\n"))
	}
}

// A wire writes the exchanges of a session by hand, with the places of their bytes.
type wire struct {
	t       *testing.T
	w       *Writer
	s       *parley.Session
	ms      int
	in, out uint64
}

func newWire(t *testing.T, about About, server string) *wire {
	t.Helper()
	return newWireFrom(t, 50000, about, server)
}

// newWireFrom is newWire with another port of the client.
func newWireFrom(t *testing.T, port int, about About, server string) *wire {
	t.Helper()
	w, err := Create(filepath.Join(t.TempDir(), "j"), Options{About: about})
	if err != nil {
		t.Fatal(err)
	}
	local, err := net.ResolveTCPAddr("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	remote := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	x := &wire{t: t, w: w, s: parley.NewSession(1, remote, local, at(0))}
	w.Observe(&parley.Event{Kind: parley.Opened, Session: x.s, Time: at(0)})
	return x
}

// request and reply are messages whose bodies are all their bytes; so many more are missing.
func (x *wire) request(text string, cut uint64) parley.Exchange {
	x.ms++
	e := parley.Exchange{Seq: uint64(x.ms), Received: at(x.ms), Request: []byte(text), RequestCut: cut,
		RawRequest: parley.Raw{Bytes: []byte(text), At: x.in, Cut: cut}}
	x.in += uint64(len(text)) + cut
	return e
}

func (x *wire) reply(e parley.Exchange, text string, cut uint64) {
	e.Reply, e.ReplyCut, e.RawReply = []byte(text), cut, parley.Raw{Bytes: []byte(text), At: x.out, Cut: cut}
	x.out += uint64(len(text)) + cut
	x.w.Pass(x.s, []parley.Exchange{e})
}

// capture ends the session, of which so many bytes got out, and exports it.
func (x *wire) capture(replied, out uint64, f Filter) []byte {
	x.t.Helper()
	f.Loose = true
	return capture(x.t, x.read(replied, out), f)
}

// read ends the session, of which so many bytes got out, and opens its journal.
func (x *wire) read(replied, out uint64) *Reader {
	x.t.Helper()
	x.w.Observe(&parley.Event{Kind: parley.Closed, Session: x.s, Time: at(x.ms + 1), Seq: uint64(x.ms), Replied: replied, In: x.in, Out: out, Reason: parley.EndOfFile})
	if err := x.w.Close(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
	r, err := Open(x.w.file.name)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { r.Close() })
	return r
}

// What a tap has cut off, and what is not there, is a gap in the stream of its length, up to
// 1 GiB; what lies behind it is followed.
func TestCutsAreGaps(t *testing.T) {
	const missing = "[%d bytes missing in capture file]\x00" // as tshark says it
	gaps := []uint64{1, 1000, 1 << 20, 1<<31 - 1, 1 << 31, 5 << 30}
	var readers []*Reader
	for i, gap := range gaps {
		x := newWireFrom(t, 50000+i, About{Role: "tap"}, "127.0.0.1:6969")
		x.reply(x.request("abc", gap), "first", 0)
		x.in += 10 // of a request that was not recorded
		x.out += gap
		x.reply(x.request("def", 0), "second", 0)
		x.reply(x.request("last", 7), "", gap)
		readers = append(readers, x.read(3, x.out))
	}
	data := captureOf(t, Filter{Loose: true}, readers...)
	sequences := make(map[string][]string) // by the ports that they go from and to
	for _, line := range tshark(t, data, append(fields("tcp.srcport", "tcp.dstport", "tcp.seq"), "-Y", "tcp.len > 0 || tcp.flags.fin == 1")...) {
		part := strings.Split(line, "|")
		sequences[part[0]+" "+part[1]] = append(sequences[part[0]+" "+part[1]], part[2])
	}
	streams := followed(t, data)
	for i, gap := range gaps {
		client := fmt.Sprint(50000 + i)
		requests, replies := sequences[client+" 6969"], sequences["6969 "+client]
		places := func(places ...uint64) (all []string) {
			for _, at := range places {
				all = append(all, fmt.Sprint(uint32(at)+1)) // behind the SYN
			}
			return all
		}
		asked, said := min(gap+10, maxGap), min(gap, maxGap)
		if want := places(0, 3+asked, 6+asked, 17+asked); fmt.Sprint(requests) != fmt.Sprint(want) {
			t.Errorf("a gap of %d: requests at %v, want %v", gap, requests, want)
		}
		if want := places(0, 5+said, 11+2*said); fmt.Sprint(replies) != fmt.Sprint(want) {
			t.Errorf("a gap of %d: replies at %v, want %v", gap, replies, want)
		}
		got := streams["127.0.0.1:"+client]
		if want := "abc" + fmt.Sprintf(missing, asked) + "deflast"; !strings.HasPrefix(got[0], want) {
			t.Errorf("a gap of %d: tshark follows requests %q, want %q", gap, got[0], want)
		}
		if want := "first" + fmt.Sprintf(missing, said) + "second"; !strings.HasPrefix(got[1], want) {
			t.Errorf("a gap of %d: tshark follows replies %q, want %q", gap, got[1], want)
		}
	}
}

// Of what a server wrote only what got out is there: a reply ends where it was cut.
func TestWhatDidNotGetOutIsNotInTheCapture(t *testing.T) {
	whole := "firstsecondthird"
	places := []uint64{0, 5, 7, 11, 16}
	var readers []*Reader
	for _, out := range places {
		x := newWireFrom(t, 50000+int(out), About{Role: "server"}, "127.0.0.1:6969")
		for _, reply := range []string{"first", "second", "third"} {
			x.reply(x.request("ask", 0), reply, 0)
		}
		readers = append(readers, x.read(out/5, out))
	}
	streams := followed(t, captureOf(t, Filter{Loose: true}, readers...))
	for _, out := range places {
		if got, want := streams[fmt.Sprint("127.0.0.1:", 50000+out)], whole[:out]; got != [2]string{"askaskask", want} {
			t.Errorf("of %d bytes tshark follows %q, want %q", out, got, want)
		}
	}
}

// What is selected begins a stream of its own; between what is selected there are gaps.
func TestSelectionsHaveNoGapBeforeThem(t *testing.T) {
	x := newWire(t, About{Role: "server"}, "127.0.0.1:6969")
	for _, ask := range []string{"one", "two", "three", "four"} {
		x.reply(x.request(ask, 0), "to "+ask, 0)
	}
	data := x.capture(4, x.out, Filter{Since: at(2), Until: at(4)})
	if got := followed(t, data)["127.0.0.1:50000"]; got != [2]string{"twothree", "to twoto three"} {
		t.Errorf("tshark follows %q", got)
	}
}

// A message that was recorded before what had come earlier is where its bytes were, also at the
// same time.
func TestStreamsAreInTheOrderOfTheirBytes(t *testing.T) {
	x := newWire(t, About{Role: "tap"}, "127.0.0.1:6969")
	raw := func(text string, place uint64) parley.Raw { return parley.Raw{Bytes: []byte(text), At: place} }
	x.w.Pass(x.s, []parley.Exchange{
		{Received: at(1), RawRequest: raw("stray ", 4)},
		{Received: at(1), Reply: []byte("news "), RawReply: raw("news ", 6)},
		{Seq: 1, Received: at(1), Request: []byte("one "), Reply: []byte("reply "), RawRequest: raw("one ", 0), RawReply: raw("reply ", 0)},
		{Seq: 2, Received: at(0), Request: []byte("two"), RawRequest: raw("two", 10)},
	})
	x.in = 13
	if got := followed(t, x.capture(1, 11, Filter{}))["127.0.0.1:50000"]; got != [2]string{"one stray two", "reply news "} {
		t.Errorf("tshark follows %q", got)
	}
}

// A refused peer got its text in its framing.
func TestRefusalsAreTrueToTheByte(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "j"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv := &parley.Server{Handler: upper, Framing: parley.Netstring, MaxSessions: 1, Gate: w, Observer: w}
	addr := parleytest.Start(t, srv)
	var got string
	var client string
	for range 2 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		client, got = c.LocalAddr().String(), ""
		io.WriteString(c, "1:a,")
		for buf := make([]byte, 100); !strings.HasSuffix(got, ","); {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += string(buf[:n])
		}
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(w.file.name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if sent := followed(t, capture(t, r, Filter{Loose: true, Reason: "full"}))[client][1]; sent != got || !strings.Contains(got, "Error: server is full") {
		t.Errorf("tshark follows %q, the peer got %q", sent, got)
	}
}

// What tshark knows of a protocol it finds in the capture.
func TestProtocolsAreDissected(t *testing.T) {
	body := strings.Repeat("all of it\x00\xff\n", 1000)
	x := newWire(t, About{Role: "tap", Framing: "http"}, "127.0.0.1:80")
	x.reply(x.request("GET /file HTTP/1.1\r\nHost: h\r\n\r\n", 0), fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body), 0)
	x.reply(x.request("GET /chunked HTTP/1.1\r\nHost: h\r\n\r\n", 0),
		fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body), 0)
	dir := t.TempDir()
	tshark(t, x.capture(2, x.out, Filter{}), "-q", "--export-objects", "http,"+dir)
	for _, name := range []string{"file", "chunked"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != body {
			t.Errorf("the object %s has %d bytes, %v; want %d", name, len(got), err, len(body))
		}
	}
	x = newWire(t, About{Role: "tap", Framing: "redis"}, "127.0.0.1:6379")
	x.reply(x.request("*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n$3\r\nbar\r\n", 0), "+OK\r\n", 0)
	x.reply(x.request("*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n", 0), "$3\r\nbar\r\n", 0)
	if got, want := tshark(t, x.capture(2, x.out, Filter{}), append(fields("resp.bulk_string.value", "resp.string"), "-Y", "resp")...),
		"[534554,666f6f,626172| |OK 474554,666f6f| 626172|]"; fmt.Sprint(got) != want {
		t.Errorf("tshark dissects %v, want %v", got, want)
	}
	x = newWire(t, About{Role: "tap", Framing: "memcached"}, "127.0.0.1:11211")
	x.reply(x.request("set k 0 0 5\r\nhello\r\n", 0), "STORED\r\n", 0)
	x.reply(x.request("get k\r\n", 0), "VALUE k 0 5\r\nhello\r\nEND\r\n", 0)
	if got, want := tshark(t, x.capture(2, x.out, Filter{}), append(fields("memcache.command", "memcache.response", "memcache.value"), "-Y", "memcache")...),
		"[set||hello |STORED| get|| ||hello]"; fmt.Sprint(got) != want {
		t.Errorf("tshark dissects %v, want %v", got, want)
	}
}
