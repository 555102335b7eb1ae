package talk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
)

// A Script plays a dialogue as a conversation that is shown.
type Script struct {
	Conn   net.Conn
	Server string // as the view names it
	View   View
	Player dialogue.Player

	asked []time.Time // when the requests were sent that are not replied to, oldest first
}

// Play plays the dialogue once, and closes the connection. The error is a *dialogue.Failure, or that of
// the context.
func (s *Script) Play(ctx context.Context, d *dialogue.Dialogue) error {
	told := s.Player.Done
	s.Player.Before = s.sending
	s.Player.Done = func(done dialogue.Done) {
		s.show(done)
		if told != nil {
			told(done)
		}
	}
	s.View.Over(s.Conn.RemoteAddr().String(), s.Conn.LocalAddr().String())
	s.View.Connected(s.Server)
	play := s.Player.Open(s.Conn)
	defer play.Close()
	err := play.Run(ctx, d, nil)
	var failure *dialogue.Failure
	switch {
	case errors.As(err, &failure) && !(s.Player.Lenient && failure.Mismatch() && failure.Step.Kind == dialogue.Expect):
		s.View.Closed(howFailed(failure))
	case err != nil && failure == nil:
	case d.Steps[len(d.Steps)-1].Kind == dialogue.ExpectEnd:
		s.View.Closed("eof", "")
	default:
		s.hangUp(ctx, play)
	}
	return err
}

// sending shows a message that is about to be sent.
func (s *Script) sending(d dialogue.Done) {
	s.View.Sending(dialect.Message{Body: d.Message, Secret: d.Note.Secret})
	if !d.Note.Alone && s.Player.Framing.OfReplies() != parley.NoReplies {
		s.asked = append(s.asked, time.Now())
	}
}

// show shows what came in a step.
func (s *Script) show(d dialogue.Done) {
	var failure *dialogue.Failure
	errors.As(d.Err, &failure)
	expects := d.Step.Kind == dialogue.Expect || d.Step.Kind == dialogue.ExpectEnd
	switch {
	case !expects:
	case failure != nil && len(failure.Unfinished) > 0:
		s.View.Unfinished(failure.Unfinished, failure.Lacks())
	case d.Err == nil && d.Step.Kind == dialogue.Expect, failure != nil && failure.Mismatch():
		s.heard(d.Message, d.Note)
	}
}

// heard shows a message: the reply to the oldest request without one, if there is one.
func (s *Script) heard(body []byte, note parley.Note) {
	m := dialect.Message{Body: body, Secret: note.Secret}
	if note.Alone || len(s.asked) == 0 {
		s.View.Message(m)
		return
	}
	s.View.Response(m, time.Since(s.asked[0]))
	s.asked = s.asked[1:]
}

// hangUp ends a conversation in which nothing is awaited any more, but for a moment the end of file.
func (s *Script) hangUp(ctx context.Context, play *dialogue.Play) {
	limit, cancel := context.WithTimeout(ctx, doneWithin)
	defer cancel()
	switch err := play.HangUp(limit, s.heard); {
	case err == nil:
		s.View.Closed("eof", "")
	case ctx.Err() != nil:
	case limit.Err() != nil:
		s.View.Closed("close_timeout", "not by the server")
	default:
		s.View.Closed(howBroken(err))
	}
}

// howFailed says how a conversation ended, for programs and in words.
func howFailed(f *dialogue.Failure) (reason, why string) {
	switch {
	case f.Mismatch():
		return parley.Mismatch.String(), "not as expected"
	case f.Local():
		return "not_sent", "not sent"
	case f.Kind() == dial.TLSFailed:
		return parley.Handshake.String(), "TLS was not agreed on"
	case errors.Is(f.Err, context.DeadlineExceeded) && f.Step.Kind == dialogue.Send:
		return "write_timeout", "the server does not read"
	case errors.Is(f.Err, context.DeadlineExceeded) && f.Step.Kind == dialogue.ExpectEnd:
		return "close_timeout", fmt.Sprintf("no end of file from the server within %v", f.Within())
	case errors.Is(f.Err, context.DeadlineExceeded):
		return "reply_timeout", fmt.Sprintf("no reply within %v", f.Within())
	case f.Err == io.EOF:
		return "no_reply", "closed by the server before it replied"
	}
	return howBroken(f.Err)
}
