package dialect

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

func TestParse(t *testing.T) {
	for name, want := range map[string]Framing{
		"line":                 {Requests: parley.Lines},
		"crlf":                 {Requests: parley.LinesCRLF},
		"chunk":                {Requests: parley.Chunks},
		"length":               {Requests: parley.LengthPrefixed},
		"length:1":             {Requests: parley.Length{Bytes: 1}},
		"length:2le":           {Requests: parley.Length{Bytes: 2, Little: true}},
		"length:4":             {Requests: parley.LengthPrefixed},
		"length:8leincl":       {Requests: parley.Length{Bytes: 8, Little: true, Inclusive: true}},
		"length:4incl":         {Requests: parley.Length{Bytes: 4, Inclusive: true}},
		"lengthincl":           {Requests: parley.Length{Bytes: 4, Inclusive: true}},
		"lengthle":             {Requests: parley.Length{Bytes: 4, Little: true}},
		"delim:00":             {Requests: parley.Delimited(0)},
		"delim:0D0a":           {Requests: parley.Delimited('\r', '\n')},
		"frame:0b:1c0d":        {Requests: parley.Framed([]byte{0x0b}, []byte{0x1c, 0x0d})},
		"mllp":                 {Requests: parley.Framed([]byte{0x0b}, []byte{0x1c, 0x0d})},
		"stx":                  {Requests: parley.Framed([]byte{2}, []byte{3})},
		"octets":               {Requests: parley.OctetCounted},
		"netstring":            {Requests: parley.Netstring},
		"close":                {Requests: parley.UntilClose},
		"line/none":            {Requests: parley.Lines, Replies: parley.NoReplies},
		"octets/none":          {Requests: parley.OctetCounted, Replies: parley.NoReplies},
		"line/close":           {Requests: parley.Lines, Replies: parley.UntilClose},
		"close/close":          {Requests: parley.UntilClose, Replies: parley.UntilClose},
		"delim:00/frame:02:03": {Requests: parley.Delimited(0), Replies: parley.Framed([]byte{2}, []byte{3})},
		"length:2/length:4le":  {Requests: parley.Length{Bytes: 2}, Replies: parley.Length{Bytes: 4, Little: true}},
	} {
		got, err := Parse(name)
		if want.Name = name; !reflect.DeepEqual(got, want) || err != nil {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", name, got, err, want)
		}
	}
}

// An error is one line and says what helps; where a name is unknown, which there are.
func TestParseRefuses(t *testing.T) {
	lists := "there are line, crlf, chunk, length, delim:HEX, frame:HEX:HEX, mllp, stx, octets, netstring, close"
	for name, want := range map[string]string{
		"": lists, "lines/line": `named "lines"; did you mean line?`, "LINE": "did you mean line?", "line/": lists, "line/x": lists, "/line": lists, "line/chnk/line": lists,
		"line:": "did you mean line?", "mllp:00": "did you mean mllp?", " line": "did you mean line?", "line/chnk": `named "chnk"; did you mean chunk?`, "deilm:00": "did you mean delim?",
		"none": "none is for replies: line/none", "none/line": "none is for replies: line/none",
		"length:3": "1, 2, 4 or 8 bytes", "length:": "1, 2, 4 or 8 bytes", "length:16": "1, 2, 4 or 8 bytes", "length:02": "1, 2, 4 or 8 bytes",
		"length:4inclle": "le makes it little-endian", "length:le": "as in length:2le", "lengths": "1, 2, 4 or 8 bytes",
		"delim": "such as delim:00", "delim:": "such as delim:00", "delim:1": "such as delim:00", "delim:0g": "such as delim:00", "delim:00:01": "such as delim:00",
		"frame": "such as frame:02:03", "frame:02": "such as frame:02:03", "frame:02:": "such as frame:02:03", "frame::03": "such as frame:02:03",
		"frame:2:3": "such as frame:02:03", "frame:02:03:04": "such as frame:02:03",
	} {
		_, err := Parse(name)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Parse(%q) = %v, want %q", name, err, want)
		}
	}
}

func TestProtocolIsBothDirections(t *testing.T) {
	defer func(before []Framing) { protocols = before }(protocols)
	protocols = append(protocols[:len(protocols):len(protocols)], Framing{Name: "test", Requests: parley.Lines})
	if f, err := Parse("test"); f.Name != "test" || err != nil {
		t.Errorf("Parse = %+v, %v", f, err)
	}
	for _, name := range []string{"test/line", "line/test", "test/test", "test/", "test/none"} {
		if _, err := Parse(name); err == nil || !strings.Contains(err.Error(), "use test alone") {
			t.Errorf("Parse(%q) = %v, want to use test alone", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, n := range Names {
		f.Add(n.Name)
		f.Add("line/" + n.Name)
	}
	for _, name := range []string{"length:2leincl/delim:0d0a", "frame:02:03/none", "delim:00ff00", "redis/line", "line//", "length:-1"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		framing, err := Parse(name)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("Parse(%q): an error of several lines: %v", name, err)
			}
			return
		}
		if framing.Name != name || framing.Requests == nil || framing.Requests == parley.NoReplies {
			t.Errorf("Parse(%q) = %+v", name, framing)
		}
		if (framing.Replies != nil) != strings.Contains(name, "/") {
			t.Errorf("Parse(%q) has replies %v", name, framing.Replies)
		}
		for _, one := range []parley.Framing{framing.Requests, framing.OfReplies()} {
			one.Next([]byte(name), 0, 10, true)
			if _, skips := one.(parley.Skipper); !skips && !isProtocol(name) {
				t.Errorf("Parse(%q) has a %T, which is no Skipper", name, one)
			}
		}
		framing.Lacks([]byte(name))
	})
}

// Each name, as it is or as an example of it.
func nameOf(n Name) string {
	return map[string]string{"delim:HEX": "delim:00", "frame:HEX:HEX": "frame:02:03", none: "line/none"}[n.Name]
}

func TestNamesCanBeParsedAndAreInTheManual(t *testing.T) {
	manual, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range Names {
		name := nameOf(n)
		if name == "" {
			name = n.Name
		}
		if _, err := Parse(name); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
		if !bytes.Contains(manual, []byte("`"+n.Name)) {
			t.Errorf("docs/protocol.md does not name `%s`", n.Name)
		}
	}
	for name := range plain {
		if !strings.Contains(allNames(), name) {
			t.Errorf("%s is not among the names", name)
		}
	}
}

func TestCompletions(t *testing.T) {
	defer func(before []Framing) { protocols = before }(protocols)
	protocols = append(protocols[:len(protocols):len(protocols)], Framing{Name: "mllp"}) // as if it were one
	names := func(typed string) string {
		var names []string
		for _, n := range Completions(typed) {
			names = append(names, n.Name)
		}
		return strings.Join(names, " ")
	}
	if got, want := names(""), "line crlf chunk length delim:HEX frame:HEX:HEX mllp stx octets netstring close"; !strings.HasPrefix(got, want) || strings.Contains(got, none) {
		t.Errorf("for a request there are %s", got)
	}
	if got := names("line/"); !strings.HasPrefix(got, "line/line line/crlf") || !strings.Contains(got, "line/close line/none") || strings.Contains(got, "mllp") {
		t.Errorf("for a reply there are %s", got)
	}
	if got := names("mllp/"); got != "" {
		t.Errorf("behind a protocol there are %s", got)
	}
}

// Who looks on takes what a read returned to the byte, whole or not.
func TestOnlookerTakesWholeChunks(t *testing.T) {
	for _, name := range []string{"chunk", "line/chunk", "chunk/line"} {
		f, err := Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		f = f.Onlooker()
		for of, framing := range map[string]parley.Framing{"request": f.Requests, "reply": f.OfReplies()} {
			if framing == parley.Lines {
				continue
			}
			if n, body, err := framing.Next([]byte("ab\r\n"), 0, 2, false); n != 4 || string(body) != "ab\r\n" || err != nil {
				t.Errorf("%s, %s: %d, %q, %v", name, of, n, body, err)
			}
			if n, head, tail, done, err := framing.(parley.Skipper).Skip()([]byte("ab\r\n"), false); n != 4 || head != 0 || tail != 0 || !done || err != nil {
				t.Errorf("%s, %s: skips %d, %d, %d, %v, %v", name, of, n, head, tail, done, err)
			}
		}
	}
}
