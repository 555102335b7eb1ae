//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Each real client gets back all that it sends, over each way in, and its end of file is the program's.
func TestProgramsBehindRealClients(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	run(t, peer(t, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=localhost"), "")
	file := filepath.Join(t.TempDir(), "addrs")
	server := start(t, program(t, "server", "-q", "--listen", "tcp:127.0.0.1:0,tls:127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--addr-file", file, "--exec", "cat"))
	local := start(t, program(t, "server", "-q", "unix:"+socket, "--exec", "cat"))
	addrs := strings.Fields(awaitAddr(t, file))
	_, plain, _ := net.SplitHostPort(addrs[0])
	_, secure, _ := net.SplitHostPort(addrs[1])
	eventually(t, "the socket is there", func() bool { _, err := os.Stat(socket); return err == nil })
	input := must(io.ReadAll(randomBytes(1, 4<<20)))
	for _, client := range [][]string{
		{"nc.openbsd", "-N", "127.0.0.1", plain},
		{"nc.openbsd", "-N", "-U", socket},
		{"ncat", "127.0.0.1", plain},
		{"ncat", "--ssl", "127.0.0.1", secure},
		{"socat", "-t", "30", "-", "TCP:127.0.0.1:" + plain},
		{"socat", "-t", "30", "-", "UNIX-CONNECT:" + socket},
		{"socat", "-t", "30", "-", "OPENSSL:127.0.0.1:" + secure + ",verify=0"},
	} {
		cmd := peer(t, client[0], client[1:]...)
		cmd.Stdin = bytes.NewReader(input)
		if out, err := cmd.Output(); err != nil || !bytes.Equal(out, input) {
			t.Errorf("%s: %d bytes came back, %v, want the %d that were sent", cmd, len(out), err, len(input))
		}
	}
	for _, s := range []*process{server, local} {
		if code := s.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d\n%s", code, s.stderr)
		}
	}
}

func TestRequestsAnsweredByProgramsOfRealClients(t *testing.T) {
	s := startServer(t, "--exec-per-request", "tr a-z A-Z")
	for _, client := range [][]string{
		{"nc.openbsd", "-N", "127.0.0.1", s.port},
		{"ncat", "127.0.0.1", s.port},
		{"socat", "-t", "30", "-", "TCP:127.0.0.1:" + s.port},
	} {
		if got := run(t, peer(t, client[0], client[1:]...), "a\nb\r\nlast"); got != "A\nB\nLAST\n" {
			t.Errorf("%s: %q", client[0], got)
		}
	}
}

// hard is a program that behaves as the first line asks it to.
const hard = `read how
case $how in
echo) cat;;
fail) exit 3;;
signal) kill -SEGV $$;;
deaf) echo deaf; exec sleep 1000;;
much) exec head -c 1G /dev/zero;;
endless) printf 'no end'; exec cat;;
stubborn) trap '' TERM; echo stubborn; while :; do sleep 1000; done;;
grandchild) sleep 1000 & echo grandchild;;
escaped) setsid sleep 7 & echo escaped;;
loud) yes "oh no" | head -c 1M >&2; echo loud;;
esac`

// FAULTS P12: whatever a program does, its session has a defined end, and the others are served meanwhile.
func TestHardProgramsHarmNobodyElse(t *testing.T) {
	s := startServer(t, "--sh", "--exec", hard, "--exec-grace", "300ms", "--write-timeout", "500ms", "--drain-timeout", "300ms", "--json")
	stop := make(chan struct{})
	var honest sync.WaitGroup
	rounds := 0
	honest.Go(func() {
		pace := time.NewTicker(20 * time.Millisecond)
		defer pace.Stop()
		for ; ; rounds++ {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			if got := converse(t, s.addr, "echo\nhello\n"); got != "hello\n" {
				t.Errorf("meanwhile another session got %q", got)
				return
			}
		}
	})
	var sessions sync.WaitGroup
	for how, want := range map[string]string{"fail": "", "signal": "", "endless": "no end", "grandchild": "grandchild\n", "escaped": "escaped\n", "loud": "loud\n"} {
		sessions.Go(func() {
			if got := converse(t, s.addr, how+"\n"); got != want {
				t.Errorf("%s: got %q, want %q", how, got, want)
			}
		})
	}
	sessions.Go(func() { // its client would say more
		conn := connect(t, s.addr)
		defer conn.Close()
		io.WriteString(conn, "fail\n")
		if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
			t.Errorf("fail: got %q, %v", got, err)
		}
		// The end of the output may be seen before that of the program: a client that left then would have ended the session itself.
		eventually(t, "it is hung up on", func() bool {
			_, err := io.WriteString(conn, "more\n")
			return err != nil
		})
	})
	sessions.Go(func() { // it reads nothing, and is sent more than a pipe holds
		conn := connect(t, s.addr)
		defer conn.Close()
		io.WriteString(conn, "deaf\n")
		conn.Write(make([]byte, 32<<20))
		if got, _ := io.ReadAll(conn); string(got) != "deaf\n" && len(got) > 0 {
			t.Errorf("deaf: got %q", got)
		}
	})
	sessions.Go(func() {
		conn := connect(t, s.addr)
		defer conn.Close()
		io.WriteString(conn, "much\n")
		if n, err := io.CopyN(io.Discard, conn, 16<<20); err != nil {
			t.Errorf("much: %d bytes, %v", n, err)
		} // and it leaves, with the rest unread
	})
	sessions.Wait()
	close(stop)
	honest.Wait()
	if rounds == 0 {
		t.Error("nobody else was served meanwhile")
	}

	stubborn := connect(t, s.addr)
	io.WriteString(stubborn, "stubborn\n")
	io.ReadFull(stubborn, make([]byte, len("stubborn\n")))
	if code := s.stop(t, syscall.SIGTERM); code != exitNetwork {
		t.Errorf("exit code %d where a program had to be cut\n%s", code, s.stderr)
	}
	for _, want := range []string{`"reason":"hang_up"`, `"reason":"write_timeout","error":"the program took nothing for 500ms"`, `"reason":"drain_cut"`, `"reason":"eof"`} {
		if !strings.Contains(s.stdout.String(), want) {
			t.Errorf("no session ended with %s", want)
		}
	}
	for _, want := range []string{": sh: exit status 3\n", ": sh: ended by signal 11 (segmentation fault)\n", ": sh: oh no\n", " lines are left out\n"} {
		if !strings.Contains(s.stderr.String(), want) {
			t.Errorf("stderr has no %q:\n%.2000s", want, s.stderr)
		}
	}
	eventually(t, "no program is left", func() bool { return len(programsOf(t, "read how")) == 0 })
}

// programsOf are the processes whose command line has a text.
func programsOf(t *testing.T, text string) (pids []int) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, _ := os.ReadFile(file)
		if pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file))); bytes.Contains(line, []byte(text)) && !bytes.Contains(line, []byte("--exec")) && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestAtASignalProgramsAnswerWhatTheyHaveRead(t *testing.T) {
	s := startServer(t, "--exec", "cat")
	conn := connect(t, s.addr)
	io.WriteString(conn, "hello\n")
	s.stdout.await(t, "incoming data [5]: hello\n")
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr)
	}
	if got, err := io.ReadAll(conn); string(got) != "hello\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if want := "Server: Connection closed! (server is shutting down)\n"; !strings.HasSuffix(s.stdout.String(), want) {
		t.Errorf("told\n%s", s.stdout)
	}
}

func TestTooManySessionsWithProgramsAreToldSo(t *testing.T) {
	s := startServer(t, "--exec", "cat", "--max-sessions", "1")
	first := connect(t, s.addr)
	io.WriteString(first, "a\n")
	io.ReadFull(first, make([]byte, 2))
	if got := converse(t, s.addr, ""); got != "Error: server is full (1 sessions)\n" {
		t.Errorf("got %q", got)
	}
	s.stderr.await(t, ": server is full (1 sessions); --max-sessions allows more\n")
}

// FAULTS P13: what has killed the server has killed its programs.
func TestAKilledServerLeavesNoPrograms(t *testing.T) {
	for _, flag := range []string{"--exec", "--exec-per-request"} {
		dir := t.TempDir()
		s := startServer(t, "--sh", flag, "trap '' TERM HUP; read line; echo $$ >"+dir+"/part; mv "+dir+"/part "+dir+"/pid; exec sleep 1000")
		var pid int
		conn := connect(t, s.addr)
		fmt.Fprintln(conn, "go")
		eventually(t, "the program runs", func() bool {
			text, err := os.ReadFile(dir + "/pid")
			pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
			return err == nil
		})
		s.stop(t, syscall.SIGKILL)
		eventually(t, "the program is gone", func() bool { return isGone(pid) })
		conn.Close()
	}
}

// isGone reports whether a process has ended, also one that nobody has waited for yet.
func isGone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}

// The log of a server is read by people: no byte of a program may do anything there.
func TestWhatAProgramSaysIsEscaped(t *testing.T) {
	s := startServer(t, "--sh", "--exec", `printf '\033[2Jred\033]0;title\007\233\n' >&2; read x`)
	converse(t, s.addr, "x\n")
	s.stderr.await(t, `parley: session 1: sh: \x1b[2Jred\x1b]0;title\x07\x9b`+"\n")
}

// Many a second, with nothing left behind: FAULTS P12.
func TestSoakProgramsOneAfterTheOther(t *testing.T) {
	rounds := 20
	if n, err := strconv.Atoi(os.Getenv("PARLEY_SOAK")); err == nil {
		rounds = 100 * n
	}
	s := startServer(t, "-q", "--exec", "head -1")
	open := func() int {
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	converse(t, s.addr, "warm\n")
	eventually(t, "it has settled", func() bool { return len(children(t, s.Process.Pid)) == 0 })
	before := open()
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range rounds / 8 {
				if got := converse(t, s.addr, "a\nb\n"); got != "a\n" {
					t.Errorf("got %q", got)
					return
				}
			}
		})
	}
	clients.Wait()
	eventually(t, "no process is left, not even as a zombie, and no descriptor", func() bool {
		return len(children(t, s.Process.Pid)) == 0 && open() <= before
	})
}

// children are the processes that a process has not waited for.
func children(t *testing.T, pid int) (list []string) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, _ := os.ReadFile(file)
		list = append(list, strings.Fields(string(text))...)
	}
	return list
}

// BenchmarkExec is what a session with a program of its own costs, and what a request with one does, beside what
// others take for a session.
func BenchmarkExec(b *testing.B) {
	ask := func(b *testing.B, addr string) {
		for b.Loop() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(patience))
			io.WriteString(conn, "a\n")
			if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil { // ncat loses what comes behind an end of file
				b.Fatal(err)
			}
			conn.(*net.TCPConn).CloseWrite()
			if _, err := io.ReadAll(conn); err != nil {
				b.Fatal(err)
			}
			conn.Close()
		}
	}
	free := func() (addr, port string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		_, port, _ = net.SplitHostPort(l.Addr().String())
		return l.Addr().String(), port
	}
	others := func(b *testing.B, command func(port string) *exec.Cmd) {
		addr, port := free()
		start(b, command(port))
		eventually(b, "it listens", func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
		ask(b, addr)
	}
	b.Run("session", func(b *testing.B) { ask(b, startServer(b, "-q", "--exec", "cat").addr) })
	b.Run("session/ncat", func(b *testing.B) {
		others(b, func(port string) *exec.Cmd {
			return peer(b, "ncat", "-l", "-k", "127.0.0.1", port, "--exec", "/bin/cat")
		})
	})
	b.Run("session/socat", func(b *testing.B) {
		others(b, func(port string) *exec.Cmd {
			return peer(b, "socat", "TCP-LISTEN:"+port+",bind=127.0.0.1,reuseaddr,fork", "EXEC:cat")
		})
	})
	b.Run("request", func(b *testing.B) { ask(b, startServer(b, "-q", "--exec-per-request", "cat").addr) })
}
