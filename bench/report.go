package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A column is one figure of the samples; its median over the rounds is shown.
type column struct {
	title  string
	of     func(sample) float64
	digits int  // after the point
	ratio  bool // followed by a column of the ratio to the reference
	spread bool // shown with least and most
}

func columns(w workload) []column {
	cpu := func(s sample) float64 { return s.cpu }
	rate := func(s sample) float64 { return s.rate }
	memory := column{title: "RSS MiB", of: func(s sample) float64 { return s.memory }, digits: 1}
	latencies := []column{
		{title: "p50 µs", of: func(s sample) float64 { return s.p50 }},
		{title: "p99 µs", of: func(s sample) float64 { return s.p99 }},
		{title: "p99.9 µs", of: func(s sample) float64 { return s.p999 }},
	}
	switch w.name {
	case "sink":
		return []column{{title: "CPU ns/line", of: cpu, ratio: true}, {title: "lines/s", of: rate}}
	case "pipe":
		return []column{{title: "its own CPU ns/line", of: cpu, ratio: true}, {title: "lines/s", of: rate, ratio: true}}
	case "idle":
		return []column{
			{title: "KiB/connection", of: func(s sample) float64 { return s.perConnection }, digits: 2, spread: true},
			memory,
		}
	case "accepts":
		return slices.Concat([]column{
			{title: "CPU µs/connection", of: func(s sample) float64 { return s.cpu / 1e3 }, digits: 1, ratio: true},
			{title: "connections/s", of: rate},
		}, latencies)
	}
	return slices.Concat([]column{
		{title: "CPU ns/request", of: cpu, ratio: true},
		{title: "requests/s", of: rate},
	}, latencies, []column{memory})
}

func (w workload) title() string {
	switch w.name {
	case "idle":
		return fmt.Sprintf("%s idle connections; the first %d rounds", thousands(float64(w.connections), 0), idleRounds)
	case "accepts":
		return fmt.Sprintf("Connect, one exchange, close; %d at a time", w.connections)
	case "sink":
		return fmt.Sprintf("%s lines of %d bytes over %d connections", thousands(float64(w.lines), 0), w.size+1, w.connections)
	case "pipe":
		return fmt.Sprintf("%s lines through a pipe", thousands(float64(w.lines), 0))
	}
	connections, inflight := "connections", fmt.Sprint(w.inflight)
	if w.connections == 1 {
		connections = "connection"
	}
	if w.inflight == 1 {
		inflight = "one"
	}
	title := fmt.Sprintf("%s %s, %s in flight", thousands(float64(w.connections), 0), connections, inflight)
	if w.size != payload {
		title += fmt.Sprintf(", %s bytes each", thousands(float64(w.size+1), 0))
	}
	return title
}

func (t table) markdown() string {
	var out strings.Builder
	cols := columns(t.workload)
	titles := []string{"server"}
	if t.workload.name == "pipe" {
		titles[0] = "client"
	}
	for _, c := range cols {
		titles = append(titles, c.title)
		if c.ratio {
			titles = append(titles, "ratio to "+t.reference)
		}
	}
	fmt.Fprintf(&out, "### %s\n\n", strings.TrimPrefix(t.about+": "+t.workload.title(), ": "))
	writeRow(&out, titles)
	writeRow(&out, append([]string{"---"}, slices.Repeat([]string{"--:"}, len(titles)-1)...))
	for _, r := range t.rows {
		cells := []string{r.server}
		if r.failed != nil {
			cells = append(cells, failure(r.failed))
			cells = append(cells, make([]string, len(titles)-len(cells))...)
			writeRow(&out, cells)
			continue
		}
		for _, c := range cols {
			values := each(r.samples, c.of)
			if c.spread {
				cells = append(cells, spread(values))
			} else {
				cells = append(cells, thousands(median(values), c.digits))
			}
			if c.ratio {
				cells = append(cells, spread(t.ratios(r, t.reference, c.of)))
			}
		}
		writeRow(&out, cells)
	}
	out.WriteString("\n")
	return out.String()
}

func writeRow(out *strings.Builder, cells []string) {
	fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
}

// failure fits a cell of a table.
func failure(err error) string {
	text := []rune("failed: " + strings.ReplaceAll(err.Error(), "|", `\|`))
	if len(text) > 200 {
		text = append(text[:200], '…')
	}
	return string(text)
}

// ratios are a server's figures to those of another in the same rounds; none if that one
// failed.
func (t table) ratios(r row, to string, of func(sample) float64) []float64 {
	base := t.row(to)
	if base == nil || base.failed != nil {
		return nil
	}
	ratios := make([]float64, len(r.samples))
	for i, s := range r.samples {
		ratios[i] = of(s) / of(base.samples[i])
	}
	return ratios
}

func each(samples []sample, of func(sample) float64) []float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	return values
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// spread is the median with the least and the most.
func spread(values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(values), slices.Min(values), slices.Max(values))
}

// thousands writes a number with commas.
func thousands(v float64, digits int) string {
	text := fmt.Sprintf("%.*f", digits, v)
	whole, fraction, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if digits == 0 {
		return whole
	}
	return whole + "." + fraction
}

// replaceBetween puts the body between two marker lines of a text.
func replaceBetween(text, marker, body string) (string, error) {
	begin, end := "<!-- "+marker+": begin -->\n", "<!-- "+marker+": end -->"
	before, rest, ok := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("no lines %q and %q in this order", strings.TrimSpace(begin), end)
	}
	return before + begin + "\n" + body + end + after, nil
}

// disturbance is the share of the machine that other programs took while it was measured.
func (b *bench) disturbance() float64 {
	if b.watched == 0 {
		return 0
	}
	return max(0, b.others.Seconds()/b.watched.Seconds()/float64(runtime.NumCPU()))
}

// peersUsed are the versions of what servers are made with.
func peersUsed() []string {
	return []string{"gcc " + version("gcc", "-dumpfullversion"), "liburing " + version("pkg-config", "--modversion", "liburing"),
		"NodeJS " + version("node", "--version")}
}

// circumstances say where, with what and how the figures came about, and how to repeat them.
func (b *bench) circumstances(rounds int, took time.Duration, used []string) string {
	return fmt.Sprintf(`Measured on %s: %s, %d cores, Linux %s; %s.
Medians of %d rounds with windows of %g s; it took %v. Other programs used %.0f %% of the
machine during the windows. To repeat it, in bench/:

<!-- not run: it takes minutes, and a machine with nothing else to do -->
    %s

`,
		time.Now().Format(time.DateOnly), cpuModel(), runtime.NumCPU(), version("cat", "/proc/sys/kernel/osrelease"),
		strings.Join(append([]string{runtime.Version()}, used...), ", "),
		rounds, b.seconds, took.Round(time.Second), 100*b.disturbance(),
		strings.Join(append([]string{"go run ."}, os.Args[1:]...), " "))
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	if found := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(info); found != nil {
		return string(found[1])
	}
	return runtime.GOARCH
}

func version(command string, args ...string) string {
	out, err := exec.Command(command, args...).CombinedOutput() // nginx says it on standard error
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// versionIn is the first thing that looks like a version in what a program says.
func versionIn(command string, args ...string) string {
	return cmp.Or(regexp.MustCompile(`\d+\.\d+[\w.]*`).FindString(version(command, args...)), "unknown")
}
