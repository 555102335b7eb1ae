package dialect

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-tcp/parley"
)

// httpFraming is HTTP/1.1 and HTTP/1.0 (RFC 9112).
var httpFraming = Framing{
	Name:     "http",
	Requests: httpProtocol("localhost"),
	Words:    httpWords{},
	Status:   httpStatusCode,
	Early:    httpContinues,
	Waits:    httpWaits,
	Steady:   httpSteady,
	For: func(f Framing, host string) Framing {
		f.Requests = httpProtocol(httpHost(host))
		return f
	},
}

func httpProtocol(host string) parley.Framing {
	return protocol{func() grammar { return &httpGrammar{host: host} }}
}

// httpHost is the Host of requests to an address. The port of http is left out (RFC 9110,
// section 4.2.1).
func httpHost(address string) string {
	if strings.HasPrefix(address, "unix:") {
		return "localhost"
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	host, _, _ = strings.Cut(cmp.Or(host, "localhost"), "%") // a zone is for this machine only
	return strings.TrimSuffix(net.JoinHostPort(host, port), ":80")
}

// An httpGrammar knows which requests wait for their reply.
type httpGrammar struct {
	host    string
	header  []byte // scratch
	parsers [2]httpParser

	owed     owed[httpKind] // requests without a reply
	begun    bool           // one more has begun and is not whole
	answered bool           // and has its reply already
	lost     bool           // there are more than is remembered
	switched bool           // to another protocol
}

var errHTTPLost = notHTTP("too many requests without a reply to know which one it belongs to")

func (g *httpGrammar) parser(of side) parser {
	p := &g.parsers[of]
	answered, known := g.owed.first()
	switch {
	case g.switched:
		return chunks{}
	case of == requests && g.owed.full():
		g.lost = true
		return httpLost{}
	case of == requests:
		p.reset(requests, 0)
		g.begun = true
	case known:
		p.reset(replies, answered)
	case g.lost:
		return httpLost{}
	case g.begun && g.parsers[requests].state != httpBlankLines:
		// A reply may come while its request is still being sent.
		p.reset(replies, g.parsers[requests].kind)
	default:
		p.reset(replies, 0)
		p.unasked = true
	}
	return p
}

// An httpLost parser takes nothing any more.
type httpLost struct{}

func (httpLost) parse([]byte, bool) (int, bool, error) { return 0, false, errHTTPLost }

func (g *httpGrammar) ended(of side, p parser) parley.Note {
	m, ok := p.(*httpParser)
	switch {
	case !ok: // a chunk
		return parley.Note{Alone: true}
	case of == requests:
		return g.endedRequest(m)
	}
	return g.endedReply(m)
}

func (g *httpGrammar) endedRequest(m *httpParser) parley.Note {
	alone := g.answered || g.switched
	g.begun, g.answered = false, false
	if !alone {
		g.owed.push(m.kind)
	}
	return parley.Note{Alone: alone, Secret: m.secret}
}

func (g *httpGrammar) endedReply(m *httpParser) parley.Note {
	note := parley.Note{Alone: true}
	_, known := g.owed.first()
	switch {
	case m.status < 200 && m.status != 101: // another will follow (RFC 9110, section 15.2)
		return note
	case m.unasked: // such as 408 to a client that says nothing
	case known:
		note.Alone = false
		g.owed.pop()
	case g.begun:
		g.answered = true
	}
	g.switched = g.switched || m.switches()
	note.Last = m.kind&httpCloses != 0 && !g.switched // RFC 9112, section 9.6
	return note
}

// encode makes a message of words, or says what a message lacks that was begun.
func (g *httpGrammar) encode(of side, dst []byte, start int) ([]byte, error) {
	if of == requests {
		g.begun = false // nobody will go on with what could not be made
		return g.encodeRequest(dst, start)
	}
	return g.encodeReply(dst, start)
}

var errHTTPWords = errors.New("write METHOD /path, such as GET / or POST /path and a body behind it")

// encodeRequest makes a request of METHOD /path, with what stands behind as its body.
func (g *httpGrammar) encodeRequest(dst []byte, start int) ([]byte, error) {
	words := dst[start:]
	first, _, _ := bytes.Cut(words, []byte("\n"))
	if version := first[bytes.LastIndexByte(first, ' ')+1:]; bytes.HasPrefix(version, []byte("HTTP/")) && bytes.Count(first, []byte(" ")) == 2 {
		err := httpLacks(requests, 0, words)
		if err == parley.ErrUnfinished { // the last line may only have no end
			dst = append(dst, '\n')
			err = httpLacks(requests, 0, dst[start:])
		}
		return dst, err
	}
	name, rest, _ := bytes.Cut(words, []byte(" "))
	target, body, more := bytes.Cut(rest, []byte(" "))
	method := string(name)
	host, ok := g.hostFor(method, target)
	switch {
	case !ok || !isHTTPName(name) || method != strings.ToUpper(method):
		return dst, errHTTPWords
	case more && slices.Contains(httpBodiless, method):
		return dst, fmt.Errorf("%s has no body: %w; a space in a path is %%20", method, errHTTPWords)
	}
	h := append(append(g.header[:0], method...), ' ')
	for _, c := range target {
		switch {
		case c < ' ' || c == 0x7f:
			return dst, fmt.Errorf("0x%02x cannot stand in a path: %w", c, errHTTPWords)
		case c > 0x7f: // RFC 3986, section 2.1
			h = fmt.Appendf(h, "%%%02X", c)
		default:
			h = append(h, c)
		}
	}
	h = append(append(append(h, " HTTP/1.1\r\nHost: "...), host...), "\r\nUser-Agent: parley\r\nConnection: keep-alive\r\n"...)
	if len(body) > 0 || slices.Contains(httpBodied, method) { // RFC 9110, section 8.6
		h = appendHTTPLength(h, len(body))
	}
	h = append(h, "\r\n"...)
	g.header = spare(h)
	return slices.Replace(dst, start, len(dst)-len(body), h...), nil
}

// httpBodied are the methods that say they have no body, if so, and httpBodiless those where a
// body means nothing (RFC 9110, section 9.3).
var (
	httpBodied   = []string{"POST", "PUT", "PATCH"}
	httpBodiless = []string{"GET", "HEAD", "CONNECT", "TRACE"}
)

// hostFor is the Host of a request for a target, in one of its four forms (RFC 9112, section 3.2).
func (g *httpGrammar) hostFor(method string, target []byte) (host string, ok bool) {
	scheme, rest, absolute := bytes.Cut(target, []byte("://"))
	_, to := httpUserinfo(target, method == "CONNECT")
	switch {
	case method == "CONNECT":
		_, _, err := net.SplitHostPort(string(target))
		return string(target), err == nil && to == 0
	case bytes.HasPrefix(target, []byte("/")), method == "OPTIONS" && string(target) == "*":
		return g.host, true
	case absolute && len(scheme) > 0:
		authority := rest[to-len(target)+len(rest):]
		if end := bytes.IndexAny(authority, "/?#"); end >= 0 {
			authority = authority[:end]
		}
		return strings.TrimPrefix(string(authority), "@"), len(authority) > 0
	}
	return "", false
}

func isHTTPName(name []byte) bool {
	return len(name) > 0 && !slices.ContainsFunc(name, func(c byte) bool { return !isHTTPToken[c] })
}

// httpLacks says what keeps a message, as it goes over the wire, from being one.
func httpLacks(of side, answered httpKind, message []byte) error {
	var p httpParser
	p.reset(of, answered)
	switch n, done, err := p.parse(message, true); {
	case err != nil:
		return err
	case !done:
		return parley.ErrUnfinished
	case n < len(message):
		return fmt.Errorf("the message ends at byte %d, and more stands behind it", n)
	}
	return nil
}

// httpNeeds says what a reply of which only this came needs to be whole.
func httpNeeds(came []byte) string {
	var p httpParser
	p.reset(replies, 0)
	_, _, err := p.parse(came, false)
	switch {
	case err != nil:
		return ", which is no http reply: " + err.Error()
	case p.head == 0:
		return " and no blank line behind the header"
	case p.state == httpSized:
		return fmt.Sprintf(", with %d of the %d bytes of its body", p.length-p.left, p.length)
	case p.state == httpUntilClose:
		return " and no end of file"
	}
	return " and not the last chunk"
}

// httpErrors are the statuses of the texts with which a server says what went wrong.
var httpErrors = []struct {
	text, status string
	goesOn       bool // the connection does
}{
	{"Error: request longer than ", "413 Content Too Large", false},
	{"Error: server is full", "503 Service Unavailable", false},
	{"Error: server is out of memory", "503 Service Unavailable", false},
	{"Error: too many sessions", "503 Service Unavailable", false},
	{"Error: no recorded answer", "501 Not Implemented", true},
	{"Error: ", "400 Bad Request", false},
}

// encodeReply makes a reply with a text as its body.
func (g *httpGrammar) encodeReply(dst []byte, start int) ([]byte, error) {
	text := dst[start:]
	request := g.parsers[replies].kind // that it replies to
	if bytes.HasPrefix(text, []byte(httpVersion1)) {
		return dst, httpLacks(replies, request, text)
	}
	status, closes := "200 OK", request&httpCloses != 0
	if request&httpConnect != 0 {
		status = "501 Not Implemented" // with 200 the client would begin to talk to another
	}
	for _, e := range httpErrors {
		if bytes.HasPrefix(text, []byte(e.text)) {
			status, closes = e.status, closes || !e.goesOn
			break
		}
	}
	h := append(append(append(g.header[:0], "HTTP/1.1 "...), status...), "\r\nContent-Type: text/plain; charset=utf-8\r\n"...)
	h = appendHTTPLength(h, len(text)+1)
	switch {
	case closes:
		h = append(h, "Connection: close\r\n"...)
	case request&httpKeeps != 0:
		h = append(h, "Connection: keep-alive\r\n"...)
	}
	h = append(h, "\r\n"...)
	g.header = spare(h)
	if request&httpHead != 0 {
		return append(dst[:start], h...), nil
	}
	return append(slices.Insert(dst, start, h...), '\n'), nil
}

func appendHTTPLength(header []byte, n int) []byte {
	header = strconv.AppendInt(append(header, "Content-Length: "...), int64(n), 10)
	return append(header, "\r\n"...)
}

func (g *httpGrammar) appendText(of side, dst []byte, m Message) []byte {
	if of == requests {
		m.Secret = true // only a password in the target is left out
		return httpWords{}.AppendRequest(dst, m)
	}
	return httpWords{}.AppendReply(dst, m)
}

// httpWords show a message as its first line, and how long its body is: GET /path and
// 200 OK (1234 bytes). What is not http is shown as it is.
type httpWords struct{}

func (httpWords) AppendRequest(dst []byte, m Message) []byte {
	line, whole := httpFirstLine(m.Body)
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(rest, []byte(" "))
	isHTTP := bytes.HasPrefix(version, []byte(httpVersion1)) || !whole && bytes.HasPrefix([]byte(httpVersion1), version)
	if !isHTTP || !isHTTPName(method) || len(target) == 0 {
		return append(dst, m.Body...)
	}
	dst = append(append(dst, method...), ' ')
	if from, to := httpUserinfo(target, string(method) == "CONNECT"); m.Secret && from < to {
		dst = append(append(append(dst, target[:from]...), "(secret)"...), target[to:]...)
	} else {
		dst = append(dst, target...)
	}
	return appendHTTPSize(dst, requests, m)
}

func (httpWords) AppendReply(dst []byte, m Message) []byte {
	line, _ := httpFirstLine(m.Body)
	if _, ok := httpStatusCode(line); !ok {
		return append(dst, m.Body...)
	}
	dst = append(dst, bytes.TrimSpace(line[len("HTTP/1.1 "):])...)
	return appendHTTPSize(dst, replies, m)
}

// httpFirstLine is the request line or the status line, behind blank ones.
func httpFirstLine(message []byte) (line []byte, whole bool) {
	line, _, whole = bytes.Cut(bytes.TrimLeft(message, "\r\n"), []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), whole
}

// appendHTTPSize says how long the body is. Of chunks, what stands between them does not count;
// where the rest of the message is left out, nobody can say how much that is.
func appendHTTPSize(dst []byte, of side, m Message) []byte {
	var p httpParser
	p.reset(of, 0)
	if _, _, err := p.parse(m.Body, false); err != nil || p.head == 0 {
		return dst
	}
	size, about := uint64(len(m.Body))-p.head+m.Cut, ""
	if p.chunked {
		size = p.data + m.Cut
		if m.Cut > 0 {
			about = "up to "
		}
	}
	switch size {
	case 0:
		return dst
	case 1:
		return append(dst, " (1 byte)"...)
	}
	dst = strconv.AppendUint(append(append(dst, " ("...), about...), size, 10)
	return append(dst, " bytes)"...)
}

// httpStatusCode is the status of a reply.
func httpStatusCode(reply []byte) (code string, ok bool) {
	const from, to = len("HTTP/1.1 "), len("HTTP/1.1 200")
	if len(reply) < to || !bytes.HasPrefix(reply, []byte(httpVersion1)) || reply[from-1] != ' ' {
		return "", false
	}
	for _, c := range reply[from:to] {
		if !isHTTPDigit(c) {
			return "", false
		}
	}
	return string(reply[from:to]), true
}
