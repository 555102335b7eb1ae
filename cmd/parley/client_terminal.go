package main

import (
	"cmp"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/lineedit"
	"github.com/parley-tcp/parley/internal/statedir"
	"github.com/parley-tcp/parley/internal/talk"
)

// A typing is where the lines of a conversation come from, and where it is shown.
type typing struct {
	in             io.Reader
	stdout, stderr io.Writer
	how            console.Typing
	editor         *lineedit.Editor // nil if nobody types, or at a terminal that cannot move its cursor
	guard          func()           // as talk.Conversation has it
	close          func()
}

// openTyping opens what a conversation is typed at, unless once: then nobody types.
func (opt *clientOptions) openTyping(cmd *cobra.Command, once bool) (*typing, error) {
	t := &typing{in: cmd.InOrStdin(), stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), close: func() {}}
	if !isTerminal(t.in) {
		return t, nil
	}
	t.how = console.Elsewhere
	if isTerminal(t.stdout) {
		t.how = console.Typed
	}
	if once {
		return t, nil
	}
	if screen := opt.screen(cmd); screen != nil && t.edit(screen, opt) {
		return t, nil
	}
	terminal, err := talk.OpenTerminal(t.in.(*os.File))
	if err != nil {
		return nil, usageError("cannot read the terminal: %w", err)
	}
	t.in, t.guard = terminal, terminal.Guard
	restore := terminal.Restore
	beforeExit.Store(&restore)
	t.close = func() {
		beforeExit.Store(nil)
		terminal.Close()
	}
	return t, nil
}

// screen is the terminal that lines can be edited on, nil if there is none. Bytes as they are could move
// its cursor.
func (opt *clientOptions) screen(cmd *cobra.Command) *os.File {
	if kind := os.Getenv("TERM"); kind == "" || kind == "dumb" || opt.raw {
		return nil
	}
	for _, stream := range []io.Writer{cmd.OutOrStdout(), cmd.ErrOrStderr()} {
		if isTerminal(stream) {
			return stream.(*os.File)
		}
	}
	return nil
}

// edit has lines edited on a screen, and what goes to terminals shown above. It says whether it can.
func (t *typing) edit(screen *os.File, opt *clientOptions) bool {
	file, noFile := opt.historyFile()
	editor, err := lineedit.Open(lineedit.Options{In: t.in.(*os.File), Out: screen, Show: console.AppendPayload,
		Complete: talk.Complete, History: file, KeepBlank: opt.keepBlank})
	if err != nil {
		return false
	}
	stderr := t.stderr
	t.in, t.editor, t.guard = editor, editor, editor.Guard
	if isTerminal(t.stdout) {
		t.stdout = editor
	}
	if isTerminal(t.stderr) {
		t.stderr = editor
	}
	restore := editor.Restore
	beforeExit.Store(&restore)
	t.close = func() {
		beforeExit.Store(nil)
		if err := cmp.Or(noFile, editor.Close()); err != nil {
			fmt.Fprintf(stderr, "parley: the history is not kept: %s; --no-history does without\n", console.AppendEscaped(nil, []byte(err.Error())))
		}
	}
	return true
}

// narrative tells the conversation in the words of the seed.
func (t *typing) narrative() *console.ClientNarrative {
	switch {
	case t.editor == nil:
		return console.NewClientNarrative(t.stdout, t.stderr, t.how)
	case t.how == console.Typed:
		return console.NewEditedNarrative(nil, t.editor)
	}
	return console.NewEditedNarrative(t.stdout, t.editor)
}

// historyFile is where what was typed is kept, "" for nowhere.
func (opt *clientOptions) historyFile() (string, error) {
	if opt.noHistory {
		return "", nil
	}
	return statedir.Path("history")
}
