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

// Behind STARTTLS the first message of a mail server is a reply: no greeting is awaited.
func TestBehindGreeting(t *testing.T) {
	smtp, err := Parse("smtp")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []Framing{smtp, smtp.BehindGreeting()} {
		requests, replies := parley.OpenFraming(f.Requests, f.Replies)
		if _, err := requests.End([]byte("EHLO me"), 0); err != nil {
			t.Fatal(err)
		}
		if _, _, err := replies.Next([]byte("250 mx.test\r\n"), 0, 100, false); err != nil {
			t.Fatal(err)
		}
		if alone := replies.(parley.Noter).Note().Alone; alone != f.SpeaksFirst {
			t.Errorf("SpeaksFirst is %v; is the first message no reply? %v", f.SpeaksFirst, alone)
		}
	}
	line := Framing{Name: "line", Requests: parley.Lines}
	if got := line.BehindGreeting(); got.Requests != parley.Lines {
		t.Errorf("%+v, want lines as they are", got)
	}
	if again, _ := Parse("smtp"); !again.SpeaksFirst || again.Name != smtp.BehindGreeting().Name {
		t.Error("the protocol itself has changed, or its name")
	}
}
