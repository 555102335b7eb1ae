package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
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
func recorded(t *testing.T, srv *parley.Server, about About, sent string) (r *Reader, client string, got []byte) {
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
	return r, c.LocalAddr().String(), got
}

// upper answers with as many bytes as it is asked, and one more.
var upper = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
	return append(append(dst, bytes.ToUpper(req.Body)...), '!'), nil
})

// followed is what tshark says of each stream of a capture: both directions by the client's
// address, with what is missing as it says it.
func followed(t *testing.T, capture []byte) map[string][2]string {
	t.Helper()
	last := 0
	for _, n := range tshark(t, capture, fields("tcp.stream")...) {
		fmt.Sscan(n, &last)
	}
	args := []string{"-q"}
	for n := range last + 1 {
		args = append(args, "-z", fmt.Sprintf("follow,tcp,raw,%d", n))
	}
	streams := make(map[string][2]string)
	client := ""
	for _, line := range tshark(t, capture, args...) {
		if node, ok := strings.CutPrefix(line, "Node 0: "); ok {
			client = node
			streams[client] = [2]string{}
			continue
		}
		part, replies := strings.CutPrefix(line, "\t")
		if data, err := hex.DecodeString(part); err == nil && len(data) > 0 {
			both := streams[client]
			both[bit(replies)] += string(data)
			streams[client] = both
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
			r, client, got := recorded(t, srv, About{Role: "server"}, c.sent)
			conversations[client] = conversation{fmt.Sprint(name, ", ", engine), c.sent, string(got)}
			for _, e := range collect(t, r.Events(t.Context(), Filter{Loose: true})) {
				if err := p.Write(e); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	streams := followed(t, out.Bytes())
	for client, c := range conversations {
		if got := streams[client]; got != [2]string{c.sent, c.got} {
			t.Errorf("%s: tshark follows %q, want %q", c.name, got, [2]string{c.sent, c.got})
		}
	}
	if bad := tshark(t, out.Bytes(), "-Y", "_ws.malformed || tcp.checksum.status != Good || tcp.analysis.flags && !tcp.analysis.reused_ports"); bad[0] != "" {
		t.Errorf("tshark complains of:\n%s", strings.Join(bad, "\n"))
	}
}
