package console

import (
	"sync"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// A detector looks at how each side of a session begins, where lines are looked for, and
// names what speaks unmistakably otherwise.
type detector struct {
	both bool // the server may speak otherwise too: it is not our own

	mu    sync.Mutex
	young map[*parley.Session]*beginning
	told  map[string]bool
}

// A beginning is what the sides of a session have said first: client, server.
type beginning [2]struct {
	text  []byte
	lines uint64
}

const (
	detectLines = 2        // messages of a side that are looked at
	detectEmpty = 3        // that are looked at beside these, where they say nothing yet
	detectBytes = 16 << 10 // of each; a line of HTTP can be long
	detectKept  = 512      // of the first, for the second: what is longer is no beginning of something short
	detectYoung = 100      // sessions that are looked at; some older one makes room for another
)

func newDetector(both bool) *detector {
	return &detector{both: both, young: make(map[*parley.Session]*beginning), told: make(map[string]bool)}
}

// see names what speaks, and says whether that is news.
func (d *detector) see(e *parley.Event) (name string, news bool) {
	side := 0
	switch e.Kind {
	case parley.Opened, parley.Closed, parley.Received, parley.Unfinished:
	case parley.Replied, parley.Unasked:
		side = 1
	default:
		return "", false
	}
	if e.Seq > detectLines+detectEmpty && e.Kind != parley.Closed {
		return "", false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch e.Kind {
	case parley.Opened:
		if len(d.young) == detectYoung {
			for s := range d.young {
				delete(d.young, s)
				break
			}
		}
		d.young[e.Session] = new(beginning)
		return "", false
	case parley.Closed:
		delete(d.young, e.Session)
		return "", false
	}
	begun := d.young[e.Session]
	if begun == nil || begun[side].lines == detectLines {
		return "", false
	}
	s := &begun[side]
	text := append(s.text, e.Body[:min(len(e.Body), detectBytes)]...)
	if e.Kind != parley.Unfinished {
		text = append(text, "\r\n"...) // as it was, mostly
	}
	if dialect.Undecided(text) {
		s.text = text
		return "", false
	}
	s.lines++
	s.text = nil
	if s.lines < detectLines && len(text) <= detectKept {
		s.text = text
	}
	if name = dialect.Detect(text, side == 0); name == "" {
		return "", false
	}
	s.lines, s.text = detectLines, nil
	news = !d.told[name]
	d.told[name] = true
	return name, news
}
