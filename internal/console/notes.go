package console

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// Notes is the observer that tells the operator what is not part of the
// conversations: hints, refusals, failures. A flood of one kind is a line a second
// with a count, so that it cannot fill a disk.
type Notes struct {
	out      *Writer
	limits   Limits
	hint     bool      // of --framing chunk
	detector *detector // of other framings; nil if none are looked for

	mu    sync.Mutex
	kinds map[noteKind]*throttle
}

// A noteKind is what lines have in common that are counted together.
type noteKind struct {
	kind   parley.EventKind
	reason parley.CloseReason
	why    string // of a handshake that failed: nearly all have the same reason
}

// shortestProxyHeader is that of version 2 of the PROXY protocol, which begins with an empty line.
const shortestProxyHeader = 16

// maxNoteKinds is how many kinds are told apart by their why, in which peers may have a say.
const maxNoteKinds = 64

// A throttle lets one line a second through and counts the others.
type throttle struct {
	next    time.Time
	session *parley.Session // of the last line
	skipped int64
}

// NewNotes writes to out. With hint, bytes that wait for their newline earn advice.
func NewNotes(out *Writer, limits Limits, hint bool) *Notes {
	return &Notes{out: out, limits: limits, hint: hint, kinds: make(map[noteKind]*throttle)}
}

// SkippedNotes is the notice of the Writer of Notes.
func SkippedNotes(dst []byte, n int64) []byte {
	return appendSkipped(dst, "parley: ", n)
}

// Printf writes a diagnostic of the command's own, escaped, with "parley: " before it.
func (n *Notes) Printf(format string, args ...any) {
	appendLine(n.out, func(dst []byte) []byte {
		return append(AppendEscaped(append(dst, "parley: "...), fmt.Appendf(nil, format, args...)), '\n')
	})
}

// Wants what is not part of a conversation.
func (n *Notes) Wants(kind parley.EventKind) bool {
	switch kind {
	case parley.Closed, parley.Refused, parley.HandshakeFailed, parley.Unfinished, parley.AcceptFailed, parley.Stray, parley.FramingLost:
		return true
	case parley.Opened, parley.Received:
		return n.detector != nil
	case parley.Replied, parley.Unasked:
		return n.detector != nil && n.detector.both
	}
	return false
}

// Observe writes a line about the events that an operator should know of.
func (n *Notes) Observe(e *parley.Event) {
	if n.detector != nil {
		name, news := n.detector.see(e)
		if news {
			n.Printf("session %d with %s: %s", e.Session.Number(), remote(e), dialect.Hint(name, n.detector.both))
		}
		if name != "" || e.Kind == parley.Received { // of which there are many
			return
		}
	}
	n.tell(e)
}

func (n *Notes) tell(e *parley.Event) {
	var text string
	var panicked *parley.PanicError
	switch {
	case e.Kind == parley.Refused && e.Reason == parley.Full:
		text = fmt.Sprintf("refused %s: server is full (%d sessions); --max-sessions allows more", remote(e), n.limits.MaxSessions)
	case e.Kind == parley.Refused && e.Reason == parley.Denied:
		text = fmt.Sprintf("refused %s: its address is not allowed (--allow, --deny)", remote(e))
	case e.Kind == parley.Refused && e.Reason == parley.Fault:
		text = fmt.Sprintf("refused %s on purpose (--fault refuse)", remote(e))
	case e.Kind == parley.Refused:
		text = fmt.Sprintf("refused %s: too many sessions from its address (%d); --max-sessions-per-ip allows more", remote(e), n.limits.MaxSessionsPerIP)
	case e.Kind == parley.HandshakeFailed && e.Reason != parley.NoRequest: // else it is a probe, of which there may be many
		text = fmt.Sprintf("handshake with %s failed: %s", remote(e), n.limits.explainHandshake(e.Reason, e.Err))
	case e.Kind == parley.AcceptFailed:
		text = "cannot accept, and will try again: " + escapedError(e.Err)
	case e.Kind == parley.Unfinished && n.hint:
		text = fmt.Sprintf("%s sent %s and no newline yet; for peers that send none there is --framing chunk", remote(e), plural(int64(lengthOf(e)), "byte"))
	case e.Kind == parley.Stray && e.Err == nil:
		text = fmt.Sprintf("session %d with %s: what came belongs to no message (%s) and is left out, as is all like it", e.Session.Number(), remote(e), plural(int64(len(e.Body)), "byte"))
	case e.Kind == parley.Stray || e.Kind == parley.FramingLost:
		text = fmt.Sprintf("session %d with %s: %s", e.Session.Number(), remote(e), escapedError(e.Err))
	case e.Kind == parley.Closed && e.Reason == parley.Unreachable:
		text = fmt.Sprintf("session %d with %s: %s", e.Session.Number(), remote(e), escapedError(e.Err))
	case e.Kind == parley.Closed && e.Reason == parley.Blank && e.Seq == 0 && e.In >= shortestProxyHeader:
		text = fmt.Sprintf("session %d with %s: it began with an empty request, which ended it, and %s came; --keep-blank answers such, and --proxy-protocol takes a PROXY header, which may begin so",
			e.Session.Number(), remote(e), plural(int64(e.In), "byte"))
	case e.Kind == parley.Closed && errors.Is(e.Err, parley.ErrRepliesUnread):
		text = fmt.Sprintf("session %d with %s: %v%s", e.Session.Number(), remote(e), parley.ErrRepliesUnread, unanswered(e))
	case e.Kind == parley.Closed && errors.As(e.Err, &panicked):
		text = fmt.Sprintf("session %d: %s: %s", e.Session.Number(), escapedError(e.Err), AppendEscaped(nil, panicked.Stack))
	default:
		return
	}
	skipped, ok := n.pass(e)
	if !ok {
		return
	}
	if skipped > 0 {
		text += " (and " + strconv.FormatInt(skipped, 10) + " more before)"
	}
	n.Printf("%s", text)
}

// pass says whether a line of the event's kind may go out now, and how many did not since
// the last that did.
func (n *Notes) pass(e *parley.Event) (skipped int64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	kind := noteKind{kind: e.Kind, reason: e.Reason}
	if e.Kind == parley.HandshakeFailed && e.Err != nil {
		kind.why = withoutPeer(e.Err.Error())
	}
	if n.kinds[kind] == nil && len(n.kinds) >= maxNoteKinds {
		kind.why = ""
	}
	t := n.kinds[kind]
	if t == nil {
		t = new(throttle)
		n.kinds[kind] = t
	}
	otherSide := e.Kind == parley.FramingLost && t.session == e.Session
	if e.Time.Before(t.next) && !otherSide {
		t.skipped++
		return 0, false
	}
	skipped, t.skipped, t.next, t.session = t.skipped, 0, e.Time.Add(time.Second), e.Session
	return skipped, true
}

// withoutPeer is why something failed up to what differs from peer to peer: a number, a name, what
// was sent.
func withoutPeer(why string) string {
	end := strings.IndexFunc(why, func(r rune) bool { return !unicode.IsLetter(r) && !strings.ContainsRune(" -'", r) })
	if end < 0 {
		return why
	}
	return why[:end]
}

// Suppressed says how many lines were held back and not counted in one since.
func (n *Notes) Suppressed() {
	n.mu.Lock()
	total := int64(0)
	for _, t := range n.kinds {
		total += t.skipped
		t.skipped = 0
	}
	n.mu.Unlock()
	if total > 0 {
		n.Printf("%s more like these", plural(total, "line"))
	}
}

// unanswered says how many requests of a session that is over were not, in brackets, if there are any.
func unanswered(e *parley.Event) string {
	switch n := e.Seq - min(e.Seq, e.Replied); n {
	case 0:
		return ""
	case 1:
		return " (1 request was not answered)"
	default:
		return fmt.Sprintf(" (%d requests were not answered)", n)
	}
}

func remote(e *parley.Event) string { return string(appendRemote(nil, e.Session)) }
