package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/load"
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
	last, err := load.ExpectRegexp(r.until)
	if err != nil {
		return nil, usageError("--until: %w", err)
	}
	return replyUntil{f.framing, last}, nil
}

// lacks says what a reply of which only this came, framing included, lacks to be whole, and
// what may help.
func (r *replyFlags) lacks(f framingFlag, came []byte) (lacks, advice string) {
	lines := bytes.Count(came, []byte("\n"))
	end, delimited := strings.CutPrefix(f.name, "delim:")
	switch {
	case r.lines > 1 && lines > 0:
		return fmt.Sprintf("%d of its %d lines came", lines, r.lines), "--lines says how many a reply has"
	case r.until != "" && lines > 0:
		return fmt.Sprintf("none of its lines matches %#q, which would end it", r.until), ""
	case f.name == "length" && len(came) < 4:
		return fmt.Sprintf("%d of the 4 bytes of its length came", len(came)), "--framing line is for servers that send none"
	case f.name == "length":
		return fmt.Sprintf("%d of its %d bytes came", len(came)-4, binary.BigEndian.Uint32(came)), "--framing line is for servers that send no length"
	case delimited:
		return "no byte 0x" + end + " ends it", "--framing chunk needs none"
	}
	return "no newline ends it", "--framing chunk needs none"
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
	last load.Expectation
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
