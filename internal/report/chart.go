package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// A chart shows lines over two axes, as SVG with the classes of plotStyle.
type chart struct {
	title string
	x, y  axis
	lines []line
}

// An axis goes from min to max. What they are in is for the points to agree with: the
// logarithm of a time, say.
type axis struct {
	name     string
	min, max float64
	ticks    []tick
}

type tick struct {
	at    float64
	label string
}

// A line may have gaps: then it is several strokes.
type line struct {
	name    string
	class   string // response, service, rate, bad or asked
	strokes [][]point
}

type point struct{ x, y float64 }

// plotStyle is what charts look like, on light and on dark ground. It has no variables:
// not every program that shows SVG knows them.
const plotStyle = `
.plot { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; font-variant-numeric: tabular-nums; }
.plot text { fill: #1f2328; }
.plot .dim { fill: #59636e; }
.plot .title { font-size: 14px; font-weight: 600; }
.plot .head { font-size: 18px; font-weight: 600; }
.plot .ground { fill: #ffffff; }
.plot .grid { stroke: #d8dee4; fill: none; }
.plot .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.plot .response { stroke: #c04a00; }
.plot .service { stroke: #0b62c4; }
.plot .rate { stroke: #0e7a5f; }
.plot .bad { stroke: #c2182b; }
.plot .asked { stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 5 5; }
@media (prefers-color-scheme: dark) {
.plot text { fill: #e6edf3; }
.plot .dim { fill: #9aa4af; }
.plot .ground { fill: #0d1117; }
.plot .grid { stroke: #2d343c; }
.plot .response { stroke: #ff9248; }
.plot .service { stroke: #5aa9ff; }
.plot .rate { stroke: #3fbf9a; }
.plot .bad { stroke: #ff6b7a; }
.plot .asked { stroke: #9aa4af; }
}
`

// The room around a chart's frame, in px: for the title and the legend, the labels of the
// axes, and the half of a label that hangs over; and where its title begins.
const (
	margin     = 8
	roomAbove  = 48
	roomBelow  = 40
	roomBefore = 60
	roomAfter  = 20
)

// A frame is where in a picture the axes of a chart are.
type frame struct {
	left, top, right, bottom float64
	*chart
}

func (f frame) at(p point) (x, y float64) {
	return f.left + (f.right-f.left)*(p.x-f.x.min)/(f.x.max-f.x.min),
		f.bottom - (f.bottom-f.top)*(p.y-f.y.min)/(f.y.max-f.y.min)
}

// draw appends the chart, width and height px large, for an svg element of class plot.
func (c *chart) draw(b *bytes.Buffer, width, height float64) {
	f := frame{roomBefore, roomAbove, width - roomAfter, height - roomBelow, c}
	writeText(b, "title", "start", margin, 18, c.title)
	if len(c.lines) == 0 {
		writeText(b, "dim", "middle", width/2, height/2, "no replies to show")
		return
	}
	writeText(b, "dim", "start", margin, 38, c.y.name)
	writeText(b, "dim", "middle", (f.left+f.right)/2, height-6, c.x.name)
	f.legend(b)
	f.axes(b)
	for _, l := range c.lines {
		f.line(b, l)
	}
}

// letter is about how wide one is, in px. What shows a picture has its own fonts, so texts
// are placed by their ends wherever they can be.
const letter = 6.9

// legend names the lines, from the right, where there is more than one.
func (f frame) legend(b *bytes.Buffer) {
	const swatch, gap = 18, 6
	right := f.right
	for i := len(f.lines) - 1; i >= 0 && len(f.lines) > 1; i-- {
		l := f.lines[i]
		writeText(b, "dim", "end", right, 38, l.name)
		right -= letter*float64(len(l.name)) + gap
		fmt.Fprintf(b, `<path class="line %s" d="M%s 34h-%d"/>`+"\n", l.class, px(right), swatch)
		right -= swatch + 2*gap
	}
}

// axes draws a grid line for each tick, and a label where there is room for it.
func (f frame) axes(b *bytes.Buffer) {
	var grid bytes.Buffer
	fmt.Fprintf(&grid, "M%s %sH%s", px(f.left), px(f.bottom), px(f.right))
	taken := 0.0
	for _, t := range f.x.ticks {
		x, _ := f.at(point{t.at, 0})
		fmt.Fprintf(&grid, "M%s %sV%s", px(x), px(f.top), px(f.bottom))
		if half := letter * float64(len(t.label)) / 2; x-half > taken {
			writeText(b, "dim", "middle", x, f.bottom+16, t.label)
			taken = x + half + 4
		}
	}
	for _, t := range f.y.ticks {
		_, y := f.at(point{0, t.at})
		fmt.Fprintf(&grid, "M%s %sH%s", px(f.left), px(y), px(f.right))
		writeText(b, "dim", "end", f.left-6, y+4, t.label)
	}
	fmt.Fprintf(b, `<path class="grid" d="%s"/>`+"\n", grid.Bytes())
}

func (f frame) line(b *bytes.Buffer, l line) {
	fmt.Fprintf(b, `<path class="line %s" d="`, l.class)
	for _, stroke := range l.strokes {
		command := byte('M')
		for _, p := range stroke {
			x, y := f.at(p)
			b.WriteByte(command)
			b.WriteString(px(x) + " " + px(y))
			command = 'L'
		}
	}
	b.WriteString("\"/>\n")
}

// writeText writes a text whose start, middle or end is at x.
func writeText(b *bytes.Buffer, class, anchor string, x, y float64, text string) {
	fmt.Fprintf(b, `<text class="%s" text-anchor="%s" x="%s" y="%s">`, class, anchor, px(x), px(y))
	xml.EscapeText(b, []byte(text))
	b.WriteString("</text>\n")
}

// px is a coordinate to a tenth of a pixel.
func px(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

// linearAxis goes from 0 to max or a little more, with up to count ticks.
func linearAxis(name string, max float64, count int, label func(float64) string) axis {
	step := niceStep(max / float64(count))
	a := axis{name: name, max: step * math.Ceil(max/step)}
	for i := range int(math.Round(a.max/step)) + 1 {
		at := float64(i) * step
		a.ticks = append(a.ticks, tick{at, label(at)})
	}
	return a
}

// niceStep is the least of 1, 2 and 5, times a power of ten, that is not less than v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 5} {
		if v <= step*power*(1+1e-9) {
			return step * power
		}
	}
	return 10 * power
}

// maxTimeTicks is how many ticks an axis of times may have before only powers of ten
// have one.
const maxTimeTicks = 8

// timeAxis is a logarithmic one, of log10 of ns, for times from least to most.
func timeAxis(name string, least, most float64) axis {
	var ticks, powers []tick
	for power := math.Floor(least); ; power++ {
		for _, step := range []float64{1, 2, 5} {
			at := power + math.Log10(step)
			if at+math.Log10(2.5) <= least {
				continue // the next one will do
			}
			t := tick{at, axisTime(step * math.Pow(10, power))}
			ticks = append(ticks, t)
			if step == 1 {
				powers = append(powers, t)
			}
			if at >= most && len(ticks) > 1 {
				a := axis{name: name, min: ticks[0].at, max: at, ticks: ticks}
				if len(ticks) > maxTimeTicks {
					a.ticks = powers
				}
				return a
			}
		}
	}
}

// axisTime is a time in ns that is 1, 2 or 5 of something.
func axisTime(ns float64) string {
	v, unit := inUnit(ns)
	return strconv.FormatFloat(v, 'g', 3, 64) + " " + unit
}

// inUnit is a time in the unit that people would take for it.
func inUnit(ns float64) (float64, string) {
	const almost = 1 - 1e-9 // a power of ten need not be exact
	switch {
	case ns < 1e3*almost:
		return ns, "ns"
	case ns < 1e6*almost:
		return ns / 1e3, "µs"
	case ns < 1e9*almost:
		return ns / 1e6, "ms"
	}
	return ns / 1e9, "s"
}

// axisCount is a number for a narrow place: 250, 20k, 1.5M.
func axisCount(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 4, 64) + "M"
	case v >= 1e4:
		return strconv.FormatFloat(v/1e3, 'g', 4, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

// cut shortens a text that is longer than limit runes.
func cut(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}
