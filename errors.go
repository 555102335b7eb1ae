package parley

import (
	"errors"
	"fmt"

	"github.com/parley-tcp/parley/internal/tlsconn"
)

var (
	// ErrHangUp is returned by a Handler, bare or wrapped, to end the
	// conversation in good order: the reply is sent, then the session closes.
	ErrHangUp = errors.New("parley: hang up")

	// ErrMismatch is returned by a Handler, bare or wrapped, that plays a part, as a mock does,
	// when the peer says what does not belong to it: the reply, which may say so, is sent, then the
	// session closes with the reason Mismatch and the whole error.
	ErrMismatch = errors.New("parley: not what was to be said")

	// ErrNoReply is returned by Handler.Reply, bare or wrapped, for a request that nobody answers:
	// what it returns with it is dropped, and the session goes on.
	ErrNoReply = errors.New("parley: no reply")

	// ErrTooLong is returned by a Framing, and by Client.Receive, for a message
	// over the limit. The rest of the message is still unread, so the connection
	// is of no further use.
	ErrTooLong = errors.New("parley: message longer than the limit")

	// ErrStray is returned by Framing.Next for bytes that belong to no message.
	ErrStray = errors.New("parley: bytes outside of a message")

	// ErrMalformed is returned, wrapped, by Framing.Next for bytes that no message can begin
	// with, or go on with, and by Client.Receive. The connection is of no further use.
	ErrMalformed = errors.New("malformed message")

	// ErrUnfinished is returned by Framing.End, and so by Client.Send, for a body to which
	// more lines belong: call again with all of it.
	ErrUnfinished = errors.New("more lines belong to the message")

	// ErrTruncated is an io.ErrUnexpectedEOF, returned by Client.Receive and in the Err of a
	// closed event with the reason Truncated, if the end of file came without TLS's own
	// (close_notify): what came may have been cut short by anybody on the way.
	ErrTruncated = tlsconn.ErrTruncated

	// ErrRepliesUnread is in the Err of a closed event with the reason Reset if the peer
	// closed while replies were still to be written to it: it has not read them.
	ErrRepliesUnread = errors.New("the peer closed without reading its replies")

	// ErrDenied is returned, wrapped, by the handshake of a connection whose peer may not connect:
	// it is refused as Denied.
	ErrDenied = errors.New("connections from this address are not allowed")

	// ErrServerClosed is returned by Serve and ServeConn once Shutdown or Close
	// has been called.
	ErrServerClosed = errors.New("parley: server closed")

	// ErrRefused is returned, wrapped, by ServeConn for a connection over MaxSessions or
	// MaxSessionsPerIP, whose peer has been told so and hung up on, or one that Allow does not let
	// in, which is hung up on without a word.
	ErrRefused = errors.New("parley: connection refused")

	// ErrNoLoops is returned by Serve with the engine Loops for a listener that they
	// cannot serve; see Loops. The other engine can: LoopsIfPossible takes it then.
	ErrNoLoops = errors.New("parley: event loops need Linux and a plain TCP or Unix listener")

	// ErrOutOfStep is returned by Client.Do when replies can no longer be told
	// apart: an earlier Do was cut off, or a message was already there before the
	// request was written. Send and Receive still work; for Do, dial again.
	ErrOutOfStep = errors.New("parley: replies out of step with requests")
)

// A PanicError is the Err of a closed event whose handler panicked.
type PanicError struct {
	Value any    // what the handler panicked with
	Stack []byte // as debug.Stack returned it; holds newlines
}

func (e *PanicError) Error() string { return fmt.Sprintf("handler panicked: %v", e.Value) }

// A DrainError says whom a Shutdown had to cut because the context it was given
// ended before they were done.
type DrainError struct {
	Cut []*Session // the sessions that were still owed a reply, or had not taken one, by number
	Err error      // the context's cause
}

func (e *DrainError) Error() string {
	return fmt.Sprintf("parley: drain cut %d sessions: %v", len(e.Cut), e.Err)
}

func (e *DrainError) Unwrap() error { return e.Err }
