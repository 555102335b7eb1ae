package sqliteconn

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"
)

func opened(t *testing.T, tables string) *Conn {
	t.Helper()
	c, err := Open("file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "x")) + "?mode=rwc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Exec(tables); err != nil {
		t.Fatal(err)
	}
	return c
}

func prepared(t *testing.T, c *Conn, text string) *Stmt {
	t.Helper()
	s, err := c.Prepare(text)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func wantCode(t *testing.T, err error, want int) {
	t.Helper()
	if of := new(Error); !errors.As(err, &of) || of.Code() != want {
		t.Errorf("%v, want the error %d", err, want)
	}
}

// answers are the rows of a question about one text each.
func answers(t *testing.T, c *Conn, question string, values ...any) (all []string) {
	t.Helper()
	rows, err := c.Query(question, values...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var one string
		rows.Scan(&one)
		all = append(all, one)
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	return all
}

func TestValuesAreKeptAsTheyAre(t *testing.T) {
	c := opened(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, value)")
	insert := prepared(t, c, "INSERT INTO t (value) VALUES (?), (?)")
	long := bytes.Repeat([]byte{0, 1, 0xff}, keptBytes)
	for i, pair := range [][2]any{ // what is short behind what is long, and what is nothing first
		{[]byte{}, ""},
		{[]byte(nil), nil},
		{long, "text\x00more"},
		{int64(-1 << 63), []byte("x")},
		{"ü", long[:100]},
	} {
		insert.Bind(pair[:]...)
		if err := insert.Run(); err != nil {
			t.Fatal(err)
		}
		if id := c.LastID(); id != int64(2*i+2) {
			t.Errorf("the last row is %d, want %d", id, 2*i+2)
		}
	}
	want := []string{"blob X''", "text ''", "null NULL", "null NULL", fmt.Sprintf("blob X'%X'", long), "text 'text'",
		"integer -9223372036854775808", "blob X'78'", "text 'ü'", fmt.Sprintf("blob X'%X'", long[:100])}
	for i, got := range answers(t, c, "SELECT typeof(value) || ' ' || quote(value) FROM t ORDER BY id") {
		if i >= len(want) || got != want[i] {
			t.Errorf("row %d is %.60s, want %.60s", i+1, got, want[i])
		}
	}
	if got := answers(t, c, "SELECT value FROM t WHERE id = ?", int64(6)); len(got) != 1 || got[0] != "text\x00more" {
		t.Errorf("the text with a zero in it is %q", got)
	}
}

func TestRowsAreScanned(t *testing.T) {
	c := opened(t, "CREATE TABLE t (n, text); INSERT INTO t VALUES (7, 'seven'), (-1, ''), (NULL, NULL)")
	rows, err := c.Query("SELECT n, text FROM t WHERE rowid <= ? ORDER BY rowid", int64(3))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		n, text := int64(99), "before"
		rows.Scan(&n, &text)
		got = append(got, fmt.Sprint(n, text))
	}
	if want := fmt.Sprint([]string{"7seven", "-1", "0"}); fmt.Sprint(got) != want || rows.Err() != nil {
		t.Errorf("rows %v, %v; want %s", got, rows.Err(), want)
	}
}

// A statement that has failed is filled and run again.
func TestFailedStatementIsRunAgain(t *testing.T) {
	c := opened(t, "CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT NOT NULL); INSERT INTO t VALUES (1, 'one')")
	insert := prepared(t, c, "INSERT INTO t VALUES (?, ?)")
	insert.Int(1)
	insert.Text("another one")
	wantCode(t, insert.Run(), sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
	insert.Bind(int64(2), "two", int64(3)) // one too many
	wantCode(t, insert.Run(), sqlite3.SQLITE_RANGE)
	insert.Bind(int64(3), "three")
	if err := insert.Run(); err != nil {
		t.Error(err)
	}
	if got := answers(t, c, "SELECT text FROM t ORDER BY n"); fmt.Sprint(got) != "[one three]" {
		t.Errorf("the table has %v, want one and three", got)
	}
}

func TestStatementsAreRunUpToTheFirstThatFails(t *testing.T) {
	c := opened(t, "CREATE TABLE t (n INTEGER)")
	err := c.Exec("; -- nothing\n; INSERT INTO t VALUES (?); INSERT INTO t VALUES (? + ?); DELETE FROM none; DELETE FROM t", int64(1), int64(2))
	wantCode(t, err, sqlite3.SQLITE_ERROR)
	if !strings.Contains(fmt.Sprint(err), "no such table: none") {
		t.Errorf("the error says %v", err)
	}
	if got := answers(t, c, "SELECT n FROM t"); fmt.Sprint(got) != "[1 3]" {
		t.Errorf("the table has %v, want 1 and 3", got)
	}
}

func TestOnlyOneStatementIsPrepared(t *testing.T) {
	c := opened(t, "")
	for _, text := range []string{"", "-- nothing", "SELECT 1; SELECT 2"} {
		if s, err := c.Prepare(text); err == nil {
			t.Errorf("%q is prepared", text)
			s.Close()
		}
	}
	_, err := c.Prepare("SELECT")
	wantCode(t, err, sqlite3.SQLITE_ERROR)
}

func TestWhatCannotBeOpened(t *testing.T) {
	_, err := Open("file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "none")) + "?mode=ro")
	wantCode(t, err, sqlite3.SQLITE_CANTOPEN)
}

// Whoever finds the file locked is told, with the transaction undone.
func TestLockedFile(t *testing.T) {
	name := "file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "x")) + "?mode=rwc"
	var two [2]*Conn
	for i := range two {
		c, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		two[i] = c
	}
	if err := two[0].Exec("CREATE TABLE t (n); BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, two[1].Exec("INSERT INTO t VALUES (1)"), sqlite3.SQLITE_BUSY)
	if err := two[0].Exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := two[1].Exec("INSERT INTO t VALUES (1)"); err != nil {
		t.Error(err)
	}
}
