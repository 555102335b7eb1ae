//go:build !386

package tap

import (
	"io"
	"testing"

	"github.com/parley-tcp/parley"
)

func (t *looped) do(f func()) { t.loop.send(command{do: f}) }

// The tests over loops are of loops: a session of plain sockets has one, and no goroutine.
func TestPlainSocketsHaveALoop(t *testing.T) {
	for engine, want := range map[parley.Engine]bool{parley.Goroutines: false, parley.Loops: true, parley.LoopsIfPossible: true} {
		tap := new(Tap)
		upstream := plain.startServer(t, func(conn end) { io.Copy(conn, conn) })
		client := transport{engine: engine}.dial(t, transport{engine: engine}.start(t, tap, upstream))
		io.WriteString(client, "a\n")
		io.ReadFull(client, make([]byte, 2))
		s := theSession(tap)
		if _, is := s.driver.(*looped); is != want {
			t.Errorf("with the engine %v it is passed on by %T", engine, s.driver)
		}
	}
}
