package console

import (
	"cmp"
	"errors"
	"net"
	"strconv"

	"github.com/parley-tcp/parley"
)

// A TapNarrative is the observer that tells what passes between clients and the server
// behind a tap.
type TapNarrative struct {
	out     *Writer
	target  string
	verbose bool
	messages
}

// NewTapNarrative writes to out about a tap before the server at target. With verbose
// each line begins with the time, the session and the client.
func NewTapNarrative(out *Writer, target string, verbose bool) *TapNarrative {
	return &TapNarrative{out: out, target: target, verbose: verbose}
}

// SkippedTapLine is the notice of the Writer of a TapNarrative.
func SkippedTapLine(dst []byte, n int64) []byte { return appendSkipped(dst, "Tap: ", n) }

// Started tells where the tap listens. Who else can connect is to be seen in it.
func (n *TapNarrative) Started(at net.Addr) {
	appendLine(n.out, func(dst []byte) []byte {
		if tcp, ok := at.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
			return append(AppendEscaped(append(dst, "Tap: started on "...), []byte(at.String())), '\n')
		}
		dst = appendStarted(dst, "Tap: ", at)
		if at.Network() == "tcp" {
			dst = append(dst[:len(dst)-1], " of all addresses\n"...)
		}
		return dst
	})
}

// Wants all that passes.
func (n *TapNarrative) Wants(kind parley.EventKind) bool {
	switch kind {
	case parley.Opened, parley.Received, parley.Replied, parley.Unasked, parley.Closed, parley.Faulted:
		return true
	}
	return false
}

// Observe tells of connections, messages and endings.
func (n *TapNarrative) Observe(e *parley.Event) {
	if n.Wants(e.Kind) {
		appendLine(n.out, func(dst []byte) []byte { return n.appendEvent(dst, e) })
	}
}

// Fork returns the observer for one event loop.
func (n *TapNarrative) Fork() parley.Observer { return &batch{format: n, out: n.out} }

func (n *TapNarrative) appendEvent(dst []byte, e *parley.Event) []byte {
	if n.verbose {
		dst = n.appendStamp(dst, e)
	}
	switch e.Kind {
	case parley.Opened:
		dst = appendRemote(append(n.beginLine(dst, e), "Tap: connection from "...), e.Session)
		dst = n.Style.end(AppendEscaped(append(dst, " to "...), []byte(n.target)))
		if n.verbose {
			of := securityOf(e.Session)
			dst = of.appendTo(dst)
		}
	case parley.Received:
		dst = n.appendMessage(append(n.beginLine(dst, e), "Tap: client ["...), e)
	case parley.Replied, parley.Unasked:
		dst = n.appendMessage(append(n.beginLine(dst, e), "Tap: server ["...), e)
		if n.verbose && e.Kind == parley.Replied {
			dst = n.Style.appendSpan(dst, e.Took)
		}
	case parley.Faulted:
		dst = n.Style.end(append(append(n.Style.begin(dst, faultTint), "Tap: fault: "...), e.Fault...))
	case parley.Closed:
		dst = append(n.beginLine(dst, e), "Tap: Connection closed!"...)
		dst = n.Style.appendWhy(dst, e.Reason.String(), explainTap(e))
	}
	return n.appendDump(append(dst, '\n'), e)
}

// appendMessage appends a message's length, in brackets of which the first is there, and
// its bytes, of which Cut are not there.
func appendMessage(dst []byte, e *parley.Event) []byte {
	dst = append(strconv.AppendUint(dst, lengthOf(e), 10), "]: "...)
	return appendShown(dst, e.Body, uint64(len(e.Body))+e.Cut)
}

// lengthOf is how long a message was.
func lengthOf(e *parley.Event) uint64 { return uint64(cmp.Or(e.Whole, len(e.Body))) + e.Cut }

// explainTap says in words why a session ended; "" is an orderly close.
func explainTap(e *parley.Event) string {
	switch e.Reason {
	case parley.NoRequest:
		return "nothing was said"
	case parley.Truncated:
		return truncated(e.Err, "end of file inside a message")
	case parley.Reset:
		return "connection reset by client" + hint(e.Err)
	case parley.UpstreamReset:
		return "connection reset by server" + hint(e.Err)
	case parley.IdleTimeout, parley.WriteTimeout:
		return escapedError(e.Err) // it says which side, and for how long
	case parley.ServerClosed:
		return "tap stopped"
	}
	return new(Limits).explain(e.Reason, e.Err)
}

// hint is what an error has to say about its likely cause, behind "; ".
func hint(err error) string {
	var hinting interface{ Hint() string }
	if !errors.As(err, &hinting) {
		return ""
	}
	return "; " + string(AppendEscaped(nil, []byte(hinting.Hint())))
}
