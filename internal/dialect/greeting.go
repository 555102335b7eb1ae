package dialect

import (
	"strings"

	"github.com/parley-tcp/parley"
)

// Greeted makes a framing, for a Dialer, in which the first message of the server is a greeting
// that is framed by itself. It is no reply: its Note is Alone.
func Greeted(requests, replies, greeting parley.Framing) parley.Protocol {
	return greeted{requests, replies, greeting}
}

type greeted struct {
	parley.Framing
	replies, greeting parley.Framing
}

func (g greeted) Open() (ofRequests, ofReplies parley.Framing) {
	ofRequests, ofReplies = parley.OpenFraming(g.Framing, g.replies)
	return ofRequests, &behindGreeting{Framing: ofReplies, greeting: g.greeting}
}

// behindGreeting is a framing of replies of which one comes before.
type behindGreeting struct {
	parley.Framing
	greeting parley.Framing // nil once it is there
	note     parley.Note
}

func (b *behindGreeting) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	framing := b.Framing
	if b.greeting != nil {
		framing = b.greeting
	}
	n, body, err := framing.Next(buf, scanned, max, eof)
	if n > 0 && err == nil {
		b.note.Alone = b.greeting != nil
		b.greeting = nil
	}
	return n, body, err
}

func (b *behindGreeting) Note() parley.Note { return b.note }

// BehindGreeting is the framing of what follows a greeting that has been heard already, as behind
// STARTTLS, where the server does not greet again.
func (f Framing) BehindGreeting() Framing {
	if f.SpeaksFirst {
		f.SpeaksFirst, f.Requests = false, f.greeted
	}
	return f
}

// WithTLSBelow is the framing for who opens TLS below it where that is agreed on: what is said then is
// framed as before.
func (f Framing) WithTLSBelow() Framing {
	if f.Name == "smtp" {
		f.Requests = protocol{func() grammar { return &smtp{below: true} }}
	}
	return f
}

// OfGreeting is the framing of what a server says first, by itself: that of replies, or of requests
// where the end of the connection ends a reply, or there is none; else a line.
func (f Framing) OfGreeting() Framing {
	request, reply, _ := strings.Cut(f.Name, "/")
	for _, name := range []string{reply, request} {
		if name != "" && name != "close" && name != "none" {
			if greeting, err := Parse(name); err == nil {
				return greeting
			}
		}
	}
	return Framing{Name: "line", Requests: parley.Lines}
}

// IsProtocol says whether a message is all of its bytes, and may have words.
func (f Framing) IsProtocol() bool {
	_, is := f.Requests.(parley.Protocol)
	return is
}
