package console

import (
	"io"
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// A column of a table of T.
type column[T any] struct {
	title       string
	width       int                           // as a rule; without a bound what is longer is not cut, and moves the rest of its line
	narrow      int                           // where there is little room; 0 if that does not help
	right       bool                          // its text stands to the right
	elastic     bool                          // it takes what room is left, and is cut to that
	most        int                           // of what is elastic, that it takes; 0 for all
	dispensable int                           // the higher the sooner it is left out; 0 never is
	text        func(row T, width int) string // width is 0 if there is no bound
	tint        func(row T) tint              // nil if it is plain
}

// A table writes rows in columns.
type table[T any] struct {
	out     io.Writer
	style   Style
	columns []column[T]
	bounded bool
	elastic int // how wide what is elastic is at least
	line    strings.Builder
}

const (
	gap          = 2  // between columns
	leastElastic = 16 // of a column that is elastic
	fewElastic   = 8  // the same before a column is left out that is worth more than long texts
	worthMore    = 3  // from here down a column is
)

// newTable makes a table that fits into width columns of a terminal; 0 is no bound. Columns become narrow
// first, then those that can be missed are left out, and then the widest give way.
func newTable[T any](out io.Writer, width int, style Style, columns []column[T]) *table[T] {
	t := &table[T]{out: out, style: style, columns: append([]column[T](nil), columns...), bounded: width > 0, elastic: leastElastic}
	if !t.bounded {
		return t
	}
	for i := range t.columns {
		if c := &t.columns[i]; t.least() > width && c.narrow > 0 {
			c.width = c.narrow
		}
	}
	for t.least() > width && t.leaveOut(worthMore) {
	}
	if t.least() > width {
		t.elastic = fewElastic
	}
	for t.least() > width && t.leaveOut(0) {
	}
	t.stretch(width - t.least())
	for all := t.width(); all > width && t.shrink(); all-- {
	}
	return t
}

// least is how wide the table is with no more than the least of what is elastic.
func (t *table[T]) least() (width int) {
	for _, c := range t.columns {
		if c.elastic {
			c.width = t.elastic
		}
		width += c.width + gap
	}
	return width - gap
}

func (t *table[T]) width() (width int) {
	for _, c := range t.columns {
		width += c.width + gap
	}
	return width - gap
}

// leaveOut leaves out the column that is missed least of those above a rank, and reports whether there
// is one.
func (t *table[T]) leaveOut(above int) bool {
	least := 0
	for i, c := range t.columns {
		if c.dispensable > t.columns[least].dispensable {
			least = i
		}
	}
	if t.columns[least].dispensable <= above {
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
			if c.most > 0 {
				share = min(share, c.most-t.elastic)
			}
			c.width = t.elastic + share
			left, elastic = left-share, elastic-1
		}
	}
}

// shrink makes the widest column narrower, and reports whether that can be.
func (t *table[T]) shrink() bool {
	widest := 0
	for i, c := range t.columns {
		if c.width > t.columns[widest].width {
			widest = i
		}
	}
	t.columns[widest].width--
	return t.columns[widest].width > 0
}

func (t *table[T]) head() error {
	return t.write(func(c *column[T]) (string, tint) { return c.title, plain })
}

func (t *table[T]) row(row T) error {
	return t.write(func(c *column[T]) (string, tint) {
		of, width := plain, c.width
		if c.tint != nil {
			of = c.tint(row)
		}
		if !t.bounded {
			width = 0
		}
		return c.text(row, width), of
	})
}

func (t *table[T]) write(text func(*column[T]) (string, tint)) error {
	t.line.Reset()
	for i := range t.columns {
		c := &t.columns[i]
		s, of := text(c)
		if t.bounded {
			s = fit(s, c.width)
		}
		padding := strings.Repeat(" ", max(0, c.width-displaywidth.String(s)))
		s = t.style.in(of, s)
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
