package dialogue

import (
	"bytes"
	"maps"
	"testing"
)

func TestCatcher(t *testing.T) {
	for _, c := range []struct {
		text, message string
		want          Values // nil if it is not caught
	}{
		{"SET k{n}", "SET k17", Values{"n": []byte("17")}},
		{"SET k{n}", "SET kx", nil},
		{"SET k{n}", "SET k17 ", nil},
		{"a{x}c", "abc", Values{"x": []byte("b")}},
		{"a{x}c", "ac", Values{"x": []byte("")}},
		{"a{x}c", "a\n\xffc", Values{"x": []byte("\n\xff")}},
		{"{x} {x}", "1 2", Values{"x": []byte("1")}},
		{"(.*){n}", "(.*)1", Values{"n": []byte("1")}},
		{"(.*){n}", "abc1", nil},
		{`\x00{n}`, "\x001", Values{"n": []byte("1")}},
		{"{{n}}", "{n}", Values{}},
		{"{{n}}", "1", nil},
		{`\xe1{x}\xa9`, "\xe1\x98\xa9", Values{"x": []byte("\x98")}}, // which is one rune
		{`\xe1{x}`, "\xe1\x98\xa9", Values{"x": []byte("\x98\xa9")}},
		{`\xff{n}`, "\xfe1", nil},
		{"ü{x}ü", "üöü", Values{"x": []byte("ö")}},
	} {
		text, err := ParseText(c.text)
		if err != nil {
			t.Fatal(err)
		}
		got := text.Catcher().Catch([]byte(c.message))
		if (got == nil) != (c.want == nil) || !maps.EqualFunc(got, c.want, bytes.Equal) {
			t.Errorf("%s of %q is %q, want %q", c.text, c.message, got, c.want)
		}
	}
}

// What a text stands for with values is caught.
func FuzzCatcher(f *testing.F) {
	f.Add("SET k{n} {x}", "7", "v")
	f.Add(`\xff{x}(.{x}`, "7", "\xff\n")
	f.Fuzz(func(t *testing.T, written, n, x string) {
		text, err := ParseText(written)
		if err != nil || n == "" {
			return
		}
		for _, c := range n {
			if c < '0' || c > '9' {
				return
			}
		}
		v := Values{}
		for _, name := range text.Names() {
			if v[name] = []byte(x); name == "n" || name == "conn" {
				v[name] = []byte(n)
			}
		}
		if message := text.Append(nil, v); text.Catcher().Catch(message) == nil {
			t.Errorf("%q does not catch %q", written, message)
		}
	})
}
