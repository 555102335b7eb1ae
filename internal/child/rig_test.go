//go:build unix

package child

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/leaks"
)

// patience bounds every wait for an event; only a failing test uses it up.
const patience = 30 * time.Second

// A notebook is what programs were told to have said.
type notebook struct {
	mu    sync.Mutex
	lines []string
}

func (n *notebook) say(s *parley.Session, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf("%d %s", s.Number(), text))
}

func (n *notebook) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.lines, "\n")
}

// newRunner makes the runner of a shell's command, and has the test fail if it leaves anything behind. With a grace
// that nobody waits for, unless the test has one end.
func newRunner(t *testing.T, command string) (*Runner, *notebook) {
	t.Helper()
	leaks.Check(t)
	parsed, err := Parse(command, true)
	if err != nil {
		t.Fatal(err)
	}
	said := new(notebook)
	r := &Runner{Command: parsed, Grace: patience, Max: 4, Say: said.say}
	t.Cleanup(r.Wait)
	return r, said
}

func sessionOf(number uint64) *parley.Session {
	local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 6969}
	remote := &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 50000 + int(number)}
	return parley.NewSession(number, remote, local, time.Now())
}

// dial starts the program of a session, which ends with the test at the latest.
func dial(t *testing.T, r *Runner) *conn {
	t.Helper()
	c, err := r.Dial(t.Context(), sessionOf(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*conn)
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return string(got)
}

// readLine reads a line of what a program says, byte by byte.
func readLine(t *testing.T, r io.Reader) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := r.Read(b); err != nil {
			t.Fatalf("read behind %q: %v", line, err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

func isAlive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if os.IsNotExist(err) {
		return syscall.Kill(pid, 0) == nil && err == nil
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") // its new parent may take its time
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

// ended is a context that is over.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
