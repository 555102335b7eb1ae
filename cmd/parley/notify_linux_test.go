package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server and a tap tell the service manager that has started them when they are ready, that
// they are alive, how they are, when they reload, and that they stop.
func TestTheServiceManagerIsTold(t *testing.T) {
	dir := t.TempDir()
	socket, denied := filepath.Join(dir, "notify"), filepath.Join(dir, "denied")
	os.WriteFile(denied, []byte("192.0.2.1\n"), 0o600)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	told := func(want string) {
		t.Helper()
		manager.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 4096)
		for {
			n, err := manager.Read(buf)
			if err != nil {
				t.Fatalf("it is not told %q: %v", want, err)
			}
			if got := string(buf[:n]); got != "WATCHDOG=1" || want == got {
				if !strings.HasPrefix(got, want) {
					t.Errorf("it is told %q, want %q", got, want)
				}
				return
			}
		}
	}
	for _, args := range [][]string{
		{"server", "127.0.0.1:0", "--deny", "@" + denied},
		{"tap", "127.0.0.1:0", "127.0.0.1:9"}, // which has nothing to reload, and is not stopped by that
	} {
		addr := filepath.Join(dir, args[0])
		cmd := program(t, append(args, "-q", "--listen", "unix:"+filepath.Join(dir, "s"), "--addr-file", addr)...)
		cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=100000")
		s := start(t, cmd)
		told("READY=1\nSTATUS=0 sessions open, 0 served")
		if _, err := os.Stat(addr); err != nil {
			t.Errorf("%s: it was ready before it listened: %v", args[0], err)
		}
		told("WATCHDOG=1")
		s.Process.Signal(syscall.SIGHUP)
		told("RELOADING=1\nMONOTONIC_USEC=")
		told("READY=1\n")
		told("WATCHDOG=1")
		s.Process.Signal(syscall.SIGTERM)
		told("STOPPING=1\n")
		if code := s.exit(t); code != 0 {
			t.Errorf("%s: exit code %d; %s", args[0], code, s.stderr)
		}
	}
}

// Any other command that goes on until it is stopped tells the manager too that it runs, and is not stopped by
// a reload, so that one unit does for all.
func TestTheServiceManagerIsToldOfOtherCommands(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	cmd := program(t, "check", "--every", "1h", "127.0.0.1:9")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=100000")
	p := start(t, cmd)
	told := func(want string) {
		t.Helper()
		manager.SetReadDeadline(time.Now().Add(patience))
		for buf := make([]byte, 4096); ; {
			n, err := manager.Read(buf)
			if err != nil {
				t.Fatalf("it is not told %q: %v", want, err)
			}
			if strings.HasPrefix(string(buf[:n]), want) {
				return
			}
		}
	}
	told("READY=1\nSTATUS=running")
	told("WATCHDOG=1")
	p.Process.Signal(syscall.SIGHUP)
	told("RELOADING=1\n")
	told("READY=1\n")
	p.Process.Signal(syscall.SIGTERM)
	told("STOPPING=1\n")
	p.exit(t)
}

// A restart of what has its socket of systemd refuses nobody: who connects while nothing runs is answered
// by what runs next.
func TestARestartBehindASocketRefusesNobody(t *testing.T) {
	l := listenAt(t, "tcp", "127.0.0.1:0")
	startOnce := func() *process { return start(t, passing(t, program(t, "server", "systemd:plain", "-q"), "plain", l)) }
	first := startOnce()
	if got := asked(t, "tcp", l.Addr().String(), "one"); got != "Requ" {
		t.Fatalf("the first answers %q", got)
	}
	if code := first.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d; %s", code, first.stderr)
	}
	client := connect(t, l.Addr().String()) // nobody accepts
	fmt.Fprintln(client, "meanwhile")
	client.CloseWrite()
	startOnce()
	if got := string(must(io.ReadAll(client))); got != "Request #1 - meanwhile ...\n" {
		t.Errorf("the second answers %q", got)
	}
}
