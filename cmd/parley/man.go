package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// manCommand is for who packs the program: see the Makefile and scripts/release. The pages are made of what
// the help is made of. cobra/doc takes texts for Markdown, and knows neither headings nor what a value is called.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "man DIR",
		Short:             "Write the manual pages into a directory",
		Example:           "  parley man /usr/local/share/man/man1",
		Hidden:            true,
		ValidArgsFunction: inPlaces(anyWord),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("man needs a directory to write the manual pages into")
			}
			return writeManPages(cmd.Root(), args[0])
		},
	}
}

func writeManPages(root *cobra.Command, dir string) error {
	for _, cmd := range append([]*cobra.Command{root}, root.Commands()...) {
		if !cmd.IsAvailableCommand() || cmd.Name() == "help" {
			continue
		}
		cmd.InitDefaultHelpFlag()
		file := filepath.Join(dir, manName(cmd)+".1")
		if err := os.WriteFile(file, []byte(manPage(cmd)), 0o644); err != nil {
			return usageError("cannot write the manual page %s: %w", file, inWords(err, aFileToWrite))
		}
	}
	return nil
}

// manName is what a command's page is called, such as parley-server.
func manName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage is a command's page, in roff with the macros of man(7).
func manPage(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 %q %q Parley\n", strings.ToUpper(roff(manName(cmd))), date, "parley "+shortVersion())
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(manName(cmd)), roff(cmd.Short))
	b.WriteString(".SH SYNOPSIS\n")
	for i, line := range usageLines(cmd) {
		if i > 0 {
			b.WriteString(".br\n")
		}
		rest := strings.TrimPrefix(line, cmd.CommandPath())
		fmt.Fprintf(&b, "\\fB%s\\fR%s\n", roff(cmd.CommandPath()), roff(rest))
	}
	b.WriteString(".SH DESCRIPTION\n")
	for i, paragraph := range strings.Split(cmp.Or(cmd.Long, cmd.Short+"."), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		b.WriteString(roff(strings.Join(strings.Fields(paragraph), " ")) + "\n")
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range commandsOf(cmd) {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR(1)\n%s\n", roff(manName(cmd)+"-"+c.what), roff(c.about))
		}
	}
	b.WriteString(".SH OPTIONS\n")
	for i, s := range sectionsOf(cmd) {
		if i > 0 {
			fmt.Fprintf(&b, ".SS %s\n", roff(s.heading))
		}
		for _, row := range s.rows {
			fmt.Fprintf(&b, ".TP\n%s\n%s\n", roffFlag(row.what), roff(ofNoHost(row)))
		}
	}
	b.WriteString(".SH EXAMPLES\n")
	for _, e := range examplesOf(cmd) {
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", roff(e.what), roff(e.about))
	}
	if cmd.HasParent() {
		fmt.Fprintf(&b, ".SH ENVIRONMENT\nA flag that is not given is taken from the environment: %s has how.\n", roff(cmd.Root().Name())+"(1)")
	}
	b.WriteString(".SH SEE ALSO\n")
	fmt.Fprintf(&b, "%s\n", strings.Join(seeAlso(cmd), ",\n"))
	b.WriteString(".PP\nThe manual: https://github.com/parley\\-tcp/parley/tree/main/docs\n")
	return b.String()
}

// seeAlso are the pages of the other commands.
func seeAlso(cmd *cobra.Command) (pages []string) {
	for _, other := range append([]*cobra.Command{cmd.Root()}, cmd.Root().Commands()...) {
		if other != cmd && other.IsAvailableCommand() && other.Name() != "help" {
			pages = append(pages, "\\fB"+roff(manName(other))+"\\fR(1)")
		}
	}
	return pages
}

var hostDefault = regexp.MustCompile(` \(default \d+\)$`)

// ofNoHost is what a flag is for without a default that only holds where the pages are made.
func ofNoHost(row helpRow) string {
	if strings.Contains(row.what, "--max-sessions ") {
		return hostDefault.ReplaceAllString(row.about, " (default as many as the open files allow, 10000 at most)")
	}
	return row.about
}

var flagWords = regexp.MustCompile(`^( *)((?:-\w, )?--[\w-]+)(.*)$`)

// roffFlag is a flag in bold, with its value behind it.
func roffFlag(what string) string {
	m := flagWords.FindStringSubmatch(what)
	return `\fB` + roff(m[2]) + `\fR` + roff(m[3])
}

// roff is a text that stands for itself: hyphens are those that can be typed, and no line is a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, `^`, `\(ha`, `~`, `\(ti`, "`", `\(ga`).Replace(text)
	if strings.HasPrefix(text, ".") {
		return `\&` + text
	}
	return text
}
