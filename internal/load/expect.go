package load

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// An Expectation judges replies. Its zero value holds for any.
type Expectation struct {
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

// ParseExpectation reads what may stand on a command line: contains (the request is in
// the reply), exact (the reply is the request), any, or else a regular expression.
func ParseExpectation(s string) (Expectation, error) {
	switch s {
	case "any":
		return Expectation{}, nil
	case "contains":
		return Expectation{kind: containsRequest}, nil
	case "exact":
		return Expectation{kind: isRequest}, nil
	}
	return ExpectRegexp(s)
}

// ExpectRegexp expects a match anywhere in the reply's bytes, in the syntax of package
// regexp. An empty pattern is an error: it would hold for any reply.
func ExpectRegexp(pattern string) (Expectation, error) {
	if pattern == "" {
		return Expectation{}, errors.New("the regular expression is empty; any reply would match it")
	}
	re, err := regexp.Compile(pattern)
	var wrong *syntax.Error
	if errors.As(err, &wrong) {
		return Expectation{}, fmt.Errorf("regular expression %#q: %s: %#q", pattern, wrong.Code, wrong.Expr)
	}
	return Expectation{kind: matches, pattern: re}, err
}

// ExpectText expects exactly this reply.
func ExpectText(text string) Expectation { return Expectation{kind: isText, text: text} }

// Holds says whether the reply to this request is as expected. It does not allocate.
func (e Expectation) Holds(request, reply []byte) bool {
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
func (e Expectation) Judges() bool { return e.kind != anything }

// String names what is expected, for a report: "a match of `^PONG`".
func (e Expectation) String() string {
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
