package main

import (
	"database/sql"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// makeJournal makes a journal of rows in SQL: journal FILE ROWS.
func makeJournal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: journal FILE ROWS")
	}
	db, err := newJournal(ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(ts.ReadFile(args[1]))
	ts.Check(err)
}

// newJournal makes an empty journal as a server does. The schema is that of the source.
func newJournal(file string) (*sql.DB, error) {
	source, err := parser.ParseFile(token.NewFileSet(), filepath.Join(sourceDir, "../../internal/journal/journal.go"), nil, 0)
	if err != nil {
		return nil, err
	}
	var schema string
	ast.Inspect(source, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Names[0].Name == "schema" {
			schema, err = strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(schema + "; PRAGMA user_version = 1")
	return db, err
}

// sourceDir is where the tests run; a script's commands run elsewhere.
var sourceDir, _ = os.Getwd()

// A journal is followed while it is written to, until an interrupt or until nobody reads.
func TestLogFollows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	db, err := newJournal(file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	record := func(id int) {
		t.Helper()
		if _, err := db.Exec("INSERT INTO exchanges VALUES (?, 1, ?, ?, 0, ?, ?)", id, id, id, fmt.Appendf(nil, "request %d", id), []byte("reply")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("INSERT INTO sessions (id, number, remote, local, opened_ns) VALUES (1, 1, '10.0.0.1:1', '10.0.0.2:2', 0)"); err != nil {
		t.Fatal(err)
	}
	record(1)

	p := start(t, program(t, "log", "-f", "--limit", "1", file))
	p.stdout.await(t, "Server: incoming data [9]: request 1\n")
	record(2)
	p.stdout.await(t, "Server: reply unconfirmed [5]: reply\n1970-01-01T00:00:00.000000Z #1 10.0.0.1:1 Server: incoming data [9]: request 2\n")
	if code := p.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("after an interrupt the exit code is %d, want 0\n%s", code, p.stderr)
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "log", "-f", "--json", file)
	cmd.Stdout = w
	p = start(t, cmd)
	w.Close()
	buf := make([]byte, 1)
	if _, err := r.Read(buf); err != nil {
		t.Fatal(err)
	}
	r.Close()
	record(3)
	if code := p.exit(t); code != 0 || p.stderr.String() != "" {
		t.Errorf("after its reader left the exit code is %d, want 0\n%s", code, p.stderr)
	}
}

// What Mermaid might take for its own never gets into a diagram.
func TestMermaidTextIsInert(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	db, err := newJournal(file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for b := range 256 {
		text := append([]byte("end; "), byte(b))
		if _, err := db.Exec("INSERT INTO exchanges VALUES (?, 1, ?, ?, 0, ?, ?)", b+1, b+1, b+1, append(text, "%%\n<b>"...), text); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("INSERT INTO sessions (id, number, remote, local, opened_ns) VALUES (1, 1, '10.0.0.1:1', 'l', 0)"); err != nil {
		t.Fatal(err)
	}
	out := run(t, program(t, "log", "--export", "mermaid", file), "")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 4+2*256 {
		t.Errorf("%d lines, want %d", len(lines), 4+2*256)
	}
	for _, line := range lines[4:] {
		_, text, _ := strings.Cut(line, ": ")
		if strings.ContainsAny(text, "<>%:\"`{}|~") || strings.Contains(text, "end") ||
			strings.Count(text, "#") != strings.Count(text, ";") {
			t.Errorf("in a diagram: %s", line)
		}
	}
}

// FuzzTime: a time that is understood, written in full, is understood as the same, and what is ago was.
func FuzzTime(f *testing.F) {
	for _, text := range []string{"10m", "-1s", "2026-11-24", "2026-11-24 08:00", "2026-11-24T08:00:01", "2026-11-24 08:00:01+02:00", "2026-11-24T08:00:00.000000001Z", "0000-01-01", "9999-12-31", "2562047h47m16.854775807s"} {
		f.Add(text)
	}
	now := time.Date(2026, 11, 24, 8, 0, 0, 1, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parseTime(text, now)
		if err != nil || text == "" {
			return
		}
		if _, err := time.ParseDuration(text); err == nil && at.After(now) {
			t.Errorf("%q ago is %v", text, at)
		}
		if again, err := parseTime(at.Format(time.RFC3339Nano), now); !again.Equal(at) || err != nil {
			t.Errorf("%q is %v, and that is %v, %v", text, at, again, err)
		}
	})
}
