package console

import (
	"io"
	"strconv"
	"time"
)

// A ReplayView shows where a server's replies differ from the recorded ones. A write that
// fails is kept and returned by Err: the replay itself goes on.
type ReplayView interface {
	// Differs tells of one difference. want is nil if nothing was recorded, got if nothing
	// came; lost says why nothing did, or no more. seq is 0 for a message unasked.
	Differs(session, seq uint64, want, got []byte, lost string)
	Err() error // the first error of the output
}

// A ReplayDiff writes differences as a diff: the recorded line, then the one that came.
type ReplayDiff struct{ sink }

// NewReplayDiff writes to out.
func NewReplayDiff(out io.Writer) *ReplayDiff { return &ReplayDiff{sink{w: out}} }

func (d *ReplayDiff) Differs(session, seq uint64, want, got []byte, lost string) {
	where := "session " + strconv.FormatUint(session, 10) + " message: "
	if seq > 0 {
		where = "session " + strconv.FormatUint(session, 10) + " reply " + strconv.FormatUint(seq, 10) + ": "
	}
	skip := samePart(want, got)
	if want != nil {
		d.say("- "+where, appendFrom(nil, want, skip), "")
	}
	if got != nil {
		d.say("+ "+where, appendFrom(nil, got, skip), "")
	}
	if lost != "" {
		d.say("+ "+where+"(", AppendEscaped(nil, []byte(lost)), ")")
	}
}

// samePart is how many bytes at the start of two long payloads need not be shown, so that
// where they part is.
func samePart(a, b []byte) int {
	const enough, before = 1 << 10, 64
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	if n <= enough {
		return 0
	}
	return n - before
}

func appendFrom(dst, p []byte, skip int) []byte {
	if skip == 0 {
		return AppendPayload(dst, p)
	}
	dst = append(dst, "("...)
	dst = strconv.AppendInt(dst, int64(skip), 10)
	return AppendPayload(append(dst, " bytes)…"...), p[skip:])
}

// A ReplayJSON writes differences as events, one object a line.
type ReplayJSON struct{ sink }

// NewReplayJSON writes to out.
func NewReplayJSON(out io.Writer) *ReplayJSON { return &ReplayJSON{sink{w: out}} }

func (j *ReplayJSON) Differs(session, seq uint64, want, got []byte, lost string) {
	dst := appendSide(appendTime(append(j.buf, `{"event":"differs"`...), time.Now()), "replay")
	dst = appendCount(appendCount(dst, "session", session), "seq", seq)
	if want != nil {
		dst = appendBytes(dst, "want", want)
	}
	if got != nil {
		dst = appendBytes(dst, "got", got)
	}
	if lost != "" {
		dst = appendJSONString(append(dst, `,"error":`...), lost)
	}
	j.buf = append(dst, "}\n"...)
	j.flush()
}

// Done tells what was played.
func (j *ReplayJSON) Done(c *ReplayCounts) {
	dst := appendSide(appendTime(append(j.buf, `{"event":"replayed"`...), time.Now()), "replay")
	for _, field := range []struct {
		name string
		n    int
	}{
		{"sessions", c.Sessions}, {"requests", c.Requests}, {"replies", c.Replies}, {"unasked", c.Unasked},
		{"unanswered", c.Unanswered}, {"differences", c.Differences}, {"broken", c.Broken}, {"cut", c.Cut},
		{"unreachable", c.Unreachable},
	} {
		dst = append(append(append(dst, `,"`...), field.name...), `":`...)
		dst = strconv.AppendInt(dst, int64(field.n), 10)
	}
	j.buf = append(dst, "}\n"...)
	j.flush()
}

// ReplayCounts are what a replay did.
type ReplayCounts struct {
	Sessions    int // played
	Requests    int // sent
	Replies     int // compared
	Unasked     int // of these, messages that answer no request in the recording
	Unanswered  int // requests that have no reply in the recording
	Differences int //
	Broken      int // sessions that ended early for a reply that did not come
	Cut         int // sessions played up to a request that the recording does not have whole
	Unreachable int // sessions that could not be begun
}

// String is such as "2 sessions, 4 requests, 4 replies compared, 0 differences". What is
// out of the ordinary is named if there was any.
func (c *ReplayCounts) String() string {
	text := plural(int64(c.Sessions), "session") + ", " + plural(int64(c.Requests), "request")
	if c.Unanswered > 0 {
		text += " (" + strconv.Itoa(c.Unanswered) + " with no reply in the recording)"
	}
	replies := "replies"
	if c.Replies == 1 {
		replies = "reply"
	}
	text += ", " + strconv.Itoa(c.Replies) + " " + replies + " compared"
	if c.Unasked > 0 {
		text += " (" + strconv.Itoa(c.Unasked) + " unasked)"
	}
	text += ", " + plural(int64(c.Differences), "difference")
	if c.Broken > 0 {
		text += ", " + plural(int64(c.Broken), "session") + " broken off"
	}
	if c.Cut > 0 {
		text += ", " + plural(int64(c.Cut), "session") + " ended at a request that the recording does not have whole"
	}
	if c.Unreachable > 0 {
		text += ", " + plural(int64(c.Unreachable), "session") + " not played"
	}
	return text
}
