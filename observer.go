package parley

import (
	"slices"
	"time"
)

// An Observer is told of every event. The event is valid during the call only.
// One session's events come in order, one at a time; several sessions call at the
// same time. An observer that is slow holds back the session that calls it.
//
// An observer may have a method Wants(EventKind) bool, asked at the start: what it does
// not want need not be put together. Without it, it is told of everything but Answered.
//
// With the engine Loops an observer may have two methods more. Fork() Observer is
// called once a loop: what it returns is told of the loop's sessions, by one goroutine,
// so it needs no lock. Flush() of that one is called at the end of a loop's round, before
// the round's replies are written and before sockets are closed: what a peer can have
// seen has been flushed before.
type Observer interface {
	Observe(*Event)
}

// ObserverFunc makes an Observer of a function.
type ObserverFunc func(*Event)

// Observe calls f.
func (f ObserverFunc) Observe(e *Event) { f(e) }

// Observers joins several into one that tells each in turn. Nil ones are left out.
func Observers(all ...Observer) Observer {
	var list observers
	for _, o := range all {
		if o != nil {
			list = append(list, filteredObserver{o, wantedKinds(o)})
		}
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0].Observer
	}
	return list
}

// observers are told of what each wants, and of nothing else: most are not made for every
// request.
type observers []filteredObserver

type filteredObserver struct {
	Observer
	wanted kindSet
}

func (list observers) Observe(e *Event) {
	for i := range list {
		if list[i].wanted&(1<<e.Kind) != 0 {
			list[i].Observer.Observe(e)
		}
	}
}

func (list observers) Wants(kind EventKind) bool {
	return slices.ContainsFunc(list, func(l filteredObserver) bool { return l.wanted&(1<<kind) != 0 })
}

func (list observers) Fork() Observer {
	forks := make(observers, len(list))
	for i, l := range list {
		forked, _ := fork(l.Observer)
		forks[i] = filteredObserver{forked, l.wanted}
	}
	return forks
}

func (list observers) Flush() {
	for _, l := range list {
		if f, ok := l.Observer.(flusher); ok {
			f.Flush()
		}
	}
}

// A kindSet is a set of EventKinds, a bit each.
type kindSet uint16

// wantedKinds are what an observer wants to be told of; nobody wants nothing.
func wantedKinds(o Observer) (wanted kindSet) {
	if o == nil {
		return 0
	}
	chooser, chooses := o.(interface{ Wants(EventKind) bool })
	for kind := Opened; int(kind) < len(kindNames); kind++ {
		if chooses && chooser.Wants(kind) || !chooses && kind != Answered {
			wanted |= 1 << kind
		}
	}
	return wanted
}

type (
	forker  interface{ Fork() Observer }
	flusher interface{ Flush() }
)

// fork returns the observer for one loop and what is to be called to flush it, nil if
// it has nothing to flush.
func fork(o Observer) (Observer, func()) {
	if f, ok := o.(forker); ok {
		o = f.Fork()
	}
	if f, ok := o.(flusher); ok {
		return o, f.Flush
	}
	return o, nil
}

// An Event is something that happened to a session, or to the server. Which
// fields are set depends on its kind.
type Event struct {
	Kind    EventKind
	Time    time.Time     // the wall clock as it was then; it may have been set since the event before
	Session *Session      // of all kinds but AcceptFailed and ListenerLost; has number 0 when Refused and HandshakeFailed
	Seq     uint64        // the request's number; when Closed, how many requests there were
	Body    []byte        // Received: the request. Replied: the reply. Unasked: the message. Unfinished: what is there. Refused: the text that is sent
	Cut     uint64        // how many bytes of the message Body leaves out at its end; a Server leaves out none
	Took    time.Duration // Replied: since Received. Answered: since that of the first. Closed: since Opened. HandshakeFailed: since it was accepted. By the monotonic clock
	Replied uint64        // Closed: the last request whose reply got out whole, see there. Answered: how many replies
	In, Out uint64        // Closed: bytes read from the peer and written to it, all in all, but for those it is known not to have taken
	Stray   uint64        // Closed: bytes of In that belonged to no message. Stray: how many there are so far
	Raw     Raw           // Refused: Body as it is sent. Received, Replied, Unasked: of who looks on, Body as it passed; a Server leaves it out
	Reason  CloseReason   // of Closed, Refused and HandshakeFailed
	Secret  bool          // Received, Replied, Unasked: Body carries credentials, see Note
	Fault   string        // Faulted: what goes wrong on purpose. Of others: what did to what they tell of. Such as "reply.delay=50ms"; "" if nothing
	Whole   int           // if parts of Body were replaced to conceal them: how many bytes it had before; 0 if nothing was
	Err     error         // behind Reason, and of HandshakeFailed, AcceptFailed, ListenerLost and FramingLost; may be nil
}

// An EventKind says what happened. New ones may come: ignore those you do not know.
type EventKind uint8

const (
	// Opened: a connection was accepted and became a session.
	Opened EventKind = iota + 1
	// Received: a whole request is there; its reply is not yet made. Where
	// the peer turns out to be gone, none will be.
	Received
	// Replied: the write that took the last byte of this reply has returned. It
	// does not say that the peer read it.
	Replied
	// Closed: the session is over; every reply that will be written has been. Told
	// before the peer can see the end of file. Event.Replied counts the replies that got out
	// whole. On Linux, over TCP, it leaves out those that a peer which the server gave up on is
	// known not to have taken, though Replied was told of them; it may then be too low by the
	// replies in the last 4 KiB that the peer took. Where nobody wants Replied and there is no
	// Gate, it counts what was written.
	Closed
	// Refused: a connection was hung up on. One over a session limit was told so first; one that
	// Allow does not let in was not.
	Refused
	// Unfinished: the bytes of a request have waited two seconds for the rest of it.
	// At most once a session.
	Unfinished
	// AcceptFailed: the listener gave an error; accepting goes on after a pause.
	AcceptFailed
	// Unasked: a server said something that answers no request. A proxy that looks on tells
	// of it; a Server's is what a Speaker says, the greeting of a Protocol, or the error text to a
	// request over MaxRequest or to who is ended for Memory, told when it is written.
	Unasked
	// ListenerLost: the listener gave an error that does not pass: nobody can connect there
	// any more, and sessions go on. Not told of a listener that its owner or a stop closed.
	ListenerLost
	// Stray: bytes came that belong to no message, and are left out. Body has them, Closed
	// how many there were in all. At most once a session.
	Stray
	// FramingLost: what a peer sends can be no message of its framing, as Err says. A proxy
	// tells what comes from there on as it comes; a Server ends the session as Malformed instead.
	FramingLost
	// HandshakeFailed: what had to be agreed on a connection before there could be a session,
	// such as TLS, was not, and the connection is closed. Reason is NoRequest if its peer never
	// sent a byte, HandshakeTimeout if it took too long, Full if too many others were at theirs,
	// PerIP if too many of its address were, and Handshake for anything else.
	HandshakeFailed
	// Faulted: something goes wrong on purpose, with the message that is Body, of the request
	// Seq or its reply, or with the session if there is no Body. A Server tells of none itself.
	Faulted
	// Answered: all replies that were made of what one read brought, or those since the last such event,
	// have been written; Replied says how many, Took how long ago that read was, and Seq is the last
	// of them. It is for who only counts: where many are written together it costs far less than a
	// Replied of each. Only an Observer with a method Wants is told of it.
	Answered
)

var kindNames = [...]string{
	Opened: "opened", Received: "received", Replied: "replied", Closed: "closed",
	Refused: "refused", Unfinished: "unfinished", AcceptFailed: "accept_failed",
	Unasked: "message", ListenerLost: "listener_lost", Stray: "stray", FramingLost: "framing_lost", HandshakeFailed: "handshake_failed",
	Faulted: "fault", Answered: "answered",
}

// String returns the kind as docs/events.md names it, such as "received".
func (k EventKind) String() string { return nameOf(kindNames[:], int(k)) }

// A CloseReason says why a session ended, or why a connection was refused.
type CloseReason uint8

const (
	EndOfFile        CloseReason = iota + 1 // the peer closed in good order
	Blank                                   // the peer sent an empty request
	NoRequest                               // the peer closed and had never sent a byte
	Truncated                               // the peer closed inside a request
	Reset                                   // the connection was reset
	IdleTimeout                             // nothing came for IdleTimeout
	FirstByteTimeout                        // nothing ever came
	RequestTimeout                          // a request was not finished in RequestTimeout
	WriteTimeout                            // the peer does not read its replies
	TooLong                                 // a request was over MaxRequest
	Malformed                               // what came can be no request of the framing
	Memory                                  // all sessions together were over MaxHeld, and this one held most
	HandlerError                            // the handler failed or panicked, or its reply could not be framed
	HangUp                                  // the handler returned ErrHangUp, or the reply is one of UntilClose
	Draining                                // Shutdown: everything read was answered
	DrainCut                                // Shutdown ran out of time
	ServerClosed                            // Close was called
	IOError                                 // any other error of the connection
	Unreachable                             // a proxy could not connect to the server behind it
	UpstreamReset                           // the server behind a proxy reset the connection
	Mismatch                                // a handler returned ErrMismatch: the peer said what it was not to say
	Fault                                   // it was ended on purpose, to see what its peer makes of that: by an error of its connection with a method OnPurpose() (inOrder bool); also of a refusal

	HandshakeTimeout // of a handshake: it was not done in time
	Handshake        // of a handshake: it failed for what Err says

	Full   // refused: MaxSessions
	PerIP  // refused: MaxSessionsPerIP
	Denied // refused: its address is not among those that may
)

var reasonNames = [...]string{
	EndOfFile: "eof", Blank: "blank", NoRequest: "no_request", Truncated: "truncated",
	Reset: "reset", IdleTimeout: "idle_timeout", FirstByteTimeout: "first_byte_timeout",
	RequestTimeout: "request_timeout", WriteTimeout: "write_timeout", TooLong: "too_long", Malformed: "malformed",
	Memory: "memory", HandlerError: "handler_error", HangUp: "hang_up", Draining: "shutdown",
	DrainCut: "drain_cut", ServerClosed: "closed", IOError: "io_error",
	Unreachable: "unreachable", UpstreamReset: "upstream_reset", Mismatch: "mismatch", Fault: "fault",
	HandshakeTimeout: "handshake_timeout", Handshake: "handshake",
	Full: "full", PerIP: "per_ip", Denied: "denied",
}

// String returns the reason as docs/events.md names it, such as "idle_timeout".
func (r CloseReason) String() string { return nameOf(reasonNames[:], int(r)) }

func nameOf(names []string, i int) string {
	if i < len(names) && names[i] != "" {
		return names[i]
	}
	return "unknown"
}
