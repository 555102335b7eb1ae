package web

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/internal/journal"
)

const (
	maxSought = 1 << 10 // bytes of a text, a regular expression or an address that is looked for
	maxAsked  = 200     // sessions that can be asked for by their IDs
)

// A question is what a browser asks of the journals.
type question struct {
	filter journal.Filter
	shape  string // of the request, as the statistics show it; any if empty
	files  []bool // which of them are asked
	before cursors
	after  cursors
}

// cursors are how far each file has been told: of which file of those that were found there, and
// the ID. A browser sends those that it was sent.
type cursors []cursorOf

type cursorOf struct {
	times int64
	id    int64 // 0 from the newest on, or nothing is told yet
	done  bool  // there is no more
}

const noCursor = "-" // of a file that has no more

func (c cursors) String() string {
	var parts []string
	for _, of := range c {
		if of.done {
			parts = append(parts, noCursor)
		} else {
			parts = append(parts, fmt.Sprintf("%d.%d", of.times, of.id))
		}
	}
	return strings.Join(parts, ",")
}

// isDone reports whether no file has more.
func (c cursors) isDone() bool {
	return !slices.ContainsFunc(c, func(of cursorOf) bool { return !of.done })
}

func parseCursors(text string, files int) (cursors, error) {
	c := make(cursors, files)
	if text == "" {
		return c, nil
	}
	parts := strings.Split(text, ",")
	if len(parts) != files {
		return nil, errors.New("that cursor is of other files")
	}
	for i, part := range parts {
		if part == noCursor {
			c[i].done = true
			continue
		}
		times, id, ok := strings.Cut(part, ".")
		var err1, err2 error
		c[i].times, err1 = strconv.ParseInt(times, 10, 64)
		c[i].id, err2 = strconv.ParseInt(id, 10, 64)
		if !ok || err1 != nil || err2 != nil || c[i].times < 0 || c[i].id < 0 {
			return nil, errors.New("that is no cursor")
		}
	}
	return c, nil
}

// parse reads a question. The error is for a person.
func (p *Journals) parse(v url.Values) (q question, err error) {
	f := &q.filter
	if q.before, err = parseCursors(v.Get("before"), len(p.files)); err != nil {
		return q, err
	}
	if q.after, err = parseCursors(v.Get("after"), len(p.files)); err != nil {
		return q, err
	}
	if q.files, err = p.parseFiles(v.Get("file")); err != nil {
		return q, err
	}
	for _, name := range []string{"text", "regexp", "address", "shape", "node", "session"} {
		if len(v.Get(name)) > maxSought {
			return q, fmt.Errorf("%s: that is longer than %d bytes", name, maxSought)
		}
	}
	q.shape = v.Get("shape")
	if node := v.Get("node"); node != "" {
		f.Nodes = []string{node}
	}
	f.Text, f.Address, f.Reason = []byte(v.Get("text")), v.Get("address"), v.Get("reason")
	if text := v.Get("regexp"); text != "" {
		if f.Regexp, err = expect.Compile(text); err != nil {
			return q, err
		}
	}
	if text := v.Get("session"); text != "" {
		node, number, ok := journal.ParseName(text)
		if !ok {
			return q, fmt.Errorf("session %q: sessions count from 1, and have their node before that where there are several: 17 or web-2/17", text)
		}
		if f.Number = number; node != "" {
			f.Nodes = append(f.Nodes[:0:0], node)
		}
	}
	if text := v.Get("slower"); text != "" {
		ms, err := strconv.ParseFloat(text, 64)
		if err != nil || !(ms >= 0 && ms <= math.MaxInt64/1e6/2) {
			return q, fmt.Errorf("slower than %q: use milliseconds, such as 5 or 0.2", text)
		}
		f.Slower = time.Duration(ms * 1e6)
	}
	for name, to := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if text := v.Get(name); text != "" {
			if *to, err = time.Parse(time.RFC3339Nano, text); err != nil {
				return q, fmt.Errorf("%s %q: use a time as 2026-11-24T08:00:00Z", name, text)
			}
		}
	}
	return q, nil
}

func (p *Journals) parseFiles(text string) ([]bool, error) {
	asked := make([]bool, len(p.files))
	for i := range asked {
		asked[i] = text == ""
	}
	if text == "" {
		return asked, nil
	}
	for _, part := range strings.Split(text, ",") {
		i, err := p.parseFile(part)
		if err != nil {
			return nil, err
		}
		asked[i] = true
	}
	return asked, nil
}

// parseFile reads which file is meant: its place on the command line, from 0.
func (p *Journals) parseFile(text string) (int, error) {
	i, err := strconv.Atoi(text)
	if err != nil || i < 0 || i >= len(p.files) {
		return 0, fmt.Errorf("file %q: there are %d, from 0 on", text, len(p.files))
	}
	return i, nil
}
