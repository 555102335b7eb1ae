// Package redact conceals parts of messages from those who keep, show or pass on what was said. The
// messages themselves go their way untouched.
package redact

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/expect"
)

// A Rule says what is to be concealed: each match of a regular expression, by a text.
type Rule struct {
	pattern *regexp.Regexp
	with    []byte // as Regexp.Expand takes it
}

// Concealed is what stands for a match of a rule that does not say.
const Concealed = "[redacted]"

// Parse reads REGEX or REGEX=>TEXT, in which $1 or ${name} is a group of it and $$ a dollar. The last
// => counts. The error is a line.
func Parse(s string) (Rule, error) {
	pattern, with := s, Concealed
	if i := strings.LastIndex(s, "=>"); i >= 0 {
		pattern, with = s[:i], s[i+2:]
	}
	if pattern == "" {
		return Rule{}, errors.New("the regular expression is empty; say what is to be concealed")
	}
	re, err := expect.Compile(pattern)
	if err != nil {
		return Rule{}, err
	}
	if mayBeEmpty(re) {
		return Rule{}, fmt.Errorf("regular expression %#q may match no bytes at all; have it match something, with + instead of *", pattern)
	}
	return Rule{re, []byte(with)}, checkGroups(re, with)
}

// mayBeEmpty reports whether an expression may match no bytes, somewhere. It would hide there what
// else it matches.
func mayBeEmpty(re *regexp.Regexp) bool {
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	return err != nil || isEmpty(tree)
}

func isEmpty(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpLiteral, syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpNoMatch:
		return false
	case syntax.OpAlternate:
		return slices.ContainsFunc(re.Sub, isEmpty)
	case syntax.OpConcat:
		return !slices.ContainsFunc(re.Sub, func(part *syntax.Regexp) bool { return !isEmpty(part) })
	case syntax.OpCapture, syntax.OpPlus:
		return isEmpty(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min == 0 || isEmpty(re.Sub[0])
	}
	return true // what may be left out, and what stands between bytes
}

var groupInText = regexp.MustCompile(`\$(\$|\w+|\{(\w+)\})?`)

// checkGroups sees that the groups which a text names are there.
func checkGroups(re *regexp.Regexp, text string) error {
	for _, m := range groupInText.FindAllStringSubmatch(text, -1) {
		name := m[1]
		if m[2] != "" {
			name = m[2]
		}
		number, err := strconv.Atoi(name)
		switch {
		case name == "$" || err == nil && number <= re.NumSubexp() || err != nil && name != "" && slices.Contains(re.SubexpNames(), name):
		case name == "":
			return fmt.Errorf("a $ in %#q has no group behind it; write $$ for a dollar", text)
		default:
			return fmt.Errorf("%#q names a group %s, which %#q does not have; ${1} is its first, and $$ a dollar", text, name, re)
		}
	}
	return nil
}

// Rules are applied one after the other.
type Rules []Rule

// Replace returns the message with what is to be concealed replaced, in memory of its own, and whether
// there was anything.
func (rules Rules) Replace(message []byte) (concealed []byte, any bool) {
	for i := range rules {
		if out, is := rules[i].replace(message); is {
			message, any = out, true
		}
	}
	return message, any
}

func (r *Rule) replace(message []byte) (out []byte, any bool) {
	done := 0
	for _, at := range r.pattern.FindAllSubmatchIndex(message, -1) {
		out = append(out, message[done:at[0]]...)
		out = r.pattern.Expand(out, r.with, message, at)
		done, any = at[1], true
	}
	if !any {
		return message, false
	}
	out = append(out, message[done:]...)
	if out == nil {
		out = []byte{} // a message of no bytes, and not none
	}
	return out, true
}

// Observer tells another of events without what is to be concealed. It wants what the other wants.
func (rules Rules) Observer(next parley.Observer) parley.Observer {
	if len(rules) == 0 || next == nil {
		return next
	}
	return &observer{next, rules}
}

type observer struct {
	next  parley.Observer
	rules Rules
}

func (o *observer) Observe(e *parley.Event) {
	body, is := o.rules.Replace(e.Body)
	if e.Kind == parley.Unfinished && len(e.Body) > 0 { // of which half a match may be there
		body, is = []byte(Concealed), true
	}
	err, hasErr := o.rules.conceal(e.Err)
	if !is && !hasErr {
		o.next.Observe(e)
		return
	}
	concealed := *e
	concealed.Err = err
	if is {
		concealed.Body, concealed.Raw, concealed.Whole = body, withBody(e.Raw, e.Body, body), len(e.Body)
	}
	o.next.Observe(&concealed)
}

func (o *observer) Wants(kind parley.EventKind) bool {
	chooser, chooses := o.next.(interface{ Wants(parley.EventKind) bool })
	return chooses && chooser.Wants(kind) || !chooses && kind != parley.Answered
}

func (o *observer) Fork() parley.Observer {
	next := o.next
	if forks, ok := next.(interface{ Fork() parley.Observer }); ok {
		next = forks.Fork()
	}
	return &observer{next, o.rules}
}

func (o *observer) Flush() {
	if flushes, ok := o.next.(interface{ Flush() }); ok {
		flushes.Flush()
	}
}

// conceal is an error whose text may have what a peer said.
func (rules Rules) conceal(err error) (concealed error, any bool) {
	if err == nil {
		return nil, false
	}
	text, is := rules.Replace([]byte(err.Error()))
	if !is {
		return err, false
	}
	return concealedError{string(text), err}, true
}

// A concealedError is an error in other words. What is behind it cannot be had.
type concealedError struct {
	text string
	err  error
}

func (e concealedError) Error() string        { return e.text }
func (e concealedError) Is(target error) bool { return errors.Is(e.err, target) }

// Gate asks another about exchanges without what is to be concealed.
func (rules Rules) Gate(next parley.Gate) parley.Gate {
	if len(rules) == 0 || next == nil {
		return next
	}
	return &gate{next, rules}
}

type gate struct {
	next  parley.Gate
	rules Rules
}

func (g *gate) Pass(s *parley.Session, batch []parley.Exchange) bool {
	for i := range batch {
		if x, is := g.rules.Exchange(batch[i]); is {
			batch = slices.Clone(batch) // whose owner writes its bytes
			batch[i] = x
			for j := i + 1; j < len(batch); j++ {
				batch[j], _ = g.rules.Exchange(batch[j])
			}
			break
		}
	}
	return g.next.Pass(s, batch)
}

// Exchange returns an exchange without what is to be concealed, and whether there was anything. Its
// bytes are not changed, but replaced; where its raw messages are in their directions stays as it is.
func (rules Rules) Exchange(x parley.Exchange) (concealed parley.Exchange, any bool) {
	request := rules.side(&x.Request, &x.RawRequest, &x.RequestWhole)
	reply := rules.side(&x.Reply, &x.RawReply, &x.ReplyWhole)
	return x, request || reply
}

// side replaces in one message, or bytes of none.
func (rules Rules) side(body *[]byte, raw *parley.Raw, whole *int) bool {
	before := *body
	if before == nil {
		before = raw.Bytes
	}
	after, is := rules.Replace(before)
	if !is {
		return false
	}
	if *whole == 0 {
		*whole = len(before)
	}
	if *body == nil {
		raw.Bytes = after
		return true
	}
	*raw, *body = withBody(*raw, before, after), after
	return true
}

// withBody is a raw message whose body was replaced. If the body is not in it as it is, there is none.
func withBody(raw parley.Raw, before, after []byte) parley.Raw {
	end := raw.Body + len(before)
	switch {
	case raw.Bytes == nil:
		return raw
	case raw.Body < 0 || end > len(raw.Bytes) || !bytes.Equal(raw.Bytes[raw.Body:end], before):
		return parley.Raw{}
	}
	raw.Bytes = slices.Concat(raw.Bytes[:raw.Body], after, raw.Bytes[end:])
	return raw
}
