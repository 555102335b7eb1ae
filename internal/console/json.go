package console

import (
	"net"
	"strconv"
	"time"

	"github.com/parley-tcp/parley"
)

// A JSON is the observer that writes a server's events, one object a line.
type JSON struct{ out *Writer }

// NewJSON writes to out.
func NewJSON(out *Writer) *JSON { return &JSON{out} }

// SkippedJSON is the notice of the Writer of a JSON.
func SkippedJSON(dst []byte, n int64) []byte {
	dst = strconv.AppendInt(append(dst, `{"event":"skipped","count":`...), n, 10)
	dst = appendTime(dst, time.Now())
	return append(dst, `,"side":"server"}`+"\n"...)
}

// Started tells that the server listens.
func (j *JSON) Started(at net.Addr) {
	appendLine(j.out, func(dst []byte) []byte {
		dst = appendTime(append(dst, `{"event":"started"`...), time.Now())
		dst = appendJSONString(append(dst, `,"side":"server","local":`...), at.String())
		return append(dst, "}\n"...)
	})
}

// Observe writes any event.
func (j *JSON) Observe(e *parley.Event) {
	appendLine(j.out, func(dst []byte) []byte { return j.appendEvent(dst, e) })
}

// Wants everything.
func (j *JSON) Wants(parley.EventKind) bool { return true }

// Fork returns the observer for one event loop.
func (j *JSON) Fork() parley.Observer { return &batch{format: j, out: j.out} }

func (j *JSON) appendEvent(dst []byte, e *parley.Event) []byte {
	dst = append(append(append(dst, `{"event":"`...), e.Kind.String()...), '"')
	dst = append(appendTime(dst, e.Time), `,"side":"server"`...)
	if s := e.Session; s != nil {
		dst = appendCount(dst, "session", s.Number())
		dst = appendCount(dst, "seq", e.Seq)
		dst = quoteFrom(s.AppendRemote(append(dst, `,"remote":`...)), len(dst)+len(`,"remote":`))
		dst = quoteFrom(s.AppendLocal(append(dst, `,"local":`...)), len(dst)+len(`,"local":`))
	}
	switch e.Kind {
	case parley.Received, parley.Replied, parley.Unfinished:
		dst = appendPayloadField(dst, e.Body)
	}
	switch e.Kind {
	case parley.Replied, parley.Closed:
		dst = appendTook(dst, e.Took)
	}
	if e.Kind == parley.Closed {
		dst = strconv.AppendUint(append(dst, `,"bytes_in":`...), e.In, 10)
		dst = strconv.AppendUint(append(dst, `,"bytes_out":`...), e.Out, 10)
	}
	if e.Reason != 0 {
		dst = append(append(append(dst, `,"reason":"`...), e.Reason.String()...), '"')
	}
	if e.Err != nil {
		dst = appendJSONString(append(dst, `,"error":`...), e.Err.Error())
	}
	return append(dst, "}\n"...)
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

func appendTime(dst []byte, t time.Time) []byte {
	dst = t.UTC().AppendFormat(append(dst, `,"time":"`...), time.RFC3339Nano)
	return append(dst, '"')
}

func appendTook(dst []byte, took time.Duration) []byte {
	return strconv.AppendInt(append(dst, `,"took_ns":`...), int64(took), 10)
}
