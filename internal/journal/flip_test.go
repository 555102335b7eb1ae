package journal

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

// pageBytes is that of a journal.
const pageBytes = 4096

// A stored journal is the bytes of its two files.
type stored struct {
	main, log []byte
	roots     map[string]int // the first pages of some tables
}

func (s *stored) write(t testing.TB, file string) {
	t.Helper()
	for suffix, content := range map[string][]byte{"": s.main, "-wal": s.log} {
		if err := os.Remove(file + "-shm"); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// ofAllKinds is a journal with rows in all tables that a server writes, with pages that are free, messages of several pages, and
// what is in its -wal file alone.
func ofAllKinds(t testing.TB) *stored {
	t.Helper()
	file := filepath.Join(t.TempDir(), "j")
	mixed(t, file, 150, "web-1")
	follower := follow(t, file)
	if err := follower.Keep("somebody", Position{Exchange: 3, Opened: 2}); err != nil {
		t.Fatal(err)
	}
	follower.Close()
	f, err := openFile(file, Options{About: About{Framing: "line", Role: "tap"}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	big := batchOf(f.base+1, f.base+1, f.base+2)
	for i := range big.exchanges {
		big.exchanges[i].request = 9000 * i
		big.exchanges[i].requestTail = 0
	}
	big.bytes = bytes.Repeat([]byte("big "), 9000*3/4)
	if err := f.write(big); err != nil {
		t.Fatal(err)
	}
	if err := f.delete("DELETE FROM exchanges WHERE id < 40; " + pruneCuts); err != nil {
		t.Fatal(err)
	}
	if err := f.truncateLog(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		late := batchOf(f.base+2, f.base+3)
		late.opened = []Session{{ID: f.base + 3, Number: 3, Remote: "late", Opened: at(0)}}
		late.faults = []Fault{{Session: f.base + 3, Seq: 1, At: at(1), Fault: "close"}}
		if err := f.write(late); err != nil {
			t.Fatal(err)
		}
	}
	s := stored{roots: rootsOf(t, file)}
	for suffix, content := range map[string]*[]byte{"": &s.main, "-wal": &s.log} {
		if *content, err = os.ReadFile(file + suffix); err != nil {
			t.Fatal(err)
		}
	}
	return &s
}

// ofMany is a journal that was collected of two.
func ofMany(t testing.TB) *stored {
	t.Helper()
	file := filepath.Join(t.TempDir(), "collected")
	c := collectInto(t, file)
	for n := range 2 {
		one := filepath.Join(t.TempDir(), "j")
		mixed(t, one, 30, fmt.Sprint("web-", n))
		addAll(t, c, blocks(t, follow(t, one), Position{}, 1<<20))
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	main, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return &stored{main: main, roots: rootsOf(t, file)}
}

func rootsOf(t testing.TB, file string) map[string]int {
	t.Helper()
	roots := make(map[string]int)
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, table := range []string{"sessions", "exchanges", "cuts", "faults"} {
		roots[table] = int(oneNumber(t, r, "SELECT rootpage FROM sqlite_schema WHERE name = '"+table+"'"))
	}
	return roots
}

// rowsRead are what a reader tells of a journal, by what they are of.
type rowsRead map[string]string

// readRows reads all that a reader tells, and what Verify says of it.
func readRows(t testing.TB, file string) (rows rowsRead, damages []Damage, err error) {
	r, err := Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	rows = make(rowsRead)
	r.Damaged = func(d Damage) { damages = append(damages, d) }
	for s, err := range r.Sessions(t.Context(), Filter{}) {
		if err != nil {
			return rows, damages, err
		}
		if s.Lost {
			continue
		}
		if s.About != (About{}) {
			rows[fmt.Sprint("origin of session ", s.ID)] = fmt.Sprintf("%+v", s.About)
		}
		s.About = About{}
		rows[fmt.Sprint("sessions ", s.ID)] = fmt.Sprintf("%+v", s)
	}
	for x, err := range r.Exchanges(t.Context(), Filter{Loose: true}) {
		if err != nil {
			return rows, damages, err
		}
		x.Fault = "" // which is another row
		rows[fmt.Sprint("exchanges ", x.ID)] = fmt.Sprintf("%+v", x)
	}
	for e, err := range r.Events(t.Context(), Filter{}) {
		switch {
		case err != nil:
			return rows, damages, err
		case e.Kind == parley.Refused:
			rows[fmt.Sprint("refused ", e.Time, e.Session.Reason)] = fmt.Sprintf("%s %q %q", e.Session.Remote, e.Text, e.RawText.Bytes)
		case e.Kind == parley.Faulted:
			rows[fmt.Sprint("faults ", e.Fault.ID)] = fmt.Sprintf("%+v", *e.Fault)
		}
	}
	if err = r.snapshot(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		identity, err := r.identity(ctx, tx)
		if err == nil {
			rows["identity"] = identity
		}
		if p, err := r.cursor(ctx, tx, "somebody"); err == nil && p != (Position{}) {
			rows["cursor"] = fmt.Sprint(p)
		}
		sources, err := r.sources(ctx, tx)
		for _, s := range sources {
			rows[fmt.Sprint("sources ", s.number)] = fmt.Sprintf("%+v", s)
		}
		return err
	}); err != nil {
		return rows, damages, err
	}
	_, err = r.Verify(t.Context())
	return rows, damages, err
}

// allTables is all that anybody can ask for in SQL. What cuts says is in the views: NULL is there what parts says, or 0.
func allTables(t testing.TB, file string) (string, error) {
	t.Helper()
	r, err := Open(file)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var text strings.Builder
	for _, table := range []string{"sessions", "exchanges", "gaps", "writer", "refused", "origins", "latest", "faults", "identity", "cursors", "sources", "collected",
		"messages", "replies", "v_exchange", "v_session", "sessions INDEXED BY numbers WHERE number > 0 ORDER BY number", "sessions INDEXED BY ends WHERE ended IS NOT NULL ORDER BY ended"} {
		rows, err := r.db.Query("SELECT * FROM " + table)
		if err != nil {
			return text.String(), err
		}
		defer rows.Close()
		columns, _ := rows.Columns()
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		fmt.Fprintln(&text, table, columns)
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				return text.String(), err
			}
			// A number that is 0 may become NULL, or no bytes, which is the same to whoever reads it.
			text.WriteString(strings.NewReplacer("<nil>", "0", "[]", "0").Replace(fmt.Sprintln(values...)))
		}
		if err := rows.Err(); err != nil {
			return text.String(), err
		}
	}
	return text.String(), nil
}

// Whichever bit of whichever page flips, of the file or of its -wal file: nothing is told that is not as it was written, Verify says
// that something is damaged or nothing is changed by it, and what stands on other pages is told. Only the last page of a -wal file may
// also be one that was not written whole.
func TestAFlippedBitInEveryPage(t *testing.T) {
	for name, make := range map[string]func(testing.TB) *stored{"a server's": ofAllKinds, "of many": ofMany} {
		t.Run(name, func(t *testing.T) {
			s := make(t)
			f := &flipping{T: t, stored: s, file: filepath.Join(inMemory(t), "j"), pages: s.pagesOf()}
			s.write(t, f.file)
			damages, err := []Damage(nil), error(nil)
			if f.want, damages, err = readRows(t, f.file); err != nil || len(damages) > 0 || len(f.want) < 50 || len(f.pages) < 50 {
				t.Fatalf("%d rows on %d pages, damages %v, %v", len(f.want), len(f.pages), damages, err)
			}
			if f.wantTables, err = allTables(t, f.file); err != nil {
				t.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(1, 2))
			for n := range len(s.main) / pageBytes {
				for _, at := range placesIn(n, rnd) {
					f.flip(fmt.Sprintf("page %d, byte %d", n+1, at), &s.main[n*pageBytes+at], rnd.IntN(8), func(page int) bool { return page != n+1 }, false)
				}
			}
			const frame = frameHead + pageBytes
			for at := 0; at < len(s.log); at += 1 + rnd.IntN(max(1, len(s.log)/atLength(20, 1000))) {
				f.flip(fmt.Sprintf("-wal file, byte %d of frame %d", (at-walHead)%frame, (at-walHead)/frame), &s.log[at], rnd.IntN(8),
					func(int) bool { return false }, at >= len(s.log)-frame)
			}
			t.Logf("%d flips in %d pages and a -wal file of %d bytes, %d of them without consequences", f.tried, len(s.main)/pageBytes, len(s.log), f.silent)
		})
	}
}

// A flipping is a journal of which bits flip.
type flipping struct {
	*testing.T
	*stored
	file          string
	want          rowsRead
	wantTables    string
	pages         map[string][]int // that a row stands on
	tried, silent int
}

// flip flips a bit, and looks what is read then. Rows on whole pages are to be there; if it mayCut, what is read may
// be what there was before.
func (f *flipping) flip(what string, place *byte, bit int, whole func(page int) bool, mayCut bool) {
	f.Helper()
	*place ^= 1 << bit
	defer func() { *place ^= 1 << bit }()
	f.tried++
	f.write(f, f.file)
	got, damages, err := readRows(f, f.file)
	for of, row := range got {
		if f.want[of] != row {
			f.Errorf("%s: of %s is told\n%s\nwhich is\n%s", what, of, row, f.want[of])
		}
	}
	for of, pages := range f.pages {
		if got[of] == "" && !slices.ContainsFunc(pages, func(page int) bool { return !whole(page) }) {
			f.Errorf("%s: %s is not told, and stands on the pages %v; %v, %v", what, of, pages, damages, err)
			break
		}
	}
	if len(damages) > 0 || err != nil {
		return
	}
	f.silent++
	if !maps.Equal(got, f.want) {
		if !mayCut {
			f.Errorf("%s: %d of %d rows are told, and nothing is said", what, len(got), len(f.want))
		}
	} else if tables, err := allTables(f, f.file); err != nil || tables != f.wantTables && !mayCut {
		f.Errorf("%s: nothing is said, and asked in SQL it is another, %v: %s", what, err, difference(tables, f.wantTables))
	}
}

// pagesOf are the pages on which the rows of some tables stand, and those above these, and those that say where the tables are.
func (s *stored) pagesOf() map[string][]int {
	b := btree{file: slices.Clone(s.main), rows: make(map[string][]int)}
	for log := s.log[min(walHead, len(s.log)):]; len(log) > 0; log = log[frameHead+pageBytes:] {
		n := int(binary.BigEndian.Uint32(log))
		b.file = append(b.file, make([]byte, max(0, n*pageBytes-len(b.file)))...)
		copy(b.file[(n-1)*pageBytes:], log[frameHead:frameHead+pageBytes])
	}
	b.walk("schema", 1, nil)
	var above []int
	for _, pages := range b.rows {
		above = append(above, pages...)
	}
	clear(b.rows)
	for table, root := range s.roots {
		b.walk(table, root, above)
	}
	var cuts []int // where it is also found that an exchange has none
	for of, pages := range b.rows {
		if strings.HasPrefix(of, "cuts ") {
			cuts = append(cuts, pages...)
			delete(b.rows, of)
		}
	}
	for of := range b.rows {
		if strings.HasPrefix(of, "exchanges ") {
			b.rows[of] = append(b.rows[of], cuts...)
		}
	}
	return b.rows
}

// A btree reads a file as SQLite writes it.
type btree struct {
	file []byte
	rows map[string][]int
}

func (b *btree) walk(table string, page int, above []int) {
	p := b.file[(page-1)*pageBytes : page*pageBytes]
	head := p
	if page == 1 {
		head = p[100:]
	}
	pages := append(slices.Clone(above), page)
	cells := 8
	if head[0] == interiorPage {
		cells = 12
		b.walk(table, int(binary.BigEndian.Uint32(head[8:])), pages)
	}
	for i := range int(binary.BigEndian.Uint16(head[3:])) {
		cell := p[binary.BigEndian.Uint16(head[cells+2*i:]):]
		if head[0] == interiorPage {
			b.walk(table, int(binary.BigEndian.Uint32(cell)), pages)
			continue
		}
		length, n := sqliteVarint(cell)
		id, m := sqliteVarint(cell[n:])
		of, local := fmt.Sprint(table, " ", id), length
		const least, most = (pageBytes-12)*32/255 - 23, pageBytes - 35
		row := slices.Clone(pages)
		if length > most {
			if local = least + (length-least)%(pageBytes-4); local > most {
				local = least
			}
			for next := int(binary.BigEndian.Uint32(cell[n+m+local:])); next != 0; next = int(binary.BigEndian.Uint32(b.file[(next-1)*pageBytes:])) {
				row = append(row, next)
			}
		}
		b.rows[of] = row
	}
}

// sqliteVarint is a number, and how many bytes it takes up.
func sqliteVarint(p []byte) (number, n int) {
	for n < 8 {
		number = number<<7 | int(p[n]&0x7f)
		if n++; p[n-1] < 0x80 {
			return number, n
		}
	}
	return number<<8 | int(p[8]), 9
}

func difference(got, want string) string {
	lines, others := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range lines {
		if i >= len(others) || lines[i] != others[i] {
			return fmt.Sprintf("%.300s\nwant\n%.300s", lines[i], strings.Join(others[min(i, len(others)):min(i+1, len(others))], ""))
		}
	}
	return "less"
}

// placesIn are bytes of a page: some of its head, of where its cells are said to be, and of its cells.
func placesIn(page int, rnd *rand.Rand) []int {
	places := []int{rnd.IntN(8), 8 + rnd.IntN(30), pageBytes - 1 - rnd.IntN(200)}
	if page == 0 {
		for at := 0; at < 112; at += atLength(1+rnd.IntN(16), 1) { // the head of the file
			places = append(places, at)
		}
	}
	for range atLength(1, 60) {
		places = append(places, rnd.IntN(pageBytes))
	}
	return places
}
