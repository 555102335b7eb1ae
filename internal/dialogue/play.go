package dialogue

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// A Player plays the client's side of dialogues.
type Player struct {
	Framing dialect.Framing // of requests and replies
	Timeout time.Duration   // for each step; 10 s if zero

	MaxReply int // the longest message that is taken, in bytes; 16 MiB if zero

	Secrets bool // a failure shows credentials too, where the protocol knows them

	// StartTLS has a connection go over to TLS, for a tls step. If nil, that step fails.
	StartTLS func(ctx context.Context, conn net.Conn) (net.Conn, error)

	// Done is told of each step as it is done, also of the one that failed, by the goroutine that
	// plays; may be nil.
	Done func(Done)

	// Before is told of a message that is about to be sent, as Done is of it once it is; may be nil.
	Before func(Done)

	// Lenient goes on behind a message that is not as expected, unless a later step needs what its
	// groups would have caught. Run returns the first such failure once all is played, and any other
	// at once.
	Lenient bool
}

// Done says what became of a step.
type Done struct {
	Index   int
	Step    *Step
	Message []byte        // sent or received: its body, all of its bytes in a protocol; valid during the call
	Note    parley.Note   // what a protocol knows of it
	Took    time.Duration // the step took
	Err     error         // the *Failure of the step that failed, or the error of the context
}

const (
	defaultTimeout  = 10 * time.Second
	defaultMaxReply = 16 << 20 // of a parley.Dialer
)

func (p *Player) timeout() time.Duration { return cmp.Or(p.Timeout, defaultTimeout) }

// Open makes a play of a connection, which it then owns.
func (p *Player) Open(conn net.Conn) *Play {
	play := &Play{player: p, conn: conn}
	play.open(p.Framing)
	return play
}

// A Play is the client's side of a connection. It is for one goroutine.
type Play struct {
	player   *Player
	conn     net.Conn
	client   *parley.Client // of replies; requests are framed here, so that what is sent can be told
	requests parley.Framing

	runs   int
	heard  bool // the server has said something
	secure bool // behind tls
	ended  bool // our end of file is out
}

// open makes the client of the connection. What it is given to send is framed.
func (play *Play) open(f dialect.Framing) {
	requests, replies := parley.OpenFraming(f.Requests, f.Replies)
	dialer := parley.Dialer{Framing: parley.Chunks, Replies: replies, MaxReply: play.player.MaxReply,
		NetDial: func(context.Context, string, string) (net.Conn, error) { return play.conn, nil }}
	play.requests = requests
	play.client, _ = dialer.Dial(context.Background(), "") // NetDial does not fail
}

// Close closes the connection.
func (play *Play) Close() error { return play.conn.Close() }

// Run plays a dialogue. What names stand for is in v, and what groups catch goes there; {n} and {conn}
// are 1 where it does not say. The error is a *Failure, or ctx's. It may be called again on the same
// connection for a dialogue that Repeats: what is expected before the first message, the greeting, is
// then left out.
func (play *Play) Run(ctx context.Context, d *Dialogue, v Values) error {
	if v == nil {
		v = Values{}
	}
	for _, number := range []string{"n", "conn"} {
		if _, known := v[number]; !known {
			v[number] = []byte("1")
		}
	}
	defer play.endWith(ctx)()
	again := play.runs > 0
	play.runs++
	var first error
	for i := range d.Steps {
		step := &d.Steps[i]
		if again = again && step.Kind != Send; again && step.Kind != Wait {
			continue
		}
		if err := play.step(ctx, d, i, v); err != nil {
			var failure *Failure
			if !play.player.Lenient || !errors.As(err, &failure) || !failure.Mismatch() || step.Kind != Expect || d.catchesForLater(i) {
				return err
			}
			first = cmp.Or(first, err)
		}
	}
	return first
}

// endWith has the end of ctx wake whoever waits for the connection, until release.
func (play *Play) endWith(ctx context.Context) (release func()) {
	conn := play.conn // also below TLS
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.SetDeadline(longAgo)
		close(woken)
	})
	return func() {
		if !stop() {
			<-woken
		}
	}
}

// longAgo is a deadline that wakes whoever waits.
var longAgo = time.Unix(1, 0)

// step plays one step within its time, and tells how that went.
func (play *Play) step(ctx context.Context, d *Dialogue, i int, v Values) error {
	step := &d.Steps[i]
	begin := time.Now()
	done := Done{Index: i, Step: step}
	play.conn.SetDeadline(begin.Add(cmp.Or(step.Within, play.player.timeout())))
	err := ctx.Err() // looked at behind the deadline, which may have been set over that of endWith
	if err == nil {
		err = play.do(ctx, step, v, &done)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = context.DeadlineExceeded
	}
	if err != nil {
		err = play.failure(ctx, d, i, v, done.Message, err)
	}
	done.Took, done.Err = time.Since(begin), err
	if play.player.Done != nil {
		play.player.Done(done)
	}
	return err
}

var (
	errMismatch = errors.New("not as expected")
	errNoTLS    = errors.New("nobody said how to speak TLS")
)

// A localError is one of the dialogue, or of who plays it, and not of the network.
type localError struct{ error }

func (play *Play) do(ctx context.Context, step *Step, v Values, done *Done) error {
	switch step.Kind {
	case Send:
		return play.send(step, v, done)
	case Expect:
		if play.player.Framing.OfReplies() == parley.NoReplies {
			return localError{fmt.Errorf("under %s a server says nothing", play.player.Framing.Name)}
		}
		if err := play.receive(done); err != nil {
			return err
		}
		if !step.Judge.Holds(done.Message, v) {
			return errMismatch
		}
		return nil
	case StartTLS:
		return play.startTLS(ctx)
	case Wait:
		return pause(ctx, step.Pause)
	case End:
		if play.ended {
			return nil
		}
		play.ended = true
		return play.client.CloseWrite()
	}
	return play.receiveEnd(done)
}

// send sends a message. One that the end of file ends is the only one.
func (play *Play) send(step *Step, v Values, done *Done) error {
	if play.ended {
		return localError{errors.New("nothing can be sent behind our end of file; has each play a connection of its own?")}
	}
	text := step.Text.Append(nil, v)
	wire, err := play.requests.End(append(play.requests.Begin(nil), text...), 0)
	if err != nil {
		return localError{fmt.Errorf("%s cannot carry this: %w", play.player.Framing.Name, err)}
	}
	done.Message = text
	if noter, is := play.requests.(parley.Noter); is {
		done.Message, done.Note = wire, noter.Note()
	}
	if play.player.Before != nil {
		play.player.Before(*done)
	}
	if err := play.client.Send(context.Background(), wire); err != nil || play.requests != parley.UntilClose {
		return err
	}
	play.ended = true
	return play.client.CloseWrite()
}

func (play *Play) receive(done *Done) (err error) {
	if done.Message, err = play.client.Receive(context.Background()); err != nil {
		return err
	}
	play.heard = true
	done.Note = play.client.Note()
	return nil
}

// receiveEnd waits for the server's end of file. Something else is a mismatch, also if it is not whole.
func (play *Play) receiveEnd(done *Done) error {
	err := play.receive(done)
	switch {
	case err == nil:
		return errMismatch
	case err == io.EOF:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, parley.ErrTruncated):
		done.Message = play.client.Unfinished()
		return errMismatch
	}
	return err
}

// startTLS goes over to TLS. What the server has said in plain behind its word that TLS begins, or
// whoever is on the way, is not to be taken for what came over TLS (CVE-2011-0411).
func (play *Play) startTLS(ctx context.Context) error {
	switch {
	case play.secure:
		return localError{errors.New("the connection speaks TLS already; a dialogue with tls wants one of its own for each play")}
	case play.player.StartTLS == nil:
		return localError{errNoTLS}
	case len(play.client.Unfinished()) > 0:
		return errBehindGoAhead
	}
	play.conn.SetDeadline(time.Time{}) // the handshake goes by its context
	limit, cancel := context.WithTimeout(ctx, play.player.timeout())
	defer cancel()
	conn, err := play.player.StartTLS(limit, play.conn)
	if err != nil {
		return err
	}
	framing := play.player.Framing
	if play.heard {
		framing = framing.BehindGreeting()
	}
	play.conn, play.secure = conn, true
	play.open(framing)
	return nil
}

var errBehindGoAhead = errors.New("the server says more in plain behind its word that TLS begins; somebody on the way may have put it there")

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failure is why a step failed, with what has come; or the error of ctx, if that is why.
func (play *Play) failure(ctx context.Context, d *Dialogue, i int, v Values, got []byte, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	step := &d.Steps[i]
	f := &Failure{Dialogue: d, Index: i, Step: step, Want: play.want(d, i, v), within: cmp.Or(step.Within, play.player.timeout()), limit: cmp.Or(play.player.MaxReply, defaultMaxReply)}
	if err == errMismatch {
		f.Got = append([]byte{}, got...)
		if step.Judge.Kind == Exact {
			f.exact = step.Judge.Text.Append(nil, v)
			if play.isMeant(f.exact, f.Got) {
				f.meant = fmt.Sprintf("; under %s a text is all bytes of a message: < = %s", play.player.Framing.Name, written(f.Got))
			}
		}
		return f
	}
	f.Err = err
	if step.Kind == Expect || step.Kind == ExpectEnd {
		f.Unfinished = bytes.Clone(play.client.Unfinished())
	}
	if len(f.Unfinished) > 0 {
		f.lacks, f.advice = play.player.Framing.Lacks(f.Unfinished)
	}
	return f
}

// isMeant reports whether a text, as a mock would say it, is what came.
func (play *Play) isMeant(text, got []byte) bool {
	protocol, is := play.player.Framing.OfReplies().(parley.Protocol)
	if !is {
		return false
	}
	_, replies := protocol.Open()
	wire, err := replies.End(append(replies.Begin(nil), text...), 0)
	return err == nil && bytes.Equal(wire, got)
}

// want is what a step wants, as it is written, with values.
func (play *Play) want(d *Dialogue, i int, v Values) string {
	step := &d.Steps[i]
	switch {
	case step.Kind == Expect:
		return step.Judge.want(v)
	case step.Kind == ExpectEnd:
		return "eof"
	case play.player.Secrets:
		return step.String()
	}
	return d.Shown(play.player.Framing)[i]
}

// HangUp says that nothing more will come, and waits for the server's end of file. What it still says
// goes to heard. The error is that of ctx if it ends before.
func (play *Play) HangUp(ctx context.Context, heard func(message []byte, note parley.Note)) error {
	if !play.ended {
		play.ended = true
		if err := play.client.CloseWrite(); err != nil {
			return err
		}
	}
	play.conn.SetDeadline(time.Time{}) // of the last step
	for {
		switch message, err := play.client.Receive(ctx); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		default:
			heard(message, play.client.Note())
		}
	}
}
