package dialect

import (
	"sync"

	"github.com/parley-tcp/parley"
)

// A side says whose messages are meant.
type side uint8

const (
	requests side = iota
	replies
)

// A grammar is what a protocol knows of one connection. Its methods are called one at a time.
type grammar interface {
	// parser is for the next message of a side. It is asked for when the message's first byte
	// is there, and again if it turns out too long to be held.
	parser(of side) parser

	// ended is told of a message that a parser has read to its end.
	ended(of side, p parser) parley.Note

	// encode makes a message of the words at dst[start:], of a side's. An error is as of
	// parley.Framing.End.
	encode(of side, dst []byte, start int) ([]byte, error)

	// appendText says in words what a message is, by its bytes alone: it may be called at any time.
	appendText(of side, dst []byte, m Message) []byte
}

// A parser finds the end of one message, and keeps of it what its grammar wants to know.
type parser interface {
	// parse is given what follows. It returns how many bytes of p it has done with, the rest
	// is to come again with more behind it, and whether the message ends there. With eof
	// nothing comes behind p. An error wraps parley.ErrMalformed.
	parse(p []byte, eof bool) (n int, done bool, err error)
}

// A greeter is a grammar whose server speaks first.
type greeter interface {
	greet(dst []byte) []byte // appends what a server says before it is asked anything
}

// An author is a grammar that knows what is in some of the messages that it makes.
type author interface {
	// made returns the parser of a message that encode has made, as if it had read that; nil
	// if it has to.
	made(of side, message []byte) parser
}

// A protocol is a parley.Protocol of a grammar.
type protocol struct{ new func() grammar }

func (p protocol) Open() (ofRequests, ofReplies parley.Framing) {
	c := &connection{grammar: p.new()}
	c.author, _ = c.grammar.(author)
	return &direction{connection: c, side: requests}, &direction{connection: c, side: replies}
}

func (p protocol) first() parley.Framing {
	first, _ := p.Open()
	return first
}

func (p protocol) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	return p.first().Next(buf, scanned, max, eof)
}
func (p protocol) Begin(dst []byte) []byte                   { return dst }
func (p protocol) End(dst []byte, start int) ([]byte, error) { return p.first().End(dst, start) }

// A connection is what both directions share.
type connection struct {
	mu      sync.Mutex
	grammar grammar
	author  author // the grammar, if it is one
}

// A direction is the framing of one side of a connection.
type direction struct {
	*connection
	side    side
	current parser // of a message that is being read; nil between two
	parsed  int    // how much of it that has done with
	note    parley.Note
	streams bool // the last message was a chunk
}

func (d *direction) Note() parley.Note { return d.note }

func (d *direction) AppendText(dst, body []byte) []byte {
	return d.grammar.appendText(d.side, dst, Message{Body: body})
}

// Next goes on where it was: what was parsed is not looked at again.
func (d *direction) Next(buf []byte, _, max int, eof bool) (int, []byte, error) {
	if len(buf) == 0 {
		return 0, nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil {
		d.current, d.parsed = d.grammar.parser(d.side), 0
	}
	held := buf
	switch {
	case len(buf) > max && d.current == parser(chunks{}): // it may end anywhere
		held = buf[:max]
	case len(buf) > max: // what is behind cannot change that a message is too long
		held = buf[:max+1]
	}
	n, done, err := d.current.parse(held[d.parsed:], eof && len(held) == len(buf))
	d.parsed += n
	switch {
	case err == nil && !done && len(buf) <= max && coming(d.current) <= uint64(max-d.parsed):
		return 0, nil, nil
	case err == nil && (!done || d.parsed > max):
		err = parley.ErrTooLong
	}
	p, whole := d.current, d.parsed
	d.current = nil
	if err != nil {
		return 0, nil, err
	}
	d.note = d.grammar.ended(d.side, p)
	_, d.streams = p.(chunks)
	return whole, buf[:whole], nil
}

// A foreteller is a parser that may know how many bytes are still to come at least.
type foreteller interface{ coming() uint64 }

func coming(p parser) uint64 {
	if f, ok := p.(foreteller); ok {
		return f.coming()
	}
	return 0
}

// Skip reads a message that is not held. Nothing of it was noted.
func (d *direction) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	var current parser
	return func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if current == nil {
			current = d.grammar.parser(d.side)
		}
		n, done, err = current.parse(p, eof)
		if done {
			d.note = d.grammar.ended(d.side, current)
		}
		return n, 0, 0, done, err
	}
}

// Greet appends the greeting, if there is one.
func (d *direction) Greet(dst []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	g, ok := d.grammar.(greeter)
	if !ok {
		return dst
	}
	start := len(dst)
	dst = g.greet(dst)
	p, _ := d.parseWhole(dst[start:], false)
	d.note = d.grammar.ended(d.side, p)
	return dst
}

func (d *direction) Begin(dst []byte) []byte { return dst }

// End leaves a whole message alone, and makes one of words.
func (d *direction) End(dst []byte, start int) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, whole := d.parseWhole(dst[start:], false)
	if !whole {
		var err error
		if dst, err = d.grammar.encode(d.side, dst, start); err != nil {
			return dst, err
		}
		if p, whole = d.parseMade(dst[start:]); !whole {
			return dst, errNotOne
		}
	}
	d.note = d.grammar.ended(d.side, p)
	return dst, nil
}

var errNotOne = parley.ErrUnfinished

// parseMade is parseWhole of a message that encode has made.
func (d *direction) parseMade(message []byte) (p parser, whole bool) {
	if d.author != nil {
		if p = d.author.made(d.side, message); p != nil {
			return p, true
		}
	}
	return d.parseWhole(message, true)
}

// parseWhole says whether there is one message; with eof also one that the end of the stream ends.
func (d *direction) parseWhole(message []byte, eof bool) (p parser, whole bool) {
	p = d.grammar.parser(d.side)
	n, done, err := p.parse(message, eof)
	return p, err == nil && done && n == len(message)
}

// chunks is a parser of what comes as it comes, for who has left the protocol.
type chunks struct{}

func (chunks) parse(p []byte, _ bool) (int, bool, error) { return len(p), true, nil }

// Streams reports whether a framing of Protocol.Open has left its protocol, so that the message
// it found last was only what had come.
func Streams(framing parley.Framing) bool {
	d, ok := framing.(*direction)
	return ok && d.streams
}
