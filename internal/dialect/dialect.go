// Package dialect has the framings by their names, and the protocols that services speak:
// redis, http, smtp, memcached.
package dialect

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/suggest"
)

// A Framing is what a name stands for.
type Framing struct {
	Name     string         // as Parse takes it
	Requests parley.Framing // as the Framing of a Server or a Dialer
	Replies  parley.Framing // the same of its Replies: nil if they are framed as requests are

	// Of a protocol:
	Words       Words                                            // shows its messages; nil if a message is its words
	SpeaksFirst bool                                             // the server sends a greeting before anything is sent to it
	greeted     parley.Framing                                   // of Requests where it has been heard already; nil if there is none
	Compose     func(words []string) []byte                      // makes a request of words; nil if they are joined by spaces
	Print       func(dst, reply []byte, terminal bool) []byte    // as the protocol's own client does; nil if a reply is shown exactly
	Status      func(reply []byte) (code string, ok bool)        // such as 200; nil if there is none
	failed      func(reply []byte) bool                          // see Failed; by its status if nil
	Early       func(message []byte) bool                        // whether the server says this to a request that is not whole yet; nil if it never does
	Waits       func(request []byte) bool                        // whether the next request may be sent only behind the reply to this one; nil if never
	Pipelining  func(reply []byte) bool                          // whether a reply says that requests may be sent before the one before has its reply; nil if they always may
	Steady      func(request, reply []byte) []byte               // what a server says again to the same request, of a greeting without one; nil if all of it
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

// Names are those of messages in both directions, in the order of DESIGN, and last the one that
// is for replies only; REQUEST/REPLY joins two of them that are no protocol's.
var Names = []Name{
	{"line", "ends at LF, one CR before it dropped"},
	{"crlf", "the same, sent with CRLF"},
	{"chunk", "what one read returned"},
	{"length", "a 4-byte length before it; length:2, length:4le, length:4incl and so on"},
	{"delim:HEX", "ends at these bytes, such as delim:00"},
	{"frame:HEX:HEX", "what lies between a start and an end, such as frame:02:03"},
	{"mllp", "HL7: frame:0b:1c0d"},
	{"stx", "between STX and ETX: frame:02:03"},
	{"octets", "a decimal length and a space before it: syslog, RFC 6587"},
	{"netstring", "5:hello,"},
	{"close", "everything up to the end of file"},
	{"redis", "commands and replies of redis: RESP2, RESP3, inline"},
	{"http", "HTTP/1.1 and 1.0"},
	{"smtp", "mail: commands, messages and replies of several lines"},
	{"memcached", "the text protocol of memcached, with its data"},
	{none, "there are no replies: line/none"},
}

// none is behind the slash only.
const none = "none"

// Completions are the names that may stand where some of one was typed, the part before its slash
// included.
func Completions(typed string) []Name {
	request, _, two := strings.Cut(typed, "/")
	var names []Name
	for _, n := range Names {
		switch {
		case !two && n.Name != none:
			names = append(names, n)
		case two && !isProtocol(n.Name) && !isProtocol(request):
			names = append(names, Name{request + "/" + n.Name, n.What})
		}
	}
	return names
}

// Parse reads REQUEST[/REPLY].
func Parse(name string) (Framing, error) {
	request, reply, two := strings.Cut(name, "/")
	for _, one := range []string{request, reply} {
		if two && isProtocol(one) {
			return Framing{}, fmt.Errorf("%s is requests and replies alike, so nothing goes with it; use %[1]s alone", one)
		}
	}
	if request == none {
		return Framing{}, errors.New("none is for replies: line/none has requests of lines, and no replies")
	}
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

func isProtocol(name string) bool {
	return slices.ContainsFunc(protocols, func(p Framing) bool { return p.Name == name })
}

func parseOne(name string) (Framing, error) {
	if i := slices.IndexFunc(protocols, func(p Framing) bool { return p.Name == name }); i >= 0 {
		return protocols[i], nil
	}
	f := Framing{Name: name}
	kind, of, parts := strings.Cut(name, ":")
	var err error
	switch {
	case strings.HasPrefix(kind, "length"):
		f.Requests, err = parseLength(name)
	case kind == "delim":
		f.Requests, err = parseDelimited(of)
	case kind == "frame":
		f.Requests, err = parseFramed(of)
	case parts || plain[kind] == nil:
		err = unknown(name, kind)
	default:
		f.Requests = plain[kind]
	}
	if err != nil {
		return Framing{}, err
	}
	return f, nil
}

// plain are the framings whose names say all.
var plain = map[string]parley.Framing{
	"line":      parley.Lines,
	"crlf":      parley.LinesCRLF,
	"chunk":     parley.Chunks,
	"mllp":      parley.Framed([]byte{0x0b}, []byte{0x1c, 0x0d}),
	"stx":       parley.Framed([]byte{0x02}, []byte{0x03}),
	"octets":    parley.OctetCounted,
	"netstring": parley.Netstring,
	"close":     parley.UntilClose,
	none:        parley.NoReplies,
}

// unknown is the error for a name whose kind, the part before a colon, no framing has.
func unknown(name, kind string) error {
	var kinds []string
	for _, n := range Names {
		k, _, _ := strings.Cut(n.Name, ":")
		kinds = append(kinds, k)
	}
	if meant := suggest.DidYouMean(kind, "", kinds); meant != "" {
		return fmt.Errorf("no framing is named %q%s", name, meant)
	}
	return fmt.Errorf("no framing is named %q; there are %s", name, allNames())
}

func allNames() string {
	var names []string
	for _, n := range Names {
		names = append(names, n.Name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and, for replies, " + names[last]
}

// parseLength reads length[:N][le][incl].
func parseLength(name string) (parley.Framing, error) {
	rest, inclusive := strings.CutSuffix(strings.TrimPrefix(name, "length"), "incl")
	rest, little := strings.CutSuffix(rest, "le")
	n, known := map[string]int{"": 4, ":1": 1, ":2": 2, ":4": 4, ":8": 8}[rest]
	if !known {
		return nil, errors.New("a length has 1, 2, 4 or 8 bytes; le makes it little-endian and incl has it count itself, as in length:2le or length:4incl")
	}
	return parley.Length{Bytes: n, Little: little, Inclusive: inclusive}, nil
}

func parseDelimited(of string) (parley.Framing, error) {
	end, err := hex.DecodeString(of)
	if err != nil || len(end) == 0 {
		return nil, errors.New("use delim: with one or more bytes in hex, such as delim:00 or delim:0d0a0d0a")
	}
	return parley.Delimited(end...), nil
}

func parseFramed(of string) (parley.Framing, error) {
	before, behind, _ := strings.Cut(of, ":")
	start, err := hex.DecodeString(before)
	end, err2 := hex.DecodeString(behind)
	if err != nil || err2 != nil || len(start) == 0 || len(end) == 0 {
		return nil, errors.New("use frame: with the bytes of a start and of an end in hex, such as frame:02:03 or frame:0b:1c0d")
	}
	return parley.Framed(start, end), nil
}

// protocols are those that have a name.
var protocols = []Framing{redis, memcached, httpFraming, smtpFraming}

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

func (wholeChunks) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	return func(p []byte, _ bool) (n, head, tail int, done bool, err error) {
		return len(p), 0, 0, true, nil
	}
}

// OfReplies is the framing of replies, by itself.
func (f Framing) OfReplies() parley.Framing {
	if f.Replies != nil {
		return f.Replies
	}
	return f.Requests
}
