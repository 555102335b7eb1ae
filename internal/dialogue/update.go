package dialogue

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// An Update rewrites the expectations of a dialogue from what was heard: its Done is to be that of a
// lenient Player.
type Update struct {
	heard  map[int][]byte // by the indexes of the steps
	wrong  map[int]bool   // those whose judge does not hold
	played int            // steps
}

// Done keeps what a step heard.
func (u *Update) Done(d Done) {
	if u.heard == nil {
		u.heard, u.wrong = map[int][]byte{}, map[int]bool{}
	}
	var failure *Failure
	expects := d.Step.Kind == Expect
	u.wrong[d.Index] = expects && errors.As(d.Err, &failure) && failure.Mismatch()
	if d.Err == nil || u.wrong[d.Index] {
		u.played++
	}
	if expects {
		u.heard[d.Index] = bytes.Clone(d.Message)
	}
}

// Played says whether the dialogue was played to its end, whatever was said.
func (u *Update) Played(d *Dialogue) bool { return u.played == len(d.Steps) }

// Of returns the dialogue as it would hold, with its notes, and how many lines are others. What
// holds is left alone; what does not is the exact text that was heard, and examples are what was heard.
// It is an error if a line cannot be rewritten.
func (u *Update) Of(d *Dialogue) (updated *Dialogue, changed int, err error) {
	updated = &Dialogue{File: d.File, Framing: d.Framing, Steps: slices.Clone(d.Steps), notes: notes{}}
	for at, lines := range d.notes {
		updated.notes[at] = slices.Clone(lines)
	}
	for i := range updated.Steps {
		step := &updated.Steps[i]
		heard, is := u.heard[i]
		switch {
		case !is:
		case u.wrong[i]:
			step.Judge = Judge{Kind: Exact, Text: NewText(heard)}
			changed++
			if step.Example != nil {
				step.Example = nil
				updated.join(place{i, ofExample}, place{i + 1, ofStep})
			}
		case step.Example != nil && !isExample(step.Example, heard):
			example := NewText(heard)
			step.Example = &example
			changed++
		}
	}
	if _, err := Parse(d.File, updated.Append(nil)); err != nil {
		return nil, 0, fmt.Errorf("what was heard cannot be written: %w", err)
	}
	return updated, changed, nil
}

// isExample says whether an example is what was heard: it may have names, and a mock ends it as its
// protocol does.
func isExample(example *Text, heard []byte) bool {
	return len(example.Names()) > 0 || bytes.Equal(bytes.TrimRight(example.Append(nil, nil), "\r\n"), bytes.TrimRight(heard, "\r\n"))
}

// join puts the notes of a place before those of another.
func (d *Dialogue) join(from, to place) {
	if notes := d.notes[from]; notes != nil {
		d.notes[to] = append(notes, d.notes[to]...)
		delete(d.notes, from)
	}
}

// catchesForLater says whether a later step needs what step i catches, and no other catches it.
func (d *Dialogue) catchesForLater(i int) bool {
	groups := d.Steps[i].Judge.groups()
	return slices.ContainsFunc(d.Steps[i+1:], func(s Step) bool {
		return slices.ContainsFunc(s.names(), func(name string) bool { return slices.Contains(groups, name) })
	})
}

// names are those that the step uses.
func (s *Step) names() []string {
	names := append(s.Text.Names(), s.Judge.Text.Names()...)
	if s.Example != nil {
		names = append(names, s.Example.Names()...)
	}
	for _, p := range piecesOf(s.Judge.Pattern) {
		if p.name != "" {
			names = append(names, p.name)
		}
	}
	return names
}
