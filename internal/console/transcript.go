package console

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/clipperhouse/displaywidth"
)

// A Transcript is what several terminals showed, line by line in the order of time.
type Transcript struct {
	titles []string

	mu      sync.Mutex
	rows    []row
	partial []string      // of each column, the line that is not yet whole
	said    chan struct{} // closed and replaced at each line
}

type row struct {
	column int
	text   string
}

// NewTranscript makes an empty one of terminals with these titles.
func NewTranscript(titles ...string) *Transcript {
	return &Transcript{titles: titles, partial: make([]string, len(titles)), said: make(chan struct{})}
}

// Column is what writes to the i-th terminal.
func (t *Transcript) Column(i int) io.Writer { return columnWriter{t, i} }

type columnWriter struct {
	t      *Transcript
	column int
}

func (w columnWriter) Write(p []byte) (int, error) {
	w.t.Say(w.column, w.t.take(w.column, string(p))...)
	return len(p), nil
}

// take returns the lines that text makes whole.
func (t *Transcript) take(column int, text string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(t.partial[column]+text, "\n")
	t.partial[column] = lines[len(lines)-1]
	return lines[:len(lines)-1]
}

// Say adds whole lines to a column.
func (t *Transcript) Say(column int, lines ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, line := range lines {
		t.rows = append(t.rows, row{column, line})
	}
	close(t.said)
	t.said = make(chan struct{})
}

// Lines counts a column's rows.
func (t *Transcript) Lines(column int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count(column)
}

func (t *Transcript) count(column int) (n int) {
	for _, r := range t.rows {
		if r.column == column {
			n++
		}
	}
	return n
}

// Await waits until a column has n rows.
func (t *Transcript) Await(ctx context.Context, column, n int) error {
	for {
		t.mu.Lock()
		have, said := t.count(column), t.said
		t.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-said:
		case <-ctx.Done():
			return fmt.Errorf("%s said %d lines of %d", t.titles[column], have, n)
		}
	}
}

const (
	betweenPanes = " │ "
	leastPane    = 16 // columns in which there is something to read
)

// PrintPanes draws the terminals side by side in width columns of one, lines in the order of time and none cut.
// Where that is too narrow they stand one below the other. Lines may have a Style.
func (t *Transcript) PrintPanes(w io.Writer, width int, style Style) error {
	n := len(t.titles)
	pane := (width - (n-1)*displaywidth.String(betweenPanes)) / n
	var text strings.Builder
	if pane < leastPane {
		t.printBelow(&text, width, style)
	} else {
		t.printBeside(&text, pane, style)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func (t *Transcript) printBeside(b *strings.Builder, pane int, style Style) {
	between := style.in(dim, betweenPanes)
	line := func(texts []string) {
		for i, text := range texts {
			if i > 0 {
				b.WriteString(between)
			}
			b.WriteString(text)
			if i < len(texts)-1 {
				b.WriteString(strings.Repeat(" ", max(0, pane-styled.String(text))))
			}
		}
		b.WriteByte('\n')
	}
	titles, rules := make([]string, len(t.titles)), make([]string, len(t.titles))
	for i, title := range t.titles {
		titles[i], rules[i] = style.in(bold, fit(title, pane)), strings.Repeat("─", pane)
	}
	line(titles)
	b.WriteString(style.in(dim, strings.Join(rules, "─┼─")) + "\n")
	for _, r := range t.rows {
		for piece := range strings.SplitSeq(Wrap(r.text, pane, "  "), "\n") {
			texts := make([]string, len(t.titles))
			texts[r.column] = piece
			line(texts)
		}
	}
}

func (t *Transcript) printBelow(b *strings.Builder, width int, style Style) {
	for i, title := range t.titles {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(style.in(bold, fit(title, width)) + "\n" + style.in(dim, strings.Repeat("─", width)) + "\n")
		for _, r := range t.rows {
			if r.column == i {
				b.WriteString(Wrap(r.text, width, "  ") + "\n")
			}
		}
	}
}

// Print writes the table in Markdown.
func (t *Transcript) Print(w io.Writer) error {
	text := AppendMarkdownHead(nil, t.titles...)
	for _, r := range t.rows {
		text = AppendMarkdownRow(text, len(t.titles), r.column, r.text)
	}
	_, err := w.Write(text)
	return err
}
