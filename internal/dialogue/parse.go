package dialogue

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-tcp/parley/internal/dialect"
)

// MaxLine is the longest line of a file, in bytes.
const MaxLine = 1 << 20

// Parse reads the text of a file, which errors call so: file:line:column: what is wrong; what helps.
// Columns count bytes from 1.
func Parse(file string, text []byte) (*Dialogue, error) {
	p := &parser{d: &Dialogue{File: file, notes: notes{}}}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		p.line++
		if err := p.readLine(bytes.TrimSuffix(line, []byte("\r"))); err != nil {
			return nil, err
		}
	}
	if len(p.d.Steps) == 0 {
		p.column = 1
		return nil, p.errorf("there is no step; > TEXT sends a message, < ~ REGEX expects one")
	}
	p.keep(place{len(p.d.Steps), ofStep})
	return p.d, nil
}

// A parser reads a file line by line.
type parser struct {
	d            *Dialogue
	line, column int // from 1: where an error is
	notes        []string
	caught       []string // names that groups have caught so far
	mayExample   bool     // the last statement was an expectation
	secure       bool     // behind tls
	ended        bool     // behind eof
	over         bool     // behind < eof
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d:%d: %w", p.d.File, max(1, p.line), max(1, p.column), fmt.Errorf(format, args...))
}

// keep has the notes so far stand before a statement.
func (p *parser) keep(at place) {
	if p.notes != nil {
		p.d.notes[at] = p.notes
		p.notes = nil
	}
}

func (p *parser) readLine(raw []byte) error {
	p.column = 1
	if len(raw) > MaxLine {
		return p.errorf("the line has %d bytes; the most is %d", len(raw), MaxLine)
	}
	line := string(raw)
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRuneInString(line[i:])
		if r == 0 || r == utf8.RuneError && size == 1 {
			p.column = i + 1
			return p.errorf(`a byte %#02x, which is no text; \x%02[1]x stands for it`, line[i])
		}
		i += size
	}
	statement := strings.TrimLeft(line, " \t")
	p.column += len(line) - len(statement)
	switch {
	case statement == "":
		p.notes = append(p.notes, "")
		return nil
	case statement[0] == '#':
		p.notes = append(p.notes, strings.TrimRight(statement, " \t\r"))
		return nil
	}
	return p.readStatement(statement)
}

func (p *parser) readStatement(s string) error {
	word, rest, _ := strings.Cut(s, " ")
	switch strings.TrimRight(word, "\t\r") {
	case "framing":
		return p.readFraming(rest)
	case "eg":
		return p.readExample(s)
	}
	step := Step{Line: p.line}
	if err := p.readStep(&step, word, s); err != nil {
		return err
	}
	if err := p.follows(&step); err != nil {
		return err
	}
	p.keep(place{len(p.d.Steps), ofStep})
	p.mayExample = step.Kind == Expect
	p.d.Steps = append(p.d.Steps, step)
	return nil
}

func (p *parser) readFraming(name string) error {
	name = strings.TrimSpace(name)
	switch {
	case len(p.d.Steps) > 0:
		return p.errorf("framing stands before the first step")
	case p.d.Framing != "":
		return p.errorf("the framing is %s already", p.d.Framing)
	}
	if _, err := dialect.Parse(name); err != nil {
		p.column += len("framing ")
		return p.errorf("framing: %w", err)
	}
	p.d.Framing = name
	p.keep(place{0, ofHead})
	return nil
}

func (p *parser) readExample(s string) error {
	if !p.mayExample {
		return p.errorf("eg is the example for the < line above it; there is none")
	}
	last := &p.d.Steps[len(p.d.Steps)-1]
	switch {
	case last.Judge.Kind == Exact:
		return p.errorf("what stands behind = is its own example; leave eg out")
	case last.Example != nil:
		return p.errorf("one eg is enough")
	}
	text, err := p.readText(s, "eg")
	if err != nil {
		return err
	}
	last.Example = &text
	p.keep(place{len(p.d.Steps) - 1, ofExample})
	return nil
}

// readStep reads a statement that begins with the word.
func (p *parser) readStep(step *Step, word, s string) (err error) {
	switch {
	case s[0] == '>':
		step.Kind = Send
		step.Text, err = p.readText(s, ">")
		return err
	case s[0] == '<':
		return p.readExpectation(step, s)
	case word == "within":
		return p.readWithin(step, s)
	case word == "wait":
		step.Kind = Wait
		step.Pause, err = p.readTime(s[len("wait"):], len("wait"))
		return err
	}
	switch strings.TrimSpace(s) {
	case "tls":
		step.Kind = StartTLS
	case "eof":
		step.Kind = End
	default:
		if word == "tls" || word == "eof" {
			p.column += len(word) + 1
			return p.errorf("nothing stands behind %s; a comment is a line of its own", word)
		}
		return p.errorf("no statement begins with %q; there are > < within eg tls wait eof framing and #", firstWord(s))
	}
	return nil
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if len(word) > 40 {
		word = strings.ToValidUTF8(word[:40], "") + "…"
	}
	return word
}

// readText reads the text behind a word and a space.
func (p *parser) readText(s, word string) (Text, error) {
	written, err := p.behind(s, word)
	if err != nil {
		return Text{}, err
	}
	text, err := ParseText(written)
	if err != nil {
		return Text{}, p.at(len(s)-len(written), err)
	}
	if err := p.known(text.Names(), func(name string) int { return strings.Index(s, "{"+name+"}") }); err != nil {
		return Text{}, err
	}
	return text, nil
}

// behind is what stands behind a word and a space, or nothing.
func (p *parser) behind(s, word string) (string, error) {
	rest := s[len(word):]
	if rest != "" && rest[0] != ' ' {
		p.column += len(word)
		return "", p.errorf("a space stands between %s and what follows it", word)
	}
	return strings.TrimPrefix(rest, " "), nil
}

// at is the error of a text that begins at a byte of the statement.
func (p *parser) at(begin int, err error) error {
	p.column += begin
	var of *textError
	if errors.As(err, &of) {
		p.column += of.at
	}
	return p.errorf("%w", err)
}

// known says whether names have values.
func (p *parser) known(names []string, at func(name string) int) error {
	for _, name := range names {
		if name != "n" && name != "conn" && !slices.Contains(p.caught, name) {
			p.column += max(0, at(name))
			return p.errorf("no group named %s is caught by a ~ before; {{%[1]s}} stands for the text {%[1]s}", name)
		}
	}
	return nil
}

func (p *parser) readWithin(step *Step, s string) error {
	const word = "within"
	limit, _, found := strings.Cut(s[len(word):], "<")
	if !found {
		return p.errorf("within bounds an expectation: within 2s < ~ ^250")
	}
	var err error
	if step.Within, err = p.readTime(limit, len(word)); err != nil {
		return err
	}
	n := len(word) + len(limit)
	p.column += n
	return p.readExpectation(step, s[n:])
}

// readTime reads a time behind a word, with blanks around it.
func (p *parser) readTime(s string, behind int) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil || d <= 0 {
		p.column += behind
		return 0, p.errorf("%q is no time; write one with its unit, such as 500ms or 2s", strings.TrimSpace(s))
	}
	return d, nil
}

func (p *parser) readExpectation(step *Step, s string) (err error) {
	rest, err := p.behind(s, "<")
	if err != nil {
		return err
	}
	p.column += len(s) - len(rest)
	judge := &step.Judge
	step.Kind = Expect
	trimmed := strings.TrimRight(rest, " \t\r")
	switch {
	case trimmed == "eof":
		step.Kind = ExpectEnd
		return nil
	case trimmed == "*":
		return nil
	case strings.HasPrefix(rest, "="):
		judge.Kind = Exact
		judge.Text, err = p.readText(rest, "=")
		return err
	case strings.HasPrefix(rest, "~"):
		judge.Kind = Matches
		return p.readPattern(judge, rest, "~")
	case strings.HasPrefix(rest, "!~"):
		judge.Kind = Differs
		return p.readPattern(judge, rest, "!~")
	case trimmed == "":
		return p.errorf("what is expected? = TEXT, ~ REGEX, !~ REGEX, * or eof")
	}
	if word := firstWord(rest); word == "*" || word == "eof" {
		p.column += len(word) + 1
		return p.errorf("nothing stands behind %s; a comment is a line of its own", word)
	}
	return p.errorf("%q does not say how to judge; write < = before an exact text, < ~ before a regular expression; there are = ~ !~ * and eof", firstWord(rest))
}

func (p *parser) readPattern(judge *Judge, s, word string) (err error) {
	if judge.Pattern, err = p.behind(s, word); err != nil {
		return err
	}
	begin := len(s) - len(judge.Pattern)
	if strings.HasSuffix(judge.Pattern, "\r") { // with it, it could not be written on a line again
		return p.at(len(s)-1, errors.New(`a CR at the end of the regular expression, beside that of the line; \r stands for it`))
	}
	if err := judge.compile(); err != nil {
		return p.at(begin, err)
	}
	var names []string
	pieces := piecesOf(judge.Pattern)
	for _, piece := range pieces[:len(pieces)-1] {
		names = append(names, piece.name)
	}
	err = p.known(names, func(name string) int {
		i := slices.Index(names, name)
		return begin + pieces[i].at
	})
	p.caught = append(p.caught, judge.groups()...)
	return err
}

// follows says whether a step can stand behind those before.
func (p *parser) follows(step *Step) error {
	switch sends := step.Kind == Send || step.Kind == End || step.Kind == StartTLS; {
	case p.over:
		return p.errorf("nothing comes behind < eof: the server has ended the conversation")
	case p.ended && sends:
		return p.errorf("nothing is sent behind eof: our side of the conversation has ended")
	case p.secure && step.Kind == StartTLS:
		return p.errorf("the connection speaks TLS already")
	}
	p.ended = p.ended || step.Kind == End
	p.over = step.Kind == ExpectEnd
	p.secure = p.secure || step.Kind == StartTLS
	return nil
}
