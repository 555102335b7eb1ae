package journal

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"

	"modernc.org/sqlite"
)

// Errors of Query that are about what was asked.
var (
	// ErrOnlyReads is that a question would do something else than read the journal.
	ErrOnlyReads = errors.New("only the journal is read: no other file, and nothing is written or set")
	// ErrOneQuestion is that there is more than one statement.
	ErrOneQuestion = errors.New("one statement is asked at a time")
	// ErrNoQuestion is that there is none.
	ErrNoQuestion = errors.New("there is no statement in it")
)

// A QueryError is what SQLite says of a question, such as that it does not know a column.
type QueryError struct{ Text string }

func (e *QueryError) Error() string { return e.Text }

const (
	limitLength    = 0        // SQLITE_LIMIT_LENGTH
	maxValue       = 64 << 20 // bytes of one value of a question
	codeNotAllowed = 23       // SQLITE_AUTH
)

// Query asks the journal in SQL, as it is now, by tables and views of any version: v_exchange and
// v_session are there in each. It can only read, and only the journal. Head is told the names of the columns, row the values of
// each row as it comes: nil, int64, float64, string (TEXT) or []byte (BLOB), which is valid during the
// call. All is of one moment, so a writer's -wal file grows until it is done: ctx should have an end.
// The error is one of those above, a *QueryError, that of head or row, or of the file.
func (r *Reader) Query(ctx context.Context, query string, head func(columns []string) error, row func(values []any) error) error {
	switch statements(query) {
	case 0:
		return ErrNoQuestion
	case 1:
	default:
		return ErrOneQuestion
	}
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return asked(ctx, err)
	}
	// Nobody else gets a connection that may not do what others do.
	defer conn.Raw(func(any) error { return driver.ErrBadConn })
	if err := r.prepareToAsk(ctx, conn); err != nil {
		return asked(ctx, err)
	}
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return asked(ctx, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return asked(ctx, err)
	}
	if err := head(columns); err != nil {
		return err
	}
	values, places := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		places[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(places...); err != nil {
			return asked(ctx, err)
		}
		if err := row(values); err != nil {
			return err
		}
	}
	return asked(ctx, rows.Err())
}

// prepareToAsk begins a transaction in which a question can only read, with the views.
func (r *Reader) prepareToAsk(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	var version int64
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return tooNew(version)
	}
	// Those that the file keeps are not trusted.
	if _, err := conn.ExecContext(ctx, viewsOf(version, "TEMP VIEW")+"; PRAGMA query_only = ON"); err != nil {
		return err
	}
	if _, err := sqlite.Limit(conn, limitLength, maxValue); err != nil {
		return err
	}
	return conn.Raw(func(driverConn any) error {
		return driverConn.(sqlite.AuthorizerRegisterer).RegisterAuthorizer(mayBeAsked)
	})
}

// mayBeAsked allows what reads.
func mayBeAsked(action sqlite.AuthorizerActionCode, arg1, arg2, _, _ string) sqlite.AuthorizerReturnCode {
	switch action {
	case sqlite.AuthSelect, sqlite.AuthRead, sqlite.AuthRecursive:
		return sqlite.AuthorizerOK
	case sqlite.AuthFunction:
		if !slices.Contains([]string{"load_extension", "fts3_tokenizer"}, strings.ToLower(arg2)) {
			return sqlite.AuthorizerOK
		}
	case sqlite.AuthPragma:
		if slices.Contains([]string{"table_info", "table_xinfo", "table_list"}, strings.ToLower(arg1)) {
			return sqlite.AuthorizerOK
		}
	}
	return sqlite.AuthorizerDeny
}

// asked is an error of a question, or of making ready to ask it. Of one that took too long it is the cause.
func asked(ctx context.Context, err error) error {
	var of *sqlite.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.As(err, &of) || isDamage(err):
		return err
	case primary(of.Code()) == codeNotAllowed, primary(of.Code()) == codeReadOnly:
		return ErrOnlyReads
	}
	text := strings.TrimPrefix(of.Error(), "SQL logic error: ")
	if strings.HasPrefix(text, "not authorized") || strings.HasPrefix(text, "cannot VACUUM") || strings.HasPrefix(text, "cannot modify") {
		return ErrOnlyReads
	}
	if i := strings.LastIndex(text, " ("); i > 0 {
		text = text[:i]
	}
	return &QueryError{text}
}

// statements is how many there are in a text, comments left out.
func statements(text string) (n int) {
	inside := false // of one
	for len(text) > 0 {
		skip := 1
		switch c := text[0]; {
		case strings.HasPrefix(text, "--"):
			skip = behind(text, 2, "\n")
		case strings.HasPrefix(text, "/*"):
			skip = behind(text, 2, "*/")
		case c == ';':
			inside = false
		case strings.IndexByte(" \t\r\n\f", c) >= 0:
		default:
			if !inside {
				inside = true
				n++
			}
			switch c {
			case '\'', '"', '`': // one that is doubled begins the next
				skip = behind(text, 1, text[:1])
			case '[':
				skip = behind(text, 1, "]")
			}
		}
		text = text[skip:]
	}
	return n
}

// behind is where text goes on behind an end that is looked for from some byte on.
func behind(text string, from int, end string) int {
	i := strings.Index(text[from:], end)
	if i < 0 {
		return len(text)
	}
	return from + i + len(end)
}
