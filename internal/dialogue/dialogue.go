// Package dialogue reads and writes conversations as people write them down, and plays the
// client's side of one: docs/dialogues.md has the grammar. Who plays the server's side is
// internal/answer.
package dialogue

import (
	"regexp"
	"time"
)

// A Dialogue is what a file has, in the order of its lines.
type Dialogue struct {
	File    string // as errors name it
	Framing string // of `framing NAME`, which may stand before the first step; "" if it does not say
	Steps   []Step

	notes notes // comments and blank lines, to be printed again in their places
}

// A Kind says what a step does.
type Kind uint8

const (
	Send      Kind = iota + 1 // > TEXT: the client sends a message
	Expect                    // < JUDGE: the server's next message
	StartTLS                  // tls: from here on the connection speaks TLS
	Wait                      // wait DURATION: the client pauses
	End                       // eof: the client's end of file
	ExpectEnd                 // < eof: the server's
)

// A Step is one of a dialogue. Which fields are set depends on its kind.
type Step struct {
	Kind   Kind
	Line   int           // of the file, from 1
	Text   Text          // Send: the message, without its framing
	Judge  Judge         // Expect
	Within time.Duration // Expect, ExpectEnd: how long it may take; 0 for as long as any
	Pause  time.Duration // Wait

	// Example is what a mock says in this place, as `eg TEXT` below the line says; nil if nothing
	// does, and a Judge of exact text is its own example.
	Example *Text
}

// A Judge says what a message of the server has to be.
type Judge struct {
	Kind    JudgeKind
	Text    Text   // Exact
	Pattern string // Matches, Differs: a regular expression as it was written, {name} in it included

	re *regexp.Regexp // Pattern, where it has no {name}; compiled once
}

// A JudgeKind is one of the ways to judge.
type JudgeKind uint8

const (
	Anything JudgeKind = iota // *
	Exact                     // = TEXT
	Matches                   // ~ REGEX: it has a match; named groups are caught
	Differs                   // !~ REGEX: it has none
)

// A Text is bytes with names in braces, such as {n}, that stand for values. Only a letter followed
// by letters, digits and underscores is a name; any other brace is a brace, and {{ before a name
// with }} behind it is that name in braces.
type Text struct {
	pieces []piece
}

// A piece is literal bytes with the value of a name behind them, if there is one.
type piece struct {
	literal []byte
	name    string
}

// Values are what names stand for. {n} is the number of the play from 1, {conn} that of the
// connection, and the others what named groups caught.
type Values map[string][]byte
