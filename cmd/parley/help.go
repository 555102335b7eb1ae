package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley/internal/console"
)

// How wide the help may be, in columns.
const (
	mostProse  = 100 // longer lines are hard to read
	usualProse = 80  // where it goes to no terminal
	wideTable  = 60  // from here on what a thing is for stands beside it, not below
)

// helpText is the help of a command: a line that says what it is for, examples, how it is called, all
// else there is to know, and its flags under their headings. With 0 columns, where there is no
// terminal, a flag has all of one line, to be found by grep.
func helpText(cmd *cobra.Command, columns int) string {
	prose := usualProse
	if columns > 0 {
		columns = min(columns, mostProse)
		prose = columns
	}
	var b strings.Builder
	b.WriteString(console.Wrap(cmd.Short+".", prose, "") + "\n")
	if cmd.HasExample() {
		b.WriteString("\nExamples:\n" + tabled(examplesOf(cmd), columns, 5*prose/8))
	}
	b.WriteString("\nUsage:\n")
	for _, line := range usageLines(cmd) {
		b.WriteString(console.Wrap("  "+line, prose, "      ") + "\n")
	}
	if cmd.Long != "" {
		b.WriteString("\n" + console.Fill(cmd.Long, prose) + "\n")
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n" + tabled(commandsOf(cmd), columns, prose/2))
	}
	for _, s := range sectionsOf(cmd) {
		b.WriteString("\n" + console.Wrap(s.heading+":", prose, "") + "\n" + tabled(s.rows, columns, prose/2))
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\n" + console.Wrap(fmt.Sprintf("'%s COMMAND --help' tells more about a command.", cmd.CommandPath()), prose, "") + "\n")
	}
	return b.String()
}

// usageLines are the ways to call a command.
func usageLines(cmd *cobra.Command) (lines []string) {
	if cmd.Runnable() {
		lines = append(lines, cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		lines = append(lines, cmd.CommandPath()+" COMMAND")
	}
	return lines
}

// A helpRow is a thing and what it is for.
type helpRow struct{ what, about string }

// besideExample is what stands between an example and what it is for.
var besideExample = regexp.MustCompile(`\s{2,}`)

func examplesOf(cmd *cobra.Command) (rows []helpRow) {
	for line := range strings.Lines(cmd.Example) {
		parts := besideExample.Split(strings.TrimSpace(line), 2)
		rows = append(rows, helpRow{parts[0], strings.Join(parts[1:], "")})
	}
	return rows
}

func commandsOf(cmd *cobra.Command) (rows []helpRow) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			rows = append(rows, helpRow{sub.Name(), sub.Short})
		}
	}
	return rows
}

// tabled has each row in a line, what it is for beside it where that can begin within the first
// columns up to beside, or else below it. The things themselves are never broken: they are there to be
// typed.
func tabled(rows []helpRow, columns, beside int) string {
	const left, gap = 2, 3
	column := left // where it says what they are for
	for _, r := range rows {
		if width := left + len([]rune(r.what)) + gap; width <= beside {
			column = max(column, width)
		}
	}
	if columns > 0 && columns < wideTable || column == left {
		column = 3 * left
	}
	var b strings.Builder
	indent := strings.Repeat(" ", column)
	for _, r := range rows {
		fmt.Fprintf(&b, "%*s%s", left, "", r.what)
		at := left + len([]rune(r.what))
		switch {
		case r.about == "":
		case at+gap <= column:
			b.WriteString(indent[at:])
		case columns == 0:
			b.WriteString(strings.Repeat(" ", gap))
		default:
			b.WriteString("\n" + indent)
		}
		about := r.about
		if columns > 0 {
			about = strings.ReplaceAll(console.Wrap(about, columns-column, ""), "\n", "\n"+indent)
		}
		b.WriteString(about + "\n")
	}
	return b.String()
}

// underHeading is the annotation of a flag that stands under a heading of its own in the help.
const underHeading = "heading"

// The headings. What most people want stands above, under Flags.
const (
	ofMachines  = "Many machines"
	ofProber    = "Probing for good"
	ofOperators = "For operators"
	ofPrograms  = "Programs behind it"
	ofMessages  = "Messages"
	ofDialogue  = "Dialogues"
	ofWaysIn    = "Ways in"
	ofWayOut    = "Way out"
	ofTLS       = "TLS"
	ofUpstream  = "Way to the server"
	ofLimits    = "Limits"
	ofRecord    = "Recording"
	ofPage      = "Live page"
	ofStandIn   = "Standing in for a server"
	ofFaults    = "Faults"
	ofFiles     = "Files"
	ofJudging   = "Judging"
	ofNATS      = "NATS"
	ofStream    = "Stream, where it is not there yet"

	ofSelection = "Which exchanges"
	ofCounts    = "Statistics"
	ofCopies    = "Checks and copies"
)

// heading puts the flags that are added before end is called under a heading, whatever heading they
// had by then.
func heading(flags *pflag.FlagSet, text string) (end func()) {
	before := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) { before[f.Name] = true })
	return func() {
		flags.VisitAll(func(f *pflag.Flag) {
			if !before[f.Name] {
				flags.SetAnnotation(f.Name, underHeading, []string{text})
			}
		})
	}
}

// A section is the flags under a heading.
type section struct {
	heading string
	rows    []helpRow
}

// sectionsOf are the flags of a command in the order in which they were added, those without a
// heading first.
func sectionsOf(cmd *cobra.Command) []section {
	sections := []section{{heading: "Flags"}}
	add := func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		text := sections[0].heading
		if under := f.Annotations[underHeading]; under != nil {
			text = under[0]
		}
		i := slices.IndexFunc(sections, func(s section) bool { return s.heading == text })
		if i < 0 {
			i, sections = len(sections), append(sections, section{heading: text})
		}
		sections[i].rows = append(sections[i].rows, flagRow(f))
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	if len(sections[0].rows) == 0 {
		return sections[1:]
	}
	return sections
}

// flagRow is a flag, with its value and its default as they would be typed.
func flagRow(f *pflag.Flag) helpRow {
	value, about := pflag.UnquoteUsage(f)
	if name, known := valueNames[value]; known {
		value = name
	}
	what := "    --" + f.Name
	if f.Shorthand != "" {
		what = "-" + f.Shorthand + ", --" + f.Name
	}
	switch {
	case f.NoOptDefVal != "" && f.Value.Type() != "bool":
		what += "[=" + value + "]"
	case value != "":
		what += " " + value
	}
	if text := defaultOf(f); text != "" {
		about += " (default " + text + ")"
	}
	return helpRow{what, about}
}

// valueNames are what a value is called whose type is of the flag package.
var valueNames = map[string]string{"int": "N", "uint": "N", "float": "N", "string": "TEXT", "duration": "DURATION"}

// defaultOf is a flag's default as one would type it; none if that is nothing or zero.
func defaultOf(f *pflag.Flag) string {
	text := f.DefValue
	switch f.Value.Type() {
	case "bool":
		return ""
	case "duration":
		text = shortDuration(text)
	}
	switch {
	case slices.Contains([]string{"", "0", "0s", "[]", "false"}, text):
		return ""
	case strings.Contains(text, " "):
		return `"` + text + `"`
	}
	return text
}

// shortDuration is a time as one would type it: 5m and not 5m0s.
func shortDuration(text string) string {
	for _, zero := range []string{"0s", "0m"} {
		if short := strings.TrimSuffix(text, zero); short != text && short != "" && strings.ContainsAny(short[len(short)-1:], "hm") {
			text = short
		}
	}
	return text
}
