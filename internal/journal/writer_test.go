package journal_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/parleytest"
)

// patience bounds every wait for an event; only a failing test uses it up.
const patience = 30 * time.Second

var echo = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
	return append(dst, req.Body...), nil
})

// A kept is a server whose exchanges are kept.
type kept struct {
	*parley.Server
	journal *journal.Writer
	file    string
	addr    string
	mu      sync.Mutex
	warned  []string
}

// keep has a server keep a journal until the test ends, or end is called.
func keep(t *testing.T, file string, opt journal.Options, srv *parley.Server) *kept {
	t.Helper()
	k := &kept{Server: srv, file: file}
	opt.Warn = func(text string) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.warned = append(k.warned, text)
	}
	var err error
	if k.journal, err = journal.Create(file, opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.journal.Close(context.Background()) })
	if srv.Handler == nil {
		srv.Handler = echo
	}
	srv.Gate, srv.Observer = k.journal, parley.Observers(k.journal, srv.Observer)
	k.addr = parleytest.Start(t, srv)
	return k
}

// end drains the server, closes the journal and opens it for reading.
func (k *kept) end(t *testing.T) *sql.DB {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := k.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if err := k.journal.Close(context.Background()); err != nil {
		t.Errorf("Close = %v", err)
	}
	return read(t, k.file)
}

func (k *kept) awaitWarning(t *testing.T, part string) string {
	t.Helper()
	found := ""
	eventually(t, "it is warned of: "+part, func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, text := range k.warned {
			if strings.Contains(text, part) {
				found = text
			}
		}
		return found != ""
	})
	return found
}

// awaitRecorded waits until so many exchanges are recorded.
func (k *kept) awaitRecorded(t *testing.T, n int64) {
	t.Helper()
	db := read(t, k.file)
	defer db.Close()
	eventually(t, fmt.Sprintf("%d exchanges are recorded", n), func() bool { return number(t, db, "SELECT count(*) FROM messages") == n })
}

func (k *kept) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// exchange has a line answered.
func exchange(t *testing.T, c net.Conn, line string) {
	t.Helper()
	fmt.Fprintln(c, line)
	buf := make([]byte, len(line)+1)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != line+"\n" {
		t.Fatalf("%q was answered %q, %v", line, buf, err)
	}
}

func read(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// number is what a query for one number finds.
func number(t *testing.T, db *sql.DB, query string, args ...any) (n int64) {
	t.Helper()
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// text is what a query finds, a row a line.
func text(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var found strings.Builder
	names, _ := rows.Columns()
	for rows.Next() {
		row := make([]any, len(names))
		for i := range row {
			row[i] = new(any)
		}
		if err := rows.Scan(row...); err != nil {
			t.Fatal(err)
		}
		for i := range row {
			if i > 0 {
				found.WriteByte('|')
			}
			if b, ok := (*row[i].(*any)).([]byte); ok {
				fmt.Fprintf(&found, "%q", b)
			} else {
				fmt.Fprint(&found, *row[i].(*any))
			}
		}
		found.WriteByte('\n')
	}
	return found.String()
}

func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

// engines are those of this system.
func engines() []parley.Engine {
	if runtime.GOOS != "linux" || runtime.GOARCH == "386" {
		return []parley.Engine{parley.Goroutines}
	}
	return []parley.Engine{parley.Goroutines, parley.Loops}
}

// Whatever bytes a request and its reply have, they are kept as they were, and the times
// are those of the exchange.
func TestJournalKeepsBytesExactly(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	bodies := [][]byte{[]byte("session 1 msg 1"), nil, all, bytes.Repeat(all, 256), []byte("\xff\xfe"), []byte("ü'; DROP")}
	backwards := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		for i := range req.Body {
			dst = append(dst, req.Body[len(req.Body)-1-i])
		}
		return dst, nil
	})
	for _, engine := range engines() {
		for _, sync := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, sync %v", engine, sync), func(t *testing.T) {
				const times = 8 // more than one statement inserts
				k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{Sync: sync},
					&parley.Server{Handler: backwards, Framing: parley.LengthPrefixed, KeepBlank: true, Engine: engine})
				began := time.Now()
				c := k.dial(t)
				var sent []byte
				for range times {
					for _, body := range bodies {
						sent = append(binary.BigEndian.AppendUint32(sent, uint32(len(body))), body...)
					}
				}
				go func() {
					c.Write(sent)
					c.CloseWrite()
				}()
				if n, err := io.Copy(io.Discard, c); int(n) != len(sent) || err != nil {
					t.Fatalf("%d bytes came back, %v; want %d", n, err, len(sent))
				}
				db := k.end(t)
				ended := time.Now()
				rows, err := db.Query("SELECT session, seq, received_ns, took_ns, request, reply, typeof(request), typeof(reply) FROM messages ORDER BY id")
				if err != nil {
					t.Fatal(err)
				}
				defer rows.Close()
				n := 0
				for ; rows.Next(); n++ {
					var session, seq, received, took int64
					var request, reply []byte
					var types [2]string
					if err := rows.Scan(&session, &seq, &received, &took, &request, &reply, &types[0], &types[1]); err != nil {
						t.Fatal(err)
					}
					want := bodies[n%len(bodies)]
					wantReply, _ := backwards(nil, &parley.Request{Body: want})
					if session != 1 || seq != int64(n+1) || !bytes.Equal(request, want) || !bytes.Equal(reply, wantReply) || types != [2]string{"blob", "blob"} {
						t.Fatalf("row %d: session %d, seq %d, %d and %d bytes of types %v", n, session, seq, len(request), len(reply), types)
					}
					if received < began.UnixNano() || took < 0 || received+took > ended.UnixNano() {
						t.Errorf("row %d: received %d, took %d: not within the test", n, received, took)
					}
				}
				if n != times*len(bodies) {
					t.Errorf("%d exchanges are kept, want %d", n, times*len(bodies))
				}
				want := fmt.Sprintf("1|1|%s|eof|%d|%d|%d|%d\n", k.addr, n, n, len(sent), len(sent))
				if got := text(t, db, "SELECT id, number, local, reason, requests, replied_upto, bytes_in, bytes_out FROM sessions"); got != want {
					t.Errorf("the session is %q, want %q", got, want)
				}
				if got := text(t, db, "SELECT remote FROM sessions WHERE opened_ns < closed_ns"); got != c.LocalAddr().String()+"\n" {
					t.Errorf("the remote address is %q, want %s", got, c.LocalAddr())
				}
				if unsure := number(t, db, "SELECT count(*) FROM replies WHERE replied <> 'yes'"); unsure != 0 {
					t.Errorf("%d replies are not said to be written", unsure)
				}
			})
		}
	}
}

// A server that is started again goes on in the same file; its numbers begin anew.
func TestJournalGoesOnAfterARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	for range 3 {
		k := keep(t, file, journal.Options{}, new(parley.Server))
		for range 2 {
			c := k.dial(t)
			exchange(t, c, "x")
			c.Close()
		}
		k.end(t).Close()
		if left, _ := filepath.Glob(file + "-*"); left != nil {
			t.Errorf("left behind: %v", left)
		}
	}
	db := read(t, file)
	if got, want := text(t, db, "SELECT s.id, number, seq FROM sessions s JOIN exchanges e ON e.session = s.id ORDER BY s.id"), "1|1|1\n2|2|1\n3|1|1\n4|2|1\n5|1|1\n6|2|1\n"; got != want {
		t.Errorf("sessions are\n%s, want\n%s", got, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file's mode is %v, %v; want 0600", info.Mode(), err)
	}
	if got := text(t, db, "PRAGMA application_id") + text(t, db, "PRAGMA user_version") + text(t, db, "PRAGMA journal_mode"); got != "1348563564\n6\nwal\n" {
		t.Errorf("application_id, user_version and journal_mode are %q", got)
	}
}

// Names of files, and addresses, may be anything.
func TestStrangeNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j ?mode=ro#%41'ü")
	k := keep(t, file, journal.Options{}, new(parley.Server))
	client, server := parleytest.ConnPair()
	served := make(chan error, 1)
	go func() { served <- k.ServeConn(stranger{server}) }()
	io.WriteString(client, "x\n\n")
	if got, err := io.ReadAll(client); string(got) != "x\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	client.Close()
	<-served
	if err := k.journal.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "j")
	if err := os.Rename(file, plain); err != nil {
		t.Fatal(err)
	}
	if got := text(t, read(t, plain), "SELECT CAST(remote AS BLOB) FROM sessions"); got != fmt.Sprintf("%q\n", "a\x00b\xff'") {
		t.Errorf("the address is %s", got)
	}
}

// A stranger has an address that is no text.
type stranger struct{ net.Conn }

func (stranger) RemoteAddr() net.Addr { return parleytest.Addr("a\x00b\xff'") }

// With Sync a reply that was read has its record by then.
func TestSyncRecordsBeforeItReplies(t *testing.T) {
	for _, engine := range engines() {
		t.Run(engine.String(), func(t *testing.T) {
			k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{Sync: true}, &parley.Server{Engine: engine})
			db := read(t, k.file)
			var clients sync.WaitGroup
			for n := range 4 {
				c := k.dial(t)
				clients.Go(func() {
					for i := range 50 {
						line := fmt.Sprintf("%d.%d", n, i)
						exchange(t, c, line)
						if n := number(t, db, "SELECT count(*) FROM messages WHERE request = CAST(? AS BLOB)", line); n != 1 {
							t.Errorf("%s was answered, and %d records are there", line, n)
						}
					}
				})
			}
			clients.Wait()
		})
	}
}

func TestWhatIsNoJournalIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	os.WriteFile(path("text"), bytes.Repeat([]byte("not a database\n"), 1000), 0o600)
	for name, query := range map[string]string{"other": "CREATE TABLE t (x)", "newer": "PRAGMA application_id = 1348563564; PRAGMA user_version = 7; CREATE TABLE t (x)"} {
		db := read(t, path(name))
		if _, err := db.Exec(query); err != nil {
			t.Fatal(err)
		}
		db.Close()
	}
	k := keep(t, path("used"), journal.Options{}, new(parley.Server))
	for _, c := range []struct{ file, want string }{
		{path("text"), "not a journal of parley"},
		{path("other"), "not a journal of parley"},
		{path("newer"), "a newer parley has written it (version 7 of the journal; this one writes 6)"},
		{path("used"), fmt.Sprintf("in use by process %d since 2", os.Getpid())},
		{dir, "not a regular file"},
		{os.DevNull, "not a regular file"},
		{path("no/such/directory"), "no such file or directory"},
	} {
		before, _ := os.ReadFile(c.file)
		w, err := journal.Create(c.file, journal.Options{})
		if err == nil {
			w.Close(context.Background())
		}
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Create(%s) = %v, want %q", c.file, err, c.want)
		}
		if after, _ := os.ReadFile(c.file); c.file != k.file && !bytes.Equal(before, after) {
			t.Errorf("%s was changed", c.file)
		}
	}
	k.end(t)
	w, err := journal.Create(k.file, journal.Options{})
	if err != nil {
		t.Fatalf("once its server has ended, Create = %v", err)
	}
	w.Close(context.Background())
}

// While the file is away nobody gets a reply that is not recorded; when it is there again
// all go on, and nothing is missing.
func TestStopHoldsWhileTheJournalCannotBeWritten(t *testing.T) {
	for _, engine := range engines() {
		for _, sync := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, sync %v", engine, sync), func(t *testing.T) {
				t.Parallel()
				k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{Sync: sync}, &parley.Server{Engine: engine})
				c := k.dial(t)
				exchange(t, c, "before")
				k.awaitRecorded(t, 1)
				os.Rename(k.file, k.file+".away")
				k.awaitWarning(t, "cannot be written: no such file or directory; nobody is answered until it can be (sessions waiting: 0)")
				io.WriteString(c, "a\nb\n")
				other := k.dial(t)
				io.WriteString(other, "c\n")
				k.awaitWarning(t, "(sessions waiting: 2)")
				for _, c := range []*net.TCPConn{c, other} {
					c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
					if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("%d bytes came without a record, %v", n, err)
					}
					c.SetDeadline(time.Now().Add(patience))
				}
				os.Rename(k.file+".away", k.file)
				buf := make([]byte, 4)
				if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "a\nb\n" {
					t.Errorf("then came %q, %v", buf, err)
				}
				if _, err := io.ReadFull(other, buf[:2]); err != nil || string(buf[:2]) != "c\n" {
					t.Errorf("then the other one got %q, %v", buf[:2], err)
				}
				k.awaitWarning(t, "can be written again (exchanges not recorded: 0)")
				db := k.end(t)
				if got := text(t, db, "SELECT request FROM messages ORDER BY session, seq"); got != "\"before\"\n\"a\"\n\"b\"\n\"c\"\n" {
					t.Errorf("kept is %s", got)
				}
				if got := text(t, db, "SELECT exchanges, sessions, reason FROM gaps WHERE from_ns < to_ns"); got != "0|0|no such file or directory\n" {
					t.Errorf("the gaps are %q", got)
				}
			})
		}
	}
}

// With ServeOnError all are served meanwhile, and the gap says what is missing.
func TestServeCountsWhatIsNotRecorded(t *testing.T) {
	for _, engine := range engines() {
		for _, sync := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, sync %v", engine, sync), func(t *testing.T) {
				t.Parallel()
				k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{Sync: sync, ServeOnError: true}, &parley.Server{Engine: engine})
				before := k.dial(t)
				exchange(t, before, "before")
				k.awaitRecorded(t, 1)
				os.Rename(k.file, k.file+".away")
				k.awaitWarning(t, "cannot be written: no such file or directory; serving goes on without it (exchanges not recorded: 0)")
				meanwhile := k.dial(t)
				for range 100 {
					exchange(t, before, "x")
					exchange(t, meanwhile, "y")
				}
				k.awaitWarning(t, "serving goes on without it (exchanges not recorded: 200)")
				os.Rename(k.file+".away", k.file)
				k.awaitWarning(t, "can be written again (exchanges not recorded: 200)")
				exchange(t, meanwhile, "after")
				db := k.end(t)
				if got := text(t, db, "SELECT session, seq, request FROM messages ORDER BY id"); got != "1|1|\"before\"\n2|101|\"after\"\n" {
					t.Errorf("kept is %s", got)
				}
				if got := text(t, db, "SELECT id, requests, replied_upto FROM sessions ORDER BY id"); got != "1|101|101\n2|101|101\n" {
					t.Errorf("the sessions are %q", got)
				}
				if got := text(t, db, "SELECT exchanges, sessions, reason FROM gaps WHERE from_ns < to_ns"); got != "200|0|no such file or directory\n" {
					t.Errorf("the gaps are %q", got)
				}
			})
		}
	}
}

// What is taken away or replaced for good: no reply without its record, a drain that ends,
// and words at the end.
func TestJournalThatIsGoneForGood(t *testing.T) {
	for name, harm := range map[string]struct {
		do   func(file string)
		want string
	}{
		"removed":  {func(file string) { os.Remove(file) }, "no such file or directory"},
		"replaced": {func(file string) { os.Remove(file); os.WriteFile(file, nil, 0o600) }, "the file was replaced by another"},
		"cut":      {func(file string) { os.Truncate(file, 0) }, "the file was cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{Sync: true}, &parley.Server{Engine: parley.LoopsIfPossible})
			c := k.dial(t)
			exchange(t, c, "before")
			harm.do(k.file)
			io.WriteString(c, "x\n")
			k.awaitWarning(t, harm.want+"; nobody is answered until it can be (sessions waiting: 1)")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var drain *parley.DrainError
			if err := k.Shutdown(ctx); !errors.As(err, &drain) {
				t.Errorf("Shutdown = %v, want the session to be cut", err)
			}
			if got, _ := io.ReadAll(c); len(got) != 0 {
				t.Errorf("got %q without a record", got)
			}
			if err := k.journal.Close(context.Background()); err == nil || err.Error() != "exchanges not recorded: 1 ("+harm.want+")" {
				t.Errorf("Close = %v", err)
			}
		})
	}
}

// On a disk that fills up: replies wait or go unrecorded, as is chosen; the file stays
// whole, and goes on when there is room.
func TestDiskFull(t *testing.T) {
	for _, serve := range []bool{false, true} {
		t.Run(fmt.Sprint("serve ", serve), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mount(t, dir, "size=1m")
			k := keep(t, filepath.Join(dir, "j"), journal.Options{ServeOnError: serve}, &parley.Server{Engine: parley.LoopsIfPossible})
			c := k.dial(t)
			line := strings.Repeat("x", 999) + "\n"
			const requests = 1000
			var wrote sync.WaitGroup
			wrote.Go(func() {
				for range requests {
					io.WriteString(c, line)
				}
				c.CloseWrite()
			})
			go func() {
				k.awaitWarning(t, "full")
				mount(t, dir, "remount,size=64m")
			}()
			if n, err := io.Copy(io.Discard, c); n != int64(requests*len(line)) || err != nil {
				t.Errorf("%d bytes came back, %v; want %d", n, err, requests*len(line))
			}
			wrote.Wait()
			c.Close()
			k.awaitWarning(t, "can be written again")
			db := k.end(t)
			if got := text(t, db, "PRAGMA integrity_check"); got != "ok\n" {
				t.Errorf("integrity_check: %s", got)
			}
			recorded := number(t, db, "SELECT count(*) FROM messages")
			missing := number(t, db, "SELECT sum(exchanges) FROM gaps")
			if recorded+missing != requests || serve != (missing > 0) {
				t.Errorf("%d exchanges are recorded and %d are missing, of %d", recorded, missing, requests)
			}
		})
	}
}

// mount makes a file system in memory, or changes it. Only root may.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("only root can make a small file system")
		}
		t.Skip("only root can make a small file system")
	}
	mountTmpfs(t, dir, options)
}

// A journal on what is read-only is refused at the start.
func TestReadOnlyDisk(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "size=1m")
	k := keep(t, filepath.Join(dir, "j"), journal.Options{}, new(parley.Server))
	k.end(t).Close()
	mount(t, dir, "remount,ro")
	if w, err := journal.Create(k.file, journal.Options{}); err == nil || err.Error() != "read-only file system" {
		t.Errorf("Create = %v", err)
		if err == nil {
			w.Close(context.Background())
		}
	}
}

// Another program that writes to the file holds the journal up, and loses nothing of it.
func TestJournalLockedByAnother(t *testing.T) {
	k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{Sync: true}, new(parley.Server))
	c := k.dial(t)
	exchange(t, c, "before")
	other, err := read(t, k.file).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "x\n")
	k.awaitWarning(t, "locked")
	if _, err := other.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "x\n" {
		t.Errorf("then came %q, %v", buf, err)
	}
}

func TestKeepBytes(t *testing.T) {
	const limit = journal.MinKeep
	k := keep(t, filepath.Join(t.TempDir(), "j"), journal.Options{Keep: journal.Keep{Bytes: limit}}, &parley.Server{Engine: parley.LoopsIfPossible})
	line := strings.Repeat("x", 499) + "\n"
	const sessions, each = 5, 2400
	for range sessions {
		c := k.dial(t)
		go func() {
			io.WriteString(c, strings.Repeat(line, each))
			c.CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, c); n != each*int64(len(line)) || err != nil {
			t.Fatalf("%d bytes came back, %v", n, err)
		}
		c.Close()
	}
	db := read(t, k.file)
	eventually(t, "the sessions of what was deleted are gone", func() bool { return number(t, db, "SELECT count(*) FROM sessions") == 1 })
	db = k.end(t)
	used := number(t, db, "SELECT ((SELECT * FROM pragma_page_count) - (SELECT * FROM pragma_freelist_count)) * 4096")
	if used > limit+limit/10 {
		t.Errorf("%d bytes are kept, want %d at most", used, limit)
	}
	n := number(t, db, "SELECT count(*) FROM exchanges")
	if first := number(t, db, "SELECT min(id) FROM exchanges"); n == 0 || first+n-1 != sessions*each {
		t.Errorf("%d exchanges from id %d are kept, want the last of %d", n, first, sessions*each)
	}
}

// What is too old goes, sessions that a crash left open too; the last of each stays.
func TestKeepAge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	k := keep(t, file, journal.Options{}, new(parley.Server))
	for range 5 {
		c := k.dial(t)
		io.WriteString(c, strings.Repeat("x\n", 1000))
		if _, err := io.ReadFull(c, make([]byte, 2000)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	db := k.end(t)
	for _, change := range []string{
		"UPDATE exchanges SET received_ns = received_ns - 7*86400*1000000000 WHERE session < 4",
		"UPDATE sessions SET opened_ns = opened_ns - 7*86400*1000000000, closed_ns = closed_ns - 7*86400*1000000000 WHERE id < 4",
		"UPDATE sessions SET closed_ns = NULL WHERE id = 2",
		"UPDATE writer SET since_ns = since_ns - 7*86400*1000000000",
	} {
		if _, err := db.Exec(change); err != nil {
			t.Fatal(err)
		}
	}
	keep(t, file, journal.Options{Keep: journal.Keep{Age: 24 * time.Hour}}, new(parley.Server))
	eventually(t, "the old ones are gone", func() bool {
		return text(t, db, "SELECT group_concat(DISTINCT session), count(*) FROM exchanges") == "4,5|2000\n" &&
			text(t, db, "SELECT group_concat(id) FROM sessions") == "2,4,5\n"
	})
}
