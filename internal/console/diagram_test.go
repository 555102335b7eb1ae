package console

import (
	"strings"
	"testing"
)

func TestMarkdownRows(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "| | |\n",
		"Enter data: ":                   "| Enter data: | |\n",
		"data [15]: a.b (c) #1":          "| data [15]: a.b (c) #1 | |\n",
		"|":                              "| \\| | |\n",
		`\|`:                             "| \\\\\\| | |\n",
		`\x00`:                           "| \\\\x00 | |\n",
		"<b>&lt;":                        "| &lt;b>&amp;lt; | |\n",
		"[a](b) ![c][d] `e` *f* _g_ ~h~": "| [a]\\(b) ![c]\\[d] \\`e\\` \\*f\\* \\_g\\_ \\~h\\~ | |\n",
	} {
		if got := string(AppendMarkdownRow(nil, 2, 0, text)); got != want {
			t.Errorf("%q is the row %q, want %q", text, got, want)
		}
	}
	if got, want := string(AppendMarkdownRow(AppendMarkdownHead(nil, "a", "b"), 2, 1, "x")), "| a | b |\n|---|---|\n| | x |\n"; got != want {
		t.Errorf("a table is %q, want %q", got, want)
	}
}

func TestMermaidText(t *testing.T) {
	for text, want := range map[string]string{
		"[15] Request 1 - é 日 ...": "[15] Request 1 - é 日 ...",
		"a;b#c:d%e":                "a#59;b#35;c#58;d#37;e",
		"end END bend eNd":         "#101;nd #69;ND b#101;nd #101;Nd",
		"<script>":                 "#60;script#62;",
		"\n\u202e":                 "#10;#8238;",
	} {
		if got := string(AppendMermaid(nil, text)); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestBriefPayloads(t *testing.T) {
	for text, want := range map[string]string{
		"1234567":                 "1234567",
		"12345678":                "12345678",
		"123456789":               "1234567…",
		"日本日本日本日本":                "日本日本日本日本",
		"日本日本日本日本日":               "日本日本日本日…",
		"\x00\x01\x02":            `\x00\x0…`,
		strings.Repeat("👍", 8):    strings.Repeat("👍", 8),
		strings.Repeat("x", 1000): "xxxxxxx…",
	} {
		if got := string(AppendBrief(nil, []byte(text), 8)); got != want {
			t.Errorf("%.20q is brief %q, want %q", text, got, want)
		}
	}
}
