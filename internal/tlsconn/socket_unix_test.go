//go:build unix

package tlsconn

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// dialed is both ends of a connection of the system.
func dialed(t *testing.T, network, address string) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ours, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if theirs, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// What goes wrong is told in the same words as by the connection itself.
func TestErrorsOfASocket(t *testing.T) {
	for name, harm := range map[string]func(ours, theirs net.Conn){
		"an end of file":       func(_, theirs net.Conn) { theirs.Close() },
		"a deadline":           func(ours, _ net.Conn) { ours.SetDeadline(time.Unix(1, 0)) },
		"a deadline in a wait": func(ours, _ net.Conn) { ours.SetReadDeadline(time.Now().Add(time.Millisecond)) },
		"closed":               func(ours, _ net.Conn) { ours.Close() },
		"a reset": func(ours, theirs net.Conn) {
			theirs.(*net.TCPConn).SetLinger(0)
			theirs.Close()
			// Who reads a reset takes it off the socket: a write sees only that it cannot.
		},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := dialed(t, "tcp", "127.0.0.1:0")
			again, theirOther := dialed(t, "tcp", "127.0.0.1:0")
			harm(ours, theirs)
			harm(again, theirOther)
			faster := transport(ours)
			if _, is := faster.(*socket); !is {
				t.Fatalf("it is a %T", faster)
			}
			for _, call := range []func(io.ReadWriter) (int, error){
				func(c io.ReadWriter) (int, error) { return c.Read(make([]byte, 10)) },
				func(c io.ReadWriter) (int, error) {
					if name == "a deadline in a wait" || name == "an end of file" {
						return 0, nil
					}
					return c.Write([]byte("x"))
				},
			} {
				n, err := call(faster)
				wantN, want := call(again)
				got, same := told(err, ours), told(want, again)
				if n != wantN || got != same {
					t.Errorf("%d, %s\nwant %d, %s", n, got, wantN, same)
				}
			}
		})
	}
}

// told is an error without the ports, by which two connections differ.
func told(err error, conn net.Conn) string {
	if err == nil {
		return ""
	}
	return strings.NewReplacer(conn.LocalAddr().String(), "", conn.RemoteAddr().String(), "").Replace(err.Error())
}

// What is written at once comes whole, though the system takes it in parts, while as much is read.
func TestMuchThroughASocket(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			ours, theirs := dialed(t, network, address)
			faster := transport(ours)
			sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
			var both sync.WaitGroup
			defer both.Wait()
			both.Go(func() {
				if n, err := faster.Write(sent); n != len(sent) || err != nil {
					t.Errorf("%d of %d bytes are written, %v", n, len(sent), err)
				}
			})
			both.Go(func() {
				if _, err := io.Copy(theirs, io.LimitReader(theirs, int64(len(sent)))); err != nil {
					t.Error(err)
				}
			})
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(faster, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("what comes back is not what was written: %v", err)
			}
		})
	}
}
