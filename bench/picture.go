package main

import (
	"fmt"
	"math"
	"strings"
)

// A curve is what something costs as n grows.
type curve struct {
	name string
	at   []spot
}

type spot struct{ n, cost float64 }

// A picture shows curves over two logarithmic axes.
type picture struct {
	title, x, y string
	curves      []curve
}

// nLogN is what n steps may cost, each of them the logarithm of n; one step costs one.
func nLogN(n float64) float64 { return n * (math.Log2(n) + 1) }

// againstNLogN is how much faster the curve grows than n log n where it is worst, between any
// two spots of which one is at ten times the other's n or more: over less than that caches
// and the rounds' own spread are all there is to see. Up to 1 it does not.
func (c *curve) againstNLogN() float64 {
	var worst float64
	for i, small := range c.at {
		for _, large := range c.at[i:] {
			if large.n >= 10*small.n {
				worst = max(worst, large.cost/small.cost/(nLogN(large.n)/nLogN(small.n)))
			}
		}
	}
	return worst
}

const pictureStyle = `
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.title { font-size: 14px; font-weight: 600; }
.ground { fill: #ffffff; }
.grid { stroke: #d8dee4; fill: none; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.bound { fill: none; stroke-width: 1.5; stroke-dasharray: 2 5; }
.c0 { stroke: #0b62c4; } .c1 { stroke: #c04a00; } .c2 { stroke: #0e7a5f; } .c3 { stroke: #8a3fc0; } .c4 { stroke: #59636e; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.ground { fill: #0d1117; }
.grid { stroke: #2d343c; }
.c0 { stroke: #5aa9ff; } .c1 { stroke: #ff9248; } .c2 { stroke: #3fbf9a; } .c3 { stroke: #c08aff; } .c4 { stroke: #9aa4af; }
}
`

const (
	pictureWidth, pictureHeight                  = 960.0, 360.0
	frameLeft, frameRight, frameTop, frameBottom = 80.0, pictureWidth - 20, 48.0, pictureHeight - 40
)

// svg draws each curve, and dotted in its colour n log n through its last spot: a curve
// that grows faster comes from below it.
func (p *picture) svg() string {
	var body strings.Builder
	least, most := p.bounds()
	at := func(n, cost float64) string {
		along := (math.Log10(n) - least.n) / (most.n - least.n)
		up := (math.Log10(cost) - least.cost) / (most.cost - least.cost)
		return fmt.Sprintf("%.1f %.1f", frameLeft+along*(frameRight-frameLeft), frameBottom-up*(frameBottom-frameTop))
	}
	text := func(anchor string, x, y float64, class, words string) {
		fmt.Fprintf(&body, "<text class=%q text-anchor=%q x=\"%.1f\" y=\"%.1f\">%s</text>\n", class, anchor, x, y, words)
	}
	text("start", 8, 18, "title", p.title)
	text("end", frameRight, 18, "", p.y+"; dotted: n log n through the last")
	text("middle", (frameLeft+frameRight)/2, pictureHeight-6, "", p.x)
	for power := least.n; power <= most.n; power++ {
		x := frameLeft + (power-least.n)/(most.n-least.n)*(frameRight-frameLeft)
		fmt.Fprintf(&body, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n", x, frameTop, frameBottom)
		text("middle", x, frameBottom+16, "", short(math.Pow(10, power)))
	}
	for power := least.cost; power <= most.cost; power++ {
		y := frameBottom - (power-least.cost)/(most.cost-least.cost)*(frameBottom-frameTop)
		fmt.Fprintf(&body, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", frameLeft, y, frameRight)
		text("end", frameLeft-6, y+4, "", shortTime(math.Pow(10, power)))
	}
	right := frameRight
	for i, c := range p.curves {
		var line, bound []string
		last := c.at[len(c.at)-1]
		for _, s := range c.at {
			line = append(line, at(s.n, s.cost))
			// Below the frame there is nothing to see.
			if allowed := last.cost * nLogN(s.n) / nLogN(last.n); math.Log10(allowed) >= least.cost {
				bound = append(bound, at(s.n, allowed))
			}
		}
		fmt.Fprintf(&body, "<path class=\"bound c%d\" d=\"M%s\"/>\n", i, strings.Join(bound, "L"))
		fmt.Fprintf(&body, "<path class=\"line c%d\" d=\"M%s\"/>\n", i, strings.Join(line, "L"))
		text("end", right, 38, "", c.name)
		right -= 7*float64(len(c.name)) + 24
		fmt.Fprintf(&body, "<path class=\"line c%d\" d=\"M%.1f 34h18\"/>\n", i, right)
		right -= 12
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 %g %g" width="%[1]g" height="%[2]g">
<style>%[3]s</style>
<rect class="ground" width="%[1]g" height="%[2]g"/>
%[4]s</svg>
`, pictureWidth, pictureHeight, pictureStyle, body.String())
}

// bounds are the powers of ten around all spots.
func (p *picture) bounds() (least, most spot) {
	least, most = spot{math.Inf(1), math.Inf(1)}, spot{math.Inf(-1), math.Inf(-1)}
	for _, c := range p.curves {
		for _, s := range c.at {
			least = spot{min(least.n, math.Floor(math.Log10(s.n))), min(least.cost, math.Floor(math.Log10(s.cost)))}
			most = spot{max(most.n, math.Ceil(math.Log10(s.n))), max(most.cost, math.Ceil(math.Log10(s.cost)))}
		}
	}
	most = spot{max(most.n, least.n+1), max(most.cost, least.cost+1)}
	return least, most
}

// short is a power of ten with as few zeros as can be.
func short(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= unit.size {
			return fmt.Sprintf("%.3g %s", v/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.3g", v)
}

// shortTime is a time in ns in a unit that a person would take.
func shortTime(ns float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}} {
		if ns >= unit.size {
			return fmt.Sprintf("%.3g %s", ns/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.3g ns", ns)
}

// table has the curves' costs as numbers, in brackets for each of n, and how each grows.
func (p *picture) table() string {
	var out strings.Builder
	titles, rule, last := []string{p.x}, []string{"--:"}, []string{"growth beside n log n"}
	for _, c := range p.curves {
		titles, rule, last = append(titles, c.name), append(rule, "--:"), append(last, fmt.Sprintf("%.2f", c.againstNLogN()))
	}
	writeRow(&out, titles)
	writeRow(&out, rule)
	for i, s := range p.curves[0].at {
		cells := []string{thousands(s.n, 0)}
		for _, c := range p.curves {
			cells = append(cells, fmt.Sprintf("%s (%s)", shortTime(c.at[i].cost), shortTime(c.at[i].cost/s.n)))
		}
		writeRow(&out, cells)
	}
	writeRow(&out, last)
	return out.String()
}
