package cmdline

import (
	"errors"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestWordsAreThoseOfAShell(t *testing.T) {
	for line, want := range map[string][]Word{
		``:                            nil,
		"  \t ":                       nil,
		`# a comment`:                 nil,
		`  web  db:5432 # why`:        {{"web", 3}, {"db:5432", 8}},
		`a#b #c`:                      {{"a#b", 1}},
		`'a b' "c d" e\ f`:            {{"a b", 1}, {"c d", 7}, {"e f", 13}},
		`--expect='^a b'"c"d`:         {{"--expect=^a bcd", 1}},
		`'' ""`:                       {{"", 1}, {"", 4}},
		`"\"\\\$\` + "`" + `\n" '\n'`: {{"\"\\$`\\n", 1}, {`\n`, 14}},
		`\#a \'b \\`:                  {{"#a", 1}, {"'b", 5}, {`\`, 9}},
		`"it's" 'say "x"'`:            {{"it's", 1}, {`say "x"`, 8}},
		`ä 'ü' x`:                     {{"ä", 1}, {"ü", 3}, {"x", 7}},
		"'a\r' b\r\n":                 {{"a\r", 1}, {"b", 6}},
		`a|b ^x.*$ ~`:                 {{"a|b", 1}, {"^x.*$", 5}, {"~", 11}},
	} {
		got, err := Split(line)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", line, got, err, want)
		}
	}
}

func TestWhatIsNotClosedIsNamedByItsPlace(t *testing.T) {
	for line, want := range map[string]Error{
		`a 'b`:      {3, `the quote ' is not closed; \' is one that quotes nothing`},
		`ä "b\" 'c`: {3, `the quote " is not closed; \" is one that quotes nothing`},
		`it's`:      {3, `the quote ' is not closed; \' is one that quotes nothing`},
		`ab \`:      {4, `nothing stands behind the backslash; write \\ for one`},
		"ab \\\n":   {4, `nothing stands behind the backslash; write \\ for one`},
	} {
		words, err := Split(line)
		var got *Error
		if !errors.As(err, &got) || *got != want || words != nil {
			t.Errorf("%s: %v, %+v; want %+v", line, words, err, want)
		}
	}
}

// A shell makes the same words of a line in which nothing is for a shell alone.
func FuzzWordsAreThoseOfAShell(f *testing.F) {
	for _, seed := range []string{`a 'b c' "d\"e" \ f`, `# a`, `a"b"'c'#d`, `'' x`, `"\a\\"`} {
		f.Add(seed)
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		f.Skip("no shell")
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := Split(line)
		if err != nil || strings.ContainsAny(line, "$`*?[]{}|&;<>()!~=\r\n\x00") {
			return
		}
		out, err := exec.Command(sh, "-c", `printf '%s\n' x `+line).Output()
		want := "x\n"
		for _, w := range words {
			want += w.Text + "\n"
		}
		if err != nil || string(out) != want {
			t.Errorf("%q: %q, want %q (%v)", line, want, out, err)
		}
	})
}

func TestWordsOfACommand(t *testing.T) {
	for text, want := range map[string][]string{
		"":                         nil,
		" \t ":                     nil,
		"cat":                      {"cat"},
		"  tr a-z\tA-Z ":           {"tr", "a-z", "A-Z"},
		`python3 -c 'print("hi")'`: {"python3", "-c", `print("hi")`},
		`a"b c"d'e f'`:             {"ab cde f"},
		`"" ''`:                    {"", ""},
		`a\ b \"`:                  {"a b", `"`},
		`"\a \" \\ \$x"`:           {`\a " \ $x`},
		`'\'`:                      {`\`},
		"a\\\nb":                   {"ab"},
		"\"a\\\nb\"":               {"ab"},
		"a \\\n  b \\\n":           {"a", "b"},
		`a=b c#d *.txt ~ 5$ $`:     {"a=b", "c#d", "*.txt", "~", "5$", "$"},
		`'|' "<" \>`:               {"|", "<", ">"},
		"é\xff":                    {"é\xff"},
	} {
		got, err := Command(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Command(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestWhatIsForAShellIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a | b":     "| is for a shell",
		"a>b":       "> is for a shell",
		"a; b":      "; is for a shell",
		"a &":       "& is for a shell",
		"(a)":       "( is for a shell",
		"a $HOME":   "$ is for a shell",
		`a "$HOME"`: "put a \\ before it",
		`a "${x}"`:  "$ is for a shell",
		"a `b`":     "` is for a shell",
		`a "b`:      `the quote " is not closed`,
		`a 'b`:      "the quote ' is not closed",
		`a \`:       `nothing stands behind the backslash`,
	} {
		if got, err := Command(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Command(%q) = %q, %v, want an error with %q", text, got, err, want)
		}
	}
}

// endOfLine is one that no backslash joins to the next, behind which a shell has another command.
var endOfLine = regexp.MustCompile(`(^|[^\\])(\\\\)*\n`)

// What is split at all is split as /bin/sh splits it, wildcards and the like aside.
func FuzzWordsOfACommand(f *testing.F) {
	for _, seed := range []string{"a b", `a"b c"'d e'\ f`, `"\a\"\$"`, `''`, `5$ "$"`, `"'" '"'`, "é\\\xff", "a \\\n b\\\nc", "$\\\n\\\n0", "\"$\\\n{a}\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, err := Command(text)
		if err != nil || strings.ContainsAny(text, "\x00\r#~") || endOfLine.MatchString(text) {
			return
		}
		out, err := exec.Command("/bin/sh", "-f", "-c", `printf '%s\0' X `+text).Output()
		if err != nil {
			t.Fatalf("sh does not take %q: %v", text, err)
		}
		want := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")[1:]
		if !slices.Equal(words, want) {
			t.Errorf("Command(%q) = %q, sh has %q", text, words, want)
		}
	})
}
