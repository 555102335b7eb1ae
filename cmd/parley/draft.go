package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/parley-tcp/parley/internal/journal"
)

// A draft is a journal that is not there before it is whole: it is written under another name
// beside it.
type draft struct {
	*journal.Writer
	name, draft string
	failed      context.CancelCauseFunc
}

// newDraft begins a journal that is not there yet. What cannot be written ends the context that it
// returns.
func newDraft(ctx context.Context, name string, about journal.About) (*draft, context.Context, error) {
	draft, err := newDraftFile(name)
	if err != nil {
		return nil, nil, err
	}
	ctx, draft.failed = context.WithCancelCause(ctx)
	draft.Writer, err = journal.Create(draft.draft, journal.Options{
		About: about,
		Warn: func(text string) { // all that it has to say here is that something cannot be done
			why, _, _ := strings.Cut(strings.TrimPrefix(text, "cannot be written: "), "; ")
			draft.failed(errors.New(why))
		},
	})
	if err != nil {
		draft.discard()
		return nil, nil, draft.explain(err)
	}
	return draft, ctx, nil
}

// newDraftFile finds a name for what is to be a journal.
func newDraftFile(name string) (*draft, error) {
	if name == "-" {
		return nil, usageError("-o FILE is missing: the journal to write, which must not be there yet")
	}
	if _, err := os.Lstat(name); err == nil {
		return nil, usageError("--output %s: it is there already, and is not written over; choose another name", name)
	}
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part")
	if err != nil {
		return nil, usageError("--output %s: %w", name, inWords(err, aFileToWrite))
	}
	file.Close()
	return &draft{name: name, draft: file.Name(), failed: func(error) {}}, nil
}

// finish writes what is left, and gives the journal its name.
func (d *draft) finish(ctx context.Context) error {
	defer d.discard()
	if d.Writer != nil {
		if err := d.Close(ctx); err != nil {
			return d.explain(err)
		}
		d.Writer = nil
	}
	err := os.Link(d.draft, d.name) // which never replaces anything, as a rename would
	if errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported) {
		err = os.Rename(d.draft, d.name) // there are no links there
	}
	if err != nil {
		return d.explain(err)
	}
	return nil
}

// discard removes what was written.
func (d *draft) discard() {
	d.failed(nil)
	if d.Writer != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		d.Close(ctx)
	}
	for _, behind := range []string{"", "-wal", "-shm"} {
		os.Remove(d.draft + behind)
	}
}

func (d *draft) explain(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return usageError("cannot write %s: %w", d.name, inWords(err, aFileToWrite))
}
