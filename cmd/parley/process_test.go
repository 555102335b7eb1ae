package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait for an event; only a failing test uses it up.
const patience = time.Minute

// program is parley, the program under test: the test binary itself, by the name under which
// testscript's Main has put it in the path.
func program(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	return command(t, "parley", args...)
}

// command is a program that is killed if it outlives the test.
func command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, args...)
}

// peer is command for a real peer, which has to be installed.
func peer(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		skipOutsideCI(t, name+" is not installed; scripts/install-test-tools installs it")
	}
	return command(t, name, args...)
}

// skipOutsideCI skips a test that wants more rights, or a program that is not there; in CI nothing
// may be left out.
func skipOutsideCI(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// run gives a command its input and returns what it prints.
func run(t testing.TB, cmd *exec.Cmd, input string) string {
	t.Helper()
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, stderr.String())
	}
	return string(out)
}

// A process is a command that runs beside the test.
type process struct {
	*exec.Cmd
	stdout, stderr *output
	exited         chan struct{}
}

// start starts a command. Its outputs are collected, unless they were set.
func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd, newOutput(), newOutput(), make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.exited
	})
	return p
}

// exit waits for the end of the process and returns its exit code.
func (p *process) exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("%s has not ended\nstdout: %s\nstderr: %s", p, p.stdout, p.stderr)
	}
	return p.ProcessState.ExitCode()
}

// stop sends a signal and returns the exit code.
func (p *process) stop(t testing.TB, sig os.Signal) int {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	return p.exit(t)
}

// A server is a `parley server` that listens.
type server struct {
	*process
	addr, port string
}

func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	return startServerTo(t, nil, args...)
}

// startServerTo is startServer with its standard output going elsewhere.
func startServerTo(t testing.TB, stdout *os.File, args ...string) *server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "addr")
	cmd := program(t, append([]string{"server", "127.0.0.1:0", "--addr-file", file}, args...)...)
	if stdout != nil {
		cmd.Stdout = stdout
	}
	s := &server{process: start(t, cmd)}
	s.addr = awaitAddr(t, file)
	_, s.port, _ = net.SplitHostPort(s.addr)
	return s
}

func awaitAddr(t testing.TB, file string) string {
	t.Helper()
	var text []byte
	eventually(t, "the server listens", func() bool {
		var err error
		text, err = os.ReadFile(file)
		return err == nil
	})
	return strings.TrimSpace(string(text))
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

// An output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func newOutput() *output { return new(output) }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await waits until the output has the text.
func (o *output) await(t testing.TB, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(o.String(), text); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q after %v in:\n%s", text, patience, o)
		}
	}
}

// connect connects to a server, with a deadline for the whole connection.
func connect(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// converse sends text, half-closes and returns all that comes back.
func converse(t testing.TB, addr, text string) string {
	t.Helper()
	conn := connect(t, addr)
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	conn.CloseWrite()
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return string(got)
}
