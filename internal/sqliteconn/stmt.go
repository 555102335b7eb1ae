package sqliteconn

import (
	"fmt"
	"unsafe"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	sqlite3 "modernc.org/sqlite/lib"
)

// A Stmt is a prepared statement. Its places are filled in their order, by Int, Null, Text, Bytes or Bind, then it
// is run by Run, or by Next if it has rows; behind that it can be filled and run again.
type Stmt struct {
	conn   *Conn
	of     uintptr
	filled int32 // places
	failed int32 // the first error of one of them
	err    error // of Next

	// Texts and bytes, which SQLite is told of once all are there: until then they may move.
	kept           []kept
	memory         uintptr // not Go's
	size, capacity int
}

type kept struct {
	place      int32
	text       bool
	at, length int
}

// keptBytes is how much memory a statement keeps for its next run.
const keptBytes = 1 << 20

// Close closes the statement.
func (s *Stmt) Close() {
	sqlite3.Xsqlite3_finalize(s.conn.tls, s.of) // what it returns is the last run's error
	libc.Xfree(s.conn.tls, s.memory)
	s.of, s.memory = 0, 0
}

// Int fills a place with a number.
func (s *Stmt) Int(n int64) {
	s.filled++
	s.note(sqlite3.Xsqlite3_bind_int64(s.conn.tls, s.of, s.filled, n))
}

// Null fills a place with NULL.
func (s *Stmt) Null() {
	s.filled++
	s.note(sqlite3.Xsqlite3_bind_null(s.conn.tls, s.of, s.filled))
}

// Text fills a place with text, which is copied.
func (s *Stmt) Text(text string) {
	s.keep(true, len(text))
	copy(s.lastKept(), text)
}

// Bytes fills a place with bytes, which are copied. Only nil is NULL.
func (s *Stmt) Bytes(p []byte) {
	if p == nil {
		s.Null()
		return
	}
	s.keep(false, len(p))
	copy(s.lastKept(), p)
}

// Bind fills places with an int64, a string, bytes or nil each.
func (s *Stmt) Bind(values ...any) {
	for _, value := range values {
		switch v := value.(type) {
		case nil:
			s.Null()
		case int64:
			s.Int(v)
		case string:
			s.Text(v)
		case []byte:
			s.Bytes(v)
		default:
			panic(fmt.Sprintf("sqliteconn: a %T", value))
		}
	}
}

// Run runs the statement to its end. Rows that it has are dropped.
func (s *Stmt) Run() error {
	for s.Next() {
	}
	return s.err
}

// Next runs the statement up to its next row, and is false if there is none, or Err.
func (s *Stmt) Next() bool {
	code := s.failed
	if s.filled > 0 && code == sqlite3.SQLITE_OK {
		code = s.bindKept()
	}
	if s.filled = 0; code == sqlite3.SQLITE_OK {
		code = sqlite3.Xsqlite3_step(s.conn.tls, s.of)
	}
	if s.err = nil; code == sqlite3.SQLITE_ROW {
		return true
	}
	if code != sqlite3.SQLITE_DONE {
		s.err = s.conn.errorOf(code)
	}
	s.reset()
	return false
}

// Err is what has ended Next, if it was not the last row.
func (s *Stmt) Err() error { return s.err }

// Scan takes down the row's columns, each an *int64 or a *string; what is NULL or something else is what SQLite makes of it.
func (s *Stmt) Scan(into ...any) {
	for i, one := range into {
		switch column := int32(i); v := one.(type) {
		case *int64:
			*v = sqlite3.Xsqlite3_column_int64(s.conn.tls, s.of, column)
		case *string:
			text := sqlite3.Xsqlite3_column_text(s.conn.tls, s.of, column)
			*v = string(unsafe.Slice(pointed[byte](text), int(sqlite3.Xsqlite3_column_bytes(s.conn.tls, s.of, column))))
		default:
			panic(fmt.Sprintf("sqliteconn: into a %T", one))
		}
	}
}

func (s *Stmt) places() int { return int(sqlite3.Xsqlite3_bind_parameter_count(s.conn.tls, s.of)) }

func (s *Stmt) note(code int32) {
	if s.failed == sqlite3.SQLITE_OK {
		s.failed = code
	}
}

// keep makes room for what is to fill the next place.
func (s *Stmt) keep(text bool, length int) {
	s.filled++
	if need := s.size + length; need >= s.capacity { // never nowhere: that would be NULL
		capacity := max(2*s.capacity, need+1)
		grown := libc.Xrealloc(s.conn.tls, s.memory, types.Size_t(capacity))
		if grown == 0 {
			s.note(sqlite3.SQLITE_NOMEM)
			length = 0
		} else {
			s.memory, s.capacity = grown, capacity
		}
	}
	s.kept = append(s.kept, kept{s.filled, text, s.size, length})
	s.size += length
}

func (s *Stmt) lastKept() []byte {
	last := s.kept[len(s.kept)-1]
	return unsafe.Slice(pointed[byte](s.memory+uintptr(last.at)), last.length)
}

// bindKept tells SQLite where texts and bytes are.
func (s *Stmt) bindKept() (code int32) {
	const stays = 0 // SQLITE_STATIC: until it is bound again
	for _, k := range s.kept {
		at := s.memory + uintptr(k.at)
		if k.text {
			code = sqlite3.Xsqlite3_bind_text64(s.conn.tls, s.of, k.place, at, sqlite3.Tsqlite3_uint64(k.length), stays, sqlite3.SQLITE_UTF8)
		} else {
			code = sqlite3.Xsqlite3_bind_blob64(s.conn.tls, s.of, k.place, at, sqlite3.Tsqlite3_uint64(k.length), stays)
		}
		if code != sqlite3.SQLITE_OK {
			return code
		}
	}
	return sqlite3.SQLITE_OK
}

// reset has the statement be filled anew.
func (s *Stmt) reset() {
	sqlite3.Xsqlite3_reset(s.conn.tls, s.of) // what it returns is the error that is known
	s.filled, s.failed = 0, sqlite3.SQLITE_OK
	s.kept, s.size = s.kept[:0], 0
	if s.capacity > keptBytes {
		libc.Xfree(s.conn.tls, s.memory)
		s.memory, s.capacity = 0, 0
	}
}
