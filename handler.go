package parley

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Handler answers requests.
//
// Reply appends the answer to dst, which has length 0, and returns it; the
// framing is added behind it. With a nil error the reply is sent. With ErrHangUp,
// also wrapped, it is sent and the session closes. With any other error, after a
// panic, or if the reply contains the framing's own ending, this reply is dropped,
// the replies owed before it are sent and the session closes with HandlerError;
// nothing of the error reaches the peer.
//
// One session's requests come in order, one at a time; sessions call at the same
// time. There is no timeout, since Go cannot stop a handler: one that waits for
// something watches Session.Context.
type Handler interface {
	Reply(dst []byte, req *Request) ([]byte, error)
}

// HandlerFunc makes a Handler of a function.
type HandlerFunc func(dst []byte, req *Request) ([]byte, error)

// Reply calls f.
func (f HandlerFunc) Reply(dst []byte, req *Request) ([]byte, error) { return f(dst, req) }

// A Request is one request of a session, valid until Reply returns.
type Request struct {
	Session *Session
	Seq     uint64    // 1, 2, 3 … within the session
	Body    []byte    // without its framing; valid until Reply returns
	Time    time.Time // when the read that completed it returned
}

// DefaultReply is the pattern of the reply that a plain `parley server` gives.
const DefaultReply = "Request #{conn} - {message} ..."

// A Template is a Handler that fills in a pattern. Its names, in braces:
//
//	conn     the session's number       host    this machine's name
//	seq      the request's number       local   the address the peer dialled
//	message  the request's bytes        remote  the peer's address
//	bytes    how many they are          time    when they were read (RFC 3339, UTC)
//
// {{ and }} stand for the braces themselves. Bytes are inserted unchanged.
type Template struct {
	parts []part
	host  string
}

// A part is literal text with an optional name to fill in behind it.
type part struct {
	literal string
	fill    func(dst []byte, t *Template, req *Request) []byte
}

var fills = map[string]func(dst []byte, t *Template, req *Request) []byte{
	"conn": func(dst []byte, _ *Template, req *Request) []byte {
		return strconv.AppendUint(dst, req.Session.number, 10)
	},
	"seq":     func(dst []byte, _ *Template, req *Request) []byte { return strconv.AppendUint(dst, req.Seq, 10) },
	"message": func(dst []byte, _ *Template, req *Request) []byte { return append(dst, req.Body...) },
	"bytes": func(dst []byte, _ *Template, req *Request) []byte {
		return strconv.AppendInt(dst, int64(len(req.Body)), 10)
	},
	"host":   func(dst []byte, t *Template, _ *Request) []byte { return append(dst, t.host...) },
	"local":  func(dst []byte, _ *Template, req *Request) []byte { return req.Session.local.appendTo(dst) },
	"remote": func(dst []byte, _ *Template, req *Request) []byte { return req.Session.remote.appendTo(dst) },
	"time": func(dst []byte, _ *Template, req *Request) []byte {
		return req.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
	},
}

// ParseTemplate reads a pattern. An unknown name, a brace without its partner, or
// literal text that the framing (Lines if nil) cannot carry is an error.
func ParseTemplate(pattern string, framing Framing) (*Template, error) {
	t := &Template{host: hostname()}
	var literal, literals strings.Builder
	flush := func(fill func([]byte, *Template, *Request) []byte) {
		t.parts = append(t.parts, part{literal.String(), fill})
		literals.WriteString(literal.String())
		literal.Reset()
	}
	for rest := pattern; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			literal.WriteString(rest)
			break
		}
		literal.WriteString(rest[:i])
		rest = rest[i:]
		if strings.HasPrefix(rest, "{{") || strings.HasPrefix(rest, "}}") {
			literal.WriteByte(rest[0])
			rest = rest[2:]
			continue
		}
		name, after, closed := strings.Cut(rest[1:], "}")
		if rest[0] == '}' || !closed {
			return nil, fmt.Errorf("reply pattern: a lone %q; write %q for the character itself", rest[:1], rest[:1]+rest[:1])
		}
		fill, known := fills[name]
		if !known {
			return nil, fmt.Errorf("reply pattern: no name %q; there are %s", "{"+name+"}", fillNames())
		}
		flush(fill)
		rest = after
	}
	flush(nil)

	if framing == nil {
		framing = Lines
	}
	if _, err := framing.End(append(framing.Begin(nil), literals.String()...), 0); err != nil {
		return nil, fmt.Errorf("reply pattern: %w", err)
	}
	return t, nil
}

// Reply fills in the pattern for one request.
func (t *Template) Reply(dst []byte, req *Request) ([]byte, error) {
	for _, p := range t.parts {
		dst = append(dst, p.literal...)
		if p.fill != nil {
			dst = p.fill(dst, t, req)
		}
	}
	return dst, nil
}

func fillNames() string {
	var names []string
	for name := range fills {
		names = append(names, "{"+name+"}")
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

var hostname = sync.OnceValue(func() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
})
