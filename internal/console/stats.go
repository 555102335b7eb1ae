package console

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/tally"
)

// statsShown is how many rows a table has at most, but for one of time.
const statsShown = 50

// WriteStats writes what was counted as a format names it: table, json or csv. A table fits, and is coloured,
// as that of NewLogView is.
func WriteStats(format string, out io.Writer, width int, style Style, t *tally.Result) error {
	switch format {
	case "json":
		return writeStatsJSON(out, t)
	case "csv":
		return writeStatsCSV(out, t)
	}
	rows := t.Rows
	if t.By != tally.ByTime {
		rows = rows[:min(len(rows), statsShown)]
	}
	table := newTable(out, width, style, statsColumns(t))
	if err := table.head(); err != nil {
		return err
	}
	for _, row := range rows {
		if err := table.row(row); err != nil {
			return err
		}
	}
	if more := len(t.Rows) - len(rows); more > 0 || t.Rest != nil {
		exchanges := int64(0)
		for _, row := range t.Rows[len(rows):] {
			exchanges += row.Exchanges
		}
		atLeast := ""
		if t.Rest != nil {
			atLeast, exchanges = "at least ", exchanges+t.Rest.Exchanges
		}
		text := fmt.Sprintf("… and %s%d more, with %d exchanges; --json and --csv have up to 100,000\n", atLeast, more, exchanges)
		if _, err := io.WriteString(out, Wrap(text, width, "")); err != nil {
			return err
		}
	}
	if t.By != tally.ByShape && t.By != tally.ByTime || len(t.Ends) == 0 {
		return nil
	}
	return writeEnds(out, width, style, t.Ends)
}

// writeEnds writes how many sessions ended for which reason.
func writeEnds(out io.Writer, width int, style Style, ends map[string]int64) error {
	if _, err := io.WriteString(out, "\n"); err != nil {
		return err
	}
	table := newTable(out, width, style, []column[string]{
		{title: "ended", width: 18, tint: endTint, text: func(reason string, _ int) string { return escaped(reason) }},
		{title: "sessions", width: 8, right: true, text: func(reason string, _ int) string { return strconv.FormatInt(ends[reason], 10) }},
	})
	if err := table.head(); err != nil {
		return err
	}
	for _, reason := range reasonsOf(ends) {
		if err := table.row(reason); err != nil {
			return err
		}
	}
	return nil
}

// reasonsOf are the reasons, that of the most sessions first.
func reasonsOf(ends map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(ends), func(a, b string) int {
		if ends[a] != ends[b] {
			return int(min(max(ends[b]-ends[a], -1), 1))
		}
		return strings.Compare(a, b)
	})
}

func endsOf(row *tally.Row) string {
	if row.Session != nil {
		if row.Session.Lost && row.Session.ID != 0 {
			return "not recorded"
		}
		return escaped(row.Session.Ended)
	}
	var ends []string
	for _, reason := range reasonsOf(row.Ends) {
		ends = append(ends, fmt.Sprintf("%s %d", escaped(reason), row.Ends[reason]))
	}
	return strings.Join(ends, ", ")
}

type statsColumn = column[*tally.Row]

func countColumn(title string, width, dispensable int, of func(*tally.Row) int64) statsColumn {
	return statsColumn{title: title, width: width, right: true, dispensable: dispensable, text: func(r *tally.Row, _ int) string { return strconv.FormatInt(of(r), 10) }}
}

func timeColumn(title string, dispensable int, of func(*tally.Row) time.Duration) statsColumn {
	return statsColumn{title: title, width: 7, right: true, dispensable: dispensable, text: func(r *tally.Row, _ int) string {
		if r.Took.Count() == 0 {
			return "-"
		}
		return threeDigits(of(r))
	}}
}

// threeDigits is a time as people read it.
func threeDigits(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// statsColumns are those of a table: what was counted, and who by.
func statsColumns(t *tally.Result) []statsColumn {
	percentile := func(p float64) func(*tally.Row) time.Duration {
		return func(r *tally.Row) time.Duration { return r.Took.Percentile(p) }
	}
	errors := countColumn("errors", 6, 2, func(r *tally.Row) int64 { return r.Errors })
	errors.tint = func(r *tally.Row) tint {
		if r.Errors > 0 {
			return abnormalTint
		}
		return plain
	}
	numbers := []statsColumn{
		countColumn("exchanges", 9, 0, func(r *tally.Row) int64 { return r.Exchanges }),
		errors,
		countColumn("bytes in", 9, 7, func(r *tally.Row) int64 { return r.RequestBytes }),
		countColumn("bytes out", 9, 6, func(r *tally.Row) int64 { return r.ReplyBytes }),
		timeColumn("p50", 3, percentile(50)),
		timeColumn("p90", 5, percentile(90)),
		timeColumn("p99", 1, percentile(99)),
		timeColumn("max", 4, func(r *tally.Row) time.Duration { return r.Took.Max }),
	}
	ends := statsColumn{title: "ended", width: 18, dispensable: 8, text: func(r *tally.Row, _ int) string { return endsOf(r) }}
	switch t.By {
	case tally.BySession:
		return slices.Concat(nodeOf(t), []statsColumn{
			{title: "session", width: 7, right: true, text: func(r *tally.Row, _ int) string { return sessionNumber(r) }},
			{title: "remote", width: 21, dispensable: 9, text: func(r *tally.Row, _ int) string { return escaped(r.Session.Remote) }},
		}, numbers, []statsColumn{ends})
	case tally.ByPeer, tally.ByNode:
		return slices.Concat([]statsColumn{
			{title: string(t.By), width: 21, text: func(r *tally.Row, _ int) string { return escaped(peerName(r)) }},
			countColumn("sessions", 8, 9, func(r *tally.Row) int64 { return r.Sessions }),
		}, numbers, []statsColumn{ends})
	case tally.ByTime:
		return slices.Concat([]statsColumn{{title: "from", width: len(logTime), narrow: len(timeOfDay), text: func(r *tally.Row, width int) string { return timeIn(r.From, width) }}}, numbers)
	}
	return append(numbers, statsColumn{title: "request", width: 40, elastic: true, text: func(r *tally.Row, width int) string {
		return within(width, shapeName(r))
	}})
}

// nodeOf is the column of the sessions' nodes, if there are many.
func nodeOf(t *tally.Result) []statsColumn {
	other := func(r *tally.Row) bool { return r.Session.Node != t.Rows[0].Session.Node }
	if !slices.ContainsFunc(t.Rows, other) {
		return nil
	}
	return []statsColumn{{title: "node", width: 12, text: func(r *tally.Row, width int) string { return within(width, r.Session.Node) }}}
}

func sessionNumber(r *tally.Row) string {
	return number(&journal.Session{Number: r.Session.Number, Lost: r.Session.Lost})
}

func shapeName(r *tally.Row) string {
	if r.Unasked {
		return "(unasked) " + r.Shape
	}
	return r.Shape
}

func peerName(r *tally.Row) string {
	if r.Peer == "" {
		return "?"
	}
	return r.Peer
}

func writeStatsJSON(out io.Writer, t *tally.Result) error {
	var line []byte
	write := func(what string, fields func()) error {
		line = append(append(append(line[:0], `{"by":"`...), what...), '"')
		fields()
		line = append(line, "}\n"...)
		_, err := out.Write(line)
		return err
	}
	text := func(name, value string) { line = appendName(line, name, value) }
	count := func(name string, n int64) {
		line = strconv.AppendInt(append(append(append(line, `,"`...), name...), `":`...), n, 10)
	}
	numbers := func(row *tally.Row) {
		count("exchanges", row.Exchanges)
		count("errors", row.Errors)
		count("request_bytes", row.RequestBytes)
		count("reply_bytes", row.ReplyBytes)
		count("replied", row.Took.Count())
		if row.Took.Count() > 0 {
			for _, p := range []struct {
				name string
				of   float64
			}{{"p50_ns", 50}, {"p90_ns", 90}, {"p99_ns", 99}} {
				count(p.name, int64(row.Took.Percentile(p.of)))
			}
			count("max_ns", int64(row.Took.Max))
			count("total_ns", int64(row.Took.Total))
		}
	}
	for _, row := range t.Rows {
		if err := write(string(t.By), func() {
			switch t.By {
			case tally.ByShape:
				if Printable([]byte(row.Shape)) {
					line = appendJSONString(append(line, `,"shape":`...), row.Shape)
				} else {
					text("shape_base64", base64.StdEncoding.EncodeToString([]byte(row.Shape)))
				}
				if row.Unasked {
					line = append(line, `,"unasked":true`...)
				}
				text("framing", row.Framing)
			case tally.BySession:
				text("node", row.Session.Node)
				line = appendCount(line, "session", row.Session.Number)
				if row.Session.Lost {
					line = appendCount(line, "lost_session", uint64(row.Session.ID))
				}
				text("remote", row.Session.Remote)
				if !row.Session.Lost {
					text("opened", row.Session.Opened.Format(time.RFC3339Nano))
				}
				text("ended", endsOf(row))
			case tally.ByPeer, tally.ByNode:
				line = appendJSONString(append(append(append(line, `,"`...), t.By...), `":`...), row.Peer)
				count("sessions", row.Sessions)
				line = append(line, `,"ends":{`...)
				for i, reason := range reasonsOf(row.Ends) {
					if i > 0 {
						line = append(line, ',')
					}
					line = strconv.AppendInt(append(appendJSONString(line, reason), ':'), row.Ends[reason], 10)
				}
				line = append(line, '}')
			case tally.ByTime:
				text("from", row.From.Format(time.RFC3339Nano))
			}
			numbers(row)
		}); err != nil {
			return err
		}
	}
	if t.Rest != nil {
		if err := write(string(t.By), func() {
			line = append(line, `,"rest":true`...)
			numbers(t.Rest)
		}); err != nil {
			return err
		}
	}
	for _, reason := range reasonsOf(t.Ends) {
		if err := write("ended", func() {
			text("reason", reason)
			count("sessions", t.Ends[reason])
		}); err != nil {
			return err
		}
	}
	return nil
}

func writeStatsCSV(out io.Writer, t *tally.Result) error {
	csv := newCSV(out)
	names := map[tally.By][]string{
		tally.ByShape: {"shape", "unasked", "framing"}, tally.BySession: {"session", "remote", "opened", "ended", "node"},
		tally.ByPeer: {"peer", "sessions", "ends"}, tally.ByNode: {"node", "sessions", "ends"}, tally.ByTime: {"from"},
	}[t.By]
	if err := csv.write(append(names, "exchanges", "errors", "request_bytes", "reply_bytes", "replied", "p50_ns", "p90_ns", "p99_ns", "max_ns", "total_ns")...); err != nil {
		return err
	}
	rows := t.Rows
	if t.Rest != nil {
		rest := *t.Rest
		rest.Shape, rest.Peer = "(the rest)", "(the rest)"
		if t.By == tally.BySession {
			rest.Session = &tally.Session{Lost: true}
		}
		rows = append(slices.Clone(rows), &rest)
	}
	for _, row := range rows {
		var record []string
		switch t.By {
		case tally.ByShape:
			record = []string{cell(escaped(row.Shape)), strconv.FormatBool(row.Unasked), cell(escaped(row.Framing))}
		case tally.BySession:
			opened := ""
			if !row.Session.Lost {
				opened = row.Session.Opened.Format(time.RFC3339Nano)
			}
			record = []string{sessionNumber(row), cell(escaped(row.Session.Remote)), opened, cell(endsOf(row)), cell(escaped(row.Session.Node))}
		case tally.ByPeer, tally.ByNode:
			record = []string{cell(escaped(row.Peer)), strconv.FormatInt(row.Sessions, 10), cell(endsOf(row))}
		case tally.ByTime:
			record = []string{row.From.Format(time.RFC3339Nano)}
		}
		for _, n := range []int64{row.Exchanges, row.Errors, row.RequestBytes, row.ReplyBytes, row.Took.Count()} {
			record = append(record, strconv.FormatInt(n, 10))
		}
		times := []string{"", "", "", "", ""}
		if row.Took.Count() > 0 {
			for i, d := range []time.Duration{row.Took.Percentile(50), row.Took.Percentile(90), row.Took.Percentile(99), row.Took.Max, row.Took.Total} {
				times[i] = strconv.FormatInt(int64(d), 10)
			}
		}
		if err := csv.write(append(record, times...)...); err != nil {
			return err
		}
	}
	return nil
}

// cell is a text that a spreadsheet does not take for a formula.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
