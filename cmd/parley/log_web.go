package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/web"
)

// addWeb adds the flags of the page of journals.
func (opt *logOptions) addWeb(cmd *cobra.Command) {
	opt.web.addFlags(cmd)
	cmd.Flags().Lookup("web").Usage = "show it, or several files together, as a page at `[HOST:]PORT`, until interrupted; of this host only unless another address is named"
}

// runLogWeb shows journals as a page until it is interrupted.
func runLogWeb(cmd *cobra.Command, files []string, opt logOptions) error {
	if len(files) == 0 {
		files = []string{defaultJournal}
	}
	note := notesOn(cmd)
	ofPage := func(format string, args ...any) { note("page: "+format, args...) }
	if err := opt.web.tls.open(ofPage); err != nil {
		return err
	}
	ctx, stop := untilSignalOr(cmd.Context(), opt.web.tls.reloader(ofPage))
	defer stop()
	if err := opt.checkJournals(ctx, cmd, files, note); err != nil {
		return err
	}
	place, err := opt.web.listen(ctx)
	if err != nil {
		return err
	}
	page := web.NewJournals(web.JournalsOptions{
		Files: files, Framing: opt.framing.Framing, Secrets: opt.showSecrets,
		Hosts: place.names, Certified: opt.web.tls.covers, Token: place.token,
		Warn: func(line string) { ofPage("%s", line) },
	})
	defer page.Close()
	note("page of %s at %s", filesInWords(files), place.url)
	if err := page.Serve(ctx, place); err != nil {
		return usageError("--web %s: %w", opt.web.at, err)
	}
	return nil
}

// checkJournals says what cannot be shown before a browser has to find out.
func (opt *logOptions) checkJournals(ctx context.Context, cmd *cobra.Command, files []string, note func(format string, args ...any)) error {
	if len(files) > web.MaxJournals {
		return usageError("%d journals are too many for one page; it shows %d", len(files), web.MaxJournals)
	}
	for i, file := range files {
		switch {
		case file == "":
			return usageError("the name of a journal is empty; leave all out for %s", defaultJournal)
		case file == "-":
			return usageError("--web reads journals, which are files: it cannot read standard input; 'parley server --journal FILE' writes one")
		}
		for _, other := range files[:i] {
			if isSameFile(file, other) {
				return usageError("%s is named twice", file)
			}
		}
		r, err := openJournal(file)
		if err != nil {
			return err
		}
		err = opt.refuseOtherFraming(ctx, cmd, r, file)
		r.Close()
		if err != nil {
			return err
		}
		if r.Notice != "" {
			note("%s: %s", file, r.Notice)
		}
	}
	return nil
}

// filesInWords names one file, or says how many there are.
func filesInWords(files []string) string {
	if len(files) == 1 {
		return files[0]
	}
	return fmt.Sprintf("%d journals", len(files))
}
