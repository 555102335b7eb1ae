//go:build unix

package systemd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// patience bounds every wait for an event; only a failing test uses it up.
const patience = 30 * time.Second

// A manager is a service manager: what it is told.
type manager struct {
	*net.UnixConn
}

// newManager is one that is named by NOTIFY_SOCKET, and by WATCHDOG_USEC if it has a watchdog.
func newManager(t *testing.T, watchdog time.Duration) manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", "")
	if watchdog > 0 {
		t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	}
	return manager{conn}
}

// told is the next that it is told.
func (m manager) told(t *testing.T) string {
	t.Helper()
	m.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	n, err := m.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func yes() bool { return true }

func TestTheManagerIsToldInOrder(t *testing.T) {
	m := newManager(t, 0)
	s, err := Open(func() string { return "2 sessions open" }, yes)
	if err != nil {
		t.Fatal(err)
	}
	s.Ready()
	s.Reloading()
	s.Ready()
	s.Stopping()
	s.Close()
	const status = "\nSTATUS=2 sessions open"
	if got := m.told(t); got != "READY=1"+status {
		t.Errorf("first %q", got)
	}
	reload := strings.Split(m.told(t), "\n")
	when, ok := strings.CutPrefix(reload[1], "MONOTONIC_USEC=")
	now := monotonic().Microseconds()
	if usec, err := strconv.ParseInt(when, 10, 64); reload[0] != "RELOADING=1" || !ok || err != nil || usec > now || now-usec > patience.Microseconds() {
		t.Errorf("then %q, at %d", reload, now)
	}
	if got := m.told(t); got != "READY=1"+status {
		t.Errorf("then %q", got)
	}
	if got := m.told(t); got != "STOPPING=1"+status {
		t.Errorf("last %q", got)
	}
}

// The watchdog is told as long as the process serves, and is told nothing once it does not.
func TestTheWatchdogIsToldWhileTheServiceServes(t *testing.T) {
	m := newManager(t, 20*time.Millisecond)
	var asked, alive atomic.Int64
	alive.Store(3)
	s, err := Open(func() string { return "" }, func() bool { return asked.Add(1) <= alive.Load() })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if got := m.told(t); got != "WATCHDOG=1" {
			t.Errorf("%d: told %q", i, got)
		}
	}
	for deadline := time.Now().Add(patience); asked.Load() < 6; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is asked no more")
		}
	}
	s.Stopping()
	if got := m.told(t); got != "STOPPING=1\nSTATUS=" {
		t.Errorf("while it does not serve the manager is told %q", got)
	}
	s.Close()
}

func TestWhereNobodyAsksNothingIsTold(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	s, err := Open(func() string { panic("asked") }, func() bool { panic("asked") })
	if s != nil || err != nil {
		t.Errorf("Open = %v, %v", s, err)
	}
	s.Ready()
	s.Reloading()
	s.Stopping()
	s.Close()
}

// A manager that is gone, or does not listen, holds nothing up.
func TestAManagerThatDoesNotListen(t *testing.T) {
	m := newManager(t, 0)
	s, err := Open(func() string { return strings.Repeat("x", 1000) }, yes)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 { // more than sockets hold
		s.Ready()
	}
	begin := time.Now()
	s.Close()
	if took := time.Since(begin); took > patience {
		t.Errorf("it took %v to close", took)
	}
	m.Close() // which ends what still waits for it
	<-s.told

	s, err = Open(func() string { return "" }, yes)
	if err != nil {
		t.Fatal(err)
	}
	s.Ready()
	s.Close()
}

func TestAWatchdogThatIsNoNumberIsRefused(t *testing.T) {
	newManager(t, 0)
	t.Setenv("WATCHDOG_USEC", "soon")
	if s, err := Open(func() string { return "" }, yes); s != nil || err == nil || !strings.HasPrefix(err.Error(), "the service manager's watchdog: ") {
		t.Errorf("Open = %v, %v", s, err)
	}
}

func TestAServerThatLetsNobodyInIsNotAlive(t *testing.T) {
	waits := false
	p := &Pulse{Waiting: []func() bool{func() bool { return false }, func() bool { return waits }}}
	look := func(want bool, what string) {
		t.Helper()
		if got := p.Alive(); got != want {
			t.Errorf("%s: alive %v, want %v", what, got, want)
		}
	}
	event := func(kind parley.EventKind) { p.Observe(&parley.Event{Kind: kind, Err: errors.New("full")}) }
	look(true, "idle")
	look(true, "still idle")
	waits = true
	look(true, "somebody has just come")
	look(false, "and nobody was let in since")
	event(parley.Closed)
	look(false, "an end lets nobody in")
	for _, kind := range []parley.EventKind{parley.Opened, parley.Refused, parley.HandshakeFailed, parley.AcceptFailed} {
		event(kind)
		look(true, kind.String())
		look(false, "and again nobody")
	}
	waits = false
	look(true, "nobody waits any more")
	for _, kind := range []parley.EventKind{parley.Opened, parley.Refused, parley.Closed} {
		if !p.Wants(kind) {
			t.Errorf("it does not want %v", kind)
		}
	}
	if p.Wants(parley.Received) {
		t.Error("it wants what costs")
	}
}

func TestStatus(t *testing.T) {
	p := new(Pulse)
	for range 3 {
		p.Observe(&parley.Event{Kind: parley.Opened})
	}
	p.Observe(&parley.Event{Kind: parley.Closed})
	if got := p.Status(); got != "2 sessions open, 3 served" {
		t.Errorf("Status = %q", got)
	}
}
