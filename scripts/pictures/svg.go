//go:build unix

package main

import (
	"fmt"
	"image/color"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
)

// The sizes of a picture, in its own units.
const (
	charWidth  = 8.4
	lineHeight = 19
	margin     = 16
)

// panel is what a terminal is drawn on, dark wherever it is looked at.
const panel = "#16191f"

// shades are the sixteen colours of a terminal, by what the emulator makes of each, as they are
// readable on the panel.
var shades = map[string]string{
	"#000000": "#3b4048", "#800000": "#f47b76", "#008000": "#7bc47f", "#808000": "#d9b45b",
	"#000080": "#6fa8f5", "#800080": "#c792ea", "#008080": "#5fc9cf", "#c0c0c0": "#d5d9e0",
	"#808080": "#8a919e", "#ff0000": "#ff8e88", "#00ff00": "#93dd97", "#ffff00": "#efcb74",
	"#0000ff": "#8ebdff", "#ff00ff": "#dbabff", "#00ffff": "#7fe0e5", "#ffffff": "#f4f6fa",
}

const ink = "#d5d9e0"

// A drawing is rows of cells, of which a picture is made.
type drawing struct {
	about string // what it shows, for who cannot see it
	rows  [][]uv.Cell
}

// svg is the picture: a text for each run of cells in one style. Its length is given, so that columns
// stand below each other whatever font there is.
func (d drawing) svg() string {
	columns := 0
	for _, row := range d.rows {
		columns = max(columns, len(row))
	}
	width, height := 2*margin+charWidth*float64(columns), 2*margin+lineHeight*len(d.rows)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" width="%.0f" height="%d" role="img" aria-label="%s">`+"\n",
		width, height, width, height, escape(d.about))
	b.WriteString(`<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre;fill:` + ink + `}</style>` + "\n")
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="8" fill="%s"/>`+"\n", panel)
	for y, row := range d.rows {
		for x := 0; x < len(row); {
			end := x + 1
			for end < len(row) && row[end].Style.Equal(&row[x].Style) && isBar(row[end]) == isBar(row[x]) {
				end++
			}
			if isBar(row[x]) {
				drawBar(&b, row[x:end], x, y)
			} else {
				drawRun(&b, row[x:end], x, y)
			}
			x = end
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func drawRun(b *strings.Builder, run []uv.Cell, x, y int) {
	style := run[0].Style
	fg, bg := shade(style.Fg), shade(style.Bg)
	if style.Attrs&uv.AttrReverse != 0 {
		if fg == "" {
			fg = ink
		}
		if bg == "" {
			bg = panel
		}
		fg, bg = bg, fg
	}
	left, top := margin+charWidth*float64(x), margin+lineHeight*y
	if bg != "" {
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", left, top, charWidth*float64(len(run)), lineHeight, bg)
	}
	text, skipped := words(run)
	if text == "" {
		return
	}
	columns := len(run) - skipped
	for columns > 0 && run[skipped+columns-1].Content == " " {
		columns--
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%d" textLength="%.1f"`, left+charWidth*float64(skipped), top+14, charWidth*float64(columns))
	if fg != "" {
		fmt.Fprintf(b, ` style="fill:%s"`, fg)
	}
	if style.Attrs&uv.AttrBold != 0 {
		b.WriteString(` font-weight="bold"`)
	}
	if style.Attrs&uv.AttrFaint != 0 {
		b.WriteString(` opacity=".6"`)
	}
	if style.Underline != 0 {
		b.WriteString(` text-decoration="underline"`)
	}
	fmt.Fprintf(b, ">%s</text>\n", escape(text))
}

// bars are the blocks from the left of a cell, by eighths of its width from 1 on.
const bars = "▏▎▍▌▋▊▉█"

func isBar(cell uv.Cell) bool { return cell.Content != "" && strings.Contains(bars, cell.Content) }

// drawBar draws blocks as one, which fonts leave seams between.
func drawBar(b *strings.Builder, run []uv.Cell, x, y int) {
	eighths := 0
	for _, cell := range run {
		eighths += 1 + strings.Index(bars, cell.Content)/len("█")
	}
	fill := shade(run[0].Style.Fg)
	if fill == "" {
		fill = "#6fa8f5"
	}
	fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n",
		margin+charWidth*float64(x), margin+lineHeight*y+3, charWidth*float64(eighths)/8, lineHeight-6, fill)
}

// words is the text of a run without the blanks around it, and how many there are before it.
func words(run []uv.Cell) (text string, skipped int) {
	var b strings.Builder
	for _, cell := range run {
		b.WriteString(cell.Content)
	}
	text = strings.TrimRight(b.String(), " ")
	trimmed := strings.TrimLeft(text, " ")
	return trimmed, len(text) - len(trimmed)
}

// shade is how a colour looks on the panel, or "" for none.
func shade(c color.Color) string {
	if c == nil {
		return ""
	}
	r, g, b, _ := c.RGBA()
	hex := fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
	if known, ok := shades[hex]; ok {
		return known
	}
	return hex
}

func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(text)
}
