package main

import (
	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	mock "github.com/parley-tcp/parley/internal/answer"
)

// answerFlags are how a server stands in for another: from a recording or a dialogue.
type answerFlags struct {
	answers  string
	match    string
	pace     bool
	script   scriptFlags
	anyOrder bool
	strict   bool

	recording *mock.Recording // nil if there is none
	play      *mock.Dialogue  // nil if there is none
	note      note            // set once there is somewhere to write
}

func (f *answerFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	defer heading(flags, ofStandIn)()
	flags.StringVar(&f.answers, "answers", "", "answer as in this recording, a journal or JSON events of a server or a tap: a `FILE`, or - for events on standard input")
	flags.StringVar(&f.match, "match", "", "which requests of a recording are the same: shape, in which numbers, ids and times do not count, or a `REGEX` whose groups have to be equal (default all of their bytes)")
	flags.BoolVar(&f.pace, "pace", false, "answer as slowly as in the recording")
	f.script.add(cmd, false, "play the server's side of the dialogue in this `FILE`; - is standard input")
	flags.BoolVar(&f.anyOrder, "any-order", false, "each message that the dialogue expects may come at any time, and again")
	flags.BoolVar(&f.strict, "strict", false, "exit with 3 if a request had no recorded answer, or a session was not as in the dialogue")
	cmd.MarkFlagFilename("answers")
	flags.SetAnnotation("match", goesWith, []string{"answers"})
	flags.SetAnnotation("pace", goesWith, []string{"answers"})
	flags.SetAnnotation("any-order", goesWith, []string{"script"})
	for _, one := range []string{"answers", "script"} {
		for _, other := range []string{"reply", "echo"} {
			cmd.MarkFlagsMutuallyExclusive(one, other)
		}
	}
	cmd.MarkFlagsMutuallyExclusive("answers", "script")
}

// prepare reads what is answered from, and has the server's framing and engine be as that needs.
func (f *answerFlags) prepare(cmd *cobra.Command, opt *serverOptions) error {
	switch {
	case f.answers != "":
		return f.openRecording(cmd, opt)
	case f.script.given():
		return f.openScript(opt)
	case f.strict && isGiven(cmd.Flags().Lookup("strict")):
		return usageError("--strict goes with --answers or --script")
	}
	return nil
}

func (f *answerFlags) openRecording(cmd *cobra.Command, opt *serverOptions) error {
	options := mock.RecordingOptions{Default: opt.framing.Framing, Pace: f.pace, Unknown: f.unknown, Conceal: func(request []byte) []byte {
		concealed, _ := opt.redact.Replace(request)
		return concealed
	}}
	if isGiven(cmd.Flags().Lookup("framing")) {
		options.Framing = opt.framing.Framing
	}
	var err error
	if f.match != "" {
		if options.Match, err = mock.ParseMatch(f.match); err != nil {
			return usageError("--match %q: %w", f.match, err)
		}
	}
	recorded, err := readRecording(cmd, f.answers)
	if err != nil {
		return err
	}
	if f.recording, err = mock.NewRecording(recorded, options); err != nil {
		return usageError("--answers %s: %w", f.answers, err)
	}
	framing, crlf := f.recording.Framing()
	opt.framing.Framing = framing
	if crlf && !opt.crlf {
		if err := opt.framing.withCRLF(); err != nil {
			return err
		}
	}
	if f.pace {
		return opt.needGoroutines("--pace")
	}
	return nil
}

func (f *answerFlags) openScript(opt *serverOptions) error {
	dialogues, err := f.script.open()
	if err != nil {
		return err
	}
	d := dialogues[0]
	framing := f.script.framing(d, opt.framing)
	if opt.crlf {
		if err := framing.withCRLF(); err != nil {
			return err
		}
		opt.crlf = false
	}
	framing.Framing = framing.WithTLSBelow()
	opt.framing = framing
	unlike := func(s *parley.Session, why string) {
		concealed, _ := opt.redact.Replace([]byte(why))
		f.unlike(s, string(concealed))
	}
	if f.play, err = mock.NewDialogue(d, mock.DialogueOptions{Framing: framing.Framing, AnyOrder: f.anyOrder, Failed: unlike}); err != nil {
		return usageError("%w", err)
	}
	if f.play.GoesOverToTLS() {
		if !opt.in.tls.on() {
			return usageError("--script: %s goes over to TLS, and the certificate is missing; give --tls-cert and --tls-key, or --tls-self-signed", d.File)
		}
		opt.in.startTLS = true
	}
	if why := f.play.Blocks(); why != "" {
		return opt.needGoroutines(why)
	}
	return nil
}

// lay lays TLS that begins inside of a session over what listens.
func (f *answerFlags) lay(open listeners, in *inFlags) {
	if f.play == nil || !f.play.GoesOverToTLS() {
		return
	}
	for _, l := range open {
		l.Net = f.play.Listener(l.Net, in.identity.Config())
	}
}

// observer is who is to be told of events.
func (f *answerFlags) observer(others parley.Observer) parley.Observer {
	if f.play == nil {
		return others
	}
	return parley.Observers(others, f.play)
}

// needGoroutines has the sessions be in goroutines, since the handler waits.
func (opt *serverOptions) needGoroutines(why string) error {
	if opt.engine.engine == parley.Loops {
		return usageError("--engine loops: %s needs goroutines; use goroutines or auto", why)
	}
	opt.engine.engine = parley.Goroutines
	return nil
}

// handler is who answers; nil if it is the pattern.
func (f *answerFlags) handler() parley.Handler {
	switch {
	case f.recording != nil:
		return f.recording
	case f.play != nil:
		return f.play
	}
	return nil
}

// begin tells what is answered from.
func (f *answerFlags) begin(note note) {
	f.note = note
	if f.recording != nil {
		note("answers from %s: %s", f.answers, f.recording.About())
	}
	if f.play != nil {
		note("plays the server of %s", f.script.files[0])
	}
}

// unknown tells of a request that has no answer.
func (f *answerFlags) unknown(s *parley.Session, request string) {
	f.note("session %d with %s: no recorded answer: %s", s.Number(), s.AppendRemote(nil), request)
}

// unlike tells of a session that is not as in the dialogue.
func (f *answerFlags) unlike(s *parley.Session, why string) {
	f.note("session %d with %s: %s", s.Number(), s.AppendRemote(nil), why)
}

// end says what had no answer, or was not as in the dialogue. err is that of the server's own end.
func (f *answerFlags) end(err error) error {
	wrong := 0
	switch {
	case f.recording != nil:
		var list []string
		if wrong, list = f.recording.Unanswered(); wrong > 0 {
			f.note("requests without a recorded answer: %d", wrong)
		}
		for _, request := range list {
			f.note("  %s", request)
		}
	case f.play != nil:
		if wrong = f.play.Failures(); wrong > 0 {
			f.note("sessions that were not as in %s: %d", f.script.files[0], wrong)
		}
	}
	if f.strict && wrong > 0 && err == nil {
		return &exitError{code: exitMismatch}
	}
	return err
}
