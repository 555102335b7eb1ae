package console

import (
	"io"
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// A column of a table of T.
type column[T any] struct {
	title       string
	width       int                           // as a rule; what is longer is not cut, and moves the rest of its line
	narrow      int                           // where there is little room; 0 if that does not help
	right       bool                          // its text stands to the right
	elastic     bool                          // it takes what room is left, and is cut to that
	dispensable int                           // the higher the sooner it is left out; 0 never is
	text        func(row T, width int) string // width is 0 if there is no bound
}

// A table writes rows in columns.
type table[T any] struct {
	out     io.Writer
	columns []column[T]
	bounded bool
	line    strings.Builder
}

const (
	gap          = 2 // between columns
	leastElastic = 16
)

// newTable makes a table that fits into width columns of a terminal, as far as it can without
// those that it must have; 0 is no bound.
func newTable[T any](out io.Writer, width int, columns []column[T]) *table[T] {
	t := &table[T]{out: out, columns: append([]column[T](nil), columns...), bounded: width > 0}
	if !t.bounded {
		return t
	}
	for i := range t.columns {
		if c := &t.columns[i]; t.least() > width && c.narrow > 0 {
			c.width = c.narrow
		}
	}
	for t.least() > width && t.leaveOut() {
	}
	t.stretch(width - t.least())
	return t
}

// least is how wide the table is with no more than the least of what is elastic.
func (t *table[T]) least() (width int) {
	for _, c := range t.columns {
		if c.elastic {
			c.width = leastElastic
		}
		width += c.width + gap
	}
	return width - gap
}

// leaveOut leaves out the column that is missed least, and reports whether there is one.
func (t *table[T]) leaveOut() bool {
	least := 0
	for i, c := range t.columns {
		if c.dispensable > t.columns[least].dispensable {
			least = i
		}
	}
	if t.columns[least].dispensable == 0 {
		return false
	}
	t.columns = append(t.columns[:least], t.columns[least+1:]...)
	return true
}

// stretch shares out the room that is left.
func (t *table[T]) stretch(left int) {
	elastic := 0
	for _, c := range t.columns {
		if c.elastic {
			elastic++
		}
	}
	for i := range t.columns {
		if c := &t.columns[i]; c.elastic {
			share := max(0, left) / elastic
			c.width = leastElastic + share
			left, elastic = left-share, elastic-1
		}
	}
}

func (t *table[T]) head() error {
	return t.write(func(c *column[T]) string { return c.title })
}

func (t *table[T]) row(row T) error {
	return t.write(func(c *column[T]) string {
		if !t.bounded {
			return c.text(row, 0)
		}
		return c.text(row, c.width)
	})
}

func (t *table[T]) write(text func(*column[T]) string) error {
	t.line.Reset()
	for i := range t.columns {
		c := &t.columns[i]
		s := text(c)
		padding := strings.Repeat(" ", max(0, c.width-displaywidth.String(s)))
		switch {
		case c.right:
			s = padding + s
		case i < len(t.columns)-1:
			s += padding
		}
		if i > 0 {
			s = strings.Repeat(" ", gap) + s
		}
		t.line.WriteString(s)
	}
	t.line.WriteByte('\n')
	_, err := io.WriteString(t.out, t.line.String())
	return err
}

// fit cuts a text to so many columns of a terminal.
func fit(text string, width int) string {
	return displaywidth.TruncateString(text, width, "…")
}
