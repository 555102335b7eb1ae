package dialogue

import (
	"bytes"
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
	} {
		text, err := ParseText(c.text)
		if err != nil {
			t.Fatal(err)
		}
		re := text.Catcher()
		found := re.FindSubmatch([]byte(c.message))
		if (found == nil) != (c.want == nil) {
			t.Errorf("%s catches %q: %v", c.text, c.message, found != nil)
			continue
		}
		for i, name := range re.SubexpNames() {
			if found != nil && name != "" && !bytes.Equal(found[i], c.want[name]) {
				t.Errorf("%s of %q: {%s} is %q, want %q", c.text, c.message, name, found[i], c.want[name])
			}
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
		if message := text.Append(nil, v); !text.Catcher().Match(message) {
			t.Errorf("%q does not catch %q", written, message)
		}
	})
}
