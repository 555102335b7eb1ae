package tally

import (
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
)

// Failed says whether an exchange of a session counts as an error.
func Failed(s *journal.Session, x *journal.Exchange, framing dialect.Framing) bool {
	return new(tally).failed(&session{repliedUpTo: s.RepliedUpTo, closed: !s.Closed.IsZero()}, x, framing)
}

// AppendShape appends to dst by what an exchange counts by shape.
func AppendShape(dst []byte, x *journal.Exchange, framing dialect.Framing, secrets bool) []byte {
	t := tally{Options: Options{Secrets: secrets}}
	return t.shape(dst, x, framing)
}

// PeerOf is by what a session counts by peer: the remote address without its port.
func PeerOf(remote string) string { return peerOf(remote) }
