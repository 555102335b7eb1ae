package fault

import (
	"net"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// A connection below the faults is told its session too, as a mock's that goes over to TLS.
func TestConnectionBelowIsTold(t *testing.T) {
	plan, err := Parse("delay=1ms")
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	defer near.Close()
	below := &joiner{Conn: far}
	defer below.Close()
	session := parley.NewSession(1, near.RemoteAddr(), nil, time.Now())
	session.Join(newConn(&Layer{Plan: plan}, below))
	if below.session != session {
		t.Error("it was not told")
	}
}

type joiner struct {
	net.Conn
	session *parley.Session
}

func (j *joiner) Join(s *parley.Session) { j.session = s }
