package dialect

import (
	"testing"

	"github.com/parley-tcp/parley"
)

// A greeting ends as it does, whatever ends a reply; and only the first message is one.
func TestGreeting(t *testing.T) {
	two := Lines(parley.Lines, 2)
	_, replies := parley.OpenFraming(Greeted(parley.Lines, two, parley.Lines), nil)
	in := []byte("hi\na\nb\nc\nd\n")
	for i, want := range []string{"hi", "a\nb", "c\nd"} {
		n, body, err := replies.Next(in, 0, 100, false)
		if err != nil || string(body) != want {
			t.Fatalf("message %d is %q, %v, want %q", i, body, err, want)
		}
		in = in[n:]
		if alone := replies.(parley.Noter).Note().Alone; alone != (i == 0) {
			t.Errorf("message %d, %q: is it no reply? %v", i, body, alone)
		}
	}
}

func TestFramingOfGreeting(t *testing.T) {
	for name, want := range map[string]string{
		"line": "line", "crlf": "crlf", "length/line": "line", "line/chunk": "chunk", "delim:00": "delim:00",
		"line/close": "line", "crlf/none": "crlf", "close": "line", "close/none": "line", "length/close": "length",
	} {
		if got := (Framing{Name: name}).OfGreeting(); got.Name != want || got.Requests == nil {
			t.Errorf("%s: a greeting is framed as %s, want %s", name, got.Name, want)
		}
	}
}
