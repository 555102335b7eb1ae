package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server in a small container is not ended for what its peers have it hold: those that hold
// most are, and the others are served.
func TestServerInASmallContainerLives(t *testing.T) {
	t.Parallel() // it waits most of the time
	const limit, peers, size = 128 << 20, 2500, 60000
	group, parley := smallGroup(t, limit), filepath.Join(t.TempDir(), "parley")
	making := exec.CommandContext(t.Context(), "make", "--silent", "static", "BINARY="+parley) // with the race detector it would take more
	making.Dir = repository
	run(t, making, "")
	for _, engine := range []string{"goroutines", "loops"} {
		file := filepath.Join(t.TempDir(), "addr")
		cmd := command(t, "sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(group, "cgroup.procs"),
			parley, "server", "127.0.0.1:0", "-q", "--engine", engine, "--max-sessions", "5000", "--addr-file", file)
		s := start(t, cmd)
		addr := awaitAddr(t, file)
		begun := []byte(strings.Repeat("x", size))
		var all []net.Conn
		for range peers {
			conn := connect(t, addr)
			conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
			conn.Write(begun) // it may have been ended before it has said all
			all = append(all, conn)
		}
		conn := connect(t, addr)
		fmt.Fprintln(conn, "a")
		want := fmt.Sprintf("Request #%d - a ...\n", peers+1)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v; want %q", engine, got, err, want)
		}
		for _, conn := range append(all, conn) {
			conn.Close()
		}
		if code := s.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("%s: exit code %d, want 0; %s", engine, code, s.stderr)
		}
	}
}

// smallGroup makes a control group whose processes have so many bytes of memory together; see
// cgroups(7).
func smallGroup(t *testing.T, bytes int) string {
	t.Helper()
	for _, version := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"},
	} {
		group, err := os.MkdirTemp(version.root, "parley-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(group) })
		if os.WriteFile(filepath.Join(group, version.limit), fmt.Append(nil, bytes), 0) == nil {
			return group
		}
	}
	skipOutsideCI(t, "no control group of its own can be made")
	return ""
}
