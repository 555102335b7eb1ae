package web

import (
	"context"
	"strings"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/tally"
)

// filterFor is what a question selects of one journal: a shape is told by the framing of each session. Where
// messages are their own words, what the shape has in any case is looked for by the text index.
func (p *Journals) filterFor(ctx context.Context, r *journal.Reader, q question) (journal.Filter, error) {
	f := q.filter
	if q.shape == "" {
		return f, nil
	}
	framings := make(map[string]dialect.Framing)
	framing := func(name string) dialect.Framing {
		of, known := framings[name]
		if !known {
			of, _ = dialect.Parse(name) // of one that is not known the bytes are shown
			framings[name] = of
		}
		return of
	}
	framings[""] = p.opt.Framing
	var shape, shown []byte
	f.Accepts = func(name string, x *journal.Exchange) bool {
		if x.Request == nil && x.Reply == nil {
			return false
		}
		shape = tally.AppendShape(shape[:0], x, framing(name), p.opt.Secrets)
		shown = console.AppendEscaped(shown[:0], shape)
		return string(shown) == q.shape
	}
	if len(f.Text) > 0 {
		return f, nil
	}
	names, err := r.Framings(ctx)
	if err != nil {
		return f, err
	}
	for _, name := range names {
		if framing(name).Words != nil {
			return f, nil
		}
	}
	f.Text = longest(q.shape)
	return f, nil
}

// longest is the longest part of a shape that all messages of it have; nil if it is not known or short.
func longest(shape string) []byte {
	if strings.Contains(shape, `\`) { // it may stand for another byte
		return nil
	}
	parts := strings.NewReplacer("{n}", "\x00", "{id}", "\x00", "{time}", "\x00", "…", "\x00").Replace(shape)
	var found string
	for part := range strings.SplitSeq(parts, "\x00") {
		if len(part) > len(found) {
			found = part
		}
	}
	if len(found) < journal.MinIndexed {
		return nil
	}
	return []byte(found)
}
