//go:build unix

package main

import (
	"encoding/xml"
	"image/color"
	"io"
	"strings"
	"testing"

	uv "github.com/charmbracelet/ultraviolet"
)

func TestPictureHasEachRunInItsPlaceAndColour(t *testing.T) {
	var row []uv.Cell
	for _, r := range "a <b&c>  red██▌" {
		row = append(row, uv.Cell{Content: string(r), Width: 1})
	}
	for x := 9; x < 12; x++ {
		row[x].Style.Fg = color.RGBA{0x80, 0, 0, 0xff}
	}
	picture := drawing{`it says "hi"`, [][]uv.Cell{row}}.svg()
	for _, want := range []string{
		`aria-label="it says &quot;hi&quot;"`,
		`<text x="16.0" y="30" textLength="58.8">a &lt;b&amp;c&gt;</text>`,
		`<text x="91.6" y="30" textLength="25.2" style="fill:#f47b76">red</text>`,
		`<rect x="116.8" y="19" width="21.0" height="13" fill="#6fa8f5"/>`,
	} {
		if !strings.Contains(picture, want) {
			t.Errorf("the picture has no %s:\n%s", want, picture)
		}
	}
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
