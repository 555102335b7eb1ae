package console

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
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

// Print writes the table in Markdown.
func (t *Transcript) Print(w io.Writer) error {
	text := AppendMarkdownHead(nil, t.titles...)
	for _, r := range t.rows {
		text = AppendMarkdownRow(text, len(t.titles), r.column, r.text)
	}
	_, err := w.Write(text)
	return err
}
