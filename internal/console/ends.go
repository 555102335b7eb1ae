package console

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/ends"
	"github.com/parley-tcp/parley/internal/journal"
)

// WriteEnds writes a connection as several have recorded it: who they are, how far their clocks are apart,
// and each message with the time by each clock.
func WriteEnds(out io.Writer, c *ends.Connection, opt LogOptions) error {
	var text []byte
	for i, e := range c.Ends {
		text = append(append(text, AboutEnd(&e.Session)...), '\n')
		if i > 0 {
			text = append(append(text, "  "+AboutClock(c, i)...), '\n')
		}
	}
	if _, err := out.Write(append(text, '\n')); err != nil {
		return err
	}
	said := &wordings{LogOptions: opt, of: make(map[string]dialect.Words)}
	shown := said.session(&c.Ends[0].Session)
	table := newTable(out, opt.Width, opt.Style, endsColumns(c, &shown))
	if err := table.head(); err != nil {
		return err
	}
	for i := range c.Messages {
		if err := table.row(&c.Messages[i]); err != nil {
			return err
		}
	}
	for _, e := range c.Ends {
		s := &e.Session
		line := fmt.Sprintf("%s has recorded no end\n", EndName(s))
		if !s.Closed.IsZero() {
			line = fmt.Sprintf("%s ended at %s: %s\n", EndName(s), s.Closed.Format(logTime), s.Reason)
		}
		if _, err := io.WriteString(out, escapeLine(line)); err != nil {
			return err
		}
	}
	return nil
}

func escapeLine(line string) string { return escaped(strings.TrimSuffix(line, "\n")) + "\n" }

// EndName is what people call an end: who it is, and the session's name there.
func EndName(s *journal.Session) string { return sideOf(s) + " " + s.Name() }

// AboutEnd says who an end is, and what was at its two ends.
func AboutEnd(s *journal.Session) string {
	client, server := s.Ends()
	text := EndName(s) + ": from " + client + " to " + server
	if s.LooksOn() && s.Upstream != "" {
		text += ", on to " + s.Upstream
	}
	return escaped(text)
}

// AboutClock says how far an end's clock is ahead of the first one's, and how that was estimated.
func AboutClock(c *ends.Connection, i int) string {
	clock, first := c.Clocks[i], escaped(EndName(&c.Ends[0].Session))
	if clock.Of == 0 {
		return "how far its clock and that of " + first + " are apart is not known: no exchange is whole in both records"
	}
	ahead, which := clock.Ahead, "ahead of"
	if ahead < 0 {
		ahead, which = -ahead, "behind"
	}
	return fmt.Sprintf("its clock is about %s %s that of %s, give or take %s: an estimate, from exchange %d, which of %d was on the way for the shortest time",
		appendSpan(nil, ahead), which, first, appendSpan(nil, clock.Within), clock.Seq, clock.Of)
}

func endsColumns(c *ends.Connection, shown *messages) []column[*ends.Message] {
	columns := []column[*ends.Message]{
		{title: "seq", width: 5, right: true, dispensable: 1, text: func(m *ends.Message, _ int) string {
			if m.Seq == 0 {
				return "-"
			}
			return strconv.FormatUint(m.Seq, 10)
		}},
		{title: "", width: 2, text: func(m *ends.Message, _ int) string {
			if m.ToServer {
				return "->"
			}
			return "<-"
		}},
	}
	for i := range c.Ends {
		columns = append(columns, column[*ends.Message]{
			title: escaped(EndName(&c.Ends[i].Session)), width: len(timeOfDay),
			tint: func(m *ends.Message) tint {
				if m.At[i].IsZero() {
					return abnormalTint
				}
				return timeTint
			},
			text: func(m *ends.Message, width int) string {
				if m.At[i].IsZero() {
					return within(width, Missing(c, m, i))
				}
				return m.At[i].Format(timeOfDay)
			},
		})
	}
	return append(columns,
		column[*ends.Message]{title: "on the way", width: 10, right: true, dispensable: 2, text: func(m *ends.Message, _ int) string {
			took, known := c.OnTheWay(m)
			if !known {
				return ""
			}
			return SignedSpan(took)
		}},
		column[*ends.Message]{title: "message", width: 40, elastic: true, tint: func(m *ends.Message) tint {
			if m.ToServer {
				return requestTint
			}
			return replyTint
		}, text: func(m *ends.Message, width int) string {
			row := &logRow{&c.Ends[m.End].Session, m.Exchange, "", *shown}
			if m.ToServer {
				return row.brief(row.request(), width)
			}
			return row.brief(row.reply(), width)
		}})
}

// SignedSpan is a time that may be less than nothing, as far as an estimate is wrong.
func SignedSpan(d time.Duration) string {
	if d < 0 {
		return "-" + string(appendSpan(nil, -d))
	}
	return string(appendSpan(nil, d))
}

// Missing says of a message that an end has no record of: it did not arrive, if others on its way have
// it and the end's record is whole.
func Missing(c *ends.Connection, m *ends.Message, end int) string {
	before := m.At[:end] // those who are to have it before
	if !m.ToServer {
		before = m.At[end+1:]
	}
	for _, at := range before {
		if !at.IsZero() && !c.Ends[end].Session.Closed.IsZero() {
			return "did not arrive"
		}
	}
	return "not recorded"
}
