package web

import (
	"slices"

	"github.com/parley-tcp/parley"
)

const maxTurned = 50 // of those who were turned away, the last

// A turned is who was turned away: a connection that became no session, for a reason of the server's.
type turned struct {
	At     int64  `json:"at"` // µs since 1970
	Remote string `json:"remote"`
	Reason string `json:"reason"`
	Why    string `json:"why,omitempty"` // what failed, of a handshake
	Fault  string `json:"fault,omitempty"`
}

// turnAway remembers who was refused, or did not get through a handshake. Probes are many and are not.
func (s *state) turnAway(e *parley.Event) {
	if e.Reason == parley.NoRequest {
		return
	}
	t := turned{At: e.Time.UnixMicro(), Remote: string(e.Session.AppendRemote(nil)), Reason: e.Reason.String(), Fault: e.Fault}
	if e.Kind == parley.HandshakeFailed && e.Err != nil {
		t.Why = beginning([]byte(e.Err.Error()), maxName)
	}
	if len(s.turned) == maxTurned {
		s.turned = slices.Delete(s.turned, 0, 1)
	}
	s.turned = append(s.turned, t)
	s.changes++
}

// lastTurned are those who were turned away, the newest first.
func (s *state) lastTurned() []turned {
	last := slices.Clone(s.turned)
	slices.Reverse(last)
	return last
}
