package tap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
)

// closings has the event Closed of each session sent.
func closings() (parley.Observer, <-chan parley.Event) {
	closed := make(chan parley.Event, 100)
	return parley.ObserverFunc(func(e *parley.Event) {
		if e.Kind == parley.Closed {
			closed <- *e
		}
	}), closed
}

func awaitClosing(t *testing.T, closed <-chan parley.Event) parley.Event {
	t.Helper()
	select {
	case e := <-closed:
		return e
	case <-time.After(patience):
		t.Fatal("the session has not ended")
		panic("")
	}
}

// A reset at any point is a reset for the other, of whichever side it comes, and what is told
// is exactly what had been said.
func TestResetAtEachPoint(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		for _, c := range []struct {
			point string
			talk  func(client, server end)
			told  []string // behind opened
		}{
			{"after connecting", func(_, _ end) {}, nil},
			{"inside a request", func(client, server end) { say(client, server, "hal") }, []string{`1 received 1 "hal"`}},
			{"between request and reply", func(client, server end) { say(client, server, "a\n") }, []string{`1 received 1 "a"`}},
			{"inside a reply", func(client, server end) {
				say(client, server, "a\n")
				say(server, client, "A an")
			}, []string{`1 received 1 "a"`, `1 replied 1 "A an"`}},
			{"between exchanges", func(client, server end) {
				say(client, server, "a\n")
				say(server, client, "A\n")
			}, []string{`1 received 1 "a"`, `1 replied 1 "A"`}},
			{"behind the client's end", func(client, server end) {
				say(client, server, "a")
				client.CloseWrite()
				server.Read(make([]byte, 1))
			}, []string{`1 received 1 "a"`}},
		} {
			for by, reason := range map[string]string{"client": "reset", "server": "upstream_reset"} {
				t.Run(c.point+" by the "+by, func(t *testing.T) {
					servers := make(chan end)
					done := make(chan struct{})
					upstream := tr.startServer(t, func(conn end) { servers <- conn; <-done })
					defer close(done)
					told := newRecord()
					client := tr.dial(t, tr.start(t, &Tap{Observer: told}, upstream))
					server := <-servers
					<-told.dialled // a reset before that is no connection
					c.talk(client, server)
					breaks, other := client, server
					if by == "server" {
						breaks, other = server, client
					}
					if by == "client" && strings.HasPrefix(c.point, "behind") {
						// Its end of file was seen: that it is gone shows when it is written to.
						breakOff(client)
						for err := error(nil); err == nil; time.Sleep(time.Millisecond) {
							_, err = io.WriteString(server, "x")
						}
					} else {
						breakOff(breaks)
						if _, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
							t.Errorf("the other read %v, want a reset", err)
						}
					}
					told.awaitClosed(t, 1)
					lines := strings.Split(told.String(), "\n")
					requests, reason := min(len(c.told), 1), reason
					if requests == 0 && by == "client" {
						reason = "no_request" // nobody has said anything: it is a probe
					}
					want := append(append([]string{"1 opened"}, c.told...), fmt.Sprintf("1 closed %d %s", requests, reason))
					lines = slices.DeleteFunc(lines, func(s string) bool { return strings.Contains(s, `"x`) })
					if !slices.Equal(lines, want) {
						t.Errorf("told\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
					}
				})
			}
		}
	})
}

// say has text arrive at the other end.
func say(from, to net.Conn, text string) {
	io.WriteString(from, text)
	io.ReadFull(to, make([]byte, len(text)))
}

// Close and Shutdown return in bounded time, and hold no lock meanwhile, though connections
// and listeners take theirs to close, as with TLS, and though an observer blocks.
func TestCloseIsBounded(t *testing.T) {
	for _, c := range []struct {
		what string
		slow func(tap *Tap, l *slowListener, conn *slowConn, release <-chan struct{})
	}{
		{"a connection", func(_ *Tap, _ *slowListener, conn *slowConn, release <-chan struct{}) { conn.release = release }},
		{"a listener", func(_ *Tap, l *slowListener, _ *slowConn, release <-chan struct{}) { l.release = release }},
		{"an observer", func(tap *Tap, _ *slowListener, _ *slowConn, release <-chan struct{}) {
			tap.Observer = parley.ObserverFunc(func(e *parley.Event) {
				if e.Kind == parley.Received {
					<-release
				}
			})
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				client, accepted := connPair()
				upstream, server := connPair()
				conn := &slowConn{Conn: upstream}
				tap := &Tap{Dial: func(context.Context, *parley.Session) (net.Conn, error) { return conn, nil }}
				l := &slowListener{pipe: pipe{conns: make(chan net.Conn, 1), closed: make(chan struct{})}}
				c.slow(tap, l, conn, release)
				served := make(chan error, 1)
				go func() { served <- tap.Serve(l) }()
				l.conns <- accepted
				io.WriteString(client, "a\n")
				synctest.Wait()
				closed := make(chan struct{})
				began := time.Now()
				go func() { tap.Close(); close(closed) }()
				synctest.Wait()
				tap.Open() // wants the lock
				if c.what == "a listener" {
					// It is waited for, but not under the lock.
					close(release)
				}
				<-closed
				if d := time.Since(began); d > closeTime {
					t.Errorf("Close took %v, want %v at most", d, closeTime)
				}
				if c.what != "a listener" {
					close(release)
				}
				if err := <-served; err != parley.ErrServerClosed {
					t.Errorf("Serve = %v", err)
				}
				client.Close()
				server.Close()
			})
		})
	}
}

// A slowConn takes its time to close.
type slowConn struct {
	net.Conn
	release <-chan struct{}
}

func (c *slowConn) Close() error {
	if c.release != nil {
		<-c.release
	}
	return c.Conn.Close()
}

type slowListener struct {
	pipe
	release <-chan struct{}
	once    sync.Once
}

func (l *slowListener) Close() error {
	l.once.Do(func() {
		if l.release != nil {
			<-l.release
		}
	})
	return l.pipe.Close()
}

// A failingListener gives its errors before its connections.
type failingListener struct {
	pipe
	errors chan error
}

func (l *failingListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.errors:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
	default:
		return l.pipe.Accept()
	}
}

// Errors of accept that pass are told and waited out.
func TestErrorsOfAcceptThatPassAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan error, 100)
		tap := &Tap{Observer: parley.ObserverFunc(func(e *parley.Event) {
			if e.Kind == parley.AcceptFailed {
				told <- e.Err
			}
		})}
		upstream, server := connPair()
		tap.Dial = func(context.Context, *parley.Session) (net.Conn, error) { return upstream, nil }
		passing := []error{syscall.ENOMEM, syscall.ENOBUFS, syscall.EPROTO, syscall.EPERM, syscall.EMFILE, syscall.ECONNABORTED}
		l := &failingListener{pipe{conns: make(chan net.Conn, 1), closed: make(chan struct{})}, make(chan error, len(passing))}
		for _, err := range passing {
			l.errors <- err
		}
		serve(t, tap, l)
		client, accepted := connPair()
		l.conns <- accepted
		io.WriteString(client, "a\n")
		io.ReadFull(server, make([]byte, 2))
		for _, want := range passing {
			if err := <-told; !errors.Is(err, want) {
				t.Errorf("told %v, want %v", err, want)
			}
		}
		client.Close()
		server.Close()
	})
}

// A listener that is lost for good is said at once, while its sessions go on, and a Shutdown
// waits for them.
func TestALostListenerLeavesItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := new(Tap)
		upstream, server := connPair()
		tap.Dial = func(context.Context, *parley.Session) (net.Conn, error) { return upstream, nil }
		client, accepted := connPair()
		l := &onceListener{conn: accepted}
		if err := tap.Serve(l); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Serve = %v, want EINVAL", err)
		}
		down := make(chan error, 1)
		go func() { down <- tap.Shutdown(t.Context()) }()
		synctest.Wait()
		io.WriteString(client, "a\n")
		if _, err := io.ReadFull(server, make([]byte, 2)); err != nil {
			t.Errorf("after the listener is lost: %v", err)
		}
		client.Close()
		server.Close()
		if err := <-down; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	})
}

// A onceListener accepts one connection and is lost.
type onceListener struct {
	conn net.Conn
	pipe
}

func (l *onceListener) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EINVAL)}
}

func (l *onceListener) Close() error { return nil }
