package main

import (
	"bytes"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/expect"
)

// replyFlags say where a reply of several lines ends: --lines and --until.
type replyFlags struct {
	lines int
	until string
}

func (r *replyFlags) add(flags *pflag.FlagSet) {
	flags.IntVarP(&r.lines, "lines", "n", 1, "a reply is this many lines")
	flags.StringVar(&r.until, "until", "", "a reply ends with the first line that matches this `REGEX`")
}

// several says whether a flag says where a reply ends.
func (r *replyFlags) several() bool { return r.lines > 1 || r.until != "" }

// of is the framing with replies that end so.
func (r *replyFlags) of(f framingFlag) (dialect.Framing, error) {
	several := f.Framing
	isLines := f.OfReplies() == parley.Lines || f.OfReplies() == parley.LinesCRLF
	switch {
	case r.lines < 1:
		return several, usageError("--lines %d: a reply has at least one line", r.lines)
	case r.lines > 1 && r.until != "":
		return several, usageError("--lines and --until both say where a reply ends; use one")
	case r.lines > 1 && !isLines:
		return several, usageError("--lines goes with --framing line, not with %s", f.Name)
	case r.lines > 1:
		several.Replies = dialect.Lines(f.OfReplies(), r.lines)
		return several, nil
	case r.until == "":
		return several, nil
	case !isLines:
		return several, usageError("--until goes with --framing line, not with %s", f.Name)
	}
	last, err := expect.Regexp(r.until)
	if err != nil {
		return several, usageError("--until: %w", err)
	}
	several.Replies = dialect.Until(f.OfReplies(), func(line []byte) bool { return last.Holds(nil, line) })
	return several, nil
}

// lacks says what a reply of which only this came, framing included, lacks to be whole, and
// what may help.
func (r *replyFlags) lacks(f framingFlag, came []byte) (lacks, advice string) {
	lines := bytes.Count(came, []byte("\n"))
	switch {
	case r.lines > 1 && lines > 0:
		return fmt.Sprintf("%d of its %d lines came", lines, r.lines), "--lines says how many a reply has"
	case r.until != "" && lines > 0:
		return fmt.Sprintf("none of its lines matches %#q, which would end it", r.until), ""
	}
	return f.Lacks(came)
}
