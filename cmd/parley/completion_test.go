//go:build unix

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parley-tcp/parley/internal/recent"
	"github.com/parley-tcp/parley/internal/screen"
)

// completing is a directory with journals, dialogues and addresses to complete.
func completing(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, ".state"))
	for name, text := range map[string]string{
		"a.db": "SQLite format 3\x00 and so on", "x.journal": "", "x.journal.index": "SQLite format 3\x00", "notes.txt": "SQLite format 3", "smtp.talk": "", "sub/y.journal": "",
		".state/parley/addresses": "redis.internal:6379\n[::1]:7000\nunix:/run/redis\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// inBash has a bash with the script for it complete lines at their ends, and prints what they may
// become. The words are as bash itself breaks them: also at : and =.
const inBash = `source <(parley completion bash)
for COMP_LINE in "$@"; do
    COMP_POINT=${#COMP_LINE}
    read -ra words <<<"$(sed 's/[:=]/ & /g' <<<"$COMP_LINE")"
    [[ $COMP_LINE == *' ' ]] && words+=('')
    COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1)) COMPREPLY=()
    __start_parley 2>/dev/null # compopt says that nobody pressed a key
    echo "$COMP_LINE->${COMPREPLY[*]}"
done`

// What is completed in a bash that has nothing but our script. Behind a : or = bash wants the rest alone.
func TestBashCompletes(t *testing.T) {
	dir := completing(t)
	cases := []struct{ line, want string }{
		{"parley cli", "client"},
		{"parley client ", "redis.internal:6379 [::1]:7000 unix:/run/redis"},
		{"parley client re", "redis.internal:6379"},
		{"parley client redis.internal:", "6379"},
		{"parley bench -f redis unix:", "/run/redis"},
		{"parley client redis.internal:6379 ", ""},
		{"parley tap 7001 re", "redis.internal:6379"},
		{"parley server --framing ch", "chunk"},
		{"parley server --framing=ch", "chunk"},
		{"parley client --framing line/clo", "line/close"},
		{"parley server --engine l", "loops"},
		{"parley server --fault drop=3,cu", `3\,cut=`},
		{"parley log --export m", "md mermaid"},
		{"parley log ", "a.db sub/ x.journal"},
		{"parley log x.journal ./", "./a.db ./sub/ ./x.journal"},
		{"parley log sub/", "sub/y.journal"},
		{"parley server --answers ", "a.db sub/ x.journal"},
		{"parley replay x", "x.journal"},
		{"parley replay x.journal re", "redis.internal:6379"},
		{"parley check --script s", "smtp.talk sub/"},
		{"parley server --idle-timeout ", ""},
		{"parley completion b", "bash"},
		{"parley --color al", "always"},
	}
	args := []string{"--norc", "-c", inBash, "bash"}
	for _, c := range cases {
		args = append(args, c.line)
	}
	cmd := peer(t, "bash", args...)
	cmd.Dir = dir
	lines := strings.Split(run(t, cmd, ""), "\n")
	for i, c := range cases {
		got := "nothing"
		if i < len(lines) {
			_, got, _ = strings.Cut(lines[i], "->")
		}
		words := strings.Fields(got)
		for i, w := range words { // what a word is for may stand behind it
			words[i] = strings.TrimSpace(w)
		}
		if c.line != "parley client " { // those are the newest first
			slices.Sort(words)
		}
		if got := strings.Join(words, " "); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.line, got, c.want)
		}
	}
}

// Somebody talks to a server by hand, and then has its address completed by a key.
func TestAddressIsCompletedByAKey(t *testing.T) {
	dir := completing(t)
	s := startServer(t, "-q")
	term := openClient(t, s.addr)
	term.typeAt(t, "Enter data: ", "\n")
	term.exit(t)
	file, err := recent.File()
	if err != nil {
		t.Fatal(err)
	}
	if got := recent.Read(file); got[0] != s.addr || len(got) != 4 {
		t.Fatalf("kept are %q, want %s first", got, s.addr)
	}
	// Not without the history, and neither a pipe nor a request of the command line is typed by somebody.
	hidden := openClient(t, "--no-history", strings.Replace(s.addr, "127.0.0.1", "localhost", 1))
	hidden.typeAt(t, "Enter data: ", "\n")
	hidden.exit(t)
	run(t, program(t, "client", "-q", strings.Replace(s.addr, "127.0.0.1", "localhost", 1)), "hi\n")
	if got := recent.Read(file); len(got) != 4 {
		t.Errorf("kept are %q", got)
	}
	cmd := peer(t, "bash", "--norc", "--noprofile", "-i")
	cmd.Dir, cmd.Env = dir, append(cmd.Environ(), "PS1=> ", "TERM=xterm", "HISTFILE=")
	shell, err := screen.Start(cmd, 100, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer shell.Close()
	shell.Type("source <(parley completion bash); echo rea''dy\n")
	if err := shell.AwaitText("ready"); err != nil {
		t.Fatal(err)
	}
	shell.Type("parley client 127\t")
	if err := shell.AwaitText("> parley client " + s.addr); err != nil {
		t.Fatal(err)
	}
	shell.Type("\x15exit\n")
	shell.Wait()
}

// All shells get a script, and a bad word is said.
func TestScriptsForShells(t *testing.T) {
	for _, shell := range shellNames() {
		for _, flags := range [][]string{{}, {"--no-descriptions"}} {
			if script := run(t, program(t, append([]string{"completion", shell}, flags...)...), ""); !strings.Contains(script, "parley") || len(script) < 1000 {
				t.Errorf("the script for %s is %q", shell, script)
			}
		}
	}
	if script := run(t, program(t, "completion", "bash"), ""); strings.Count(script, "${COMP_WORDS[i]}") == 0 {
		t.Error("bash needs bash-completion: cobra's script has another form")
	}
}
