package journal

import (
	"cmp"
	"context"
	"database/sql"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// clocksApart is by how much the clocks of two machines may differ for their records to be of the
// same time.
const clocksApart = time.Minute

// OtherEnds are the sessions of this journal that were the same connection as one, as others saw it,
// in the order of recording: the peer's own, which has the two addresses the other way round; that of
// who looked on, which has the same; and at a tap the one of the client, or of the server behind it.
// Ports are used again, so it must have been open at the same time, give or take a minute in which
// clocks may differ; of several of the same machine only that is returned which began nearest to it.
// The error is fs.ErrNotExist if there is no session of this ID.
func (r *Reader) OtherEnds(ctx context.Context, id int64) (found []Session, err error) {
	of, err := r.sessions(ctx, []int64{id})
	if err != nil {
		return nil, err
	}
	s := of[id]
	if s == nil {
		return nil, fs.ErrNotExist
	}
	ids, err := r.otherEnds(ctx, s)
	if err != nil {
		return nil, err
	}
	all, err := r.sessions(ctx, ids)
	if err != nil {
		return nil, err
	}
	type seat struct{ node, role, remote, local string }
	seatOf := func(s *Session) seat { return seat{s.Node, s.Role, s.Remote, s.Local} }
	nearest := make(map[seat]*Session)
	apart := func(other *Session) time.Duration { return other.Opened.Sub(s.Opened).Abs() }
	for _, id := range ids {
		other := all[id]
		if other == nil || !s.overlaps(other) || seatOf(other) == seatOf(s) { // where it sat too, its port was used again
			continue
		}
		at := seatOf(other)
		if nearest[at] == nil || apart(other) < apart(nearest[at]) {
			nearest[at] = other
		}
	}
	for _, other := range nearest {
		found = append(found, *other)
	}
	slices.SortFunc(found, func(a, b Session) int { return cmp.Compare(a.ID, b.ID) })
	return found, nil
}

// overlaps says whether two sessions may have been open at the same time.
func (s *Session) overlaps(other *Session) bool {
	begunBy := func(a, b *Session) bool { return b.Closed.IsZero() || !a.Opened.After(b.Closed.Add(clocksApart)) }
	return begunBy(s, other) && begunBy(other, s)
}

// otherEnds are the ids of those that have the addresses.
func (r *Reader) otherEnds(ctx context.Context, s *Session) (ids []int64, err error) {
	version := r.version.Load()
	var terms []string
	var args []any
	add := func(since int64, columns string, texts ...string) {
		if version < since || slices.ContainsFunc(texts, isNobodys) {
			return
		}
		terms = append(terms, "("+columns+")")
		for _, text := range texts {
			args = append(args, text)
		}
	}
	const peers, ways = "local = ? AND remote = ?", "out_local = ? AND out_remote = ?"
	add(1, peers, s.Remote, s.Local)
	add(1, peers, s.Local, s.Remote)
	add(1, peers, s.OutRemote, s.OutLocal)
	add(1, peers, s.OutLocal, s.OutRemote)
	add(5, ways, s.Remote, s.Local)
	add(5, ways, s.Local, s.Remote)
	add(3, "proxied = ?", s.OutLocal) // of a server that was told whose connection it is
	add(5, "out_local = ?", s.Proxied)
	if len(terms) == 0 {
		return nil, nil
	}
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var where conditions
		// By endIndexes, or in one look at each session.
		where.add("id IN (SELECT id FROM sessions WHERE "+strings.Join(terms, " OR ")+")", args...)
		where.add("id <> ?", s.ID)
		ids, err = r.sessionsWhere(ctx, tx, &where, 0)
		return err
	})
	return ids, err
}

// isNobodys says whether an address is not one connection's alone, as that of a Unix socket.
func isNobodys(address string) bool {
	return address == "" || address == "unknown" || address == "unix" || strings.HasPrefix(address, "unix:")
}

// endIndexes are of journals of many nodes: what they cost there is little beside the exchanges.
const endIndexes = `
CREATE INDEX IF NOT EXISTS remotes ON sessions (remote);
CREATE INDEX IF NOT EXISTS locals ON sessions (local);
CREATE INDEX IF NOT EXISTS ways_out ON sessions (out_local) WHERE out_local IS NOT NULL;
CREATE INDEX IF NOT EXISTS proxies ON sessions (proxied) WHERE proxied IS NOT NULL;
`
