package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/parleytest"
)

// run has a server with a journal and a page answer each text in a session of its own, and
// calls look when the journal has all of them, while the server still runs.
func run(t *testing.T, file string, texts []string, look func(p *Page, addr string)) {
	t.Helper()
	w, err := journal.Create(file, journal.Options{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(context.Background())
	p := New(Options{History: NewHistory(file, w)})
	addr := parleytest.Start(t, &parley.Server{Handler: echo, Gate: w, Observer: parley.Observers(w, p)})
	for _, text := range texts {
		say(t, addr, text)
	}
	for n := range texts {
		eventually(t, func() bool {
			s, _, err := p.opt.History.Session(t.Context(), uint64(n+1), maxTranscript)
			return err == nil && !s.Closed.IsZero()
		})
	}
	look(p, addr)
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to be so")
		}
	}
}

func TestAJournalRemembersMoreThanMemory(t *testing.T) {
	long := strings.Repeat("b", maxRecordedMessage+1)
	run(t, filepath.Join(t.TempDir(), "journal"), []string{"a\n" + long + "\n"}, func(p *Page, addr string) {
		got, err := p.transcript(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if s := got.Session; s.ID == 0 || s.Number != 1 || s.Requests != 2 || s.Reason != "eof" || s.Local != addr || s.Closed < s.Opened {
			t.Errorf("the session is %+v", s)
		}
		x := got.Exchanges
		if len(x) != 2 || x[0].Session != 1 || x[0].Seq != 1 || x[1].Reply.Bytes != len(long) || len(x[1].Reply.Start) != maxRecordedMessage {
			t.Errorf("the exchanges are %+v", x)
		}
	})
}

// Numbers begin at 1 with each run: those of this run are never answered with a session of
// an earlier one, which has an ID of its own.
func TestSessionsOfEarlierRunsAreToldApart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal")
	run(t, file, []string{"one\n", "two\n", "three\n"}, func(p *Page, _ string) {
		if earlier, err := p.opt.History.Earlier(t.Context(), 5); err != nil || len(earlier) != 0 {
			t.Errorf("before the first run there were %v, %v", earlier, err)
		}
	})
	run(t, file, []string{"four\n"}, func(p *Page, _ string) {
		for _, number := range []uint64{0, 2, 3, math.MaxInt64, math.MaxUint64 - 1, math.MaxUint64} {
			if got, err := p.transcript(t.Context(), number); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("session %d of this run is %+v, %v", number, got.Session, err)
			}
			if w := ask(p, "GET", fmt.Sprintf("/session?number=%d", number), nil); w.Code != 404 {
				t.Errorf("/session?number=%d = %d, want 404", number, w.Code)
			}
			if s, _, err := p.opt.History.Session(t.Context(), number, 1); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("in the journal session %d of this run is %+v, %v", number, s, err)
			}
		}
		if got, err := p.transcript(t.Context(), 1); err != nil || string(got.Exchanges[0].Request.Start) != "four" {
			t.Errorf("session 1 of this run is %+v, %v", got, err)
		}
		earlier := decode[[]session](t, ask(p, "GET", "/earlier", nil).Body.String())
		var said []string
		for _, s := range earlier {
			got := decode[transcript](t, ask(p, "GET", fmt.Sprintf("/session?id=%d", s.ID), nil).Body.String())
			if got.Session != s {
				t.Errorf("by its ID the session is %+v, in the list %+v", got.Session, s)
			}
			said = append(said, fmt.Sprintf("%d %s", s.Number, got.Exchanges[0].Request.Start))
		}
		if want := []string{"3 three", "2 two", "1 one"}; !slices.Equal(said, want) {
			t.Errorf("earlier sessions are %q, want %q", said, want)
		}
		if two, err := New(p.opt).opt.History.Earlier(t.Context(), 2); err != nil || len(two) != 3 {
			t.Errorf("asked again there are %d, %v, want the 3 that were found", len(two), err)
		}
		for _, id := range []string{"0", "99", "9223372036854775808", "18446744073709551615"} {
			if w := ask(p, "GET", "/session?id="+id, nil); w.Code != 404 {
				t.Errorf("/session?id=%s = %d, want 404", id, w.Code)
			}
		}
	})
}

func TestABrokenJournalSaysSo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal")
	run(t, file, []string{"a\n"}, func(p *Page, _ string) {
		if err := os.Rename(file, file+".gone"); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(file, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/session?number=1", "/session?id=1", "/earlier"} {
			if w := ask(p, "GET", path, nil); w.Code != 500 || !strings.Contains(w.Body.String(), "cannot be read: not a journal of parley") {
				t.Errorf("%s = %d %q", path, w.Code, w.Body)
			}
		}
	})
}

// A lateHistory knows the beginning of an open session only, or nothing yet.
type lateHistory struct{ err error }

func (h lateHistory) Session(context.Context, uint64, int) (journal.Session, []journal.Exchange, error) {
	return journal.Session{ID: 70, Number: 1, Requests: 3}, []journal.Exchange{{Seq: 1, Reply: []byte{}}, {Reply: []byte{}}, {}}, h.err // the last is loose bytes
}
func (h lateHistory) Recorded(context.Context, uint64, int) (journal.Session, []journal.Exchange, error) {
	return journal.Session{}, nil, h.err
}
func (h lateHistory) Earlier(context.Context, int) ([]journal.Session, error) { return nil, h.err }

// How many requests there were, and what was said just now, memory knows.
func TestMemoryHelpsAHistoryThatIsLate(t *testing.T) {
	p := New(Options{History: lateHistory{}})
	say(t, parleytest.Start(t, &parley.Server{Handler: echo, Observer: p}), strings.Repeat("a\n", 7))
	if got, err := p.transcript(t.Context(), 1); err != nil || got.Session.Requests != 7 || got.Session.ID != 70 || len(got.Exchanges) != 2+6 {
		t.Errorf("the transcript is %+v, %v", got, err)
	}
	p = New(Options{History: lateHistory{fs.ErrNotExist}})
	say(t, parleytest.Start(t, &parley.Server{Handler: echo, Observer: p}), "a\n")
	if got, err := p.transcript(t.Context(), 1); err != nil || len(got.Exchanges) != 1 {
		t.Errorf("the transcript is %+v, %v", got, err)
	}
}
