package probe

import (
	"bytes"
	"time"

	"github.com/parley-tcp/parley/internal/console"
)

// Tell is the line about what a Prober has found of the target: in words, or as an object if the Check
// is to be told in JSON. It is nil if the state is what it was, unless every verdict is to be told. The
// first verdict is always a change.
func (t *Target) Tell(f *Finding, was State, every bool) []byte {
	isUp, changed := f.Kind == "", was.Probes == 0 || was.Up != (f.Kind == "")
	if !changed && !every {
		return nil
	}
	if t.Check.JSON {
		return t.object(f, was, changed)
	}
	line := f.Time.UTC().AppendFormat(nil, time.RFC3339)
	line = console.AppendEscaped(append(line, ' '), []byte(t.Name))
	switch {
	case changed && isUp:
		line = append(line, " is up"...)
	case changed:
		line = append(line, " is down"...)
	}
	sentence, _, _ := bytes.Cut(t.Check.sentence(f), []byte("\n")) // without how long texts differ
	verdict := append(append(line, ": "...), sentence...)
	if !isUp {
		verdict = []byte(t.Check.Style.Wrong(string(verdict)))
	}
	return append(verdict, '\n')
}

// object is a verdict of a check with the name of the target, and whether that is up.
func (t *Target) object(f *Finding, was State, changed bool) []byte {
	event := "check"
	if changed {
		event = "state"
	}
	o := console.NewObject(event, f.Time, t.Check.Node)
	o.Text("name", t.Name)
	o.Text("state", stateOf(f.Kind == ""))
	if changed && was.Probes > 0 {
		o.Text("was", stateOf(was.Up))
	}
	t.Check.describe(o, f)
	return o.Line()
}

func stateOf(up bool) string {
	if up {
		return "up"
	}
	return "down"
}
