package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley/internal/probe"
)

func targetsOf(t *testing.T, text string) ([]*probe.Target, []string, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	for file, text := range map[string]string{"targets": text, "a.talk": "> a\n< *\n", "broken.talk": "> a\n? b\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	targets, texts, err := readTargets("targets")
	t.Cleanup(func() { closeTargets(targets) })
	return targets, texts, err
}

// A line is a name, and then what would be typed behind parley check.
func TestLinesOfTargets(t *testing.T) {
	t.Setenv("PARLEY_TIMEOUT", "7s")
	t.Setenv("PARLEY_ALL", "true")
	targets, texts, err := targetsOf(t, `# all that matters
web   127.0.0.1:7001 'hello you' there --expect "^R # q" -w 2s # and why
"a b"	--banner db:5432

c unix:/run/c.sock --script a.talk
d localhost:7001 --tls --insecure --expires 14d`+"\r\n"+`
redis [::1]:6379 -f redis LRANGE key 0 -- -4
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, target := range targets {
		p := &target.Check.Probe
		line := target.Name + "|" + target.Check.Target + "|" + string(p.Request) + "|" + p.Timeout.String()
		if p.Expect.Judges() {
			line += "|" + p.Expect.String()
		}
		if p.Script != nil {
			line += "|" + p.Script.Dialogue.File
		}
		if p.All {
			line += "|all"
		}
		got = append(got, line+"|"+p.Expires.String())
	}
	want := []string{
		"web|127.0.0.1:7001|hello you there|2s|a match of `^R # q`|0s",
		"a b|db:5432||7s|0s",
		"c|unix:/run/c.sock||7s|a.talk|0s",
		"d|localhost:7001||7s|336h0m0s",
		"redis|[::1]:6379|*4\r\n$6\r\nLRANGE\r\n$3\r\nkey\r\n$1\r\n0\r\n$2\r\n-4\r\n|7s|0s",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := "d: --insecure: the server's certificate is not verified"; strings.Join(texts, "\n") != want {
		t.Errorf("said %q, want %q", texts, want)
	}
}

// What is wrong with a line is told with its place, and what helps; nothing of the file is taken then.
func TestWrongLinesOfTargets(t *testing.T) {
	for line, want := range map[string]string{
		``:                                      "--targets targets: there is no target in it; write a line such as: web web.internal:443 --tls",
		`b 'c`:                                  "2:3: the quote ' is not closed; \\' is one that quotes nothing",
		`b`:                                     "2:1: the address is missing; write NAME ADDRESS, such as: web web.internal:443",
		`  --tls b:1`:                           "2:3: the name is missing; write NAME ADDRESS, and options behind them",
		`"" b:1`:                                "2:1: the name is empty",
		`a b:1`:                                 "2:1: line 1 has the name a already; each target needs its own",
		`"b` + "\x1b" + `" b:1`:                 "2:1: the name has characters that cannot be printed",
		strings.Repeat("b", 129) + ` b:1`:       "2:1: the name is too long: 128 bytes are the most",
		`b db`:                                  `2:3: address "db" has no port; write db:6969`,
		`b db 5432`:                             `2:3: address "db" has no port; did you mean db:5432?`,
		`b --tls`:                               "2:3: the address is missing; write NAME ADDRESS, and options behind them",
		`b ä:1 --tsl`:                           "2:7: unknown flag --tsl; did you mean --tls?",
		`b c:1 x --expct y`:                     "2:9: unknown flag --expct; did you mean --expect?",
		`b c:1 -w abc`:                          `2:7: --timeout "abc": use a time with its unit, such as 500ms, 10s or 5m; 2562047h is the most`,
		`b c:1 --timeout=abc`:                   `2:7: --timeout "abc": use a time with its unit, such as 500ms, 10s or 5m; 2562047h is the most`,
		`b c:1 x --timeout`:                     "2:9: flag needs an argument: --timeout; put -- before words of the message that look like flags; 'parley check --help' lists the flags",
		`b c:1 --expires 14d`:                   "2:7: --expires goes with --tls",
		`b c:1 hello -e '('`:                    "2:13: --expect: regular expression `(`: missing closing ): `(`",
		`b c:1 --expect x`:                      "2:3: there will be no reply to judge; give a message, or --banner if the server speaks first",
		`b c:1 --tls --ca nope.pem`:             "2:18: CA nope.pem: no such file or directory",
		`b c:1 --script nope.talk`:              "2:7: --script nope.talk: no such file",
		`b c:1 --script broken.talk`:            "2:16: broken.talk:2:1: no statement begins with \"?\"; there are > < within eg tls wait eof framing and #",
		`b c:1 --script -`:                      "2:7: --script -: standard input cannot be read again, as the file of targets is; name a file",
		`b c:1 --script a.talk --script a.talk`: "2:7: --script a.talk: a target plays one dialogue, and has a.talk already; make it a target of its own",
		`b c:1 hello --script a.talk`:           `2:7: the message "hello" goes without --script: the dialogue says what is sent`,
		`b c:1 --every 5s`:                      "2:7: --every is for all targets: give it to parley check itself",
		`b c:1 --admin :9115`:                   "2:7: --admin is for all targets: give it to parley check itself",
		`b c:1 --json`:                          "2:7: --json is for all targets: give it to parley check itself",
		`b c:1 -q`:                              "2:7: --quiet is for all targets: give it to parley check itself",
		`b c:1 --color never`:                   "2:7: --color is for all targets: give it to parley check itself",
		`b c:1 -c 5`:                            "2:7: --count is for a check by hand; a target is probed once an interval",
		`b c:1 --wait 5s`:                       "2:7: --wait is for a check by hand; a target is probed once an interval",
		`b c:1 --all`:                           "2:7: --all is for a check by hand; a target is probed once an interval",
		`b c:1 --script a.talk --junit x`:       "2:23: --junit is for a check by hand; a target is probed once an interval",
		`b c:1 --expect-text x --expect y`:      "2:7: --expect-text and --expect exclude each other; use one of them",
	} {
		text := "a localhost:1 --tls\n" + line + "\n"
		if line == "" {
			text = "# nothing\n\n"
		}
		targets, texts, err := targetsOf(t, text)
		if err == nil || len(targets)+len(texts) > 0 {
			t.Errorf("%s: %v, %v, %v", line, targets, texts, err)
			continue
		}
		got := strings.TrimPrefix(err.Error(), "targets:")
		if got != want {
			t.Errorf("%s:\n%s, want\n%s", line, got, want)
		}
	}
}

// What a command registers for completion is kept by cobra until the process ends: a line must leave none of it
// behind, or each reload would cost memory.
func TestALineOfTargetsRegistersNothingForGood(t *testing.T) {
	_, cmd := newCheck()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, has := cmd.GetFlagCompletionFunc(f.Name); has {
			t.Errorf("--%s has a completion of its own; completedFlags is for that", f.Name)
		}
	})
}

func TestAFileOfTargetsThatIsNone(t *testing.T) {
	for file, want := range map[string]string{
		"nope":      "--targets nope: no such file",
		t.TempDir(): "is a directory",
		"/dev/zero": "--targets /dev/zero: it has more than 16 MiB; is it a list of targets?",
	} {
		if _, _, err := readTargets(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
}

// A target keeps what it needs to be probed, 4 KB, and not the flags of its line, which are 70.
func TestTargetsAreSmall(t *testing.T) {
	const lines, most = 300, 20 << 10
	var text strings.Builder
	for i := range lines {
		fmt.Fprintf(&text, "t%d 127.0.0.1:7001 hello --expect ^Request\n", i)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	targets, _, err := targetsOf(t, text.String())
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int64(after.HeapAlloc-before.HeapAlloc) / lines; each > most {
		t.Errorf("a target holds %d bytes, want at most %d", each, most)
	}
	runtime.KeepAlive(targets)
}
