//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The terminals that pages of the manual show below a line <!-- run --> are run, and print what is
// there. Those that need more than commands have tests of their own.
func TestTerminalsOfTheManual(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, page := range pages {
		name := filepath.Base(page)
		switch name {
		case "tapping.md":
			continue // a redis with TLS: TestTheManualsTapOfTLS
		case "log.md":
			continue // a journal: TestQuestionsOfTheManual
		}
		manual, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		terminals := strings.Split(string(manual), "\n<!-- run -->\n")[1:]
		shown += len(terminals)
		for i, text := range terminals {
			t.Run(fmt.Sprintf("%s/%d", name, i+1), func(t *testing.T) {
				t.Parallel()
				runTranscript(t, text)
			})
		}
	}
	if shown < 15 {
		t.Errorf("the manual has %d terminals", shown)
	}
}

// A transcript is where commands are typed, one after the other, as a manual shows it.
type transcript struct {
	dir    string
	ports  *strings.Replacer // of the manual to those that are free
	shown  *strings.Replacer // and back
	beside *process          // the last command that goes on, with an & behind it
}

func runTranscript(t *testing.T, text string) { newTranscript(t, text).play(t, text) }

// play types the commands up to what is no terminal any more.
func (tr *transcript) play(t *testing.T, text string) {
	command, want := "", []string(nil)
	for line := range strings.Lines(text) {
		line, indented := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		typed, isCommand := strings.CutPrefix(line, "$ ")
		if indented && !isCommand {
			want = append(want, line)
			continue
		}
		if command != "" {
			tr.run(t, command, want)
		}
		if !indented {
			return
		}
		command, want = typed, nil
	}
}

func newTranscript(t *testing.T, text string) *transcript {
	peer(t, "openssl")
	tr := &transcript{dir: t.TempDir()}
	var ports, shown []string
	for _, port := range regexp.MustCompile(`\b7\d{3}\b`).FindAllString(text, -1) {
		if !slices.Contains(ports, port) {
			free := freePort(t)
			ports, shown = append(ports, port, free), append(shown, free, port)
		}
	}
	tr.ports, tr.shown = strings.NewReplacer(ports...), strings.NewReplacer(append(shown, tr.dir, "/home/me")...)
	return tr
}

// tells is in front of what the command prints that was started last and goes on.
var tells = regexp.MustCompile(`^# the (server|tap) tells$`)

// run types a command and looks at what it prints.
func (tr *transcript) run(t *testing.T, command string, want []string) {
	told := []string(nil)
	if i := slices.IndexFunc(want, tells.MatchString); i >= 0 {
		want, told = want[:i], want[i+1:]
	}
	typed, then, isBeside := strings.Cut(command, " &")
	if isBeside {
		tr.beside = start(t, tr.shell(t, "exec "+typed))
		told = append(want, told...)
		want, typed = nil, strings.ReplaceAll(then, "$!", strconv.Itoa(tr.beside.Process.Pid))
	}
	out, _ := tr.shell(t, typed).CombinedOutput()
	if got := tr.plain(string(out)); got != tr.plain(joined(want)) {
		t.Errorf("$ %s\n%swant\n%s", command, got, tr.plain(joined(want)))
	}
	for _, line := range told {
		awaitLine(t, tr, line)
	}
}

func awaitLine(t *testing.T, tr *transcript, line string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s has printed\n%s%s", tr.beside, tr.plain(tr.beside.stdout.String()), tr.plain(tr.beside.stderr.String()))
		}
	})
	eventually(t, "it prints "+tr.plain(line), func() bool {
		return strings.Contains(tr.plain(tr.beside.stdout.String()+tr.beside.stderr.String()), tr.plain(line+"\n"))
	})
}

func (tr *transcript) shell(t *testing.T, typed string) *exec.Cmd {
	cmd := command(t, "sh", "-c", tr.ports.Replace(typed))
	cmd.Dir = tr.dir
	cmd.Env = append(os.Environ(), "HOME="+tr.dir, "XDG_STATE_HOME=")
	return cmd
}

// plain is an output without what is another one at each run.
func (tr *transcript) plain(text string) string {
	text = tr.shown.Replace(text)
	for _, changing := range []struct{ pattern, as string }{
		{`\r\n`, "\n"}, // of CSV
		{`localhost, (\S+, )?127\.0\.0\.1`, "localhost, HOST, 127.0.0.1"},
		{`Parley CA of [^;,\n]+`, "Parley CA of HOST"},
		{`\d{4}-\d\d-\d\d \d\d:\d\d UTC`, "DATE"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "WHEN"},
		{`([0-9A-F]{2}:){31}[0-9A-F]{2}`, "FINGERPRINT"},
		{`\d+ days left \(\d{4}-\d\d-\d\d\)`, "DAYS"},
		{`\d[\d.]* (ms|µs|s)\b`, "TIME"},
		{`\d[\d,.]*/s\b`, "RATE"},
		{`(\S)   +`, "$1  "}, // columns are as wide as what is in them
		{`(127\.0\.0\.1|\[::1\]):\d{5}\b`, "LOCALHOST:PORT"},
		{`(127\.0\.0\.1|\[::1\]):7`, "LOCALHOST:7"},
	} {
		text = regexp.MustCompile(changing.pattern).ReplaceAllString(text, changing.as)
	}
	return text
}

func joined(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, "\n") + "\n"
}
