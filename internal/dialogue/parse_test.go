package dialogue

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

const mail = `# what a mail server should say
framing smtp

< ~ ^220 (?P<host>\S+)
> EHLO parley.test
within 2s < ~ ^250
# as a mock says it
eg 250 OK
tls
> AUTH {host} {n}
wait 500ms
< !~ ^5{2,3}\pL\x{41}{host}
< = 250 {{host}} \\ \x00\r\nä
< *

eof
< eof
# the end
`

func TestADialogueIsReadAndPrintedAsItIs(t *testing.T) {
	d, err := Parse("mail.talk", []byte(mail))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(d.Append(nil)); got != mail {
		t.Errorf("printed\n%swant\n%s", got, mail)
	}
	var kinds []Kind
	for _, s := range d.Steps {
		kinds = append(kinds, s.Kind)
	}
	if want := []Kind{Expect, Send, Expect, StartTLS, Send, Wait, Expect, Expect, Expect, End, ExpectEnd}; !reflect.DeepEqual(kinds, want) {
		t.Errorf("steps %v, want %v", kinds, want)
	}
	s := d.Steps[2]
	if s.Within != 2*time.Second || s.Line != 6 || s.Example.String() != "250 OK" || d.Steps[5].Pause != time.Second/2 || d.Framing != "smtp" {
		t.Errorf("%+v, %+v, framing %q", s, d.Steps[5], d.Framing)
	}
	if got := string(d.Steps[7].Judge.Text.Append(nil, nil)); got != "250 {host} \\ \x00\r\nä" {
		t.Errorf("%q", got)
	}
	if names := d.Names(); !reflect.DeepEqual(names, []string{"n"}) {
		t.Errorf("names %q, want n", names)
	}
	if d.Repeats() {
		t.Error("with tls and eof it cannot be played again on its connection")
	}
}

// What can be written in more than one way is printed in one.
func TestCanonicalForm(t *testing.T) {
	const written = "\ufeff  > a\t\x1b \r\n\twithin   1m0s   <  ~ x \r\n<  *  \r\n    eg b \\x41\r\n wait  90m \neof\t\n>"
	for in, want := range map[string]string{
		"> a  \n":                       "> a\\x20\\x20\n",
		">\n":                           ">\n",
		"> \n":                          ">\n",
		"< = \n":                        "< =\n",
		"<  = a\n":                      "error",
		"  > \ta\\x41\\x7b\n":           "> \\taA{\n",
		"within   1m0s   < ~ x \r\n":    "within 1m < ~ x \n",
		"\ufeff \n  # a \n< *  \neg  b": "\n# a\n< *\neg  b\n",
		"wait 90m":                      "wait 1h30m\n",
		"wait 60m":                      "wait 1h\n",
		"tls\t\r\n":                     "tls\n",
		"> \\x7bn}{\\x7bn}}{{n}}":       "> {{n}}{{{n}}}{{n}}\n",
		"> \u202e\u2028":                "> \\xe2\\x80\\xae\\xe2\\x80\\xa8\n",
	} {
		d, err := Parse("f", []byte(in))
		got := "error"
		if err == nil {
			got = string(d.Append(nil))
		}
		if got != want {
			t.Errorf("%q is printed %q, want %q (%v)", in, got, want, err)
		}
	}
	if _, err := Parse("f", []byte(written)); err == nil {
		t.Error("a message behind eof is no error")
	}
}

func TestWhatIsWrongIsSaidInALine(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "f:1:1: there is no step; > TEXT sends a message, < ~ REGEX expects one",
		"# a\n":                               "f:1:1: there is no step; > TEXT sends a message, < ~ REGEX expects one",
		">a":                                  "f:1:2: a space stands between > and what follows it",
		"> a\\q":                              `f:1:4: \q is no escape; there are \r \n \t \xNN and \\`,
		"> a\\":                               `f:1:4: a \ at the end is no escape; \\ stands for one`,
		"> \\x4":                              `f:1:3: \x4 is no escape; \x wants two hexadecimal digits, as in \x0d`,
		"\n> a {user}":                        "f:2:5: no group named user is caught by a ~ before; {{user}} stands for the text {user}",
		"< ~ {user}":                          "f:1:5: no group named user is caught by a ~ before; {{user}} stands for the text {user}",
		"< ~ (?P<a>.){a}":                     "f:1:13: no group named a is caught by a ~ before; {{a}} stands for the text {a}",
		"< !~ (?P<a>.)\n> {a}":                "f:2:3: no group named a is caught by a ~ before; {{a}} stands for the text {a}",
		"< * what":                            `f:1:5: nothing stands behind *; a comment is a line of its own`,
		"< eof # end":                         `f:1:7: nothing stands behind eof; a comment is a line of its own`,
		"< 250 OK":                            `f:1:3: "250" does not say how to judge; write < = before an exact text, < ~ before a regular expression; there are = ~ !~ * and eof`,
		"<":                                   "f:1:2: what is expected? = TEXT, ~ REGEX, !~ REGEX, * or eof",
		"< ~":                                 "f:1:4: the regular expression is empty; < * holds for anything",
		"< ~ a\r\r\n":                         `f:1:6: a CR at the end of the regular expression, beside that of the line; \r stands for it`,
		"< ~ a(b":                             "f:1:5: regular expression: missing closing ): `a(b`",
		"< ~ (?P<n>a)":                        "f:1:8: a group cannot be named n, which is a number of the play; give it another name",
		"< ~x":                                "f:1:4: a space stands between ~ and what follows it",
		"within 2 < *":                        `f:1:7: "2" is no time; write one with its unit, such as 500ms or 2s`,
		"within 2s > a":                       "f:1:1: within bounds an expectation: within 2s < ~ ^250",
		"wait":                                `f:1:5: "" is no time; write one with its unit, such as 500ms or 2s`,
		"wait -1s":                            `f:1:5: "-1s" is no time; write one with its unit, such as 500ms or 2s`,
		"eg a":                                "f:1:1: eg is the example for the < line above it; there is none",
		"< eof\neg a":                         "f:2:1: eg is the example for the < line above it; there is none",
		"< = a\neg a":                         "f:2:1: what stands behind = is its own example; leave eg out",
		"< *\neg a\neg b":                     "f:3:1: one eg is enough",
		"> a\nframing line":                   "f:2:1: framing stands before the first step",
		"framing line\nframing crlf":          "f:2:1: the framing is line already",
		"tls\ntls":                            "f:2:1: the connection speaks TLS already",
		"eof\n> a":                            "f:2:1: nothing is sent behind eof: our side of the conversation has ended",
		"eof\neof":                            "f:2:1: nothing is sent behind eof: our side of the conversation has ended",
		"< eof\nwait 1s":                      "f:2:1: nothing comes behind < eof: the server has ended the conversation",
		"> a\neof x":                          `f:2:5: nothing stands behind eof; a comment is a line of its own`,
		"tls # go on":                         `f:1:5: nothing stands behind tls; a comment is a line of its own`,
		"hello there":                         `f:1:1: no statement begins with "hello"; there are > < within eg tls wait eof framing and #`,
		"> a\x00":                             `f:1:4: a byte 0x00, which is no text; \x00 stands for it`,
		"> a\n# \xff":                         `f:2:3: a byte 0xff, which is no text; \xff stands for it`,
		"> " + strings.Repeat("a", MaxLine-1): "f:1:1: the line has 1048577 bytes; the most is 1048576",
	} {
		_, err := Parse("f", []byte(in))
		if err == nil || err.Error() != want {
			t.Errorf("%.40q: %v\nwant %s", in, err, want)
		}
	}
	if _, err := Parse("f", []byte("> "+strings.Repeat("a", MaxLine-2))); err != nil {
		t.Error(err)
	}
	if _, err := Parse("f", []byte("framing nosuch\n> a")); err == nil || !strings.HasPrefix(err.Error(), "f:1:9: framing: no framing is named") {
		t.Error(err)
	}
}

// What a peer has said may be too long to stand in a regular expression, which then holds for nothing.
func TestJudgeOfALongValue(t *testing.T) {
	for _, pattern := range []string{"^{x}$", "^(?:{x}{x}{x}{x}{x}{x}{x}{x}){1000}$"} {
		d, err := Parse("t.talk", []byte("> a\n< ~ (?s)^(?P<x>.*)$\n> b\n< ~ "+pattern+"\n< !~ "+pattern+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{maxInPattern - 1, maxInPattern, maxInPattern + 1} {
			v := Values{}
			said := bytes.Repeat([]byte("\xff"), n)
			d.Steps[1].Judge.Holds(said, v)
			fits := n <= maxInPattern && pattern == "^{x}$"
			if d.Steps[3].Judge.Holds(said, v) != fits {
				t.Errorf("~ %s of %d bytes holds: %v, want %v", pattern, n, !fits, fits)
			}
			if not := d.Steps[4].Judge; not.Holds([]byte("other"), v) != fits || not.Holds(said, v) {
				t.Errorf("!~ %s of %d bytes: %v, want %v", pattern, n, !fits, fits)
			}
		}
	}
}

func TestJudges(t *testing.T) {
	for _, c := range []struct {
		judge, message string
		holds          bool
	}{
		{"*", "", true},
		{"= a", "a", true}, {"= a", "a\r", false}, {"= {x}{n}", "Q.7", true},
		{"~ ^a", "ab", true}, {"~ ^b", "ab", false}, {"!~ ^b", "ab", true}, {"!~ ^a", "ab", false},
		{"~ ^{x}$", "Q.", true}, {"~ ^{x}$", "Qx", false}, {"~ ^({x}|b){2}$", "Q.b", true},
		{"~ {{x}}", "{x}", true}, {`~ \{x}`, "{x}", true}, {`~ ^\x{41}\p{Greek}$`, "Aα", true},
		{"~ ^{raw}$", "\xff", true}, {"~ ^{raw}$", "\n", true}, {"~ ^{raw}$", "ab", false},
	} {
		text := "< ~ (?P<x>.)(?P<raw>.)\n< " + c.judge
		d, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		v := Values{"n": []byte("7"), "x": []byte("Q."), "raw": []byte("\xff")}
		if holds := d.Steps[1].Judge.Holds([]byte(c.message), v); holds != c.holds {
			t.Errorf("%s holds for %q: %v", c.judge, c.message, holds)
		}
	}
}

func TestGroupsAreCaught(t *testing.T) {
	d, err := Parse("f", []byte(`< ~ ^(?P<a>\w+)( (?<b>\w+))?$`))
	if err != nil {
		t.Fatal(err)
	}
	v := Values{"b": []byte("old")}
	if d.Steps[0].Judge.Holds([]byte("!"), v) || string(v["b"]) != "old" {
		t.Errorf("what does not hold catches %q", v)
	}
	if !d.Steps[0].Judge.Holds([]byte("one"), nil) || d.Steps[0].Judge.Holds([]byte("!"), nil) {
		t.Error("without values it judges otherwise")
	}
	message := []byte("one")
	if !d.Steps[0].Judge.Holds(message, v) || string(v["a"]) != "one" || len(v["b"]) != 0 {
		t.Errorf("caught %q", v)
	}
	message[0] = 'X'
	if string(v["a"]) != "one" {
		t.Error("what was caught changes with the message")
	}
}

// FuzzParse: what can be read is printed so that it is read as the same, and that form is final.
func FuzzParse(f *testing.F) {
	f.Add([]byte(mail))
	f.Add([]byte("> {{n}\\x7b{n}}\\x20 \r\n< ~ (?P<a>.)\n< = {{{a}}}{{a}\n\n# x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Parse("f", text)
		if err != nil {
			if strings.ContainsRune(err.Error(), '\n') {
				t.Fatalf("an error of two lines: %q", err)
			}
			return
		}
		printed := d.Append(nil)
		again, err := Parse("f", printed)
		if err != nil {
			t.Fatalf("%q is printed %q: %v", text, printed, err)
		}
		for _, d := range []*Dialogue{d, again} { // compiled patterns are equal if these are
			for i := range d.Steps {
				d.Steps[i].Judge.re = nil
			}
		}
		if !reflect.DeepEqual(d, again) {
			t.Fatalf("%q is printed %q, which is\n%+v, not\n%+v", text, printed, again, d)
		}
		if twice := again.Append(nil); !bytes.Equal(twice, printed) {
			t.Fatalf("%q and then %q", printed, twice)
		}
	})
}

// FuzzText: any bytes can be written, and are read as the same.
func FuzzText(f *testing.F) {
	f.Add([]byte("a{n}{{n}}\\ \r\n\t\x00\xff "))
	f.Fuzz(func(t *testing.T, literal []byte) {
		text := NewText(literal)
		written := text.String()
		d, err := Parse("f", []byte("> "+written))
		if len(written) > MaxLine-2 {
			return
		}
		if err != nil {
			t.Fatalf("%q is written %q: %v", literal, written, err)
		}
		if got := d.Steps[0].Text.Append(nil, nil); !bytes.Equal(got, literal) {
			t.Fatalf("%q is written %q, which is %q", literal, written, got)
		}
		if len(d.Steps[0].Text.Names()) > 0 {
			t.Fatalf("%q is written %q, which has names", literal, written)
		}
	})
}
