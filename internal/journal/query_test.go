package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// ask returns what a question is answered, a line each row.
func ask(ctx context.Context, r *Reader, query string) (text string, err error) {
	err = r.Query(ctx, query, func(columns []string) error {
		text = strings.Join(columns, "|")
		return nil
	}, func(values []any) error {
		text += "\n"
		for i, v := range values {
			text += strings.Repeat("|", min(i, 1)) + fmt.Sprintf("%v", v)
		}
		return nil
	})
	return text, err
}

// Each version is asked by the same views, and what else the tables have.
func TestQuery(t *testing.T) {
	for _, name := range []string{"version2-tap", "version3-tap", ""} {
		file := filepath.Join("testdata", name+".journal")
		if name == "" {
			w := story(t)
			file = w.file
		} else {
			file = copyOf(t, file)
		}
		r, err := Open(file)
		if err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string]string{
			"SELECT count(*) > 1 AS some FROM v_exchange":                                                                    "some\n1",
			"-- how many?\nSELECT 1 /* ; */ AS ';', ';' AS \"a;\", 2.5 AS [;];\n; -- end":                                    ";|a;|;\n1|;|2.5",
			"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT sum(i) AS s, NULL AS nil FROM n": "s|nil\n6|<nil>",
			"SELECT x'00ff' AS b, value FROM json_each('[7]')":                                                               "b|value\n[0 255]|7",
			"SELECT count(*) AS n FROM (SELECT * FROM v_session s JOIN v_exchange e ON e.session = s.id) WHERE 0":            "n\n0",
			"SELECT count(*) > 5 AS n FROM pragma_table_info('sessions')":                                                    "n\n1",
			"VALUES (1), (2)": "column1\n1\n2",
		} {
			if got, err := ask(t.Context(), r, query); got != want || err != nil {
				t.Errorf("%s: %s is answered %q, %v; want %q", name, query, got, err, want)
			}
		}
		collect(t, r.Events(t.Context(), Filter{})) // and others go on as before
		r.Close()
	}
}

// A question reads nothing but the journal, and changes nothing.
func TestQueryOnlyReads(t *testing.T) {
	w := story(t)
	r := w.open()
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	before, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]error{
		"DELETE FROM sessions": ErrOnlyReads, "INSERT INTO gaps VALUES (1, 1, 1, 1, '')": ErrOnlyReads, "UPDATE sessions SET sum = NULL": ErrOnlyReads,
		"CREATE TABLE t (x)": ErrOnlyReads, "CREATE TEMP TABLE t (x)": ErrOnlyReads, "DROP VIEW v_session": ErrOnlyReads,
		"ATTACH '" + other + "' AS o": ErrOnlyReads, "VACUUM INTO '" + other + "'": ErrOnlyReads, "VACUUM": ErrOnlyReads,
		"DELETE FROM v_session": ErrOnlyReads, "PRAGMA query_only = OFF": ErrOnlyReads, "PRAGMA journal_mode = DELETE": ErrOnlyReads, "PRAGMA writable_schema = 1": ErrOnlyReads,
		"PRAGMA wal_checkpoint(TRUNCATE)": ErrOnlyReads, "SELECT load_extension('x')": ErrOnlyReads, "COMMIT": ErrOnlyReads, "SAVEPOINT s": ErrOnlyReads,
		"SELECT 1; SELECT 2": ErrOneQuestion, "SELECT 1; DELETE FROM sessions": ErrOneQuestion, "SELECT ';'; SELECT 2": ErrOneQuestion,
		"": ErrNoQuestion, " ; -- SELECT 1": ErrNoQuestion, "/* SELECT 1": ErrNoQuestion,
	} {
		if _, err := ask(t.Context(), r, query); err != want {
			t.Errorf("%q: %v, want %v", query, err, want)
		}
	}
	for query, want := range map[string]string{
		"SELECT nonesuch FROM sessions": "no such column: nonesuch",
		"SELEC 1":                       `near "SELEC": syntax error`,
		"SELECT * FROM no":              "no such table: no",
		"SELECT 'x":                     `unrecognized token: "'x"`,
		"SELECT zeroblob(1000000000)":   "string or blob too big",
	} {
		var of *QueryError
		if _, err := ask(t.Context(), r, query); !errors.As(err, &of) || of.Text != want {
			t.Errorf("%q: %v, want %s", query, err, want)
		}
	}
	after, err := os.ReadFile(w.file)
	if err != nil || string(after) != string(before) {
		t.Errorf("the journal has changed, %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there are %v, %v", left, err)
	}
}

// A question without an end is ended, also one whose answers nobody stops.
func TestQueryEnds(t *testing.T) {
	r := story(t).open()
	const forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "
	tooLong := errors.New("too long")
	for _, what := range []string{"count(*) FROM n", "i FROM n"} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, tooLong)
		if err := r.Query(ctx, forever+what, func([]string) error { return nil }, func([]any) error { return nil }); err != tooLong {
			t.Errorf("%s: %v", what, err)
		}
		cancel()
	}
	// Also one whose time is over before it could be asked at all.
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(tooLong)
	if err := r.Query(ctx, "SELECT 1", func([]string) error { return nil }, func([]any) error { return nil }); err != tooLong {
		t.Errorf("not begun: %v", err)
	}
	enough := errors.New("enough")
	if err := r.Query(t.Context(), forever+"i FROM n", func([]string) error { return nil }, func([]any) error { return enough }); err != enough {
		t.Errorf("what the caller does not want any more: %v", err)
	}
}

func FuzzStatements(f *testing.F) {
	for _, seed := range []string{"SELECT 1", "a;b", "';'", "-- x\n", "/* */;", "[", "\"a\"\";\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, m := statements(text), statements("\n"+text+"\n"); n != m && !strings.ContainsAny(text, "'\"`[/-") || n < 0 {
			t.Errorf("%q has %d statements, and with lines around it %d", text, n, m)
		}
	})
}

// A question is asked of the journal as it is now, also where a writer has brought it up to date
// since it was opened.
func TestQueryOfAGrowingJournal(t *testing.T) {
	file := copyOf(t, filepath.Join("testdata", "version2-server.journal"))
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const question = "SELECT count(*) AS n, count(framing) AS framed FROM v_exchange"
	if got, err := ask(t.Context(), r, question); got != "n|framed\n4|0" || err != nil {
		t.Errorf("before: %q, %v", got, err)
	}
	w, err := Create(file, Options{About: About{Framing: "line"}})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
	w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(1), Request: []byte("new"), RawRequest: parley.Raw{Bytes: []byte("new\n")}}})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(t.Context(), r, question); got != "n|framed\n5|1" || err != nil {
		t.Errorf("after: %q, %v", got, err)
	}
}
