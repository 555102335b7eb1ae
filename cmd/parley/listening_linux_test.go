package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// aManualsCommand is a command of docs/listening.md, with what it is shown to print.
type aManualsCommand struct {
	words  []string
	prints []string
}

// manualsCommands are those of docs/listening.md that start a server or a tap somewhere.
func manualsCommands(t *testing.T) (commands []aManualsCommand) {
	t.Helper()
	for _, page := range manualPages(t) {
		for _, b := range page.blocks {
			if page.name != "listening.md" || b.mark != "run by TestTheManualsWaysIn" {
				continue
			}
			for _, line := range b.lines {
				if typed, isCommand := strings.CutPrefix(line, "$ "); isCommand {
					commands = append(commands, aManualsCommand{words: strings.Fields(typed)})
				} else {
					last := &commands[len(commands)-1]
					last.prints = append(last.prints, line)
				}
			}
		}
	}
	return commands
}

var aPortNumber = regexp.MustCompile(`\b[1-9][0-9]{3,4}\b`)

// The commands of the manual start what it says, at other ports and paths.
func TestTheManualsWaysIn(t *testing.T) {
	commands := manualsCommands(t)
	if len(commands) < 6 {
		t.Fatalf("the manual has %d commands only", len(commands))
	}
	for _, c := range commands {
		dir := t.TempDir()
		writeBoth(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), "localhost")
		var words []string
		for _, word := range c.words {
			if !strings.HasPrefix(word, "localhost:") { // a tap's server, which is not asked
				word = aPortNumber.ReplaceAllString(word, "0")
			}
			words = append(words, strings.ReplaceAll(word, "/run/", dir+"/"))
		}
		addr := filepath.Join(dir, "addr")
		words = append(words, "--addr-file", addr)
		if words[0] != "parley" {
			activate(t, words, filepath.Join(dir, "activated.sock"))
			continue
		}
		cmd := program(t, words[1:]...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "XDG_STATE_HOME="+dir)
		s := start(t, cmd)
		eventually(t, strings.Join(c.words, " ")+" listens or ends", func() bool {
			_, err := os.Stat(addr)
			return err == nil || isClosed(s.exited)
		})
		s.Process.Signal(syscall.SIGTERM)
		if code := s.exit(t); code != 0 {
			t.Errorf("%q: exit code %d; %s", words, code, s.stderr)
		}
		printed := aPortNumber.ReplaceAllString(s.stdout.String()+s.stderr.String(), "PORT")
		for _, want := range c.prints {
			if want = aPortNumber.ReplaceAllString(want, "PORT"); !strings.Contains(printed, want+"\n") {
				t.Errorf("%q does not print %q, but\n%s", words, want, printed)
			}
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// activate has systemd's tool start a server at the first connection to a socket.
func activate(t *testing.T, words []string, path string) {
	t.Helper()
	words[len(words)-1] += "-activated"
	for i, word := range words {
		if word == "parley" {
			words[i] = program(t).Path
		}
	}
	s := start(t, peer(t, words[0], words[1:]...))
	s.stderr.await(t, "Listening on ")
	if got := asked(t, "unix", path, "hello"); got != "Reques" {
		t.Errorf("%q answers %q\n%s", words, got, s.stderr)
	}
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("%q: exit code %d; %s", words, code, s.stderr)
	}
}

// The units of the manual are what systemd takes, without a word, and expose little.
func TestTheManualsUnits(t *testing.T) {
	manual, err := os.ReadFile("../../docs/listening.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var units []string
	for _, unit := range regexp.MustCompile("(?s)```systemd (\\S+)\n(.*?)```").FindAllSubmatch(manual, -1) {
		file := filepath.Join(dir, string(unit[1]))
		text := bytes.ReplaceAll(unit[2], []byte("/usr/bin/parley"), []byte(program(t).Path))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		units = append(units, file)
	}
	if len(units) != 2 {
		t.Fatalf("the manual has %d units, not 2", len(units))
	}
	verify := peer(t, "systemd-analyze", append([]string{"verify"}, units...)...)
	if said, err := verify.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, said)
	}
	exposed := peer(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", units[1])
	if said, err := exposed.CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, said)
	}
}
