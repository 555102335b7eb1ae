package dialogue

import (
	"bytes"
	"fmt"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// Shown are the steps as they are written, without the credentials that the protocol of a framing
// knows of: they are for whoever reads an error or a report. A message of several lines is in words.
func (d *Dialogue) Shown(f dialect.Framing) []string {
	requests, _ := parley.OpenFraming(f.Requests, f.Replies)
	noter, protocol := requests.(parley.Noter) // those of dialect have Words
	shown := make([]string, len(d.Steps))
	for i := range d.Steps {
		step := &d.Steps[i]
		shown[i] = step.String()
		if step.Kind == StartTLS {
			requests, _ = parley.OpenFraming(f.BehindGreeting().Requests, f.BehindGreeting().Replies)
			noter, protocol = requests.(parley.Noter)
		}
		if step.Kind != Send || !protocol {
			continue
		}
		text := step.Text.Append(nil, nil)
		wire, err := requests.End(append(requests.Begin(nil), text...), 0)
		switch {
		case err != nil: // nobody knows what it would have been
			shown[i] = fmt.Sprintf("> …(%d bytes)", len(text))
		case noter.Note().Secret, bytes.IndexByte(text, '\n') >= 0: // there may be some in a header
			shown[i] = "> " + string(f.Words.AppendRequest(nil, dialect.Message{Body: wire, Secret: true}))
		}
	}
	return shown
}
