package parley

import (
	"cmp"
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
// also wrapped, it is sent and the session closes. With ErrNoReply nothing is sent and the session
// goes on: for a protocol in which some requests have no reply. With any other error, after a
// panic, or if the reply contains the framing's own ending, this reply is dropped,
// the replies owed before it are sent and the session closes with HandlerError;
// nothing of the error reaches the peer. It is the Err of the event Closed; if no Observer
// wants that, it is logged, see Server.Log.
//
// One session's requests come in order, one at a time; sessions call at the same
// time. There is no timeout, since Go cannot stop a handler: one that waits for
// something watches Session.Context.
type Handler interface {
	Reply(dst []byte, req *Request) ([]byte, error)
}

// A Speaker is a Handler that also says what nobody asked for: a greeting, messages behind a reply,
// later ones.
//
// Speak appends to dst, which has length 0, what the server says now and returns it, and nil if that
// is nothing; again is when it wants to be asked next, the zero time for not before the next reply.
// It is asked once the session is open, behind each request that was answered, and at again, never
// early and with the engine Loops up to 100 ms late; after a message it is asked once more at once,
// again or not, until it says nothing. What it says goes out in the framing of replies and is told
// as Unasked. An error is as Reply's: with ErrHangUp the message is sent and the session closes.
// Where there are no replies it is not asked at all.
//
// What it says once the session is open is the greeting; if that is nothing, a Protocol's own
// greeting is sent. A peer that takes nothing more holds it back as it does replies, and with a reply of
// MaxUnsent, or 1,024 messages, it is asked again only once these are written; between such rounds
// the peer is heard. Clocks go on as without it, and what it says restarts that of IdleTimeout, as
// replies do: a time that lies behind it does not keep the session. A peer that has half-closed gets
// what there is to say now, and no later message; a drain waits for none that is not behind a reply.
//
// Like Reply it is called for one thing at a time in a session. It may block with the engine
// Goroutines only, and nothing is read until it returns.
type Speaker interface {
	Handler
	Speak(dst []byte, s *Session, now time.Time) (message []byte, again time.Time, err error)
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
	Secret  bool      // it carries credentials, see Note
}

// DefaultReply is the pattern of the reply that a plain `parley server` gives.
const DefaultReply = "Request #{conn} - {message} ..."

// A Template is a Handler that fills in a pattern. Its names, in braces:
//
//	conn     the session's number       host    this machine's name
//	seq      the request's number       node    what it is called among others, see Node
//	message  the request's bytes        local   the address the peer dialled
//	bytes    how many they are          remote  the peer's address
//	time     when they were read (RFC 3339, UTC)
//	tls_name what the client is called in its certificate; nothing if it showed none
//
// {{ and }} stand for the braces themselves. Bytes are inserted unchanged; of a Protocol's
// message, its words. A name that the framing cannot carry ends its session, as any such reply
// does.
type Template struct {
	Node string // what {node} stands for; this machine's name if empty. Set it before the first request

	parts      []part
	host       string
	appendText func(dst, request []byte) []byte // nil if a message is its words
}

// A part is literal text with a name to fill in behind it.
type part struct {
	literal string
	fill    filler
}

// A filler is what a name stands for.
type filler uint8

const (
	fillNothing filler = iota
	fillConn
	fillSeq
	fillMessage
	fillBytes
	fillHost
	fillNode
	fillLocal
	fillRemote
	fillTLSName
	fillTime
)

var fillers = map[string]filler{
	"conn": fillConn, "seq": fillSeq, "message": fillMessage, "bytes": fillBytes,
	"host": fillHost, "node": fillNode, "local": fillLocal, "remote": fillRemote, "tls_name": fillTLSName, "time": fillTime,
}

// ParseTemplate reads a pattern. An unknown name, a brace without its partner, or
// literal text that the framing of replies (Lines if nil) cannot carry is an error.
func ParseTemplate(pattern string, framing Framing) (*Template, error) {
	t := &Template{host: hostname()}
	var literal, literals strings.Builder
	flush := func(fill filler) {
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
		fill, known := fillers[name]
		if !known {
			return nil, fmt.Errorf("reply pattern: no name %q; there are %s", "{"+name+"}", fillNames())
		}
		flush(fill)
		rest = after
	}
	flush(fillNothing)

	requests, replies := OpenFraming(framing, nil)
	if texter, ok := requests.(Texter); ok {
		t.appendText = texter.AppendText
	}
	if literals.Len() == 0 || framing == NoReplies {
		return t, nil
	}
	if _, err := replies.End(append(replies.Begin(nil), literals.String()...), 0); err != nil {
		return nil, fmt.Errorf("reply pattern: %w", err)
	}
	return t, nil
}

// Reply fills in the pattern for one request.
func (t *Template) Reply(dst []byte, req *Request) ([]byte, error) {
	for i := range t.parts {
		p := &t.parts[i]
		dst = append(dst, p.literal...)
		switch p.fill {
		case fillConn:
			dst = strconv.AppendUint(dst, req.Session.number, 10)
		case fillSeq:
			dst = strconv.AppendUint(dst, req.Seq, 10)
		case fillMessage:
			if t.appendText != nil {
				dst = t.appendText(dst, req.Body)
			} else {
				dst = append(dst, req.Body...)
			}
		case fillBytes:
			dst = strconv.AppendInt(dst, int64(len(req.Body)), 10)
		case fillHost:
			dst = append(dst, t.host...)
		case fillNode:
			dst = append(dst, cmp.Or(t.Node, t.host)...)
		case fillLocal:
			dst = req.Session.AppendLocal(dst)
		case fillRemote:
			dst = req.Session.AppendRemote(dst)
		case fillTLSName:
			dst = append(dst, req.Session.TLSName()...)
		case fillTime:
			dst = req.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
		}
	}
	return dst, nil
}

func fillNames() string {
	var names []string
	for name := range fillers {
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
