package replay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
)

// ErrJournalOnInput is returned for a journal that comes in by a pipe.
var ErrJournalOnInput = errors.New("a journal cannot be read from standard input; name its file")

// Open reads a recording of a file, a journal or events, or events of stdin if the file is "-".
func Open(ctx context.Context, stdin io.Reader, file string) (*Recording, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	const sqlite = "SQLite format 3\x00"
	r := bufio.NewReader(in)
	head, _ := r.Peek(len(sqlite))
	switch isJournal := bytes.Equal(head, []byte(sqlite)); {
	case isJournal && file == "-":
		return nil, ErrJournalOnInput
	case isJournal:
		return readJournal(ctx, file)
	}
	return ReadEvents(r)
}

// readJournal reads a journal as a whole: sessions that were open at the same time have
// their exchanges all over it.
func readJournal(ctx context.Context, file string) (*Recording, error) {
	r, err := journal.Open(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	recording := new(Recording)
	if r.Notice != "" {
		recording.Damages = append(recording.Damages, r.Notice)
	}
	r.Damaged = func(d journal.Damage) { recording.Damages = append(recording.Damages, d.String()) }
	if recording.Skipped, err = r.Missing(ctx); err != nil {
		return nil, err
	}
	twice, err := recordedTwice(ctx, r)
	if err != nil {
		return nil, err
	}
	recording.Twice = len(twice)
	sessions := make(map[int64]*building)
	var b builder
	for s, err := range r.Sessions(ctx, journal.Filter{}) {
		if err != nil {
			return nil, err
		}
		if twice[s.ID] {
			continue
		}
		framing, err := framingOf(&s)
		if err != nil {
			return nil, err
		}
		sessions[s.ID] = &building{Session: Session{Number: s.Number, Node: s.Node, Opened: s.Opened, Closed: s.Closed, Framing: framing, TLS: s.TLSVersion != ""}}
		b.all = append(b.all, sessions[s.ID])
	}
	for x, err := range r.Exchanges(ctx, journal.Filter{Loose: true}) {
		if err != nil {
			return nil, err
		}
		if twice[x.Session] {
			continue
		}
		s := sessions[x.Session]
		if s == nil { // it is damaged, or has begun since
			s = &building{Session: Session{Opened: x.Received}}
			sessions[x.Session] = s
			b.all = append(b.all, s)
		}
		if one := exchangeOf(&x); one.Request != nil || one.Reply != nil || one.Raw != nil {
			s.Exchanges = append(s.Exchanges, one)
		}
	}
	recording.Sessions = b.recording().Sessions
	return recording, nil
}

// recordedTwice are the sessions that were the same connection as another one, which the server itself has
// recorded, or else a tap: each is to be said once.
func recordedTwice(ctx context.Context, r *journal.Reader) (twice map[int64]bool, err error) {
	rank := func(s *journal.Session) int { return slices.Index([]string{"client", "import", "tap", ""}, s.Role) }
	roles, err := r.Roles(ctx)
	if err != nil || len(roles) < 2 {
		return nil, err
	}
	twice = make(map[int64]bool)
	for s, err := range r.Sessions(ctx, journal.Filter{}) {
		if err != nil {
			return nil, err
		}
		if s.Lost || s.Role == "server" {
			continue
		}
		others, err := r.OtherEnds(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		twice[s.ID] = slices.ContainsFunc(others, func(other journal.Session) bool {
			return other.Role == "server" || rank(&other) > rank(&s)
		})
	}
	maps.DeleteFunc(twice, func(_ int64, is bool) bool { return !is })
	return twice, nil
}

// framingOf is the framing that a session was recorded with.
func framingOf(s *journal.Session) (f dialect.Framing, err error) {
	if s.Framing == "" {
		return f, nil
	}
	if f, err = dialect.Parse(s.Framing); err != nil {
		return f, fmt.Errorf("session %d was recorded with the framing %s, which this parley does not know", s.Number, s.Framing)
	}
	return f, nil
}

// exchangeOf is an exchange as it is replayed. It is empty if the server said something that is
// no message: there is nothing to compare it with.
func exchangeOf(x *journal.Exchange) Exchange {
	one := Exchange{
		Seq: x.Seq, Received: x.Received, Took: x.Took, Request: x.Request, Reply: x.Reply, RequestCut: x.RequestCut, ReplyCut: x.ReplyCut,
		SaidBefore: x.RawReply.At, RawReply: x.RawReply.Bytes, Redacted: x.RequestWhole > 0 || x.ReplyWhole > 0,
	}
	if raw := x.RawRequest; raw.Bytes != nil {
		one.Raw, one.Before, one.RequestCut = raw.Bytes, raw.At, raw.Cut
	}
	// Of what was concealed only the length is known.
	if whole := uint64(x.RequestWhole); whole > 0 {
		one.Request, one.Raw, one.RequestCut = one.Request[:0], one.Raw[:0], one.RequestCut+whole
	}
	if whole := uint64(x.ReplyWhole); whole > 0 {
		one.Reply, one.ReplyCut = one.Reply[:0], one.ReplyCut+whole
	}
	return one
}
