// Package dialect has the framings by their names, and the protocols that services speak:
// redis, http, smtp, memcached.
package dialect

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parley-tcp/parley"
)

// A Framing is what a name stands for.
type Framing struct {
	Name     string         // as Parse takes it
	Requests parley.Framing // as the Framing of a Server or a Dialer
	Replies  parley.Framing // the same of its Replies: nil if they are framed as requests are

	// Of a protocol:
	Words       Words                                            // shows its messages; nil if a message is its words
	SpeaksFirst bool                                             // the server sends a greeting before anything is sent to it
	Compose     func(words []string) []byte                      // makes a request of words; nil if they are joined by spaces
	Print       func(dst, reply []byte, terminal bool) []byte    // as the protocol's own client does; nil if a reply is shown exactly
	Status      func(reply []byte) (code string, ok bool)        // such as 200; nil if there is none
	For         func(f Framing, host string) (addressed Framing) // with the name of the server in its requests; nil if they do not need it
}

// Words say on one line what a message of a protocol is.
type Words interface {
	AppendRequest(dst []byte, m Message) []byte
	AppendReply(dst []byte, m Message) []byte
}

// A Message is one that words are wanted for.
type Message struct {
	Body   []byte // exact bytes
	Cut    uint64 // how many more there were
	Secret bool   // credentials are not to be shown
}

// A Name is one of the names, or how some are made up.
type Name struct{ Name, What string }

// Names are those of messages in both directions, in the order of DESIGN; REQUEST/REPLY joins two
// of them.
var Names = []Name{
	{"line", "ends at LF, one CR before it dropped"},
	{"crlf", "the same, sent with CRLF"},
	{"chunk", "what one read returned"},
	{"length", "a 4-byte length before it; length:2, length:4le, length:4incl and so on"},
	{"delim:HEX", "ends at these bytes, such as delim:00"},
	{"smtp", "mail: commands, messages and replies of several lines"},
}

// Parse reads REQUEST[/REPLY].
func Parse(name string) (Framing, error) {
	request, reply, two := strings.Cut(name, "/")
	f, err := parseOne(request)
	if err != nil || !two {
		return f, err
	}
	r, err := parseOne(reply)
	if err != nil {
		return Framing{}, err
	}
	f.Name, f.Replies = name, r.Requests
	return f, nil
}

func parseOne(name string) (Framing, error) {
	f := Framing{Name: name}
	switch name {
	case "line":
		f.Requests = parley.Lines
	case "crlf":
		f.Requests = parley.LinesCRLF
	case "chunk":
		f.Requests = parley.Chunks
	case "length":
		f.Requests = parley.LengthPrefixed
	default:
		if i := slices.IndexFunc(protocols, func(p Framing) bool { return p.Name == name }); i >= 0 {
			return protocols[i], nil
		}
		var end byte
		if n, err := fmt.Sscanf(name, "delim:%02x", &end); n != 1 || err != nil || len(name) != len("delim:00") {
			return Framing{}, errors.New("use line, chunk, length, or delim:XX with a byte in hex such as delim:00")
		}
		f.Requests = parley.Delimited(end)
	}
	return f, nil
}

// protocols are those that have a name.
var protocols = []Framing{smtpFraming}

// Onlooker is the framing for who looks on and does not talk: a chunk is then what a read
// returned to the byte, since nobody can say that a newline at its end was no part of it.
func (f Framing) Onlooker() Framing {
	f.Requests, f.Replies = wholeReads(f.Requests), wholeReads(f.Replies)
	return f
}

func wholeReads(framing parley.Framing) parley.Framing {
	if framing == parley.Chunks {
		return wholeChunks{framing}
	}
	return framing
}

// wholeChunks is parley.Chunks that takes nothing off.
type wholeChunks struct{ parley.Framing }

func (wholeChunks) Next(buf []byte, _, _ int, _ bool) (int, []byte, error) {
	return len(buf), buf, nil
}

// OfReplies is the framing of replies, by itself.
func (f Framing) OfReplies() parley.Framing {
	if f.Replies != nil {
		return f.Replies
	}
	return f.Requests
}
