package dialect

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

// Any bytes: no panic, nothing over the limit, the same messages however they are split and
// whether they are held or skipped, and what was read can be written.
func FuzzHTTP(f *testing.F) {
	for _, seed := range [][2]string{
		{httpGet[1:], httpOK[1:]},
		{"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: 1\r\n\r\nHEAD / HTTP/1.0\n\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil close"},
		{"CONNECT a:1 HTTP/1.1\r\n\r\n\x16\x03\x01", "HTTP/1.1 200 OK\r\n\r\n\x16\x03\x01"},
		{"GET /\x00", "HTTP/2"},
		{"\r\nPOST http://a:b@c/ HTTP/1.1\r\nContent-Length:\r\n 18446744073709551615\r\n\r\n", "HTTP/1.1 204\nContent-Length: 1, 1\n\n"},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]), uint8(3), uint8(40))
	}
	f.Fuzz(func(t *testing.T, asked, answered []byte, piece, max uint8) {
		whole := fuzzHTTPTalk(t, asked, answered, math.MaxInt, math.MaxInt)
		split := fuzzHTTPTalk(t, asked, answered, math.MaxInt, int(piece)+1)
		short := fuzzHTTPTalk(t, asked, answered, int(max)+1, int(piece)+1)
		if whole.switched() != split.switched() || whole.switched() != short.switched() {
			t.Fatalf("at once\n%s\nsplit\n%s\nwith a limit\n%s", whole, split, short)
		}
		if whole.switched() { // reads are messages then
			return
		}
		if whole.String() != split.String() {
			t.Errorf("at once\n%s\nsplit\n%s", whole, split)
		}
		if a, b := strings.Join(whole.ends, "\n"), strings.Join(short.ends, "\n"); a != b {
			t.Errorf("without a limit\n%s\nwith one\n%s", a, b)
		}
		for _, o := range []*httpOnlooker{split, short} {
			for _, s := range [][2]*httpStream{{&whole.requests, &o.requests}, {&whole.replies, &o.replies}} {
				if fmt.Sprint(s[0].err) != fmt.Sprint(s[1].err) {
					t.Errorf("%v, and split %v", s[0].err, s[1].err)
				}
			}
		}
		again := new(httpGrammar)
		c := &connection{grammar: again}
		for i, m := range whole.bodies {
			d := &direction{connection: c, side: m.of}
			if _, known := again.owed.first(); m.of == replies && !known {
				continue // a request that is not whole had its part in it
			}
			if out, err := d.End(bytes.Clone(m.body), 0); err != nil || !bytes.Equal(out, m.body) {
				t.Errorf("%s\nwas read as %q, and written as %q, %v", whole.lines[i], m.body, out, err)
			}
		}
	})
}

// fuzzHTTPTalk has all requests come first.
func fuzzHTTPTalk(t *testing.T, asked, answered []byte, limit, piece int) *httpOnlooker {
	o := httpTalk(limit, piece, ">"+string(asked), ">>", "<"+string(answered), "<<")
	for _, m := range o.bodies {
		if len(m.body) > limit {
			t.Fatalf("a message of %d bytes, over the limit of %d", len(m.body), limit)
		}
	}
	return o
}

func (o *httpOnlooker) switched() bool {
	return o.requests.framing.(*direction).grammar.(*httpGrammar).switched
}

// Streams made by the grammar: each message is found, whole, and paired with its own.
func FuzzHTTPGrammar(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint8(seed), uint16(50*seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, piece uint8, limit uint16) {
		m := &httpMaker{Rand: rand.New(rand.NewPCG(seed, 0))}
		m.talk()
		for _, limit := range []int{math.MaxInt, int(limit) + 1} {
			for _, piece := range []int{math.MaxInt, int(piece) + 1} {
				o := httpTalk(limit, piece, m.turns...)
				got, want := o.String(), strings.Join(m.want, "\n")
				if limit < math.MaxInt { // what is left out is not counted in chunks, nor seen of a first line
					got, want = strings.Join(o.ends, "\n"), strings.Join(m.ends, "\n")
				}
				if got != want || o.requests.err != nil || o.replies.err != nil {
					t.Fatalf("limit %d, in pieces of %d: %v, %v\n%s\nwant\n%s\nfrom\n%q", limit, piece, o.requests.err, o.replies.err, got, want, m.turns)
				}
			}
		}
	})
}

// An httpMaker makes up what a client and a server say, and what is to be seen of it.
type httpMaker struct {
	*rand.Rand
	turns, want, ends []string
	waiting           []string // methods
	asked, replied    int
}

func (m *httpMaker) talk() {
	for range 1 + m.IntN(12) {
		if len(m.waiting) == 0 || m.IntN(2) == 0 {
			m.request()
		} else {
			m.reply(false)
		}
	}
	for len(m.waiting) > 0 {
		m.reply(len(m.waiting) == 1)
	}
}

func (m *httpMaker) one(of ...string) string { return of[m.IntN(len(of))] }

func (m *httpMaker) request() {
	method := m.one("GET", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "M-SEARCH", "head", "HEADER")
	target := m.one("/", "/a?b#c", "*", "http://x/", "/"+strings.Repeat("long", m.IntN(50)))
	m.waiting = append(m.waiting, method)
	m.asked++
	fields, body, size := m.body(false)
	m.say('>', m.asked, m.one("", "", "\r\n", "\n\r\n"), method+" "+target+" HTTP/1."+m.one("0", "1", "1"), method+" "+target, fields, body, size)
}

func (m *httpMaker) reply(last bool) {
	method := m.waiting[0]
	for m.IntN(4) == 0 {
		m.say('<', 0, "", "HTTP/1.1 103 Early Hints", "103 Early Hints", m.one("", "Link: x\n"), "", 0)
	}
	m.waiting = m.waiting[1:]
	m.replied++
	status := m.one("200 OK", "404 Not Found", "204 No Content", "304 Not Modified", "599")
	if method == "CONNECT" {
		status = m.one("407 No", "502 Bad Gateway")
	}
	fields, body, size := m.body(last)
	if method == "HEAD" || status[:3] == "204" || status[:3] == "304" {
		body, size = "", 0
	} else if fields == "" && !last {
		fields = "Content-Length: 0\n"
	}
	m.say('<', m.replied, "", "HTTP/1."+m.one("0", "1")+" "+status, status, fields, body, size)
	if last {
		m.turns = append(m.turns, "<<")
	}
}

// body makes a body with the fields that say how long it is; without them it ends with the stream.
func (m *httpMaker) body(untilClose bool) (fields, body string, size int) {
	bytes := func() string { return strings.Repeat("\r\n0\x00GET / HTTP/1.1\r\n\r\n", m.IntN(20)) }
	switch m.IntN(3) {
	case 0:
		if untilClose {
			body = bytes()
		}
		return "", body, len(body)
	case 1:
		body = bytes()
		fields = fmt.Sprintf("%s: %d\n", m.one("Content-Length", "content-length", "CONTENT-LENGTH"), len(body))
		return strings.Repeat(fields, 1+m.IntN(2)), body, len(body)
	}
	for range m.IntN(4) {
		chunk := "x" + bytes()
		size += len(chunk)
		body += fmt.Sprintf(m.one("%x", "%X", "000%x", "%x;a=\"b\"", "%x ;a"), len(chunk)) + "\r\n" + chunk + "\r\n"
	}
	body += m.one("0", "000", "0;x") + "\r\n" + m.one("", "T: 1\r\n", "T: 1\n U\r\n", "Content-Length: 7\r\n") + m.one("\r\n", "\r\n", "\n")
	return m.one("Transfer-Encoding: chunked\n", "Transfer-Encoding: gzip\n, chunked\n", "transfer-encoding:CHUNKED\n", "Content-Length: 7\nTransfer-Encoding: chunked\n"), body, size
}

func (m *httpMaker) say(by byte, number int, blank, line, words, fields, body string, size int) {
	lines := []string{line}
	for field := range strings.Lines(strings.ReplaceAll(fields, "\n,", "\n\t,")) {
		for m.IntN(3) == 0 && field[0] != '\t' {
			lines = append(lines, m.one("X: "+strings.Repeat("y", m.IntN(300)), "A:", "Cookie: a\n b", "Content-Lengths: 9", "Connection: keep-alive"))
		}
		lines = append(lines, strings.TrimSuffix(field, "\n"))
	}
	message := blank + strings.ReplaceAll(strings.Join(lines, "\n")+"\n\n", "\n", m.one("\r\n", "\r\n", "\n")) + body
	who := "-"
	if number > 0 {
		who = fmt.Sprint(number)
	}
	switch size {
	case 0:
	case 1:
		words += " (1 byte)"
	default:
		words += fmt.Sprintf(" (%d bytes)", size)
	}
	m.turns = append(m.turns, string(by)+message)
	m.want = append(m.want, fmt.Sprintf("%s %c %s", who, by, words))
	m.ends = append(m.ends, fmt.Sprintf("%s %c %d bytes", who, by, len(message)))
}

func BenchmarkHTTP(b *testing.B) {
	requests, replies := parley.OpenFraming(httpFraming.Requests, nil)
	request := []byte("GET /path HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n")
	reply := []byte("HTTP/1.1 200 OK\r\nDate: Thu, 26 Nov 2026 08:14:13 GMT\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
	b.ReportAllocs()
	b.SetBytes(int64(len(request) + len(reply)))
	for b.Loop() {
		if n, _, err := requests.Next(request, 0, 1000, false); n != len(request) || err != nil {
			b.Fatal(n, err)
		}
		if n, _, err := replies.Next(reply, 0, 1000, false); n != len(reply) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkHTTPEnd(b *testing.B) {
	requests, replies := parley.OpenFraming(httpFraming.Requests, nil)
	var request, reply []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if request, err = requests.End(append(request[:0], "POST /path {\"a\":1}"...), 0); err != nil {
			b.Fatal(err)
		}
		if reply, err = replies.End(append(reply[:0], "hello"...), 0); err != nil {
			b.Fatal(err)
		}
	}
}
