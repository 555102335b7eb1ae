package probe

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
)

// A Check probes once, until all holds or in a series, and prints a line for each finding.
type Check struct {
	Probe    Probe
	Target   string        // as it was typed
	Count    int           // of a series, with a summary at its end; 0 for none
	Interval time.Duration // from one probe of the series to the next
	Wait     time.Duration // probe again for this long until all holds; 0 to probe once
	Words    dialect.Words // of what was answered; nil if that is its words
	Report   *Report       // takes the verdicts on a Script as well; nil for none

	Out         io.Writer // the verdicts
	Notes       io.Writer // what is waited for
	JSON, Quiet bool      // verdicts as JSON objects; no verdict and no note at all
	Node        string    // where it runs, of JSON objects
	Columns     int       // of the terminal that the verdicts in words are to fit; 0 for no bound
	Style       console.Style

	summary Summary
	rounds  int             // told so far
	secured map[string]bool // what was printed of certificates, each address before its own
	err     error           // the first of Out
}

// Run checks and returns what its probes came to: in a series that ctx ended what there was of
// it, else nothing. The error is that of Out.
func (c *Check) Run(ctx context.Context) (Summary, error) {
	switch {
	case c.Count > 0:
		repeat(ctx, c.Count, c.Interval, func() { c.tell(c.Probe.Run(ctx)) })
		if c.summary.Probes > 0 {
			c.sumUp()
		}
	case c.Wait > 0:
		if found := c.await(ctx); ctx.Err() == nil {
			c.tell(found)
		}
	default:
		c.tell(c.Probe.Run(ctx))
	}
	return c.summary, c.err
}

// leastTry is what a try may take though the time for all of them is nearly over.
const leastTry = time.Second

// await tries until all holds, and returns what the last try found.
func (c *Check) await(ctx context.Context) (found []Finding) {
	timeout := c.Probe.Timeout
	var said dial.Kind
	retry(ctx, c.Wait, func(left time.Duration) bool {
		c.Probe.Timeout = min(timeout, max(left, leastTry).Round(time.Millisecond))
		c.Probe.Dialer.Timeout = c.Probe.Timeout
		found = c.Probe.Run(ctx)
		i := slices.IndexFunc(found, func(f Finding) bool { return f.Kind != "" })
		if i < 0 || found[i].Kind == Unplayable { // which it will be for ever
			return true
		}
		if f := &found[i]; f.Kind != said && !c.Quiet {
			said = f.Kind
			fmt.Fprintf(c.Notes, "parley: waiting: %s\n", console.AppendEscaped(nil, []byte(c.why(f))))
		}
		return false
	})
	return found
}

// tell prints what was found, a line each, and below it once what is known of TLS; and counts it.
func (c *Check) tell(found []Finding) {
	c.rounds++
	for i := range found {
		c.summary.add(&found[i])
		if c.Report != nil {
			c.Report.add(c, &found[i])
		}
		if c.JSON {
			c.write(c.object(&found[i]))
		} else {
			verdict := string(c.sentence(&found[i]))
			if found[i].Kind != "" {
				verdict = c.Style.Wrong(verdict)
			}
			c.write([]byte(verdict + "\n"))
			c.tellSecured(&found[i])
		}
	}
}

// tellSecured prints what a handshake showed, unless the one before it at that address showed the
// same.
func (c *Check) tellSecured(f *Finding) {
	if f.Secured == nil {
		return
	}
	text := f.Secured.sentences()
	if key := f.Address + text; !c.secured[key] {
		if c.secured == nil {
			c.secured = make(map[string]bool)
		}
		c.secured[key] = true
		c.write([]byte(text))
	}
}

func (c *Check) write(line []byte) {
	if c.Quiet || c.err != nil {
		return
	}
	if !c.JSON {
		line = []byte(console.Wrap(string(line), c.Columns, "    "))
	}
	_, c.err = c.Out.Write(line)
}

// sentence is the verdict in words.
func (c *Check) sentence(f *Finding) []byte {
	if c.Probe.Script != nil {
		return c.scriptVerdict(f)
	}
	text, shown := f.Address, f.Message != nil
	switch {
	case f.Kind == dial.Mismatch:
		text, shown = text+" "+c.mismatch(f)+": "+times(f), true
	case f.Kind == Expiring:
		text += " " + f.Secured.expiry(c.Probe.Expires) + ": " + times(f)
	case f.Kind != "":
		text, shown = c.why(f), false
		if f.Connected || f.TLS > 0 || f.StartTLS > 0 {
			text += " (" + times(f) + ")"
		}
	case f.Told:
		text, shown = text+" took the message, to which there is no reply: "+times(f), false
	case shown:
		text += " answered: " + times(f)
	default:
		text += " is reachable: " + times(f)
	}
	if shown {
		text += ": "
	}
	line := console.AppendEscaped(nil, []byte(text))
	switch {
	case !shown:
	case c.Words != nil && f.Message != nil:
		line = c.Words.AppendReply(line, dialect.Message{Body: f.Message})
	default:
		line = console.AppendPayload(line, f.Message)
	}
	return line
}

// mismatch says how the answer was other than expected.
func (c *Check) mismatch(f *Finding) string {
	switch {
	case !f.wrongStatus:
		return fmt.Sprintf("answered, but not with %v", c.Probe.Expect)
	case f.Status == "":
		return "answered without a status, not with " + c.Probe.Status.Want
	}
	return fmt.Sprintf("answered with status %s, not %s", f.Status, c.Probe.Status.Want)
}

// why says in words what failed.
func (c *Check) why(f *Finding) string {
	place := c.Target
	if f.Address != "" && f.Address != place {
		place += " (" + f.Address + ")"
	}
	if why, ok := whyScript(place, f); ok {
		return why
	}
	switch {
	case f.Kind == dial.Mismatch:
		return place + " " + c.mismatch(f)
	case f.Kind == Expiring:
		return place + " " + f.Secured.expiry(c.Probe.Expires)
	case f.ended:
		return c.Probe.whyEnded(place, f)
	case f.Connected:
		what, before := "reply", "before it replied"
		if c.Probe.Banner && f.Banner == 0 {
			what, before = "greeting", "before its greeting"
		}
		return whyNone(what, before, place, c.Probe.Timeout, f.Err, f.unfinished)
	}
	return dial.WhyNotConnected(place, c.Probe.Dialer.Timeout, f.Err)
}

// A Step is something that was done, and how long it took.
type Step struct {
	Name string // such as lookup, TLS or reply
	Took time.Duration
}

func stepsOf(f *Finding) []Step {
	all := []Step{{"lookup", f.Lookup}, {"connect", f.Connect}, {"STARTTLS", f.StartTLS}, {"TLS", f.TLS},
		{"banner", f.Banner}, {"send", f.Send}, {"reply", f.Reply}, {"open", f.Open}}
	return slices.DeleteFunc(all, func(s Step) bool { return s.Took == 0 })
}

// times are such as "lookup 0.20 ms, connect 0.10 ms".
func times(f *Finding) string {
	var list []string
	for _, step := range stepsOf(f) {
		list = append(list, step.Name+" "+milliseconds(step.Took))
	}
	return strings.Join(list, ", ")
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds()*1000, 'f', 2, 64) + " ms"
}

// object is the verdict in JSON.
func (c *Check) object(f *Finding) []byte {
	o := console.NewObject("check", f.Time, c.Node)
	c.describe(o, f)
	return o.Line()
}

func (c *Check) describe(o *console.Object, f *Finding) {
	o.Text("target", c.Target)
	o.Text("address", f.Address)
	for _, step := range stepsOf(f) {
		o.Number(strings.ToLower(step.Name)+"_ns", int64(step.Took))
	}
	if f.Secured != nil {
		f.Secured.describe(o)
	}
	switch {
	case len(f.unfinished.bytes) > 0:
		o.Payload(f.unfinished.bytes)
		o.Truth("whole", false)
	case f.Message != nil:
		o.Payload(f.Message)
		if c.Words != nil {
			o.Text("text", string(c.Words.AppendReply(nil, dialect.Message{Body: f.Message})))
		}
		o.Text("status", f.Status)
	}
	if c.Probe.Script != nil {
		c.describeScript(o, f)
	}
	o.Truth("held", f.Kind == "")
	if f.Kind != "" {
		o.Text("kind", string(f.Kind))
		o.Text("error", c.why(f))
	}
}

// sumUp prints what a series came to.
func (c *Check) sumUp() {
	if c.JSON {
		c.write(c.summaryObject())
		return
	}
	s := &c.summary
	text := fmt.Sprintf("%s: %d of %d held", console.AppendEscaped(nil, []byte(c.what())), s.Held, s.Probes)
	for _, kind := range slices.Sorted(maps.Keys(s.Failed)) {
		text += fmt.Sprintf(", %d %s", s.Failed[kind], strings.ReplaceAll(string(kind), "_", " "))
	}
	text += fmt.Sprintf("; %.1f %% lost\n", 100*float64(s.Lost())/float64(s.Probes))
	for _, row := range c.summary.spreads() {
		if row.n > 0 {
			text += fmt.Sprintf("%s: min %s, median %s, p99 %s, max %s\n", row.name,
				milliseconds(row.min), milliseconds(row.median), milliseconds(row.p99), milliseconds(row.max))
		}
	}
	c.write([]byte(text))
}

// what is checked: a target, and with which dialogue.
func (c *Check) what() string {
	if c.Probe.Script != nil {
		return c.Target + " " + c.Probe.Script.Dialogue.File
	}
	return c.Target
}

func (c *Check) summaryObject() []byte {
	s := &c.summary
	o := console.NewObject("summary", time.Now(), c.Node)
	o.Text("target", c.Target)
	if c.Probe.Script != nil {
		o.Text("script", c.Probe.Script.Dialogue.File)
	}
	o.Number("checks", int64(s.Probes))
	o.Number("held", int64(s.Held))
	o.Number("lost", int64(s.Lost()))
	for _, kind := range slices.Sorted(maps.Keys(s.Failed)) {
		o.Number(string(kind), int64(s.Failed[kind]))
	}
	for _, row := range c.summary.spreads() {
		if name := strings.ToLower(row.name); row.n > 0 {
			o.Number(name+"_min_ns", int64(row.min))
			o.Number(name+"_median_ns", int64(row.median))
			o.Number(name+"_p99_ns", int64(row.p99))
			o.Number(name+"_max_ns", int64(row.max))
		}
	}
	return o.Line()
}
