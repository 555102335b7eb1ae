package dialogue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
)

// A Failure is why a dialogue could not be played to its end, or not as expected.
type Failure struct {
	Dialogue   *Dialogue
	Index      int
	Step       *Step
	Want       string // what the step wants, such as "~ ^250" or "eof", names replaced by their values; of one that sends, the step as Shown
	Got        []byte // the message that is not as expected; nil if Err says what is wrong
	Unfinished []byte // what came of a message that is not whole, with its framing
	Err        error  // nil for a mismatch

	exact         []byte        // what Got should be, of =
	meant         string        // advice for who wrote the words of Got, and not its bytes
	within        time.Duration // how long it could take
	limit         int           // of a message, in bytes
	lacks, advice string        // of Unfinished
}

// Mismatch says whether the server said something else than expected. Otherwise nothing came that
// could be judged, or the dialogue itself cannot be played as it is.
func (f *Failure) Mismatch() bool { return f.Err == nil }

// Local says whether it is the dialogue's fault, or of who plays it, and not the network's.
func (f *Failure) Local() bool {
	var local localError
	return errors.As(f.Err, &local)
}

// Kind says what went wrong, for programs.
func (f *Failure) Kind() dial.Kind {
	switch {
	case f.Mismatch():
		return dial.Mismatch
	case f.Step.Kind == StartTLS && !f.Local():
		return dial.TLSFailed
	}
	return dial.KindOf(f.Err)
}

func (f *Failure) Unwrap() error { return f.Err }

// Error says on one line which step failed, and why: step 3 (smtp.talk:5): want ~ ^250, got 550 no such user.
func (f *Failure) Error() string {
	return fmt.Sprintf("step %d (%s:%d): %s", f.Index+1, f.Dialogue.File, f.Step.Line, f.why())
}

func (f *Failure) why() string {
	want := "want " + excerpt(f.Want)
	expects := f.Step.Kind == Expect || f.Step.Kind == ExpectEnd
	switch {
	case f.Mismatch() && f.Diff() != "":
		line, column := f.differs()
		return fmt.Sprintf("want = and %d bytes, got %d, of which line %d differs at its byte %d", len(f.exact), len(f.Got), line, column)
	case f.Mismatch():
		return want + ", got " + written(f.Got) + f.meant
	case f.Step.Kind == StartTLS && !f.Local():
		return "tls: " + dial.WhyNot(f.within, f.Err)
	case f.Local() && expects:
		return want + ": " + f.Err.Error()
	case f.Local():
		return excerpt(f.Want) + ": " + f.Err.Error()
	case !expects:
		return excerpt(f.Want) + ": " + f.network()
	}
	why := want + ", but " + f.network()
	if f.advice != "" {
		why += "; " + f.advice
	}
	return why
}

// network says what became of the connection.
func (f *Failure) network() string {
	unfinished := ""
	if len(f.Unfinished) > 0 && !errors.Is(f.Err, parley.ErrMalformed) {
		unfinished = fmt.Sprintf(": %s: %s", f.lacks, written(f.Unfinished))
	}
	expects := f.Step.Kind == Expect || f.Step.Kind == ExpectEnd
	switch {
	case errors.Is(f.Err, context.DeadlineExceeded) && f.Step.Kind == ExpectEnd:
		return fmt.Sprintf("the server did not close within %v", f.within) + unfinished
	case errors.Is(f.Err, context.DeadlineExceeded) && unfinished != "":
		return fmt.Sprintf("the message is not whole after %v", f.within) + unfinished
	case errors.Is(f.Err, context.DeadlineExceeded) && expects:
		return fmt.Sprintf("nothing came within %v", f.within)
	case errors.Is(f.Err, context.DeadlineExceeded):
		return fmt.Sprintf("the server did not take it within %v", f.within)
	case errors.Is(f.Err, parley.ErrTruncated):
		return "the server closed without TLS's close_notify" + unfinished
	case errors.Is(f.Err, io.ErrUnexpectedEOF):
		return "the server closed inside its message" + unfinished
	case errors.Is(f.Err, io.EOF):
		return "the server closed"
	case errors.Is(f.Err, parley.ErrTooLong):
		return fmt.Sprintf("the message is longer than %d KiB; is the framing right?", f.limit>>10)
	case errors.Is(f.Err, parley.ErrMalformed):
		return "what came can be no message: " + strings.TrimPrefix(dial.Reason(f.Err), parley.ErrMalformed.Error()+": ") + ": " + written(f.Unfinished)
	}
	return "the connection broke: " + dial.Reason(f.Err) + unfinished
}

const (
	maxShown = 256 // bytes of a message in an error
	longText = 80  // bytes, from which on a text that is not as expected is shown by where it differs
)

// written is the beginning of a message, as a text is written.
func written(message []byte) string {
	if len(message) == 0 {
		return "an empty message"
	}
	text := string(appendLiteral(nil, message[:min(len(message), maxShown)], true))
	if len(message) > maxShown {
		text += fmt.Sprintf("…(%d bytes)", len(message))
	}
	return text
}

// excerpt is the beginning of what is written.
func excerpt(written string) string {
	if len(written) > maxShown {
		return strings.ToValidUTF8(written[:maxShown], "") + "…"
	}
	return written
}

// Diff shows where a long message is not the exact text that was wanted: the lines of both in which
// they first differ, with what is before and behind cut. It is "" where Error shows them whole.
func (f *Failure) Diff() string {
	if f.Err != nil || f.Step.Judge.Kind != Exact || max(len(f.exact), len(f.Got)) <= longText {
		return ""
	}
	line, _ := f.differs()
	at := commonPrefix(f.exact, f.Got)
	return fmt.Sprintf("@@ line %d @@\n-%s\n+%s\n", line, around(f.exact, at), around(f.Got, at))
}

// differs says where the first difference is, from 1.
func (f *Failure) differs() (line, column int) {
	same := f.exact[:commonPrefix(f.exact, f.Got)]
	return 1 + bytes.Count(same, []byte("\n")), len(same) - bytes.LastIndexByte(same, '\n')
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// around is the line of a text at a byte, cut where it is long.
func around(text []byte, at int) string {
	const before, behind = 40, 80
	begin := bytes.LastIndexByte(text[:at], '\n') + 1
	end := len(text)
	if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
		end = at + i + 1
	}
	prefix, suffix := "", ""
	if at-begin > before {
		begin, prefix = at-before, "…"
	}
	if end-at > behind {
		end, suffix = at+behind, "…"
	}
	if begin == end {
		return "(the end)"
	}
	return prefix + string(appendLiteral(nil, text[begin:end], true)) + suffix
}

// Within is how long the step could take.
func (f *Failure) Within() time.Duration { return f.within }

// Lacks says what Unfinished lacks to be whole, and what would end it.
func (f *Failure) Lacks() string {
	if f.advice == "" {
		return f.lacks
	}
	return f.lacks + "; " + f.advice
}
