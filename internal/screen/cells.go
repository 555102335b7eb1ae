//go:build unix

package screen

import (
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
)

// line is the text of a row of cells.
func (s *Screen) line(y int, cellAt func(x, y int) *uv.Cell) string {
	var b strings.Builder
	for x := 0; x < s.emulator.Width(); {
		cell := cellAt(x, y)
		if cell == nil || cell.Width == 0 {
			b.WriteByte(' ')
			x++
			continue
		}
		b.WriteString(cell.Content)
		x += cell.Width
	}
	return strings.TrimRight(b.String(), " ")
}

// Cell is what stands at a place of the screen, from 0, with its style; nil if that is outside of it.
func (s *Screen) Cell(column, row int) *uv.Cell {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cell := s.emulator.CellAt(column, row); cell != nil {
		return cell.Clone()
	}
	return nil
}
