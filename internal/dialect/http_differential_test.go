package dialect

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// An httpReading is what somebody makes of the bytes at the beginning of a stream.
type httpReading struct {
	first  string // method and target, or status
	length int    // of the message, with the blank lines before it
	body   int    // bytes, without what stands between chunks
	closes bool   // the connection ends behind it, or behind its reply
}

// FuzzHTTPAgainstNetHTTP: where parley and net/http both take a message it is the same one, to the
// byte. Where only one of them does, it is in a list that says why.
func FuzzHTTPAgainstNetHTTP(f *testing.F) {
	for _, seed := range []string{
		httpGet[1:],
		"\r\nPOST /a?b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\nConnection: x, keep-alive\r\n\r\n",
		"PUT http://a/ HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 1\n\n3;a=b\r\nabc\r\n0\r\nT: 1\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: \v1\r\n\r\nx",
		"POST / HTTP/1.1\r\nTransfer-Encoding: \u0085chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1 1\r\nx\r\n0 \r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nConnection:\r\n\tclose\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n.",
	} {
		f.Add([]byte(seed), false, false)
	}
	for _, seed := range []string{
		httpOK[1:],
		"HTTP/1.1 103\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\nHTTP/1.0 200 OK\n\nuntil close",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0a\r\n0123456789\r\n0\r\n\r\nHTTP/1.1 304 x\r\n\r\n",
	} {
		f.Add([]byte(seed), true, false)
		f.Add([]byte(seed), true, true)
	}
	f.Fuzz(func(t *testing.T, stream []byte, reply, head bool) {
		for rest := stream; len(rest) > 0; {
			ours, p, ourErr := readHTTP(rest, reply, head)
			theirs, theirErr := readNetHTTP(rest, reply, head)
			switch {
			case ourErr != nil && theirErr != nil:
				return
			case httpMayDiffer(p, ourErr, theirErr):
			case ourErr != nil || theirErr != nil:
				t.Fatalf("%q\nparley takes it as %+v, %v\nnet/http as %+v, %v", rest, ours, ourErr, theirs, theirErr)
			case ours != theirs:
				t.Fatalf("%q\nis to parley   %+v\nis to net/http %+v", rest, ours, theirs)
			}
			if ourErr != nil || p.switches() {
				return
			}
			rest = rest[ours.length:]
		}
	})
}

// readHTTP is what parley makes of it.
func readHTTP(stream []byte, reply, head bool) (r httpReading, p *httpParser, err error) {
	p = new(httpParser)
	of, asked := requests, httpKind(0)
	if reply {
		of = replies
	}
	if head {
		asked = httpHead
	}
	p.reset(of, asked)
	n, done, err := p.parse(stream, true)
	if err == nil && !done {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return r, p, err
	}
	line, _ := httpFirstLine(stream[:n])
	words := strings.SplitN(string(line), " ", 3)
	r = httpReading{first: words[0] + " " + words[1], length: n, body: n - int(p.head), closes: p.kind&httpCloses != 0}
	if reply {
		r.first = fmt.Sprint(p.status)
	}
	if p.chunked && r.body > 0 {
		r.body = int(p.data)
	}
	return r, p, nil
}

// readNetHTTP is what net/http makes of it.
func readNetHTTP(stream []byte, reply, head bool) (r httpReading, err error) {
	message := stream
	if !reply {
		// Its server does not expect the blank lines that RFC 9112, section 2.2, has one ignore.
		message = bytes.TrimLeft(stream, "\r\n")
	}
	unread := bytes.NewReader(message)
	in := bufio.NewReader(unread)
	var body io.Reader
	if reply {
		asked := &http.Request{Method: "GET"}
		if head {
			asked.Method = "HEAD"
		}
		got, err := http.ReadResponse(in, asked)
		if err != nil {
			return r, err
		}
		r.first, r.closes, body = fmt.Sprint(got.StatusCode), got.Close, got.Body
	} else {
		got, err := http.ReadRequest(in)
		if err != nil {
			return r, err
		}
		r.first, r.closes, body = got.Method+" "+got.RequestURI, got.Close, got.Body
	}
	n, err := io.Copy(io.Discard, body)
	r.body, r.length = int(n), len(stream)-unread.Len()-in.Buffered()
	return r, err
}

// Parley looks on at what two others have agreed upon, net/http serves and asks: where they mean to
// differ is listed here, by what the one that does not take a message says of it. Whatever else
// only one of them takes is a fault.
var (
	httpForParleyOnly = []difference{
		{"parse ", "a target is shown as it is, and need not be a URL"},
		{"too many Host headers", "which host is meant matters to who serves it"},
		{"malformed MIME header line", "a value that nobody has to know is not looked at, whatever bytes it has"},
		{"unsupported transfer encoding", "chunked may be the last of several, and a reply with another goes on until the end (RFC 9112, section 6.3)"},
		{"too many transfer encodings", "which is one list (RFC 9110, section 5.3)"},
		{"multiple Content-Length headers", "several that are the same number are one, and none counts beside chunks or where there is no body (RFC 9112, section 6.3)"},
		{"bad Content-Length", "the same, in one field"},
		{"invalid empty Content-Length", "it does not count either"},
		{"bad trailer key", "a trailer may announce what it wants"},
		{"suspiciously long trailer", "net/http looks for CR LF CR LF behind it; LF alone ends these lines too (RFC 9112, section 2.2)"},
		{"unexpected EOF reading trailer", "the same"},
		{"http chunk length too large", "zeros before a number change nothing"},
		{"invalid byte in chunk length", "blanks may stand before a semicolon (RFC 9112, section 7.1.1)"},
		{"header line too long", "a message has one limit, and not its lines"},
		{"too much non-data", "the same"},
	}
	httpForNetHTTPOnly = []difference{
		{"begins with HTTP/1.1 or HTTP/1.0", "other versions are no http/1"},
		{"ends with HTTP/1.1 or HTTP/1.0", "the same"},
		{"HTTP/2 is not http/1", "the same"},
		{"in the status", "it is three digits, of which the first is none (RFC 9110, section 15)"},
		{"in the name of a field", "a blank there is what request smuggling is made of (RFC 9112, section 5.1)"},
		{"more than 1024 bytes", "no more of a value is looked at"},
	}
)

// A difference is why one parser refuses what another takes.
type difference struct{ refusal, why string }

func isOf(list []difference, err error) bool {
	return slices.ContainsFunc(list, func(d difference) bool { return strings.Contains(err.Error(), d.refusal) })
}

// httpMayDiffer says whether the difference of two readings is meant.
func httpMayDiffer(p *httpParser, ourErr, theirErr error) bool {
	switch {
	case p.minor == 0 && p.coded:
		// Of HTTP/1.0 net/http ignores the encoding. Parley goes by it, and has the connection end
		// (RFC 9112, section 6.1).
		return true
	case ourErr != nil:
		return isOf(httpForNetHTTPOnly, ourErr)
	case theirErr != nil:
		known := p.hasLength && !p.coded && !(p.of == replies && p.hasNoBody())
		if known && strings.Contains(strings.ToLower(theirErr.Error()), `malformed mime header line: "content-length`) {
			return false // this is a value that has to be known
		}
		return isOf(httpForParleyOnly, theirErr)
	}
	return false
}
