package expect

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestExpectationsJudge(t *testing.T) {
	parse := func(s string) Rule {
		e, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, c := range []struct {
		expect         Rule
		words          string
		request, reply string
		holds          bool
	}{
		{Rule{}, "any reply", "a", "b", true},
		{parse("any"), "any reply", "a", "", true},
		{parse("contains"), "a reply that contains the request", "hi", "Request #1 - hi ...", true},
		{parse("contains"), "a reply that contains the request", "hi", "Request #1 - ho ...", false},
		{parse("exact"), "the request itself", "hi", "hi", true},
		{parse("exact"), "the request itself", "hi", "hi ", false},
		{parse(`^\+PONG$`), "a match of `^\\+PONG$`", "PING", "+PONG", true},
		{parse(`^\+PONG$`), "a match of `^\\+PONG$`", "PING", "-ERR", false},
		{parse("`"), "a match of \"`\"", "", "`", true},
		{parse(`\xff`), "a match of `\\xff`", "", "\u00ff", true},
		{Text("any"), `the text "any"`, "", "any", true},
		{Text("any"), `the text "any"`, "any", "anything", false},
		{Text("any"), `the text "any"`, "", "Any", false},
		{Text(""), `the text ""`, "a", "", true},
		{Text(""), `the text ""`, "a", "a", false},
	} {
		if got := c.expect.Holds([]byte(c.request), []byte(c.reply)); got != c.holds {
			t.Errorf("%v: %q answered with %q: %v, want %v", c.expect, c.request, c.reply, got, c.holds)
		}
		if got := c.expect.String(); got != c.words {
			t.Errorf("in words %q, want %q", got, c.words)
		}
		if got, want := c.expect.Judges(), c.words != "any reply"; got != want {
			t.Errorf("%v: Judges = %v, want %v", c.expect, got, want)
		}
	}
}

func TestBadExpectationsAreToldInOneLine(t *testing.T) {
	for s, want := range map[string]string{
		"":           "the regular expression is empty; anything would match it",
		"(a":         "regular expression `(a`: missing closing ): `(a`",
		"[z-a]":      "regular expression `[z-a]`: invalid character class range: `z-a`",
		"(\n":        `regular expression "(\n": missing closing ): "(\n"`,
		"a{1,1001}b": "regular expression `a{1,1001}b`: invalid repeat count: `{1,1001}`",
	} {
		_, err := Parse(s)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", s, err, want)
		}
	}
}

func TestJudgingDoesNotAllocate(t *testing.T) {
	request, reply := []byte("hi"), []byte("Request #1 - hi ...")
	// Patterns are left out: package regexp pools its machines, and under -race a pool
	// drops some of what it is given.
	for _, e := range []Rule{{}, {kind: containsRequest}, {kind: isRequest}, Text("hi")} {
		if n := testing.AllocsPerRun(100, func() { e.Holds(request, reply) }); n >= 1 {
			t.Errorf("%v: %v allocations", e, n)
		}
	}
}

// What is parsed is judged by, and told in one printable line.
func FuzzExpectation(f *testing.F) {
	for _, s := range []string{"any", "contains", "exact", "^Request #", "(", "", `\x{110000}`, "a\nb", "`", "(?i)PONG|\xff"} {
		f.Add(s, []byte("PING"), []byte("+PONG"))
	}
	f.Fuzz(func(t *testing.T, s string, request, reply []byte) {
		e, err := Parse(s)
		words := e.String()
		if err != nil {
			words = err.Error()
		}
		if strings.ContainsAny(words, "\n\r\x1b\x7f") {
			t.Errorf("%q is told as %q", s, words)
		}
		if err != nil {
			return
		}
		want := true
		switch s {
		case "any":
		case "contains":
			want = bytes.Contains(reply, request)
		case "exact":
			want = string(reply) == string(request)
		default:
			want = regexp.MustCompile(s).Match(reply)
		}
		if got := e.Holds(request, reply); got != want {
			t.Errorf("%q: %q answered with %q: %v, want %v", s, request, reply, got, want)
		}
		if e.Judges() != (s != "any") {
			t.Errorf("%q: Judges = %v", s, e.Judges())
		}
	})
}
