package parley

import "errors"

var (
	// Chunks takes what one read returned as one request, less one LF or CRLF at
	// its end; replies end with nothing. It serves peers that send no newline
	// and wait for each reply; it can tell nothing else apart.
	Chunks Framing = chunks{}

	// UntilClose takes everything up to the end of file as one message, as whois (RFC 3912),
	// finger (RFC 1288) and HTTP/1.0 (RFC 1945, section 7.2.2) do. Who sends one half-closes
	// behind it; a server that replies so closes.
	UntilClose Framing = untilClose{}

	// NoReplies is for Server.Replies and Dialer.Replies: there are none, and nobody waits
	// for one, as with syslog (RFC 6587) or Graphite. Such a server never sends a byte. Its
	// Handler is asked, and what it answers goes nowhere. For a client, what comes all the
	// same is ErrStray.
	NoReplies Framing = noReplies{}
)

type chunks struct{}

func (chunks) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	body := dropNewline(buf)
	if len(body) > max {
		return 0, nil, ErrTooLong
	}
	return len(buf), body, nil
}

func dropNewline(body []byte) []byte {
	if n := len(body); n > 0 && body[n-1] == '\n' {
		return dropCR(body[:n-1])
	}
	return body
}

func (chunks) Begin(dst []byte) []byte { return dst }

func (chunks) End(dst []byte, _ int) ([]byte, error) { return dst, nil }

func (chunks) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	return func(p []byte, _ bool) (n, head, tail int, done bool, err error) {
		return len(p), 0, len(p) - len(dropNewline(p)), true, nil
	}
}

type untilClose struct{}

func (untilClose) Next(buf []byte, _, max int, eof bool) (int, []byte, error) {
	switch {
	case len(buf) > max:
		return 0, nil, ErrTooLong
	case !eof:
		return 0, nil, nil
	}
	return len(buf), buf, nil
}

func (untilClose) Begin(dst []byte) []byte { return dst }

func (untilClose) End(dst []byte, _ int) ([]byte, error) { return dst, nil }

func (untilClose) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	return func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
		return len(p), 0, 0, eof, nil
	}
}

type noReplies struct{}

// Next of what comes where nothing should: it is no message.
func (noReplies) Next(buf []byte, _, _ int, _ bool) (int, []byte, error) {
	if len(buf) == 0 {
		return 0, nil, nil
	}
	return len(buf), nil, ErrStray
}

func (noReplies) Begin(dst []byte) []byte { return dst }

func (noReplies) End(dst []byte, start int) ([]byte, error) {
	return dst[:start], errors.New("there are no replies")
}

func (noReplies) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	return func(p []byte, _ bool) (n, head, tail int, done bool, err error) {
		return len(p), 0, 0, false, ErrStray
	}
}
