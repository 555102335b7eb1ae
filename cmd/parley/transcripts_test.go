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

// The terminals that README.md and the pages of the manual show below a line <!-- run --> are run, and print
// what is there; those below <!-- go on --> are of the same terminal as the one before. Those that need
// more than commands have tests of their own.
func TestTerminalsOfTheManual(t *testing.T) {
	shown := 0
	for _, page := range manualPages(t) {
		var terminals []*transcript
		for _, b := range page.blocks {
			switch b.mark {
			case "run":
				terminals = append(terminals, &transcript{lines: b.lines})
			case "go on":
				if len(terminals) == 0 {
					t.Fatalf("%s:%d goes on with nothing", page.name, b.line)
				}
				last := terminals[len(terminals)-1]
				last.lines = append(last.lines, b.lines...)
			}
		}
		shown += len(terminals)
		for i, tr := range terminals {
			t.Run(fmt.Sprintf("%s/%d", page.name, i+1), func(t *testing.T) {
				t.Parallel()
				tr.prepare(t)
				tr.play(t)
			})
		}
	}
	if shown < 30 {
		t.Errorf("the manual has %d terminals", shown)
	}
}

// What a page has typed is run by a test, or the page says in a comment above why it cannot be:
// <!-- not run: it needs a cloud -->. A test of its own is named: <!-- run by TestTheManualsWaysIn -->.
func TestEveryCommandOfTheManualIsRun(t *testing.T) {
	isCommand := regexp.MustCompile(`^(\$ |(\w+=\S+ )*(bin/)?(parley|go|make|docker|git|cd|curl|printf|sqlite3|ssh|redis-\w+|sudo|kill) )`)
	mark := regexp.MustCompile(`^(run|go on|ask|wire|run by TestTheManuals\w+|not run: .{10,})$`)
	for _, page := range manualPages(t) {
		for _, b := range page.blocks {
			switch {
			case b.mark != "" && !mark.MatchString(b.mark):
				t.Errorf("%s:%d has a mark that says nothing: <!-- %s -->", page.name, b.line, b.mark)
			case b.mark == "" && slices.ContainsFunc(b.lines, isCommand.MatchString):
				t.Errorf("%s:%d is run by no test, and does not say why: %s", page.name, b.line, b.lines[0])
			}
		}
	}
}

// docs/commands.md is where each command is found, with its one page.
func TestEachCommandHasItsPage(t *testing.T) {
	index, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range rootCommand().Commands() {
		name := cmd.Name()
		switch name {
		case "help", "version", "completion", "man":
			if name != "help" && name != "man" && !strings.Contains(string(index), "`parley "+name) {
				t.Errorf("docs/commands.md does not have parley %s", name)
			}
			continue
		}
		row := regexp.MustCompile("(?m)^\\| `parley " + name + "[ `].*\\]\\((\\w+\\.md)\\) \\|$")
		found := row.FindAllSubmatch(index, -1)
		if len(found) != 1 {
			t.Errorf("docs/commands.md has %d pages of parley %s", len(found), name)
			continue
		}
		if _, err := os.Stat(filepath.Join("../../docs", string(found[0][1]))); err != nil {
			t.Error(err)
		}
	}
}

// A page of the manual, and its blocks of code.
type manualPage struct {
	name   string
	blocks []block
}

type block struct {
	line  int    // the first one's number in the page
	mark  string // of the comment above
	lines []string
}

func manualPages(t *testing.T) (pages []manualPage) {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, manualPage{filepath.Base(file), blocksOf(strings.Split(string(text), "\n"))})
	}
	return pages
}

var comment = regexp.MustCompile(`^ *<!-- (.*) -->$`)

// blocksOf are the blocks of a page that are fenced, or indented by four blanks behind an empty line or a
// comment; in a list they are indented by as much as the list is beside that.
func blocksOf(lines []string) (blocks []block) {
	for i := 0; i < len(lines); i++ {
		before := ""
		if i > 0 {
			before = lines[i-1]
		}
		b := block{line: i + 1}
		if m := comment.FindStringSubmatch(before); m != nil {
			b.mark = m[1]
		}
		code := strings.TrimLeft(lines[i], " ")
		indent := lines[i][:len(lines[i])-len(code)]
		switch {
		case strings.HasPrefix(code, "```"):
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
				b.lines = append(b.lines, strings.TrimPrefix(lines[i], indent))
			}
		case len(indent) >= 4 && (strings.TrimSpace(before) == "" || b.mark != ""):
			isCode := func(i int) bool { return i < len(lines) && strings.HasPrefix(lines[i], indent) }
			for ; isCode(i) || i < len(lines) && lines[i] == "" && isCode(i+1); i++ {
				b.lines = append(b.lines, strings.TrimPrefix(lines[i], indent))
			}
			i--
		default:
			continue
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// A transcript is where commands are typed, one after the other, as a manual shows it.
type transcript struct {
	lines []string
	dir   string
	ports *strings.Replacer   // of the manual to those that are free
	shown *strings.Replacer   // and back
	jobs  []*process          // the commands that go on, with an & behind them
	named map[*process]string // those of them that were not ended, as they were typed
}

// others are the programs beside parley that the manual uses.
var others = []string{"openssl", "redis-server", "redis-cli", "curl", "python3", "nc", "haproxy", "systemd-socket-activate"}

// manualPort is a port that stands for any that is free.
var manualPort = regexp.MustCompile(`\b(7\d{3}|6969|6379|6380|8080|2525)\b`)

func (tr *transcript) prepare(t *testing.T) {
	tr.dir = t.TempDir()
	text := strings.Join(tr.lines, "\n")
	for _, name := range others {
		if regexp.MustCompile(`(?m)^\$ (.*[|;] )?` + name + ` `).MatchString(text) {
			peer(t, name)
		}
	}
	var ports, shown []string
	for _, port := range manualPort.FindAllString(text, -1) {
		if !slices.Contains(ports, port) {
			free := freePort(t)
			ports, shown = append(ports, port, free), append(shown, free, port)
		}
	}
	tr.ports, tr.shown = strings.NewReplacer(ports...), strings.NewReplacer(append(shown, tr.dir, "/home/me")...)
	t.Cleanup(func() {
		for _, p := range tr.jobs {
			if t.Failed() {
				t.Logf("%s has printed\n%s%s", p, tr.plain(p.stdout.String()), tr.plain(p.stderr.String()))
			}
		}
	})
}

// play types the commands.
func (tr *transcript) play(t *testing.T) {
	command, want := "", []string(nil)
	for _, line := range append(tr.lines, "$ ") {
		typed, isCommand := strings.CutPrefix(line, "$ ")
		if !isCommand {
			want = append(want, line)
			continue
		}
		if command != "" {
			tr.run(t, command, want)
		}
		command, want = typed, nil
	}
}

// tells is in front of what the command prints that was started last and goes on.
var tells = regexp.MustCompile(`^# the (server|tap|prober) tells$`)

// job is how a shell names a command that goes on, by how it begins. Its number depends on what else was
// typed in that shell, so the manual has none.
var job = regexp.MustCompile(`%(\w+)|'%([^']+)'`)

// run types a command and looks at what it prints.
func (tr *transcript) run(t *testing.T, command string, want []string) {
	told := []string(nil)
	if i := slices.IndexFunc(want, tells.MatchString); i >= 0 {
		want, told = want[:i], want[i+1:]
	}
	typed, then, isBeside := strings.Cut(command, " &")
	var ended []*process
	switch {
	case isBeside && !strings.HasPrefix(then, "&"):
		beside := start(t, tr.shell(t, "exec env "+typed))
		tr.jobs = append(tr.jobs, beside)
		if tr.named == nil {
			tr.named = map[*process]string{}
		}
		tr.named[beside] = typed
		if !strings.HasPrefix(typed, "sh -c") { // which comes late on purpose
			tr.awaitListening(t, typed)
		}
		told = append(want, told...)
		want, typed = nil, strings.ReplaceAll(then, "$!", strconv.Itoa(beside.Process.Pid))
	case strings.HasPrefix(command, "kill "):
		typed = job.ReplaceAllStringFunc(command, func(name string) string {
			is := tr.jobsThatBegin(strings.Trim(name, "%'"))
			if len(is) != 1 {
				t.Fatalf("$ %s: %d jobs begin so", command, len(is))
			}
			delete(tr.named, is[0])
			ended = append(ended, is[0])
			return strconv.Itoa(is[0].Process.Pid)
		})
	default:
		typed = command
	}
	out, _ := tr.shell(t, typed).CombinedOutput()
	if got := tr.plain(string(out)); !likes(got, tr.plain(joined(want))) {
		t.Errorf("$ %s\n%swant\n%s", command, got, tr.plain(joined(want)))
	}
	for _, p := range ended {
		p.exit(t)
	}
	for _, line := range told {
		tr.awaitLine(t, line)
	}
}

// awaitListening waits until somebody listens at each port of a command that goes on: what is typed next may need
// it, also where nothing is printed that says so. It looks, where a system shows it, and does not connect: the
// page would show that.
func (tr *transcript) awaitListening(t *testing.T, typed string) {
	if !showsListening {
		return
	}
	for _, port := range manualPort.FindAllString(typed, -1) {
		eventually(t, "somebody listens at what is port "+port+" in: "+typed, func() bool {
			return listensAt(t, tr.ports.Replace(port))
		})
	}
}

// jobsThatBegin are the commands that go on and begin so.
func (tr *transcript) jobsThatBegin(prefix string) (jobs []*process) {
	for p, typed := range tr.named {
		if strings.HasPrefix(typed, prefix) {
			jobs = append(jobs, p)
		}
	}
	return jobs
}

// likes says whether got is want, in which a line … stands for any lines.
func likes(got, want string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta("\n"+want), "\n…\n", "\n(?s:.*\n)?")
	return regexp.MustCompile("^" + pattern + "$").MatchString("\n" + got)
}

func (tr *transcript) awaitLine(t *testing.T, line string) {
	t.Helper()
	beside := tr.jobs[len(tr.jobs)-1]
	eventually(t, "it prints "+tr.plain(line), func() bool {
		return strings.Contains(tr.plain(beside.stdout.String()+beside.stderr.String()), tr.plain(line+"\n"))
	})
}

func (tr *transcript) shell(t *testing.T, typed string) *exec.Cmd {
	cmd := command(t, "sh", "-c", tr.ports.Replace(typed))
	cmd.Dir = tr.dir
	cmd.Env = append(os.Environ(), "HOME="+tr.dir, "XDG_STATE_HOME=", "PYTHONUNBUFFERED=") // in which Python holds nothing back
	return cmd
}

// plain is an output without what is another one at each run.
func (tr *transcript) plain(text string) string {
	text = tr.shown.Replace(text)
	for _, changing := range []struct{ pattern, as string }{
		{`\r\n`, "\n"}, // of CSV
		{`"node":"[^"]+"`, `"node":"NODE"`},
		{`localhost, (\S+, )?127\.0\.0\.1`, "localhost, HOST, 127.0.0.1"},
		{`Parley CA of [^;,\n]+`, "Parley CA of HOST"},
		{`\d{4}-\d\d-\d\d \d\d:\d\d UTC`, "DATE"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "WHEN"},
		{`([0-9A-F]{2}:){31}[0-9A-F]{2}`, "FINGERPRINT"},
		{`\d+ days left \(\d{4}-\d\d-\d\d\)`, "DAYS"},
		{`\(\d{4}-\d\d-\d\d\)`, "(DATE)"},
		{`\d[\d.]*( (ms|µs|s)\b|(ms|µs|s)  )|\d+\.\d+(ms|µs|s)\b`, "TIME"},
		{`(?m) +$`, ""},
		{`\d[\d,.]*/s\b`, "RATE"},
		{`\d+ seconds? then and \d+ now`, "SECONDS then and now"}, // of which a busy machine makes more
		{`220 \S+ ESMTP`, "220 HOST ESMTP"},
		{`(server |port |localhost:)\d{5}\b`, "${1}PORT"},
		{`\[\d+\]: ([A-Z]+ /|\d{3} [A-Z])`, "[SIZE]: $1"}, // of HTTP: programs say their versions
		{`(?m)^ +`, " "},     // numbers are set to the right
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
