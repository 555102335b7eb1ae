package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// everyCommand is the root and all below it that somebody can see.
func everyCommand() []*cobra.Command {
	root := rootCommand()
	return slices.DeleteFunc(append([]*cobra.Command{root}, root.Commands()...), func(c *cobra.Command) bool { return c.Hidden || c.Name() == "help" })
}

// Every help is of one form: what the command is for, examples, how it is called, the rest, the flags; in
// lines that fit, but for what is there to be typed.
func TestHelpsAreOfOneForm(t *testing.T) {
	for _, cmd := range everyCommand() {
		cmd.InitDefaultHelpFlag()
		for _, columns := range []int{0, 20, 40, 80, 200} {
			text := helpText(cmd, columns)
			if strings.ContainsAny(text, "`\t\x1b") {
				t.Errorf("%s, %d columns: a backtick, tab or sequence is in\n%s", cmd.Name(), columns, text)
			}
			parts := []string{cmd.Short, "Examples:", "Usage:", "Flags:"}
			if columns < 80 && columns > 0 {
				parts = parts[1:] // it is wrapped
			}
			for rest, i := text, 0; i < len(parts); i++ {
				_, behind, found := strings.Cut(rest, parts[i])
				if rest = behind; !found {
					t.Errorf("%s, %d columns: no %q in its place in\n%s", cmd.Name(), columns, parts[i], text)
				}
			}
			most := min(columns, mostProse)
			_, flags, _ := strings.Cut(text, "\nFlags:\n")
			for line := range strings.SplitSeq(text, "\n") {
				isTyped := regexp.MustCompile(`^  \S`).MatchString(line) && !strings.Contains(flags, line) // an example, a usage
				isName := regexp.MustCompile(`^ {2,6}-\S+(, --\S+)?( \S+)?$`).MatchString(line)            // a flag and its value
				if n := utf8.RuneCountInString(line); columns > 0 && n > most && !isTyped && !isName {
					t.Errorf("%s, %d columns: a line has %d: %s", cmd.Name(), columns, n, line)
				}
			}
		}
		for _, row := range examplesOf(cmd) {
			if n := utf8.RuneCountInString(row.what); n > 78 {
				t.Errorf("%s: an example does not fit a terminal, it has %d characters: %s", cmd.Name(), n, row.what)
			}
		}
		whole := helpText(cmd, 0)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if n := strings.Count(whole, " --"+f.Name+" ") + strings.Count(whole, " --"+f.Name+"["); n == 0 {
				t.Errorf("%s: the help does not have --%s in a line", cmd.Name(), f.Name)
			}
			if strings.HasSuffix(f.Usage, ".") || f.Usage == "" || strings.ToUpper(f.Usage[:1]) == f.Usage[:1] && f.Usage[0] != '\\' && !strings.HasPrefix(f.Usage, "`") {
				t.Errorf("%s --%s: its text is a sentence: %s", cmd.Name(), f.Name, f.Usage)
			}
		})
		if wrong := regexp.MustCompile(`\(default (\w*[hm]0[ms]\w*|0|0s|"\w+")\)`).FindString(whole); wrong != "" {
			t.Errorf("%s: no one would type a default like this: %s", cmd.Name(), wrong)
		}
	}
}

// A default is told in the unit in which it is typed.
func TestDefaultsAreAsTyped(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	size := sizeFlag(256 << 10)
	flags.Var(&size, "size", "")
	for name, d := range map[string]time.Duration{"ten": 10 * time.Second, "five": 5 * time.Minute, "hour": time.Hour, "odd": 90 * time.Minute, "ms": 500 * time.Millisecond, "none": 0} {
		flags.Duration(name, d, "")
	}
	flags.String("text", "a b", "")
	flags.String("word", "stop", "")
	flags.Bool("on", true, "")
	for name, want := range map[string]string{
		"size": "256KiB", "ten": "10s", "five": "5m", "hour": "1h", "odd": "1h30m", "ms": "500ms", "none": "", "text": `"a b"`, "word": "stop", "on": "",
	} {
		if got := defaultOf(flags.Lookup(name)); got != want {
			t.Errorf("--%s has the default %q, want %q", name, got, want)
		}
	}
	for n, want := range map[sizeFlag]string{1: "1", 1000: "1000", 1 << 10: "1KiB", 3 << 20: "3MiB", 1 << 30: "1GiB", 65537: "65537", 0: "0"} {
		again := new(sizeFlag)
		if got := n.String(); got != want || n > 0 && (again.Set(got) != nil || *again != n) {
			t.Errorf("%d bytes are %q, which reads as %d; want %q", int(n), got, *again, want)
		}
	}
}

// What an example of a help says can be typed: the flags are there, and the addresses are some.
func TestExamplesOfTheHelpAreRight(t *testing.T) {
	for _, cmd := range everyCommand() {
		quiet := false
		for _, example := range examplesOf(cmd) {
			for _, words := range parleysIn(shellWords(example.what)) {
				root := rootCommand()
				run, args, err := root.Find(words)
				if err == nil {
					run.InitDefaultHelpFlag()
					err = run.ParseFlags(args)
				}
				if err != nil {
					t.Errorf("%s: %s: %v", cmd.Name(), example.what, err)
					continue
				}
				quiet = quiet || run.Flags().Lookup("quiet") != nil && run.Flags().Changed("quiet")
				if err := checkWords(run, run.Flags().Args()); err != nil {
					t.Errorf("%s: %s: %v", cmd.Name(), example.what, err)
				}
			}
		}
		if cmd.Flags().Lookup("quiet") != nil && !quiet {
			t.Errorf("%s: no example has -q", cmd.Name())
		}
	}
}

// checkWords says which of the words of a command is no address where one has to be.
func checkWords(cmd *cobra.Command, words []string) error {
	places := map[string][]int{"client": {0}, "check": {0}, "bench": {0, 1}, "replay": {1}, "tap": {1}}[cmd.Name()]
	for _, i := range places {
		if i < len(words) {
			if _, err := parseAddress(words[i], ""); err != nil {
				return err
			}
		}
	}
	if cmd.Name() == "server" || cmd.Name() == "tap" {
		in := new(inFlags)
		in.flags = cmd.Flags()
		for _, word := range words[:min(1, len(words))] {
			if _, err := in.way(word, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// shellWords are the words of a line, of which quotes hold those together that have blanks, and in which
// operators stand alone.
func shellWords(line string) (words []string) {
	for _, m := range regexp.MustCompile(`'[^']*'|"[^"]*"|[|<>()]+|[^\s|<>()'"]+(?:'[^']*'|"[^"]*"|[^\s|<>()'"]+)*`).FindAllString(line, -1) {
		if !strings.HasPrefix(m, "'") && !strings.HasPrefix(m, `"`) {
			words = append(words, strings.NewReplacer("'", "", `"`, "").Replace(m))
		} else {
			words = append(words, m[1:len(m)-1])
		}
	}
	return words
}

// parleysIn are the command lines of parley among the words, without its name.
func parleysIn(words []string) (lines [][]string) {
	for i, word := range words {
		if word != "parley" {
			continue
		}
		rest := words[i+1:]
		if end := slices.IndexFunc(rest, func(w string) bool { return strings.ContainsAny(w[:min(1, len(w))], "|<>()") && len(w) < 3 }); end >= 0 {
			rest = rest[:end]
		}
		lines = append(lines, rest)
	}
	return lines
}
