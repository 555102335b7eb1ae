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
)

// passing has a command inherit listeners as descriptors 3 and up, as systemd passes them by
// their names; without names as a shell does.
func passing(t *testing.T, cmd *exec.Cmd, names string, ls ...net.Listener) *exec.Cmd {
	t.Helper()
	if names != "" { // they are for the process that LISTEN_PID names
		args := append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd = command(t, "sh", args...)
		cmd.Env = append(os.Environ(), fmt.Sprint("LISTEN_FDS=", len(ls)), "LISTEN_FDNAMES="+names)
	}
	for _, l := range ls {
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	return cmd
}

// asked sends a line over a connection and returns the reply.
func asked(t *testing.T, network, addr, line string) string {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, line)
	reply := make([]byte, len(line)+1)
	n, _ := io.ReadFull(conn, reply)
	return string(reply[:n])
}

func listenAt(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	if unix, ok := l.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // as systemd, which keeps its sockets
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// A listener that was passed is served as one of the server's own: by the loops, if it is plain.
func TestListenersThatWerePassed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, c := range []struct {
		names string
		args  []string
	}{
		{"", []string{"fd://3", "--listen", "fd://4"}},
		{"web:web", []string{"systemd:web"}},
		{"web:admin", []string{"systemd:web", "--listen", "systemd:admin"}},
	} {
		tcp := listenAt(t, "tcp", "127.0.0.1:0")
		unix := listenAt(t, "unix", path)
		args := append([]string{"server", "--echo", "-v", "--engine", "loops"}, c.args...)
		s := start(t, passing(t, program(t, args...), c.names, tcp, unix))
		tcp.Close() // who has started the server may go on without
		unix.Close()
		for i, at := range []net.Addr{tcp.Addr(), unix.Addr()} {
			if got := asked(t, at.Network(), at.String(), "a"); got != "a\n" {
				t.Errorf("%q: %d answers %q", c.args, i, got)
			}
		}
		if code := s.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("%q: exit code %d; %s", c.args, code, s.stderr)
		}
		want := fmt.Sprintf("parley: engine: loops at %v, loops at unix:%s\n", tcp.Addr(), path)
		if got := s.stderr.String(); !strings.HasPrefix(got, want) {
			t.Errorf("%q: stderr %q, want %q first", c.args, got, want)
		}
		if err := os.Remove(path); err != nil {
			t.Errorf("%q: the socket of whoever started it: %v", c.args, err)
		}
	}
}

func TestListenersThatWereNotPassed(t *testing.T) {
	l := listenAt(t, "tcp", "127.0.0.1:0")
	for _, c := range []struct {
		names, at, want string
	}{
		{"web:web", "systemd:wen", "cannot listen on systemd:wen: no socket of that name was passed to this process; there is systemd:web\n"},
		{"web:admin", "systemd:", `address "systemd:": a name is missing`},
		{"", "systemd:web", "cannot listen on systemd:web: no sockets were passed to this process; LISTEN_FDS and LISTEN_PID would say so\n"},
		{"", "fd://0", "cannot listen on fd://0: it is no socket\n"},
		{"", "fd://2", "cannot listen on fd://2: it is no socket\n"},
	} {
		s := start(t, passing(t, program(t, "server", c.at), c.names, l, l))
		if code := s.exit(t); code != 2 || !strings.HasPrefix(s.stderr.String(), "parley: "+c.want) {
			t.Errorf("%s of %q: exit code %d, stderr %q; want 2 and %q", c.at, c.names, code, s.stderr, c.want)
		}
	}
}

// A socket that was passed and is not asked for is not forgotten without a word.
func TestAListenerThatNobodyAskedFor(t *testing.T) {
	l := listenAt(t, "tcp", "127.0.0.1:0")
	s := start(t, passing(t, program(t, "server", "systemd:web"), "web:admin", l, l))
	s.stderr.await(t, "parley: nobody is served at what else was passed to this process: systemd:admin\n")
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d; %s", code, s.stderr)
	}
}

// systemd itself passes the sockets, once somebody connects.
func TestSocketActivation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	parley := program(t, "server", "systemd:web", "--echo", "-q")
	s := start(t, peer(t, "systemd-socket-activate", append([]string{"-l", path, "--fdname=web", parley.Path}, parley.Args[1:]...)...))
	s.stderr.await(t, "Listening on ")
	if got := asked(t, "unix", path, "hello"); got != "hello\n" {
		t.Errorf("it answers %q\n%s", got, s.stderr)
	}
	if code := s.stop(t, syscall.SIGTERM); code != 0 || !strings.Contains(s.stderr.String(), "parley: listening on systemd:web, unix:"+path+"\n") {
		t.Errorf("exit code %d, stderr %q", code, s.stderr)
	}
}

// The socket of a server that was killed is replaced, that of a living one is not, and a server
// that drains leaves the socket of its successor alone.
func TestSocketsOfServersBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	await := func(s *process) {
		t.Helper()
		s.stdout.await(t, "Server: started on unix:"+path+"\n")
	}
	killed := start(t, program(t, "server", "unix:"+path))
	await(killed)
	killed.stop(t, syscall.SIGKILL)
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("one that is killed cannot remove its socket: %v", err)
	}
	first := start(t, program(t, "server", "unix:"+path, "--reply", bigReply, "--drain-timeout", "1h"))
	await(first)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 10 { // more replies than the socket has room for
		fmt.Fprintln(conn, strings.Repeat("a", 1000))
	}
	second := start(t, program(t, "server", "unix:"+path))
	if code := second.exit(t); code != 2 || second.stderr.String() != "parley: cannot listen on unix:"+path+": a server is listening there already\n" {
		t.Errorf("beside a living one: exit code %d, stderr %q", code, second.stderr)
	}
	first.Process.Signal(syscall.SIGTERM)
	eventually(t, "the first listens no more", func() bool {
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	third := start(t, program(t, "server", "unix:"+path, "--echo"))
	await(third)
	conn.Close()
	first.exit(t)
	if got := asked(t, "unix", path, "a"); got != "a\n" {
		t.Errorf("the successor answers %q", got)
	}
	if code := third.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d; %s", code, third.stderr)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) > 0 {
		t.Errorf("%v is left behind", entries)
	}
}
