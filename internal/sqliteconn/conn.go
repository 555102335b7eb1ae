// Package sqliteconn is a connection to SQLite by SQLite's own functions, for one goroutine at a time.
//
// What database/sql and its driver put around these functions costs more than they do where rows are
// small and many: each value that is bound is looked up by a name, becomes an interface, and locks the
// connection; each message is allocated.
//
//	c, err := sqliteconn.Open("file:///tmp/x?mode=rwc")
//	err = c.Exec("CREATE TABLE t (n INTEGER, text TEXT)")
//	insert, err := c.Prepare("INSERT INTO t VALUES (?, ?)")
//	insert.Int(7)
//	insert.Text("seven")
//	err = insert.Run()
package sqliteconn

import (
	"fmt"
	"unsafe"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	sqlite3 "modernc.org/sqlite/lib"
)

func init() {
	sqlite3.PatchIssue199() // as the driver does: on arm64 SQLite would take every page of memory for 4 KiB
}

// An Error is what SQLite says of what has failed.
type Error struct {
	code int
	text string
}

func (e *Error) Error() string { return e.text }

// Code is SQLite's extended result code.
func (e *Error) Code() int { return e.code }

// A Conn is a connection to one file. What a method does is done when it returns, however long that takes.
type Conn struct {
	tls *libc.TLS
	db  uintptr
	out uintptr // two pointers, in which SQLite's functions return some
}

// Open opens a file by its URI, which says how (https://sqlite.org/uri.html). It may be made with what is first written to it.
func Open(uri string) (*Conn, error) {
	c := &Conn{tls: libc.NewTLS()}
	c.out = libc.Xmalloc(c.tls, types.Size_t(2*unsafe.Sizeof(c.out)))
	name, err := libc.CString(uri)
	if err != nil || c.out == 0 {
		c.Close()
		return nil, errMemory
	}
	defer libc.Xfree(c.tls, name)
	code := sqlite3.Xsqlite3_open_v2(c.tls, name, c.out, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_CREATE|sqlite3.SQLITE_OPEN_URI|sqlite3.SQLITE_OPEN_NOMUTEX, 0)
	c.db = c.returned(0) // also if it failed
	if code == sqlite3.SQLITE_OK {
		code = sqlite3.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	}
	if code != sqlite3.SQLITE_OK {
		err := c.errorOf(code)
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the connection, of which all statements are to be closed before.
func (c *Conn) Close() error {
	code := sqlite3.Xsqlite3_close_v2(c.tls, c.db)
	libc.Xfree(c.tls, c.out)
	c.tls.Close()
	if code != sqlite3.SQLITE_OK {
		return &Error{int(code), "closing a connection to SQLite"}
	}
	return nil
}

// Exec runs statements one after the other, up to the first that fails. Each gets as many of the values as it has
// places for, from the first on.
func (c *Conn) Exec(statements string, values ...any) error {
	text, err := libc.CString(statements)
	if err != nil {
		return errMemory
	}
	defer libc.Xfree(c.tls, text)
	for rest := text; ; {
		var s *Stmt
		if s, rest, err = c.prepare(rest); err != nil || s == nil {
			return err
		}
		s.Bind(values[:min(len(values), s.places())]...)
		if err := s.Run(); err != nil {
			s.Close()
			return err
		}
		s.Close()
	}
}

// Prepare makes a statement ready, which is the only one in the text.
func (c *Conn) Prepare(statement string) (*Stmt, error) {
	text, err := libc.CString(statement)
	if err != nil {
		return nil, errMemory
	}
	defer libc.Xfree(c.tls, text)
	s, rest, err := c.prepare(text)
	if err == nil && (s == nil || *pointed[byte](rest) != 0) {
		if s != nil {
			s.Close()
		}
		return nil, fmt.Errorf("not one statement: %s", statement)
	}
	return s, err
}

// Query prepares a question, whose rows come by Next. It is to be closed.
func (c *Conn) Query(question string, values ...any) (*Stmt, error) {
	s, err := c.Prepare(question)
	if err != nil {
		return nil, err
	}
	s.Bind(values...)
	return s, nil
}

// LastID is the id of the row that was inserted last.
func (c *Conn) LastID() int64 { return sqlite3.Xsqlite3_last_insert_rowid(c.tls, c.db) }

// prepare prepares the first statement of a text, and returns where the rest begins. It is nil at the end.
func (c *Conn) prepare(text uintptr) (s *Stmt, rest uintptr, err error) {
	code := sqlite3.Xsqlite3_prepare_v2(c.tls, c.db, text, -1, c.out, c.out+unsafe.Sizeof(c.out))
	if code != sqlite3.SQLITE_OK {
		return nil, 0, c.errorOf(code)
	}
	rest = c.returned(1)
	if of := c.returned(0); of != 0 {
		return &Stmt{conn: c, of: of}, rest, nil
	}
	if *pointed[byte](rest) != 0 { // that was a comment, or nothing before a semicolon
		return c.prepare(rest)
	}
	return nil, rest, nil
}

// returned is what a function of SQLite has returned in the i-th pointer.
func (c *Conn) returned(i uintptr) uintptr { return *pointed[uintptr](c.out + i*unsafe.Sizeof(c.out)) }

// pointed is what is at an address that is not in Go's memory.
func pointed[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

var errMemory = &Error{sqlite3.SQLITE_NOMEM, "out of memory"}

// errorOf puts what has just failed into words.
func (c *Conn) errorOf(code int32) error {
	text := libc.GoString(sqlite3.Xsqlite3_errstr(c.tls, code))
	if details := libc.GoString(sqlite3.Xsqlite3_errmsg(c.tls, c.db)); details != text {
		text += ": " + details
	}
	return &Error{int(code), fmt.Sprintf("%s (%d)", text, code)}
}
