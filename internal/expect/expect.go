package expect

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// A Rule judges replies. Its zero value holds for any.
type Rule struct {
	kind    expected
	pattern *regexp.Regexp
	text    string
}

type expected int

const (
	anything expected = iota
	containsRequest
	isRequest
	matches
	isText
)

// Parse reads what may stand on a command line: contains (the request is in
// the reply), exact (the reply is the request), any, or else a regular expression.
func Parse(s string) (Rule, error) {
	switch s {
	case "any":
		return Rule{}, nil
	case "contains":
		return Rule{kind: containsRequest}, nil
	case "exact":
		return Rule{kind: isRequest}, nil
	}
	return Regexp(s)
}

// Regexp expects a match anywhere in the reply's bytes, as Compile reads the pattern.
func Regexp(pattern string) (Rule, error) {
	re, err := Compile(pattern)
	if err != nil {
		return Rule{}, err
	}
	return Rule{kind: matches, pattern: re}, nil
}

// Compile reads a regular expression, in the syntax of package regexp, and names what is wrong
// with it. An empty one is an error: it would match anything.
func Compile(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, errors.New("the regular expression is empty; anything would match it")
	}
	re, err := regexp.Compile(pattern)
	var wrong *syntax.Error
	if errors.As(err, &wrong) {
		return nil, fmt.Errorf("regular expression %#q: %s: %#q", pattern, wrong.Code, wrong.Expr)
	}
	return re, err
}

// Text expects exactly this reply.
func Text(text string) Rule { return Rule{kind: isText, text: text} }

// Holds says whether the reply to this request is as expected. It does not allocate.
func (e Rule) Holds(request, reply []byte) bool {
	switch e.kind {
	case containsRequest:
		return bytes.Contains(reply, request)
	case isRequest:
		return bytes.Equal(reply, request)
	case matches:
		return e.pattern.Match(reply)
	case isText:
		return string(reply) == e.text
	}
	return true
}

// Judges says whether there are replies for which it does not hold.
func (e Rule) Judges() bool { return e.kind != anything }

// String names what is expected, for a report: "a match of `^PONG`".
func (e Rule) String() string {
	switch e.kind {
	case containsRequest:
		return "a reply that contains the request"
	case isRequest:
		return "the request itself"
	case matches:
		return fmt.Sprintf("a match of %#q", e.pattern)
	case isText:
		return fmt.Sprintf("the text %q", e.text)
	}
	return "any reply"
}
