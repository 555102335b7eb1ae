package probe

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
)

// A partial is a reply that is not whole.
type partial struct {
	bytes  []byte // what came of it, framing included; none if there is no such reply
	lacks  string // what it lacks to be whole, such as "4 bytes came and no line's end"
	advice string // what may help, such as "--framing delim:00 would end it"; may be ""
}

// maxPartialShown is how much of a reply that is not whole an error shows, in bytes.
const maxPartialShown = 256

// String says what came and what it lacks.
func (p partial) String() string {
	cut := ""
	if len(p.bytes) > maxPartialShown {
		cut = "…"
	}
	return fmt.Sprintf("%s: %s%s", p.lacks, p.bytes[:min(len(p.bytes), maxPartialShown)], cut)
}

// whyNone says in words why no reply, or no greeting, of target came within timeout, and what came
// of it.
func whyNone(what, before, target string, timeout time.Duration, err error, came partial) string {
	why, advice := "", came.advice
	switch {
	case dial.KindOf(err) == dial.ReplyTimeout && len(came.bytes) > 0:
		why = fmt.Sprintf("the %s from %s is not whole after %v", what, target, timeout)
		advice = strings.TrimPrefix(advice+", --timeout waits longer", ", ")
	case dial.KindOf(err) == dial.ReplyTimeout:
		return fmt.Sprintf("no %s from %s within %v; --timeout waits longer", what, target, timeout)
	case errors.Is(err, parley.ErrTruncated):
		where := before
		if len(came.bytes) > 0 {
			where = "inside its " + what
		}
		why = target + " closed the connection " + where + ", without TLS's close_notify"
	case errors.Is(err, io.ErrUnexpectedEOF):
		why = target + " closed the connection inside its " + what
	case errors.Is(err, io.EOF):
		why = target + " closed the connection " + before
	case errors.Is(err, parley.ErrTooLong):
		why, advice = fmt.Sprintf("the %s from %s is longer than 16 MiB", what, target), "is --framing right?"
	case errors.Is(err, parley.ErrMalformed):
		why = fmt.Sprintf("%s sent what is no %s: %s", target, what, strings.TrimPrefix(dial.Reason(err), parley.ErrMalformed.Error()+": "))
		advice = cmp.Or(advice, "is --framing right?")
	default:
		why = fmt.Sprintf("the connection to %s broke: %s", target, dial.Reason(err))
	}
	if len(came.bytes) > 0 {
		why += fmt.Sprintf(": %v", came)
	}
	if advice != "" {
		why += "; " + advice
	}
	return why
}
