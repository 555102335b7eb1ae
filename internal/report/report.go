package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/load"
)

// A Report is a result and what it is the result of.
type Report struct {
	Target string
	Plan   load.Plan
	*load.Result

	Against *Judgement // of this run beside one from before; nil if there is none
}

// Title says what was done, in one line that is escaped.
func (r *Report) Title() string {
	p := &r.Plan
	noun := nounsOf(p).begun
	parts := []string{"closed loop"}
	if p.Rate > 0 {
		parts[0] = fmt.Sprintf("open loop at %s %ss/s", grouped(p.Rate), noun)
	}
	parts = append(parts, plural(uint64(max(1, p.Connections)), "connection"))
	if p.ConnectEach {
		parts[1] += " at a time, one for each " + noun
	}
	if r.Together != nil {
		parts[1] += " on " + plural(uint64(len(r.Together.Shares)), "agent")
	}
	if !p.ConnectEach && p.InFlight > 1 {
		parts = append(parts, fmt.Sprintf("up to %d in flight on each", p.InFlight))
	}
	length := seconds(r.Elapsed)
	if p.Warmup > 0 {
		length += " after " + seconds(p.Warmup) + " of warm-up"
	}
	if r.Interrupted {
		length += ", interrupted"
	}
	return fmt.Sprintf("%s: %s", escaped(r.Target), strings.Join(append(parts, length), ", "))
}

// WriteText writes the report for a person, with tables that fit into width columns if that
// is not 0.
func (r *Report) WriteText(w io.Writer, width int) error {
	columns := width // 0 for no limit
	if width <= 0 {
		width = math.MaxInt
	}
	var b strings.Builder
	b.WriteString(console.Wrap(r.Title(), columns, hanging) + "\n\n")
	r.writeCounts(&b, columns)
	if examples := Examples(&r.Plan, r.Result); len(examples) > 0 {
		for _, example := range examples {
			b.WriteString(console.Wrap(example, columns, hanging) + "\n")
		}
		b.WriteString("\n")
	}
	r.writeTimes(&b, width)
	if r.Together != nil {
		b.WriteString("\n")
		r.writeShares(&b)
	}
	if len(r.Steps) > 0 {
		b.WriteString("\n")
		r.writeSteps(&b, width)
	}
	if times, name := r.seen(); times.Count() > 0 {
		fmt.Fprintf(&b, "\n%s\n", name)
		writeBars(&b, times.Histogram, width)
	}
	if notes := r.Notes(); len(notes) > 0 {
		b.WriteString("\n")
		for _, note := range notes {
			b.WriteString(console.Wrap(note, columns, "") + "\n")
		}
	}
	if r.Against != nil {
		b.WriteString("\n")
		r.Against.writeText(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// hanging stands before the lines of one thing behind its first.
const hanging = "  "

// seen is the time that a user of the service sees.
func (r *Report) seen() (times load.Times, name string) {
	switch {
	case r.Plan.Silent():
		return r.Write, "time of a write"
	case r.Plan.Rate > 0:
		return r.Response, "response time"
	}
	return r.Service, "service time"
}

// writeCounts writes a row for each count; what one is of goes on below itself if it does not fit.
func (r *Report) writeCounts(b *strings.Builder, columns int) {
	var counts strings.Builder
	t := tabwriter.NewWriter(&counts, 0, 0, 2, ' ', 0)
	row := func(name string, n uint64, about string) {
		fmt.Fprintf(t, "%s\t%15s\t%s\n", name, grouped(float64(n)), about)
	}
	row(nounsOf(&r.Plan).begun+"s", r.Requests, "")
	expected := "as expected: " + escaped(r.Plan.Expect.String())
	if !r.Plan.Expect.Judges() {
		expected = "not judged"
	}
	switch {
	case r.Plan.Script != nil:
		row("as expected", r.Replies, grouped(r.Rate)+"/s, all of "+escaped(r.Plan.Script.Dialogue.File))
	case r.Plan.Silent():
		row("taken", r.Taken, grouped(r.Rate)+"/s; nothing was answered: there are no replies")
	default:
		row("replies", r.Replies, grouped(r.Rate)+"/s, "+expected)
	}
	for _, f := range r.failures() {
		if f.n > 0 {
			row(f.name, f.n, f.about)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
		about := words(kind)
		if kind == dial.TLSFailed {
			about += ": " + escaped(r.NoTLS)
		}
		row("errors", r.Errors[kind], about)
	}
	row("connections", r.Connects, r.resumed())
	row("bytes sent", r.BytesSent, "")
	row("bytes received", r.BytesReceived, "")
	t.Flush()
	first, _, _ := strings.Cut(counts.String(), "\n")
	below := strings.Repeat(" ", len(first)) // it has its count alone
	switch {
	case columns <= len(below):
		columns = 0 // not even the counts fit
	case columns < 2*len(below):
		below = hanging
	}
	for line := range strings.Lines(counts.String()) {
		line = console.Wrap(strings.TrimRight(line, " \n"), columns, below)
		b.WriteString(strings.ReplaceAll(line, " \n", "\n") + "\n")
	}
	b.WriteString("\n")
}

// resumed says how many connections resumed a TLS session.
func (r *Report) resumed() string {
	switch {
	case r.Handshake.Count() == 0:
		return ""
	case r.Resumed == 0:
		return "each with a full TLS handshake"
	}
	return grouped(float64(r.Resumed)) + " of them resumed a TLS session"
}

// A failure is one way in which replies were not as they should be.
type failure struct {
	name  string
	n     uint64
	about string
}

func (r *Report) failures() []failure {
	switch {
	case r.Plan.Script != nil:
		return dialogueFailures(r.Result)
	case r.Plan.Silent():
		return []failure{
			{"not taken", r.Missing, "requests of which not all was taken"},
			{"late", r.Late, fmt.Sprintf("requests that took longer than %v to be taken", r.Plan.Timeout)},
			{"unsent", r.Unsent, "requests that were due and could not be sent"},
		}
	}
	return []failure{
		{"mismatched", r.Mismatched, "replies that were other than expected"},
		{"missing", r.Missing, "requests that got no reply"},
		{"late", r.Late, fmt.Sprintf("replies that took longer than %v", r.Plan.Timeout)},
		{"extra", r.Extra, "messages that no request had asked for"},
		{"unsent", r.Unsent, "requests that were due and could not be sent"},
	}
}

// outcomes are the kinds that there are examples of, in the order to show them.
var outcomes = []load.Outcome{load.Mismatched, load.Missing, load.Late, load.Extra}

// maxExamples is how many kinds are shown.
const maxExamples = 3

// Examples are lines on the first of each kind that was not as it should be, such as
//
//	first mismatched: to "PING": want the request itself, got "Request #1 - PING ..."
//
// of three kinds at most. p is the plan of the result.
func Examples(p *load.Plan, res *load.Result) (lines []string) {
	for _, outcome := range outcomes {
		if e := res.Examples[outcome]; e != nil && len(lines) < maxExamples {
			lines = append(lines, fmt.Sprintf("first %s: %s", outcome, describe(p, outcome, e)))
		}
	}
	return lines
}

// describe says what was wanted and what came.
func describe(p *load.Plan, outcome load.Outcome, e *load.Example) string {
	if e.Failed != nil {
		return escaped(e.Failed.Why)
	}
	if outcome == load.Extra {
		return "want nothing more, got " + shown(e.Reply)
	}
	text := fmt.Sprintf("to %s: want ", requestOf(e))
	switch {
	case outcome == load.Mismatched:
		text += escaped(p.Expect.String())
	case outcome == load.Late:
		text += fmt.Sprintf("a reply within %v", p.Timeout)
	case p.Silent():
		text += "all of it taken"
	default:
		text += "a reply"
	}
	switch {
	case e.Lacks != "":
		text += fmt.Sprintf(", but %s: %s", escaped(e.Lacks), shown(e.Reply))
	case outcome == load.Missing && e.Reply.Size == 0:
		text += ", but nothing came"
	default:
		text += ", got " + shown(e.Reply)
	}
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	switch {
	case e.Cause != "":
		text += fmt.Sprintf(" (%s after %s)", words(e.Cause), Short(e.Took))
	case outcome == load.Late:
		text += " after " + Short(e.Took)
	}
	return text
}

// requestOf is the request of an example in quotes, or in words if it has credentials.
func requestOf(e *load.Example) string {
	if e.Words != "" {
		return escaped(e.Words)
	}
	return shown(e.Request)
}

// maxShown is how much of a message a line shows, in bytes.
const maxShown = 200

// shown is a message in quotes, escaped and cut.
func shown(e load.Excerpt) string {
	n := min(len(e.Bytes), maxShown)
	if n == e.Size {
		return `"` + escaped(string(e.Bytes)) + `"`
	}
	return fmt.Sprintf(`"%s"… (%s bytes)`, escaped(string(e.Bytes[:n])), grouped(float64(e.Size)))
}

// words are a kind of failure as people write it.
func words(kind dial.Kind) string { return strings.ReplaceAll(string(kind), "_", " ") }

// quantiles are those that are told, in percent.
var quantiles = []struct {
	name    string
	percent float64
}{{"p50", 50}, {"p75", 75}, {"p90", 90}, {"p95", 95}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}}

// A measure is one kind of time.
type measure struct {
	name  string
	times load.Times
}

// measures are the times that were measured.
func (r *Report) measures() []measure {
	all := []measure{
		{"service", r.Service}, {"response", r.Response}, {"lag", r.Lag},
		{"write", r.Write}, {"lookup", r.Lookup}, {"connect", r.Connect}, {"handshake", r.Handshake}, {"greeting", r.Greeting}, {"first reply", r.FirstReply},
	}
	return slices.DeleteFunc(all, func(m measure) bool {
		switch m.name {
		case "response":
			return r.Plan.Rate == 0 || r.Plan.Silent()
		case "lag":
			return r.Plan.Rate == 0
		case "lookup":
			return !r.Plan.ConnectEach
		case "first reply":
			return !r.Plan.ConnectEach || m.times.Count() == 0
		}
		return m.times.Count() == 0
	})
}

// leastNeeded are the columns of the table of times, those first that are left out first
// where there is no room for all.
var leastNeeded = []string{"std dev", "p75", "mean", "min", "p99.99", "p90", "p95", "p99.9", "p50"}

// writeTimes writes a row for each kind of time, in columns of a width that fits the longest
// cell of each.
func (r *Report) writeTimes(b *strings.Builder, width int) {
	table := [][]string{{"time", "mean", "std dev", "min"}}
	for _, q := range quantiles {
		table[0] = append(table[0], q.name)
	}
	table[0] = append(table[0], "max")
	for _, m := range r.measures() {
		row := []string{m.name, Short(m.times.Mean()), Short(m.times.StdDev()), Short(m.times.Min())}
		for _, q := range quantiles {
			row = append(row, Short(m.times.Quantile(q.percent)))
		}
		table = append(table, append(row, Short(m.times.Max())))
	}
	widths := make([]int, len(table[0]))
	total := 0
	for i := range widths {
		for _, row := range table {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i])+2)
		}
		total += widths[i]
	}
	for _, name := range leastNeeded {
		if total <= width {
			break
		}
		i := slices.Index(table[0], name)
		total -= widths[i]
		widths[i] = 0
	}
	for _, row := range table {
		for i, cell := range row {
			if widths[i] > 0 {
				fmt.Fprintf(b, "%*s", widths[i], cell)
			}
		}
		b.WriteString("\n")
	}
}

// Notes are what must be known to read the figures rightly, each a sentence.
func (r *Report) Notes() (notes []string) {
	say := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	nouns := nounsOf(&r.Plan)
	notes = r.notesOfShares()
	switch {
	case r.Plan.Silent():
		say("A request counts as taken when all of it is with the peer or in the buffers on the way there. Whether it was read or handled nobody says.")
	case r.Plan.Rate > 0:
	case r.Replies > 0 && r.Late+r.Missing > 0:
		say("Closed loop: a connection that waited for what was late or missing sent nothing, which kept away %ss that would have felt it too. With a rate, --rate, they are counted.", nouns.begun)
	default:
		if share := stalled(r.Service); share >= leastStalled {
			say("Closed loop: %.0f %% of the time was in a few %ss that took over %d times the p99, and each of these kept away others that would have felt it too. With a rate, --rate, they are counted.", 100*share, nouns.begun, stallFactor)
		}
	}
	if !r.Plan.Expect.Judges() && !r.Plan.Silent() && r.Plan.Script == nil {
		say("The replies were not judged; --expect says what they should be.")
	}
	if r.GaveUp {
		say("There was no connection for %v, so this ended after %s of %s %ss.", r.Plan.Timeout, grouped(float64(r.Requests)), grouped(float64(r.Plan.Requests)), nouns.begun)
	}
	if n := r.Errors[dial.NoRoom]; n > 0 {
		say("This machine was itself the limit: %s times it had no open file (ulimit -n) or local port left for a connection.", grouped(float64(n)))
	}
	if r.Errors[dial.Closed] > 0 && r.Replies > 0 && !r.Plan.ConnectEach {
		say("The service closed %s that were to be kept. If it does so behind each %s, --connect-each makes one for each %s.", plural(r.Errors[dial.Closed], "connection"), nouns.done, nouns.begun)
	}
	if r.Errors[dial.TooLong] > 0 {
		say("A reply longer than %s bytes was not taken: that is the limit for each of %s. Fewer connections, -c, may have longer ones.",
			grouped(float64(r.Plan.ReplyLimit())), plural(uint64(max(1, r.Plan.Connections)), "connection"))
	}
	if r.Unsent > 0 {
		say("The service did not keep up: %s %ss were due and could not be sent, and the times leave them out.", grouped(float64(r.Unsent)), nouns.begun)
	}
	const much = 0.9
	if r.CPU > much && r.Together != nil {
		say("An agent used %.0f %% of its CPU: it may have been the limit, not the service.", 100*r.CPU)
	} else if r.CPU > much {
		say("This program used %.0f %% of its CPU: it may have been the limit, not the service.", 100*r.CPU)
	}
	if lag := r.Lag.Quantile(99); r.Plan.Rate > 0 && !r.Plan.Silent() && r.Lag.Count() > 0 && lag > r.Response.Quantile(99)/2 {
		say("This program was itself late in sending (99 %% of the time by %s at most), which is in the response times.", Short(lag))
	}
	return notes
}

// When a closed loop hides a stall.
const (
	stallFactor  = 10   // how many times the p99 makes one
	leastStalled = 0.01 // of the time: whoever came by at any moment would then have another p99
)

// stalled is the share of the time that was in stalls. In a closed loop they are as few as there are
// connections, however long they are, so that no percentile has them.
func stalled(times load.Times) float64 {
	if times.Count() == 0 {
		return 0
	}
	least := stallFactor * int64(times.Quantile(99))
	if int64(times.Max()) <= least {
		return 0
	}
	all, long := 0.0, 0.0
	for _, bar := range times.Histogram.Distribution() {
		took := float64(bar.Count) * float64(bar.To)
		if all += took; bar.From > least {
			long += took
		}
	}
	return long / all
}

const (
	maxBar     = 50
	leastBar   = 5
	besideBars = 30 // columns
)

// writeBars writes a histogram in characters, its steps 1, 2, 5, 10 … of a unit.
func writeBars(b *strings.Builder, h *hdrhistogram.Histogram, width int) {
	longest := min(max(width-besideBars, leastBar), maxBar)
	edges, largest := []int64{1}, h.ValueAtQuantile(100)
	for e := int64(1); e < largest; {
		for _, factor := range []int64{2, 5, 10} {
			edges = append(edges, e*factor)
		}
		e *= 10
	}
	counts := make([]int64, len(edges))
	for _, bar := range h.Distribution() {
		i, _ := slices.BinarySearch(edges, bar.To)
		counts[min(i, len(counts)-1)] += bar.Count
	}
	first, last := 0, len(counts)-1
	for first < last && counts[first] == 0 {
		first++
	}
	for last > first && counts[last] == 0 {
		last--
	}
	most := slices.Max(counts)
	for i := first; i <= last; i++ {
		share := float64(counts[i]) / float64(h.TotalCount())
		bar := strings.Repeat("█", int(math.Round(float64(longest)*float64(counts[i])/float64(most))))
		if bar == "" && counts[i] > 0 {
			bar = "▏"
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("  up to %8s %8.3f %%  %s", Short(time.Duration(edges[i])), 100*share, bar), " ") + "\n")
	}
}

// Short writes a time with three digits and its unit, such as 1.32 ms.
func Short(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{time.Nanosecond, "ns"}, {time.Microsecond, "µs"}, {time.Millisecond, "ms"}, {time.Second, "s"}} {
		v := float64(d) / float64(unit.of)
		if v >= 999.5 && unit.of < time.Second {
			continue
		}
		digits := 2 - int(math.Floor(math.Log10(max(v, 1))))
		if unit.of == time.Nanosecond {
			digits = 0
		}
		return fmt.Sprintf("%.*f %s", max(0, digits), v, unit.name)
	}
	return d.String()
}

// seconds writes a length of time as a person would.
func seconds(d time.Duration) string {
	if d < time.Second {
		return Short(d)
	}
	return d.Round(10 * time.Millisecond).String()
}

// grouped writes a number with commas, and with a decimal only if it is small.
func grouped(v float64) string {
	if v != math.Trunc(v) && v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func plural(n uint64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(float64(n)) + " " + noun
}

// About is what pictures and pages say of the run, command being what was typed.
func (r *Report) About(command []string) *About {
	p := &r.Plan
	settings := []Setting{{"connections", grouped(float64(max(1, p.Connections)))}}
	add := func(name, value string) { settings = append(settings, Setting{name, value}) }
	if p.ConnectEach {
		add("a connection for", "each "+nounsOf(p).begun)
	} else {
		add("in flight", grouped(float64(max(1, p.InFlight))))
	}
	if p.Rate > 0 {
		add("rate", grouped(p.Rate)+"/s")
	} else {
		add("rate", "none: a closed loop")
	}
	if p.Script != nil {
		add("dialogue", escaped(p.Script.Dialogue.File))
	} else {
		first := p.Messages.Append(nil, 1, 1)
		if p.Conceal != nil {
			if words, ok := p.Conceal(first); ok {
				first = []byte(words)
			}
		}
		add("first request", escaped(string(first)))
		add("expected", escaped(p.Expect.String()))
	}
	if r.Together != nil {
		add("agents", r.agents())
		add("starts within", Short(r.Together.Spread))
	}
	add("warm-up", seconds(p.Warmup))
	add("counted", seconds(r.Elapsed))
	add("timeout", seconds(p.Timeout))
	typed := make([]string, len(command))
	for i, word := range command {
		typed[i] = escaped(word)
		if typed[i] == "" || strings.ContainsAny(typed[i], " \t'\"\\$&|;<>()*?[]{}") {
			typed[i] = "'" + strings.ReplaceAll(typed[i], "'", `'\''`) + "'"
		}
	}
	notes := r.Notes()
	if r.Against != nil {
		notes = append(notes, r.Against.sentences()...)
	}
	return &About{Title: r.Title(), Command: strings.Join(typed, " "), Rate: p.Rate, Settings: settings, Machine: machine(), Examples: Examples(&r.Plan, r.Result), Notes: notes, Dialogues: p.Script != nil, steps: r.stepRows()}
}

// escaped is a text in which all that is not printable is escaped.
func escaped(text string) string { return string(console.AppendEscaped(nil, []byte(text))) }

// perSecond is a rate, to a whole number.
func perSecond(n uint64, in time.Duration) float64 {
	if in <= 0 {
		return 0
	}
	return math.Round(float64(n) / in.Seconds())
}
