package console

import (
	"cmp"
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// An Output is all that a running server or tap says: the narrative, or events in JSON, on
// standard output, and its Notes on standard error. Neither can hold a session back.
type Output struct {
	Notes *Notes

	counts   Counts
	narrator narrator // nil if quiet
	out, err *Writer  // out is nil if quiet
}

type narrator interface {
	parley.Observer
	Started(at net.Addr)
}

// OutputOptions say what an Output has to say. At most one of Verbose, Quiet and JSON may be set.
type OutputOptions struct {
	Verbose  bool // time, session and peer before each line of the narrative
	Quiet    bool // nothing on standard output
	JSON     bool // events, one object a line, in place of the narrative
	Limits   Limits
	Node     string // the name of where it runs, of events in JSON
	Lines    bool   // each message is a line: advise other framings where that looks wrong
	Upstream string // the address of the server behind a tap; empty for a server

	Words       dialect.Words // show messages; nil if they are their words
	ShowSecrets bool          // credentials, in words

	Style   Style      // of the narrative
	Hex     bool       // dump messages below their lines of the narrative
	Columns func() int // of the terminal that it is written to, now; nil if it is none
}

// lastWords is how long an output that is closed may take for what is queued.
const lastWords = time.Second

// NewOutput starts to write to both streams, until Close.
func NewOutput(stdout, stderr io.Writer, opt OutputOptions) *Output {
	o := new(Output)
	o.err = NewWriter(stderr, QueueLimit, SkippedNotes, nil)
	o.Notes = NewNotes(o.err, opt.Limits, opt.Lines)
	tap, shown := opt.Upstream != "", messages{opt.Words, opt.ShowSecrets, opt.Style, opt.Hex, opt.Columns}
	if opt.Lines && (tap || !opt.Quiet) { // a server that is quiet is to be fast
		o.Notes.detector = newDetector(tap)
	}
	start := func(skipped func(dst []byte, n int64) []byte) *Writer {
		o.out = NewWriter(stdout, QueueLimit, skipped, o.explain)
		return o.out
	}
	switch {
	case opt.JSON && tap:
		j := NewTapJSON(start(SkippedJSON("tap", opt.Node)), opt.Node, opt.Upstream)
		j.messages = shown
		o.narrator = j
	case opt.JSON:
		j := NewJSON(start(SkippedJSON("server", opt.Node)), opt.Node)
		j.messages = shown
		o.narrator = j
	case opt.Quiet:
	case tap:
		n := NewTapNarrative(start(SkippedTapLine), opt.Upstream, opt.Verbose)
		n.messages = shown
		o.narrator = n
	default:
		n := NewNarrative(start(SkippedLine), opt.Limits, opt.Verbose)
		n.messages = shown
		o.narrator = n
	}
	return o
}

// explain tells what has become of standard output.
func (o *Output) explain(err error, full bool) {
	var number syscall.Errno
	if errors.As(err, &number) {
		err = number // without the name of the file
	}
	if full {
		o.Notes.Printf("standard output takes no more (%v); its lines wait, and are skipped past %d MiB", err, QueueLimit>>20)
		return
	}
	o.Notes.Printf("standard output is gone (%v); it goes on without", err)
}

// Observer tells of events.
func (o *Output) Observer() parley.Observer {
	return parley.Observers(o.narrator, o.Notes, &o.counts)
}

// Started tells that there is somebody to talk to.
func (o *Output) Started(at net.Addr) {
	if o.narrator != nil {
		o.narrator.Started(at)
	}
}

// Cut says which sessions a drain had to cut.
func (o *Output) Cut(sessions []*parley.Session, after time.Duration) {
	const most = 10 // named; there may be thousands
	for i, s := range sessions {
		if i == most {
			o.Notes.Printf("and %d more", len(sessions)-most)
			break
		}
		o.Notes.Printf("cut session %d with %s: not done within %v", s.Number(), s.AppendRemote(nil), after)
	}
}

// Report says what was done so far, and which of the sessions that are open have had the most requests.
func (o *Output) Report(open []*parley.Session, now time.Time) {
	const most = 10
	type line struct {
		*parley.Session
		parley.Progress
	}
	lines := make([]line, len(open))
	var all parley.Progress
	for i, s := range open {
		p := s.Progress()
		lines[i] = line{s, p}
		all.Requests += p.Requests
		all.In += p.In
		all.Out += p.Out
	}
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(b.In+b.Out, a.In+a.Out), cmp.Compare(a.Number(), b.Number()))
	})
	o.Notes.Printf("so far: %s", o.counts.with(all))
	if len(lines) > most {
		o.Notes.Printf("open now: %s, of which these have had the most requests:", plural(int64(len(lines)), "session"))
		lines = lines[:most]
	} else {
		o.Notes.Printf("open now: %s", plural(int64(len(lines)), "session"))
	}
	for _, l := range lines {
		o.Notes.Printf("session %d with %s: %s (%d waiting), %s in, %s out, open for %v", l.Number(), l.AppendRemote(nil),
			plural(int64(l.Requests), "request"), l.Waiting, plural(int64(l.In), "byte"), plural(int64(l.Out), "byte"), now.Sub(l.Opened()).Round(time.Second))
	}
}

// Sum says what was done, and how much of it standard output did not take.
func (o *Output) Sum() {
	text := o.counts.String()
	if o.out != nil {
		o.out.Close(lastWords)
		if n := o.out.Skipped(); n > 0 {
			text += ", " + plural(n, "line") + " of output skipped"
		}
	}
	o.Notes.Suppressed()
	o.Notes.Printf("%s", text)
}

// Close waits until the outputs have taken what is queued, but no longer than a second each.
func (o *Output) Close() {
	if o.out != nil {
		o.out.Close(lastWords)
	}
	o.err.Close(lastWords)
}
