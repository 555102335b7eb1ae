package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/capture"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
)

// addImport adds --import, which reads no journal but makes one.
func addImport(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "import", "", "make the journal -o NEW of the capture `FILE`, pcap or pcapng, read as --framing says; - is standard input")
}

func runImport(cmd *cobra.Command, args []string, opt logOptions) error {
	if len(args) > 0 {
		return usageError("--import reads a capture and no journal; %q is too much", args[0])
	}
	in, err := openCapture(cmd, opt.imported)
	if err != nil {
		return err
	}
	defer in.Close()
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	framing := opt.framing.Onlooker()
	draft, writing, err := newDraft(ctx, opt.output, journal.About{Framing: framing.Name, Role: "import"})
	if err != nil {
		return err
	}
	looks, gaps := make(map[string]int), []string(nil)
	sum, err := capture.Read(writing, in, capture.Options{
		Requests: framing.Requests, Replies: framing.Replies, Observer: opt.redact.Observer(draft), Gate: opt.redact.Gate(draft),
		First: func(server bool, p []byte) {
			if name := dialect.Detect(p, !server); name != "" {
				looks[name]++
			}
		},
		Gap: func(s *parley.Session, missing string) {
			if len(gaps) < mostGaps {
				gaps = append(gaps, fmt.Sprintf("session %d: %s", s.Number(), missing))
			}
		},
	})
	switch {
	case signalled(ctx) != nil:
		draft.discard()
		return signalled(ctx)
	case errors.Is(err, capture.ErrNoCapture):
		draft.discard()
		return usageError("%s is %w", opt.imported, err)
	case writing.Err() != nil:
		err := cmp.Or(draft.Close(context.WithoutCancel(ctx)), context.Cause(writing))
		draft.discard()
		return draft.explain(err)
	case err != nil:
		draft.discard()
		return usageError("cannot read %s: %w", opt.imported, inWords(err, aFileToRead))
	case err == nil && sum.Sessions == 0:
		draft.discard()
		return usageError("%s has no TCP connection on which something is said: %s%s", opt.imported, packetsOf(sum), unknownLink(sum))
	}
	if err := draft.finish(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	note := notesOn(cmd)
	note("%s: %s", opt.imported, packetsOf(sum))
	note("%s: %s", opt.output, sessionsOf(sum))
	for _, line := range gaps {
		note("%s", line)
	}
	if more := sum.Gaps - len(gaps); more > 0 {
		note("and %s more", count(more, "place", "places"))
	}
	hintFraming(note, looks, framing.Name)
	if sum.Broken != nil {
		return networkError("%s is damaged %w; %s has what is before", opt.imported, sum.Broken, opt.output)
	}
	return nil
}

const mostGaps = 10 // that are named

func openCapture(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	file, err := os.Open(name)
	if err == nil {
		if info, e := file.Stat(); e == nil && info.IsDir() {
			file.Close()
			return nil, usageError("cannot read %s: it is a directory", name)
		}
		return file, nil
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return nil, usageError("cannot read %s: %w", name, inWords(err, aFileToRead))
}

// packetsOf says what a capture has.
func packetsOf(sum *capture.Summary) string {
	text := count(sum.Packets, "packet", "packets")
	var of []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{sum.TCP, "TCP"}, {sum.UDP, "UDP, left out"}, {sum.Fragments, "fragments of IP, which are not put together"},
		{sum.Damaged, "cut short or damaged"}, {sum.Other, "others, left out"},
	} {
		if part.n > 0 {
			of = append(of, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	if len(of) > 0 {
		text += " (" + strings.Join(of, "; ") + ")"
	}
	if sum.Packets > 0 {
		const form = "2006-01-02T15:04:05Z"
		text += ", " + sum.First.Format(form) + " to " + sum.Last.Format(form)
	}
	return text
}

func unknownLink(sum *capture.Summary) string {
	if sum.UnknownLink == "" {
		return ""
	}
	return "; packets of " + sum.UnknownLink + " cannot be read"
}

// sessionsOf says what became of them.
func sessionsOf(sum *capture.Summary) string {
	text := count(sum.Sessions, "session", "sessions") + ", " + count(sum.Exchanges, "exchange", "exchanges")
	for _, part := range []struct {
		n    int
		what string
	}{
		{sum.Midway, "began before the capture (of these the server is who was one before, or has the lower port)"},
		{sum.Open, "did not end in it"},
		{sum.Repeated, "segments came again"},
		{sum.Outside, "segments belong nowhere"},
	} {
		if part.n > 0 {
			text += fmt.Sprintf("; %d %s", part.n, part.what)
		}
	}
	if sum.Gaps > 0 {
		text += fmt.Sprintf("; %d bytes are missing, in %s", sum.Missing, count(sum.Gaps, "place", "places"))
	}
	return text
}

// hintFraming says what the sessions look like, if that is not what they were read as.
func hintFraming(note func(format string, args ...any), looks map[string]int, framing string) {
	var names []string
	for name := range looks {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch hint := dialect.Hint(name, true); {
		case name == "tls":
			note("some of it is TLS: what was said inside is not in the capture")
		case name == "proxy" || name == framing || hint == "":
		default:
			note("%s", hint)
		}
	}
}

// count is a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
