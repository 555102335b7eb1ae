package dialogue

import (
	"slices"
	"strings"
	"time"
)

// Append appends the dialogue in its canonical form: each statement with single spaces and without
// blanks before it, times in their shortest form, texts with no more escapes than they need, and
// comments and blank lines where they are.
func (d *Dialogue) Append(dst []byte) []byte {
	if d.Framing != "" {
		dst = d.appendNotes(dst, place{0, ofHead})
		dst = append(dst, "framing "+d.Framing+"\n"...)
	}
	for i := range d.Steps {
		step := &d.Steps[i]
		dst = d.appendNotes(dst, place{i, ofStep})
		dst = append(step.appendTo(dst), '\n')
		if step.Example != nil {
			dst = d.appendNotes(dst, place{i, ofExample})
			dst = append(appendBehind(dst, "eg", step.Example.String()), '\n')
		}
	}
	return d.appendNotes(dst, place{len(d.Steps), ofStep})
}

func (d *Dialogue) appendNotes(dst []byte, at place) []byte {
	for _, note := range d.notes[at] {
		dst = append(append(dst, note...), '\n')
	}
	return dst
}

// Note puts a comment, or with "" a blank line, behind the steps so far.
func (d *Dialogue) Note(comment string) {
	if comment != "" {
		comment = "# " + comment
	}
	if d.notes == nil {
		d.notes = notes{}
	}
	at := place{len(d.Steps), ofStep}
	if len(d.Steps) == 0 && d.Framing == "" {
		at = place{0, ofHead}
	}
	d.notes[at] = append(d.notes[at], comment)
}

// String is the step as it is written, without its example.
func (s *Step) String() string { return string(s.appendTo(nil)) }

func (s *Step) appendTo(dst []byte) []byte {
	if s.Within > 0 {
		dst = append(dst, "within "+shortTime(s.Within)+" "...)
	}
	switch s.Kind {
	case Send:
		return appendBehind(dst, ">", s.Text.String())
	case Expect:
		return s.Judge.AppendTo(append(dst, "< "...))
	case StartTLS:
		return append(dst, "tls"...)
	case Wait:
		return append(dst, "wait "+shortTime(s.Pause)...)
	case End:
		return append(dst, "eof"...)
	}
	return append(dst, "< eof"...)
}

// shortTime is a time without the zeros behind it, such as 2m and not 2m0s.
func shortTime(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Names are those that the texts and patterns use and that no group catches: n and conn, if they do.
func (d *Dialogue) Names() []string {
	var used, caught []string
	for i := range d.Steps {
		step := &d.Steps[i]
		used = append(used, step.names()...)
		if step.Judge.Kind == Matches {
			caught = append(caught, step.Judge.groups()...)
		}
	}
	slices.Sort(used)
	return slices.DeleteFunc(slices.Compact(used), func(name string) bool {
		return slices.Contains(caught, name)
	})
}

// Repeats says whether the dialogue can be played again on the same connection: it sends something,
// and ends neither the connection nor goes over to TLS on the way.
func (d *Dialogue) Repeats() bool {
	sends := false
	for i := range d.Steps {
		switch d.Steps[i].Kind {
		case Send:
			sends = true
		case StartTLS, End, ExpectEnd:
			return false
		}
	}
	return sends
}
