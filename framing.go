package parley

// A Framing says where a message ends in the stream. TCP keeps no boundaries of
// its own (RFC 9293, section 3.8), so both ends must agree on one. A Framing is
// stateless: one value serves all sessions. What needs memory is a Protocol.
type Framing interface {
	// Next looks for one whole message at the start of buf, of which the first
	// scanned bytes were there at the last call and hold no end of a message.
	// It returns how many bytes the message takes up and its body, which is a part of
	// buf, without the framing; n = 0 asks for more bytes. With eof no more will come: an
	// unfinished message is either returned or left over.
	//
	// A message with a body over max bytes is ErrTooLong, as soon as that can be known.
	// ErrStray, with n > 0, says that n bytes belong to no message and are to be left out. An
	// error that wraps ErrMalformed says what is wrong with bytes that can be no message.
	Next(buf []byte, scanned, max int, eof bool) (n int, body []byte, err error)

	// Begin appends what stands before a message.
	Begin(dst []byte) []byte

	// End completes the message whose Begin was called at dst[start:]. It may move the body,
	// as for a length of as many digits as it needs. It fails
	// if the framing cannot carry the body, for one because it contains the
	// framing's own ending; dst is then to be cut back to start. ErrUnfinished
	// says that more lines belong to the body.
	End(dst []byte, start int) ([]byte, error)
}

// A Protocol is a Framing where what a message is depends on those before it, in both
// directions. The body of a message is all of its bytes; what End is given may be a whole
// message, which it leaves alone, or words of which it makes one.
//
// Its own methods are those of the first request of a connection.
type Protocol interface {
	Framing

	// Open makes the framings of one connection. Each is used by one goroutine at a time, and
	// both at the same time. They have to see every message: Next those that are read, End
	// those that are written.
	Open() (requests, replies Framing)
}

// A Note is what a Protocol knows of a message beside its bytes.
type Note struct {
	Alone  bool // a request that is not replied to, or a message of the server that is no reply
	Secret bool // it carries credentials: who shows it is to leave them out
	Last   bool // the connection is to end behind it, a reply or a request without one: a server closes it
}

// A Noter is a Framing that Protocol.Open has made and that has notes.
type Noter interface {
	Note() Note // of the message that Next returned last, that ended in Skip, or that End completed
}

// A Skipper is a Framing that can find the end of a message without holding it in memory, as a proxy
// needs it for messages that are too long to be shown. All framings of this package are.
type Skipper interface {
	// Skip returns a function to be called with the bytes of a message from its beginning
	// on, piece by piece: for one that Next has called ErrTooLong. It says how many bytes
	// of p it is done with, the rest is to come again with more behind it; how many of
	// those are framing before the body, and how many behind it; and whether the message ends
	// there. An error is as Next's.
	Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error)
}

// A Greeter is a framing of replies that Protocol.Open has made and whose server may speak first.
type Greeter interface {
	Greet(dst []byte) []byte // appends what a server says before it is asked anything, if it does
}

// OpenFraming returns the framings of one connection, by those that a Server or a Dialer has:
// Lines if framing is nil, and the same for both directions if replies is nil.
func OpenFraming(framing, replies Framing) (ofRequests, ofReplies Framing) {
	if framing == nil {
		framing = Lines
	}
	if p, ok := framing.(Protocol); ok {
		return p.Open()
	}
	if replies == nil {
		replies = framing
	}
	return framing, replies
}

// A Texter is a Framing that Protocol.Open has made and that can say in words what a message is.
type Texter interface {
	AppendText(dst, body []byte) []byte // on one line, such as SET foo bar, without credentials
}

// noteOf is what the framing knows of its last message.
func noteOf(framing Framing) Note {
	if noter, ok := framing.(Noter); ok {
		return noter.Note()
	}
	return Note{}
}
