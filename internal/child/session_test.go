//go:build unix

package child

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

func TestAProgramIsAConnection(t *testing.T) {
	r, said := newRunner(t, "cat; echo the end")
	c := dial(t, r)
	fmt.Fprintln(c, "hello")
	if got := readLine(t, c); got != "hello" {
		t.Errorf("the program said %q, want hello", got)
	}
	c.CloseWrite() // which is an end of file to it, and it goes on
	if got := readAll(t, c); got != "the end\n" {
		t.Errorf("behind the end of file it said %q", got)
	}
	<-c.Ended()
	c.Close()
	r.Wait()
	if said.String() != "" {
		t.Errorf("a program that ended in good order was told of: %s", said)
	}
}

// Its end of file is no end of the program, which may go on to read.
func TestAProgramThatClosesItsOutputReadsOn(t *testing.T) {
	file := t.TempDir() + "/read"
	r, _ := newRunner(t, "exec >&-; cat >"+file)
	c := dial(t, r)
	if got := readAll(t, c); got != "" {
		t.Errorf("it said %q", got)
	}
	fmt.Fprintln(c, "still read")
	c.CloseWrite()
	<-c.Ended()
	if got, err := os.ReadFile(file); string(got) != "still read\n" || err != nil {
		t.Errorf("it read %q, %v", got, err)
	}
}

func TestWhatAProgramWillNeverReadIsDiscarded(t *testing.T) {
	r, _ := newRunner(t, "exec <&-; echo closed; sleep 0.05; echo spoken")
	c := dial(t, r)
	readLine(t, c)
	for range 100 {
		if n, err := c.Write(make([]byte, 64<<10)); n != 64<<10 || err != nil {
			t.Fatalf("write to a program that has closed its input: %d, %v", n, err)
		}
	}
	if got := readAll(t, c); got != "spoken\n" {
		t.Errorf("meanwhile it said %q", got)
	}
}

func TestAProgramThatNeverReadsHoldsTheWriterBack(t *testing.T) {
	r, _ := newRunner(t, "echo here; exec sleep 1000")
	c := dial(t, r)
	readLine(t, c)
	c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	_, err := c.Write(make([]byte, 10<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("10 MiB to a program that reads nothing: %v, want the deadline", err)
	}
}

func TestAGroupIsEndedWithItsSession(t *testing.T) {
	for _, c := range []struct {
		name, command string
		kill          bool // it has to be killed
	}{
		{"one that ends itself", "echo $$; exec cat", false},
		{"one that waits for ever", "echo $$; exec sleep 1000", false},
		{"one that ignores SIGTERM", "trap '' TERM; echo $$; while :; do sleep 1000; done", true},
		{"a child of it", "sleep 1000 & echo $!; wait", false},
		{"a child that ignores SIGTERM", "(trap '' TERM; while :; do sleep 1000; done) & echo $!; exec >&-; wait", true},
		{"one that has stopped", "echo $$; kill -STOP $$", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := newRunner(t, c.command)
			conn := dial(t, r)
			pid, err := strconv.Atoi(readLine(t, conn))
			if err != nil || !isAlive(pid) {
				t.Fatalf("process %d is not there: %v", pid, err)
			}
			conn.Close()
			if c.kill {
				r.Kill() // as if the grace were over
			}
			r.Wait()
			eventually(t, "the process is gone", func() bool { return !isAlive(pid) })
		})
	}
}

// The session is over some time after the program, whoever has its output.
func TestAnotherProcessWithTheOutputHoldsUpNobody(t *testing.T) {
	for name, command := range map[string]string{
		"of the group":        "sleep 1000 & echo $!",
		"that left the group": "trap exit USR1; setsid sh -c 'echo $$; kill -USR1 '$$'; exec sleep 1000' & wait", // the program ends behind that line
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newRunner(t, command)
			r.Grace = 20 * time.Millisecond
			c := dial(t, r)
			pid, _ := strconv.Atoi(readLine(t, c))
			if got := readAll(t, c); got != "" {
				t.Errorf("read %q", got)
			}
			c.Close()
			r.Wait()
			if name == "that left the group" {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			eventually(t, "the process is gone", func() bool { return !isAlive(pid) })
		})
	}
}

// Nothing a program says may be lost because it ends.
func TestWhatAProgramSaysAtItsEndArrives(t *testing.T) {
	const size = 8 << 20
	r, _ := newRunner(t, fmt.Sprintf("head -c %d /dev/zero", size))
	for _, r.Terminal = range []bool{false, true} {
		c := dial(t, r)
		n, err := io.Copy(io.Discard, c)
		if n != size || err != nil {
			t.Errorf("with a terminal %v: %d bytes arrived, %v, want %d", r.Terminal, n, err, size)
		}
		c.Close()
	}
}

func TestATerminalIsThereToWriteToAndChangesNothing(t *testing.T) {
	r, _ := newRunner(t, `[ -t 1 ] && [ ! -t 0 ] && printf 'a\nb\r\t\003\004\0'; cat`)
	r.Terminal = true
	c := dial(t, r)
	c.Write([]byte("\x03\x04\n"))
	c.CloseWrite()
	if got, want := readAll(t, c), "a\nb\r\t\x03\x04\x00\x03\x04\n"; got != want {
		t.Errorf("the program wrote %q, want %q", got, want)
	}
}

func TestHowAProgramEndedIsTold(t *testing.T) {
	for command, want := range map[string]string{
		"exit 0":                                "",
		"exit 3":                                "1 sh: exit status 3",
		"kill -9 $$":                            "1 sh: ended by signal 9 (killed)",
		"echo a >&2; printf 'b\nc' >&2; exit 1": "1 sh: a\n1 sh: b\n1 sh: c\n1 sh: exit status 1",
	} {
		r, said := newRunner(t, command)
		c := dial(t, r)
		readAll(t, c)
		<-c.Ended()
		c.Close()
		r.Wait()
		if said.String() != want {
			t.Errorf("%s: told %q, want %q", command, said, want)
		}
	}
}

func TestWhatWeEndIsNoFailure(t *testing.T) {
	r, said := newRunner(t, "echo here; exec sleep 1000")
	c := dial(t, r)
	readLine(t, c)
	c.Close()
	r.Wait()
	if said.String() != "" {
		t.Errorf("told %q of a program that we ended", said)
	}
}

func TestStandardErrorIsBounded(t *testing.T) {
	r, said := newRunner(t, "head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; i=0; while [ $i -lt 5000 ]; do echo $i >&2; i=$((i+1)); done")
	c := dial(t, r)
	readAll(t, c)
	<-c.Ended()
	c.Close()
	r.Wait()
	told := strings.Split(said.String(), "\n")
	if n := len(told[0]); n < maxSpoken || n > maxSpoken+20 || !strings.HasSuffix(told[0], "x…") {
		t.Errorf("of a line of 100,000 bytes %d are told, up to %q", n, told[0][n-10:])
	}
	if n := len(told); n < speechBurst || n > 3*speechBurst || !strings.HasSuffix(told[n-1], "lines are left out") {
		t.Errorf("of 5001 lines %d are told, up to %q", n, told[n-1])
	}
}

// variables are what a program finds in its environment.
func variables(t *testing.T, s *parley.Session) []string {
	r, _ := newRunner(t, "env -0")
	c, err := r.Dial(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return strings.Split(readAll(t, c), "\x00")
}

func TestAProgramKnowsWhoIsThere(t *testing.T) {
	for name, value := range map[string]string{
		"PARLEY_ADMIN_TOKEN": "secret", "NOTIFY_SOCKET": "/run/x", "LISTEN_FDS": "1", "TLS_CIPHER": "old", "TCPREMOTEHOST": "old", "EDITOR": "ed", "PROTOCOL": "kept",
	} {
		t.Setenv(name, value)
	}
	got := variables(t, sessionOf(17))
	for _, want := range []string{
		"PARLEY_SESSION=17", "PROTO=TCP", "TCPLOCALIP=192.0.2.1", "TCPLOCALPORT=6969",
		"TCPREMOTEIP=198.51.100.7", "TCPREMOTEPORT=50017", "EDITOR=ed", "PROTOCOL=kept", "PATH=" + os.Getenv("PATH"),
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not in the environment", want)
		}
	}
	for _, variable := range got {
		if name, _, _ := strings.Cut(variable, "="); slices.Contains([]string{"PARLEY_ADMIN_TOKEN", "NOTIFY_SOCKET", "LISTEN_FDS", "TLS_CIPHER", "TCPREMOTEHOST"}, name) {
			t.Errorf("%q is in the environment", variable)
		}
	}
}

func TestAProgramKnowsOfUnixSocketsAndTLS(t *testing.T) {
	unix := parley.NewSession(1, &net.UnixAddr{Net: "unix"}, &net.UnixAddr{Net: "unix", Name: "/run/p.sock"}, time.Now())
	if got := environ(unix); !slices.Equal(got, []string{"PARLEY_SESSION=1", "PROTO=UNIX", "UNIXLOCALPATH=/run/p.sock"}) {
		t.Errorf("over a Unix socket: %q", got)
	}
	for _, name := range []string{"web\n1", "web\x001", "web\x7f1", "web\u009b1", "web\x9b1"} {
		secure := parley.SessionOf(2, secureConn{state: tls.ConnectionState{
			HandshakeComplete: true, Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, ServerName: name,
		}}, time.Now())
		want := []string{"PARLEY_SESSION=2", "PROTO=TCP", "TLS_PROTOCOL=TLSv1.3", "TLS_CIPHER=TLS_AES_128_GCM_SHA256"}
		if got := environ(secure); !slices.Equal(got, want) {
			t.Errorf("over TLS, with the name %q: %q, want %q", name, got, want)
		}
	}
}

// A secureConn is a TLS connection whose handshake is done.
type secureConn struct {
	net.Conn
	state tls.ConnectionState
}

func (c secureConn) ConnectionState() tls.ConnectionState { return c.state }
func (secureConn) LocalAddr() net.Addr                    { return nil }
func (secureConn) RemoteAddr() net.Addr                   { return nil }

// Nothing of ours is open in a program but its three files.
func TestAProgramInheritsNoFiles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc to see it in")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, _ := newRunner(t, "exec ls -1 /proc/self/fd")
	c := dial(t, r)
	want, err := exec.Command("ls", "-1", "/proc/self/fd").Output() // whoever has started the test may have left us some
	if got := readAll(t, c); got != string(want) || err != nil {
		t.Errorf("open in the program: %q, %v, want %q", got, err, want)
	}
}

// A thread of ours that ends must not take the programs with it that were started meanwhile.
func TestProgramsOutliveThreads(t *testing.T) {
	r, _ := newRunner(t, "exec cat")
	var conns []*conn
	for range r.Max {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // so that the thread ends with its goroutine
			conns = append(conns, dial(t, r))
		}()
		<-done
	}
	for _, c := range conns {
		fmt.Fprintln(c, "alive")
		if got := readLine(t, c); got != "alive" {
			t.Errorf("a program said %q", got)
		}
	}
}

func TestAProcessMoreThanThereMayBeWaits(t *testing.T) {
	r, _ := newRunner(t, "exec cat")
	r.Max = 1
	first := dial(t, r)
	if _, err := r.Dial(ended(), sessionOf(2)); err == nil {
		t.Error("there are two programs, and there may be one")
	}
	first.Close()
	second := dial(t, r)
	second.CloseWrite()
	readAll(t, second)
}

func TestAThousandSessionsLeaveNothing(t *testing.T) {
	r, _ := newRunner(t, "read line; echo $line")
	r.Max = 20
	var clients sync.WaitGroup
	for range r.Max {
		clients.Go(func() {
			for range 50 {
				c, err := r.Dial(t.Context(), sessionOf(1))
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprintln(c, "hello")
				if got, err := io.ReadAll(c); !bytes.Equal(got, []byte("hello\n")) || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				c.Close()
			}
		})
	}
	clients.Wait()
}

func TestCommandsThatCannotBeRun(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                   "there is no command in it",
		"no-such-program -x": "there is no program no-such-program in PATH",
		"/no/such/file":      "there is no file /no/such/file",
		file:                 "is no program that may be run",
		"cat 'a\x00'":        "a NUL byte",
	} {
		if _, err := Parse(text, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want %q", text, err, want)
		}
	}
	if _, err := Parse(" ", true); err == nil {
		t.Error("a shell was given nothing to do")
	}
}
