package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/web"
)

// A journalOptions is where every exchange is to be kept, nowhere if file is empty.
type journalOptions struct {
	file    string
	sync    bool
	onError string
	keep    keepFlag
	about   journal.About // how the sessions come to be
}

func (opt *journalOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	defer heading(flags, ofRecord)()
	flags.StringVar(&opt.file, "journal", "", "keep every session and every exchange in `FILE` (SQLite)")
	flags.BoolVar(&opt.sync, "journal-sync", false, "let a reply out only after its record is on disk")
	flags.StringVar(&opt.onError, "journal-on-error", "stop", "stop answering while the journal cannot be written, or `stop|serve` without records")
	flags.Var(&opt.keep, "journal-keep", "delete what is older, or the oldest while the files together would be more: 7d, 12h, 10GiB")
}

// of says whose sessions are kept, and on which node; upstream is the server behind a tap.
func (opt *journalOptions) of(node, role, framing, upstream string) {
	opt.about = journal.About{Framing: framing, Role: role, Upstream: upstream, Node: node}
}

// open opens the journal of who listens somewhere, or of a client, who does not; it is nil if there is to be none.
func (opt *journalOptions) open(note func(format string, args ...any), at string) (*journal.Writer, error) {
	switch {
	case opt.file == "" && (opt.sync || opt.onError != "stop" || opt.keep.text != ""):
		return nil, usageError("--journal FILE is missing; the other --journal flags go with it")
	case opt.file == "":
		return nil, nil
	case opt.onError != "stop" && opt.onError != "serve":
		return nil, usageError("--journal-on-error %s: use stop or serve", opt.onError)
	}
	opt.about.Listener = at
	w, err := journal.Create(opt.file, journal.Options{
		Sync:         opt.sync,
		ServeOnError: opt.onError == "serve",
		Keep:         opt.keep.Keep,
		About:        opt.about,
		Warn: func(text string) {
			note("journal %s %s", opt.file, text)
		},
	})
	if err != nil {
		return nil, usageError("--journal %s: %w", opt.file, inWords(err, aFileToWrite))
	}
	return w, nil
}

// close lets the journal take what is queued until ctx ends, and returns the exit code's error
// if it does not.
func (opt *journalOptions) close(ctx context.Context, w *journal.Writer, note func(format string, args ...any)) error {
	if w == nil {
		return nil
	}
	if err := w.Close(ctx); err != nil {
		note("journal %s: %v", opt.file, err)
		return &exitError{code: exitUsage}
	}
	return nil
}

// show has the live page read the journal, if there is one.
func (opt *journalOptions) show(page *web.Options, w *journal.Writer) {
	if w == nil {
		return
	}
	page.History = web.NewHistory(opt.file, w)
	page.Journal = web.NewJournals(web.JournalsOptions{Files: []string{opt.file}, Framing: page.Framing, Secrets: page.Secrets})
	page.FirstID = w.SessionID(1)
}

// A keepFlag is --journal-keep: an age or a size.
type keepFlag struct {
	text string
	journal.Keep
}

func (f *keepFlag) String() string { return f.text }
func (f *keepFlag) Type() string   { return "AGE|SIZE" }

func (f *keepFlag) Set(s string) error {
	f.text = s
	var size sizeFlag
	if size.Set(s) == nil && size >= journal.MinKeep && strings.ContainsAny(s, "kKMGB") {
		f.Keep = journal.Keep{Bytes: int64(size)}
		return nil
	}
	age, ok := parseDays(s)
	if !ok {
		return errors.New("use an age such as 7d or 12h, or a size such as 10GiB, 1MiB or more")
	}
	f.Keep = journal.Keep{Age: age}
	return nil
}
