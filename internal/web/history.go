package web

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/parley-tcp/parley/internal/journal"
)

// A History remembers sessions and exchanges in full, also those of earlier runs. Its errors
// are fs.ErrNotExist where it does not know a session, or not yet.
type History interface {
	// Session returns the session of that number in the run that is watched, and the last
	// most of its exchanges, in order.
	Session(ctx context.Context, number uint64, most int) (journal.Session, []journal.Exchange, error)
	// Recorded is Session for a session of any run, by its ID.
	Recorded(ctx context.Context, id uint64, most int) (journal.Session, []journal.Exchange, error)
	// Earlier returns the last most sessions of earlier runs, the newest first.
	Earlier(ctx context.Context, most int) ([]journal.Session, error)
}

// NewHistory returns what the journal in a file remembers while w writes it.
func NewHistory(file string, w *journal.Writer) History {
	return &journalHistory{file: file, started: time.Now(), firstID: w.SessionID(1)}
}

type journalHistory struct {
	file    string
	started time.Time
	firstID int64 // of this run's session 1

	mu      sync.Mutex        // guards what follows; one question at a time
	earlier []journal.Session // nil before it was asked for; there will never be more
}

func (h *journalHistory) Session(ctx context.Context, number uint64, most int) (journal.Session, []journal.Exchange, error) {
	if number < 1 || number > math.MaxInt64-uint64(h.firstID) {
		return journal.Session{}, nil, fmt.Errorf("session %d: %w", number, fs.ErrNotExist)
	}
	return h.recorded(ctx, h.firstID+int64(number)-1, most)
}

func (h *journalHistory) Recorded(ctx context.Context, id uint64, most int) (journal.Session, []journal.Exchange, error) {
	if id < 1 || id > math.MaxInt64 {
		return journal.Session{}, nil, fmt.Errorf("session %d: %w", id, fs.ErrNotExist)
	}
	return h.recorded(ctx, int64(id), most)
}

// recorded opens the file for each question, since the journal may be closed before the page
// is.
func (h *journalHistory) recorded(ctx context.Context, id int64, most int) (journal.Session, []journal.Exchange, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, err := journal.Open(h.file)
	if err != nil {
		return journal.Session{}, nil, err
	}
	defer r.Close()
	return r.Session(ctx, id, most)
}

func (h *journalHistory) Earlier(ctx context.Context, most int) ([]journal.Session, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.earlier != nil {
		return h.earlier, nil
	}
	r, err := journal.Open(h.file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	found := []journal.Session{}
	for s, err := range r.Sessions(ctx, journal.Filter{Until: h.started, Limit: most}) {
		if err != nil {
			return nil, err
		}
		if s.ID < h.firstID { // a clock that was set back makes later ones look earlier
			found = append(found, s)
		}
	}
	slices.Reverse(found)
	h.earlier = found
	return found, nil
}
