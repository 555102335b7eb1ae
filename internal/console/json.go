package console

import (
	"net"
	"strconv"
	"time"

	"github.com/parley-tcp/parley"
)

// A JSON is the observer that writes a server's or a tap's events, one object a line.
type JSON struct {
	out    *Writer
	origin []byte     // its fields side and node
	target string     // of a tap
	last   *lastEvent // of an event loop; nil if several goroutines write
	messages
}

// A lastEvent is the text of what the next event often shares: with requests in flight many
// in a row are of one moment, and of one session.
type lastEvent struct {
	time    time.Time
	stamp   []byte
	session *parley.Session
	ends    []byte
}

func (l *lastEvent) appendTime(dst []byte, t time.Time) []byte {
	if l == nil {
		return appendTime(dst, t)
	}
	if t != l.time || len(l.stamp) == 0 {
		l.time, l.stamp = t, appendTime(l.stamp[:0], t)
	}
	return append(dst, l.stamp...)
}

func (l *lastEvent) appendEnds(dst []byte, s *parley.Session) []byte {
	if l == nil {
		return appendEnds(dst, s)
	}
	if s != l.session {
		l.session, l.ends = s, appendEnds(l.ends[:0], s)
	}
	return append(dst, l.ends...)
}

// NewJSON writes the events of a server on a node to out.
func NewJSON(out *Writer, node string) *JSON {
	return &JSON{out: out, origin: appendOrigin(nil, "server", node)}
}

// NewTapJSON writes the events of a tap on a node, before the server at target, to out.
func NewTapJSON(out *Writer, node, target string) *JSON {
	return &JSON{out: out, origin: appendOrigin(nil, "tap", node), target: target}
}

// SkippedJSON is the notice of the Writer of the JSON of a side of a node.
func SkippedJSON(side, node string) func(dst []byte, n int64) []byte {
	return func(dst []byte, n int64) []byte {
		dst = strconv.AppendInt(append(dst, `{"event":"skipped","count":`...), n, 10)
		dst = appendOrigin(appendTime(dst, time.Now()), side, node)
		return append(dst, "}\n"...)
	}
}

// appendOrigin appends whose event it is; an older journal does not know on which node.
func appendOrigin(dst []byte, side, node string) []byte {
	dst = append(append(append(dst, `,"side":"`...), side...), '"')
	if node != "" {
		dst = appendJSONString(append(dst, `,"node":`...), node)
	}
	return dst
}

// Started tells that it listens.
func (j *JSON) Started(at net.Addr) {
	appendLine(j.out, func(dst []byte) []byte {
		dst = append(appendTime(append(dst, `{"event":"started"`...), time.Now()), j.origin...)
		dst = appendJSONString(append(dst, `,"local":`...), at.String())
		if j.target != "" {
			dst = appendJSONString(append(dst, `,"upstream":`...), j.target)
		}
		return append(dst, "}\n"...)
	})
}

// Observe writes any event.
func (j *JSON) Observe(e *parley.Event) {
	appendLine(j.out, func(dst []byte) []byte { return j.appendEvent(dst, e) })
}

// Wants everything that is told of one message.
func (j *JSON) Wants(kind parley.EventKind) bool { return kind != parley.Answered }

// Fork returns the observer for one event loop.
func (j *JSON) Fork() parley.Observer {
	own := *j
	own.last = new(lastEvent)
	return &batch{format: &own, out: j.out}
}

func (j *JSON) appendEvent(dst []byte, e *parley.Event) []byte {
	dst = append(append(append(dst, `{"event":"`...), e.Kind.String()...), '"')
	dst = append(j.last.appendTime(dst, e.Time), j.origin...)
	if s := e.Session; s != nil {
		dst = appendCount(dst, "session", s.Number())
		dst = appendCount(dst, "seq", e.Seq)
		dst = j.last.appendEnds(dst, s)
	}
	switch e.Kind {
	case parley.Received, parley.Replied, parley.Unasked:
		dst = j.appendTextField(appendMessageFields(dst, e), e)
		if e.Secret {
			dst = append(dst, `,"secret":true`...)
		}
	case parley.Faulted:
		if e.Body != nil {
			dst = appendMessageFields(dst, e)
		}
		if e.Secret {
			dst = append(dst, `,"secret":true`...)
		}
	case parley.Unfinished:
		dst = appendMessageFields(dst, e)
	case parley.Stray:
		dst = appendMessageFields(dst, e)
	case parley.Refused:
		if len(e.Body) > 0 { // a tap sends none, and who is denied gets none
			dst = appendMessageFields(dst, e)
		}
	}
	switch e.Kind {
	case parley.Opened, parley.Refused, parley.HandshakeFailed:
		of := securityOf(e.Session)
		dst = of.appendFields(dst)
	}
	switch e.Kind {
	case parley.Replied, parley.Closed, parley.HandshakeFailed:
		dst = appendTook(dst, e.Took)
	}
	if e.Kind == parley.Closed {
		dst = appendCount(appendBytesInOut(dst, e.In, e.Out), "stray", e.Stray)
	}
	if e.Fault != "" {
		dst = appendJSONString(append(dst, `,"fault":`...), e.Fault)
	}
	if e.Reason != 0 {
		dst = append(append(append(dst, `,"reason":"`...), e.Reason.String()...), '"')
	}
	if e.Err != nil {
		dst = appendJSONString(append(dst, `,"error":`...), e.Err.Error())
	}
	return append(dst, "}\n"...)
}

func appendEnds(dst []byte, s *parley.Session) []byte {
	dst = quoteFrom(s.AppendRemote(append(dst, `,"remote":`...)), len(dst)+len(`,"remote":`))
	return quoteFrom(s.AppendLocal(append(dst, `,"local":`...)), len(dst)+len(`,"local":`))
}

// appendMessageFields appends a message of which cut bytes are not there.
func appendMessageFields(dst []byte, e *parley.Event) []byte {
	dst = strconv.AppendUint(append(dst, `,"bytes":`...), uint64(len(e.Body))+e.Cut, 10)
	dst = appendCount(appendBytes(dst, "payload", e.Body), "cut", e.Cut)
	if e.Whole > 0 {
		dst = appendCount(dst, "whole_bytes", lengthOf(e))
	}
	return dst
}

// quoteFrom makes a JSON string of what stands at dst[from:].
func quoteFrom(dst []byte, from int) []byte {
	var short [64]byte
	return appendJSONString(dst[:from], append(short[:0], dst[from:]...))
}

// appendCount appends a number, and nothing for 0.
func appendCount(dst []byte, name string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return strconv.AppendUint(dst, n, 10)
}

func appendBytesInOut(dst []byte, in, out uint64) []byte {
	dst = strconv.AppendUint(append(dst, `,"bytes_in":`...), in, 10)
	return strconv.AppendUint(append(dst, `,"bytes_out":`...), out, 10)
}

func appendTime(dst []byte, t time.Time) []byte {
	dst = t.UTC().AppendFormat(append(dst, `,"time":"`...), time.RFC3339Nano)
	return append(dst, '"')
}

func appendTook(dst []byte, took time.Duration) []byte {
	return strconv.AppendInt(append(dst, `,"took_ns":`...), int64(took), 10)
}
