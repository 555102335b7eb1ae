package console

import (
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"

	"github.com/parley-tcp/parley/internal/journal"
)

// A ReplayView shows where a server's replies differ from the recorded ones. A write that
// fails is kept and returned by Err: the replay itself goes on.
type ReplayView interface {
	// Differs tells of one difference. want is nil if nothing was recorded, got if nothing
	// came; lost says why nothing did, or no more. seq is 0 for a message unasked; node is where the
	// session was recorded, if that is to be told.
	Differs(node string, session, seq uint64, want, got []byte, lost string)
	Err() error // the first error of the output
}

// A ReplayDiff writes differences as a diff: the recorded line, then the one that came.
type ReplayDiff struct {
	sink
	width int
	style Style
}

// NewReplayDiff writes to out, in lines that fit into width columns of a terminal and have what differs, if
// that is not 0.
func NewReplayDiff(out io.Writer, width int, style Style) *ReplayDiff {
	return &ReplayDiff{sink{w: out}, width, style}
}

func (d *ReplayDiff) Differs(node string, session, seq uint64, want, got []byte, lost string) {
	where := "session " + escaped(journal.NameOf(node, session)) + " message: "
	if seq > 0 {
		where = "session " + escaped(journal.NameOf(node, session)) + " reply " + strconv.FormatUint(seq, 10) + ": "
	}
	skip := d.samePart(want, got, len("- "+where))
	if want != nil {
		d.line(red, "- "+where, appendFrom(nil, want, skip))
	}
	if got != nil {
		d.line(green, "+ "+where, appendFrom(nil, got, skip))
	}
	if lost != "" {
		d.line(green, "+ "+where, append(AppendEscaped([]byte{'('}, []byte(lost)), ')'))
	}
}

func (d *ReplayDiff) line(of tint, where string, text []byte) {
	line := where + string(text)
	if d.width > 0 {
		line = fit(line, d.width)
	}
	d.say("", []byte(d.style.in(of, line)), "")
}

// samePart is how many bytes at the start of two long payloads need not be shown, so that where they part
// is: beyond 1 KiB, or half of the line behind what stands at columns in it.
func (d *ReplayDiff) samePart(a, b []byte, at int) int {
	const enough, before = 1 << 10, 64
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	room := max(0, d.width-at)
	columns := func(from int) int { return displaywidth.String(escaped(string(a[from:n]))) }
	switch {
	case d.width == 0 && n <= enough, d.width > 0 && n <= enough && columns(0) <= room/2:
		return 0
	case d.width == 0:
		return n - before
	}
	skip := n
	for skip > 0 && columns(skip-1) <= room/4 {
		skip--
	}
	for skip > 0 && !utf8.RuneStart(a[skip]) {
		skip--
	}
	return skip
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
type ReplayJSON struct {
	sink
	node string
}

// NewReplayJSON writes to out, on a node.
func NewReplayJSON(out io.Writer, node string) *ReplayJSON {
	return &ReplayJSON{sink{w: out}, node}
}

func (j *ReplayJSON) Differs(node string, session, seq uint64, want, got []byte, lost string) {
	dst := appendOrigin(appendTime(append(j.buf, `{"event":"differs"`...), time.Now()), "replay", j.node)
	dst = appendCount(appendCount(appendName(dst, "recorded_node", node), "session", session), "seq", seq)
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
	dst := appendOrigin(appendTime(append(j.buf, `{"event":"replayed"`...), time.Now()), "replay", j.node)
	type field struct {
		name string
		n    int64
	}
	fields := []field{
		{"sessions", int64(c.Sessions)}, {"requests", int64(c.Requests)}, {"replies", int64(c.Replies)}, {"unasked", int64(c.Unasked)},
		{"unanswered", int64(c.Unanswered)}, {"differences", int64(c.Differences)}, {"broken", int64(c.Broken)}, {"cut", int64(c.Cut)},
		{"unreachable", int64(c.Unreachable)},
	}
	if p := c.Pace; p != nil {
		fields = append(fields, field{"unsent", int64(p.Unsent)}, field{"took_ns", int64(p.Took)})
		for _, times := range []struct {
			name string
			of   ReplayTimes
		}{{"response", p.Response}, {"service", p.Service}} {
			if times.of.Count > 0 {
				fields = append(fields, field{times.name + "_p50_ns", int64(times.of.P50)}, field{times.name + "_p90_ns", int64(times.of.P90)},
					field{times.name + "_p99_ns", int64(times.of.P99)}, field{times.name + "_max_ns", int64(times.of.Max)})
			}
		}
	}
	for _, field := range fields {
		dst = append(append(append(dst, `,"`...), field.name...), `":`...)
		dst = strconv.AppendInt(dst, field.n, 10)
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

	Pace *ReplayPace // of a replay at a rate; nil of others
}

// A ReplayPace is how a replay at a rate went.
type ReplayPace struct {
	Rate, Reached     float64 // requests a second
	Unsent            int     // requests
	Took              time.Duration
	Response, Service ReplayTimes // from when requests were due, and from when they were sent
}

// ReplayTimes are how long replies took, if there were any.
type ReplayTimes struct {
	Count              int64
	P50, P90, P99, Max time.Duration
}

func (t ReplayTimes) String() string {
	if t.Count == 0 {
		return "none"
	}
	return "p50 " + threeDigits(t.P50) + ", p90 " + threeDigits(t.P90) + ", p99 " + threeDigits(t.P99) + ", max " + threeDigits(t.Max)
}

// String is such as "500 requests a second of 500 for 10s; response p50 …".
func (p *ReplayPace) String() string {
	unsent := ""
	if p.Unsent > 0 {
		unsent = ", " + plural(int64(p.Unsent), "request") + " not sent"
	}
	return strconv.FormatFloat(p.Reached, 'f', 1, 64) + " of " + strconv.FormatFloat(p.Rate, 'g', -1, 64) + " requests a second for " + threeDigits(p.Took) + unsent +
		"; response time " + p.Response.String() + "; service time " + p.Service.String()
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
