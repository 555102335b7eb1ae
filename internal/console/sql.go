package console

import (
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// An Answer writes the rows that a question in SQL is answered with, as they come.
type Answer interface {
	Head(columns []string) error
	Row(values []any) error // nil, int64, float64, string or []byte; valid during the call
	End() error             // what comes after the last one
}

// NewAnswer writes them as a format names it: table, json or csv. A table fits into width columns of
// a terminal, if that is not 0, for which its last columns may be left out, and is as wide as its first rows need.
func NewAnswer(format string, out io.Writer, width int) Answer {
	switch format {
	case "json":
		return &answerJSON{out: out}
	case "csv":
		return answerCSV{newCSV(out)}
	}
	return &answerTable{out: out, width: width}
}

// sampled is by how many rows the columns of a table are measured.
const sampled = 100

// An answerTable holds its first rows back until it knows how wide they are.
type answerTable struct {
	out   io.Writer
	width int
	names []string
	texts []bool // columns that have something else than numbers
	held  [][]string
	table *table[[]string]
}

func (a *answerTable) Head(columns []string) error {
	for _, name := range columns {
		a.names = append(a.names, escaped(name))
	}
	a.texts = make([]bool, len(columns))
	return nil
}

func (a *answerTable) Row(values []any) error {
	row := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case nil:
			row[i] = "NULL"
		case string:
			row[i], a.texts[i] = a.text([]byte(v)), true
		case []byte:
			row[i], a.texts[i] = a.text(v), true
		default:
			row[i] = numberText(v)
		}
	}
	if a.table != nil {
		return a.table.row(row)
	}
	if a.held = append(a.held, row); len(a.held) < sampled {
		return nil
	}
	return a.End()
}

// text is a payload escaped; no line is longer than a terminal, if it is one.
func (a *answerTable) text(p []byte) string { return brief(p, a.width) }

// End writes what is held back.
func (a *answerTable) End() error {
	if a.table != nil || a.names == nil {
		return nil
	}
	columns := make([]column[[]string], len(a.names))
	for i, name := range a.names {
		wide := displaywidth.String(name)
		for _, row := range a.held {
			wide = max(wide, displaywidth.String(row[i]))
		}
		columns[i] = column[[]string]{title: name, width: wide, right: !a.texts[i], text: func(row []string, width int) string {
			if width == 0 || !a.texts[i] {
				return row[i]
			}
			return fit(row[i], width)
		}}
	}
	if a.width > 0 {
		shrink(columns, a.texts, a.width)
		columns = leaveOutLast(columns, a.width)
	}
	a.table = newTable(a.out, a.width, Style{}, columns)
	if err := a.table.head(); err != nil {
		return err
	}
	for _, row := range a.held {
		if err := a.table.row(row); err != nil {
			return err
		}
	}
	a.held = nil
	return nil
}

// shrink has the widest columns of text give way until all fit, or none is wider than others.
func shrink(columns []column[[]string], texts []bool, width int) {
	for {
		all, widest := -gap, -1
		for i, c := range columns {
			all += c.width + gap
			if texts[i] && c.width > max(leastElastic, displaywidth.String(c.title)) && (widest < 0 || c.width > columns[widest].width) {
				widest = i
			}
		}
		if all <= width || widest < 0 {
			return
		}
		columns[widest].width--
	}
}

// leaveOutLast leaves out the last columns if not even the beginnings of all have room, and has one in their
// place that says so.
func leaveOutLast(columns []column[[]string], width int) []column[[]string] {
	const beginning = 8
	all, more := -gap, 0
	for n, c := range columns {
		if n < len(columns)-1 {
			more = gap + 1
		} else {
			more = 0
		}
		if all += min(c.width, beginning) + gap; all+more > width && n > 0 {
			return append(columns[:n:n], column[[]string]{title: "…", width: 1, text: func([]string, int) string { return "…" }})
		}
	}
	return columns
}

func numberText(v any) string {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return fmt.Sprint(v)
}

// An answerJSON writes an object a row. Bytes are a string if they are printable UTF-8, or in
// base64, and their name says so.
type answerJSON struct {
	out   io.Writer
	names []string
	line  []byte
}

func (a *answerJSON) Head(columns []string) error {
	for _, name := range columns {
		of := name
		for n := 2; slices.Contains(a.names, of); n++ {
			of = fmt.Sprintf("%s_%d", name, n)
		}
		a.names = append(a.names, of)
	}
	return nil
}

func (a *answerJSON) Row(values []any) error {
	line := append(a.line[:0], '{')
	for i, v := range values {
		if i > 0 {
			line = append(line, ',')
		}
		switch v := v.(type) {
		case nil:
			line = append(a.name(line, i, ""), "null"...)
		case string:
			line = a.appendText(line, i, []byte(v), utf8.ValidString(v))
		case []byte:
			line = a.appendText(line, i, v, Printable(v))
		case float64:
			if math.IsInf(v, 0) { // JSON has no such number
				line = appendJSONString(a.name(line, i, ""), numberText(v))
				break
			}
			line = append(a.name(line, i, ""), numberText(v)...)
		default:
			line = append(a.name(line, i, ""), numberText(v)...)
		}
	}
	a.line = append(line, "}\n"...)
	_, err := a.out.Write(a.line)
	return err
}

func (a *answerJSON) name(line []byte, i int, form string) []byte {
	return append(appendJSONString(line, a.names[i]+form), ':')
}

func (a *answerJSON) appendText(line []byte, i int, p []byte, plain bool) []byte {
	if plain {
		return appendJSONString(a.name(line, i, ""), p)
	}
	return appendJSONString(a.name(line, i, "_base64"), base64.StdEncoding.EncodeToString(p))
}

func (a *answerJSON) End() error { return nil }

// An answerCSV writes a record a row: bytes escaped as on a terminal, unless they are printable.
type answerCSV struct{ csvWriter }

func (a answerCSV) Head(columns []string) error {
	names := make([]string, len(columns))
	for i, name := range columns {
		names[i] = cell(escaped(name))
	}
	return a.write(names...)
}

func (a answerCSV) Row(values []any) error {
	record := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case nil:
		case string:
			record[i] = cell(printed([]byte(v)))
		case []byte:
			record[i] = cell(printed(v))
		default:
			record[i] = numberText(v)
		}
	}
	return a.write(record...)
}

func printed(p []byte) string {
	if Printable(p) {
		return string(p)
	}
	return escaped(string(p))
}

func (a answerCSV) End() error { return nil }
