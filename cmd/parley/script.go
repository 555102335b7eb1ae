package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/dialogue"
)

// scriptFlags are --script FILE: dialogues that are played.
type scriptFlags struct {
	cmd   *cobra.Command
	files []string
	many  bool
}

// add adds the flag; many files may be given where that makes sense.
func (s *scriptFlags) add(cmd *cobra.Command, many bool, about string) {
	s.cmd, s.many = cmd, many
	cmd.Flags().StringArrayVar(&s.files, "script", nil, about)
	cmd.MarkFlagFilename("script")
}

// given says whether there is one.
func (s *scriptFlags) given() bool { return len(s.files) > 0 }

// open reads the files; - is the standard input.
func (s *scriptFlags) open() ([]*dialogue.Dialogue, error) {
	if len(s.files) > 1 && !s.many {
		return nil, usageError("--script %s: one is enough here; %s is given already", s.files[1], s.files[0])
	}
	var dialogues []*dialogue.Dialogue
	for i, file := range s.files {
		if file == "-" && slices.Contains(s.files[:i], file) {
			return nil, usageError("--script -: standard input is read once, and is given twice")
		}
		text, err := s.read(file)
		if err != nil {
			return nil, err
		}
		d, err := dialogue.Parse(file, text)
		if err != nil {
			return nil, usageError("%w", err)
		}
		dialogues = append(dialogues, d)
	}
	return dialogues, nil
}

// maxScript is how much is read of a file: what is longer is no dialogue.
const maxScript = 64 << 20

func (s *scriptFlags) read(file string) ([]byte, error) {
	in := s.cmd.InOrStdin()
	switch file {
	case "":
		return nil, usageError("--script: its value is empty; name a file with a dialogue")
	case "-":
	default:
		f, err := os.Open(file)
		if err != nil {
			return nil, usageError("--script %s: %w", file, inWords(err, aFileToRead))
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxScript+1))
	switch {
	case err != nil:
		return nil, usageError("--script %s: %w", file, inWords(err, aFileToRead))
	case len(text) > maxScript:
		return nil, usageError("--script %s: it has more than 64 MiB; is it a dialogue?", file)
	}
	return text, nil
}

// framing is that of a dialogue: --framing on the command line, else what its file says, else that of
// the environment or the default.
func (s *scriptFlags) framing(d *dialogue.Dialogue, flag framingFlag) framingFlag {
	if d.Framing != "" && !isGiven(s.cmd.Flags().Lookup("framing")) {
		flag.Set(d.Framing) // Parse has looked
	}
	return flag
}

// goesOverToTLS says whether a dialogue has a tls step.
func goesOverToTLS(d *dialogue.Dialogue) bool {
	for i := range d.Steps {
		if d.Steps[i].Kind == dialogue.StartTLS {
			return true
		}
	}
	return false
}

// forScripts has TLS begin in the dialogues, if one of them goes over to it. It is called before open.
func (f *outFlags) forScripts(dialogues ...*dialogue.Dialogue) error {
	for _, d := range dialogues {
		switch f.inDialogue = f.inDialogue || goesOverToTLS(d); {
		case f.inDialogue && f.startTLS != "":
			return usageError("--starttls: %s goes over to TLS itself; leave the flag out", d.File)
		case f.inDialogue && f.tls.on:
			return usageError("--tls: %s goes over to TLS itself; leave the flag out", d.File)
		}
	}
	return nil
}

// refuseGreeting refuses a dialogue that awaits a greeting which --starttls has read.
func (f *outFlags) refuseGreeting(d *dialogue.Dialogue) error {
	first := &d.Steps[0]
	if f.startTLS == "" || first.Kind != dialogue.Expect && first.Kind != dialogue.ExpectEnd {
		return nil
	}
	return usageError("%s:%d: behind --starttls, which has read the greeting, no other comes; begin with what is sent", d.File, first.Line)
}

// overToTLS is what a tls step does on a connection to an address; nil if no dialogue has one.
func (f *outFlags) overToTLS(at address) func(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if !f.inDialogue {
		return nil
	}
	dialer := at.dialer("", 0)
	dialer.TLS = f.secure.Config
	return dialer.Handshake
}

// explainScript is the exit that the error of a play asks for: 3 if the server said something else than
// expected, 2 if the dialogue cannot be played, else 1.
func explainScript(err error) error {
	var failure *dialogue.Failure
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &failure):
		return err
	case failure.Mismatch():
		return &exitError{exitMismatch, err}
	case failure.Local():
		return usageError("%w", err)
	}
	return networkError("%w", err)
}
