package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/talk"
)

// addToClient adds --script and --update.
func (s *scriptFlags) addToClient(cmd *cobra.Command, update *bool) {
	defer heading(cmd.Flags(), ofDialogue)()
	s.add(cmd, false, "play the dialogue in `FILE`, and show it; - is standard input")
	cmd.Flags().BoolVar(update, "update", false, "with --script: rewrite what the file expects from what the server says")
	cmd.Flags().SetAnnotation("update", goesWith, []string{"script"})
	for _, name := range []string{"banner", "banner-until", "lines", "until", "keep-blank"} {
		cmd.MarkFlagsMutuallyExclusive("script", name)
	}
}

// runScript plays a dialogue.
func runScript(cmd *cobra.Command, at address, words []string, opt clientOptions) error {
	dialogues, err := opt.script.open()
	if err != nil {
		return err
	}
	d := dialogues[0]
	switch {
	case len(words) > 0:
		return usageError("%q is a message, and the messages are those of --script %s; leave one of them out", words[0], d.File)
	case opt.update && d.File == "-":
		return usageError("--update rewrites a file; --script - is none")
	}
	if err := opt.out.refuseGreeting(d); err != nil {
		return err
	}
	opt.framing = opt.script.framing(d, opt.framing)
	framing, err := opt.messageFraming(at)
	if err != nil {
		return err
	}
	if err := cmp.Or(opt.out.forScripts(d), opt.out.open(at)); err != nil {
		return err
	}
	defer opt.out.close()
	signal.Ignore(syscall.SIGPIPE) // a reader that left is an error of a write
	ctx, stop := untilSignal(cmd.Context())
	defer stop()

	if opt.out.inDialogue && opt.own.journal.file != "" {
		return usageError("--journal does not go with a dialogue that goes over to TLS: what is said inside could not be read")
	}
	dialer := opt.out.dialer(at, family(opt.only4, opt.only6), opt.timeout)
	conn, _, err := dialer.Dial(ctx)
	if err != nil {
		if cause := signalled(ctx); cause != nil {
			return cause
		}
		return explainDial(at.target(), opt.timeout, err)
	}
	if err := opt.own.open(cmd, opt.node.orHost(), at.target(), opt.framing.Framing); err != nil {
		conn.Close()
		return err
	}
	var update dialogue.Update
	typing, _ := opt.openTyping(cmd, true) // opens nothing
	view := opt.view(cmd, framing, typing)
	script := talk.Script{Conn: opt.own.over(ctx, conn), Server: at.target(), View: view, Player: dialogue.Player{
		Framing: framing, Timeout: opt.timeout, Secrets: opt.showSecrets, StartTLS: opt.out.overToTLS(at),
	}}
	if opt.update {
		script.Player.Lenient, script.Player.Done = true, update.Done
	}
	err = script.Play(ctx, d)
	if unkept := opt.own.close(nil); unkept != nil {
		return unkept
	}
	if cause := signalled(ctx); cause != nil {
		return cause
	}
	if output := view.Err(); output != nil && !errors.Is(output, syscall.EPIPE) {
		return cannotWrite(output)
	}
	if opt.update {
		return rewriteScript(cmd, d, &update, err)
	}
	showDiff(cmd, err)
	return explainScript(err)
}

// showDiff shows where a long text is not as expected.
func showDiff(cmd *cobra.Command, err error) {
	var failure *dialogue.Failure
	if errors.As(err, &failure) {
		fmt.Fprint(cmd.ErrOrStderr(), failure.Diff()) // which is escaped
	}
}

// rewriteScript writes the dialogue as it was heard, unless it could not be played to its end.
func rewriteScript(cmd *cobra.Command, d *dialogue.Dialogue, update *dialogue.Update, err error) error {
	var failure *dialogue.Failure
	if errors.As(err, &failure) && !update.Played(d) {
		showDiff(cmd, err)
		why := ""
		if failure.Mismatch() && failure.Step.Kind == dialogue.Expect {
			why = ", which a later step needs"
		}
		var exit *exitError
		errors.As(explainScript(err), &exit)
		return &exitError{exit.code, fmt.Errorf("%w%s; %s is left as it is", err, why, d.File)}
	}
	if err != nil && failure == nil {
		return err
	}
	updated, changed, err := update.Of(d)
	if err != nil {
		return usageError("%w", err)
	}
	note := notesOn(cmd)
	if changed == 0 {
		note("%s is as the server says", d.File)
		return nil
	}
	if err := rewriteFile(d.File, updated.Append(nil)); err != nil {
		return err
	}
	lines := "one line is"
	if changed > 1 {
		lines = fmt.Sprintf("%d lines are", changed)
	}
	note("%s: %s rewritten", d.File, lines)
	return nil
}

// rewriteFile puts other text into a file, all of it or none; its permissions stay, and a link to it.
func rewriteFile(file string, text []byte) error {
	path, err := filepath.EvalSymlinks(file)
	if err != nil {
		return usageError("cannot write %s: %w", file, inWords(err, aFileToWrite))
	}
	info, err := os.Stat(path)
	if err != nil {
		return usageError("cannot write %s: %w", file, inWords(err, aFileToWrite))
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return usageError("cannot write %s: %w", file, inWords(err, aFileToWrite))
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return usageError("cannot write %s: %w", file, inWords(err, aFileToWrite))
	}
	return nil
}
