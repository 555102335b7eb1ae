package load

import (
	"bytes"
	"strings"
	"testing"
)

func TestMessagesCount(t *testing.T) {
	for _, test := range []struct {
		texts  []string
		counts bool
		want   string // the first three requests of the second connection
	}{
		{[]string{"PING"}, false, "PING|PING|PING"},
		{[]string{"a", "b"}, false, "a|b|a"},
		{[]string{"n {n} of {conn}"}, true, "n 1 of 2|n 2 of 2|n 3 of 2"},
		{[]string{"plain", "{n}{n}"}, true, "plain|22|plain"},
		{[]string{`{"n": {n}, "x": "{{n}} {{conn}}"}`}, true, `{"n": 1, "x": "{n} {conn}"}|{"n": 2, "x": "{n} {conn}"}|{"n": 3, "x": "{n} {conn}"}`},
		{[]string{"{} {nn} {n {N} {{{n}}}"}, false, "{} {nn} {n {N} {{n}}|{} {nn} {n {N} {{n}}|{} {nn} {n {N} {{n}}"},
	} {
		var texts [][]byte
		for _, text := range test.texts {
			texts = append(texts, []byte(text))
		}
		m := ParseMessages(texts...)
		var got []string
		for n := range uint64(3) {
			got = append(got, string(m.Append(nil, n+1, 2)))
		}
		if all := strings.Join(got, "|"); all != test.want || m.Numbered() != test.counts {
			t.Errorf("%q: got %s, counts %v; want %s, %v", test.texts, all, m.Numbered(), test.want, test.counts)
		}
	}
}

func TestSizedMessagesHaveTheirSize(t *testing.T) {
	for size, want := range map[int]string{1: "7", 2: "07", 15: "000000000000007", 16: "0000000000000007", 17: "0000000000000007a", 19: "0000000000000007abc"} {
		if got := string(SizedMessages(size).Append(nil, 7, 1)); got != want {
			t.Errorf("%d bytes: got %q, want %q", size, got, want)
		}
	}
	if got := len(SizedMessages(60000).Append(nil, 1, 1)); got != 60000 {
		t.Errorf("got %d bytes, want 60000", got)
	}
}

// What is no token reaches the service as it was written.
func FuzzMessages(f *testing.F) {
	for _, seed := range []string{"", "{n}", "{{n}}", "{conn} {{conn}}", "{{{n}}}", `{"a":{"n":1}}`, "\xff{n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m := ParseMessages(text)
		got := m.Append(nil, 1, 1)
		want := bytes.NewBuffer(nil)
		for rest := text; len(rest) > 0; {
			switch {
			case bytes.HasPrefix(rest, []byte("{{n}}")):
				want.WriteString("{n}")
				rest = rest[5:]
			case bytes.HasPrefix(rest, []byte("{{conn}}")):
				want.WriteString("{conn}")
				rest = rest[8:]
			case bytes.HasPrefix(rest, []byte("{n}")):
				want.WriteString("1")
				rest = rest[3:]
			case bytes.HasPrefix(rest, []byte("{conn}")):
				want.WriteString("1")
				rest = rest[6:]
			default:
				want.WriteByte(rest[0])
				rest = rest[1:]
			}
		}
		if len(got) > m.Longest() {
			t.Errorf("%q became %d bytes, over the longest of %d", text, len(got), m.Longest())
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
		if again := m.Append(nil, 1, 1); !bytes.Equal(again, got) {
			t.Errorf("%q became %q, then %q", text, got, again)
		}
	})
}
