package main

import (
	"bytes"

	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley"
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

// framing is the framing of requests and replies.
func (r *replyFlags) framing(f framingFlag) (parley.Framing, error) {
	switch {
	case r.lines < 1:
		return nil, usageError("--lines %d: a reply has at least one line", r.lines)
	case r.lines > 1 && r.until != "":
		return nil, usageError("--lines and --until both say where a reply ends; use one")
	case r.lines > 1 && f.name != "line":
		return nil, usageError("--lines goes with --framing line, not with %s", f.name)
	case r.lines > 1:
		return replyLines{f.framing, r.lines}, nil
	case r.until == "":
		return f.framing, nil
	case f.name != "line":
		return nil, usageError("--until goes with --framing line, not with %s", f.name)
	}
	last, err := expect.Regexp(r.until)
	if err != nil {
		return nil, usageError("--until: %w", err)
	}
	return replyUntil{f.framing, last}, nil
}

// replyLines is a framing of lines in which a message read is several of them.
type replyLines struct {
	parley.Framing
	n int
}

func (r replyLines) Next(buf []byte, _, max int, eof bool) (n int, body []byte, err error) {
	for range r.n {
		k, line, err := r.Framing.Next(buf[n:], 0, max, eof)
		if err != nil || k == 0 {
			return 0, nil, err
		}
		body = buf[:n+len(line)]
		n += k
	}
	if len(body) > max {
		return 0, nil, parley.ErrTooLong
	}
	return n, body, nil
}

// replyUntil is a framing of lines in which a message read goes on until a line is as
// the last one must be.
type replyUntil struct {
	parley.Framing
	last expect.Rule
}

func (r replyUntil) Next(buf []byte, scanned, max int, eof bool) (n int, body []byte, err error) {
	for n = bytes.LastIndexByte(buf[:scanned], '\n') + 1; ; { // the lines before have been looked at
		k, line, err := r.Framing.Next(buf[n:], 0, max, eof)
		if err != nil || k == 0 {
			return 0, nil, err
		}
		body = buf[:n+len(line)]
		if len(body) > max {
			return 0, nil, parley.ErrTooLong
		}
		if n += k; r.last.Holds(nil, line) {
			return n, body, nil
		}
	}
}
