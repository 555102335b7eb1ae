package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

const (
	arriving = 160_000 // bytes that arrive while the service is stopped
	answered = 40      // requests before that
)

// sendAndLeave has a client get a reply that it does not read, send 160 kB in lines while the service
// is stopped, and close once they have arrived. It returns how many bytes have in all: all, unless the
// service's system is short of room.
func sendAndLeave(t *testing.T, addr string, service *os.Process) (arrived int) {
	t.Helper()
	conn := connect(t, addr)
	// A system makes room for what it sees to be read fast.
	long := strings.Repeat("x", 60_000) + "\n"
	go io.WriteString(conn, strings.Repeat(long, answered-1))
	replies := bufio.NewReader(conn)
	for range answered - 1 {
		if _, err := replies.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(conn, "unread")
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Read(func(fd uintptr) bool { // returns once there is something, and takes nothing
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return n > 0 || err != syscall.EAGAIN
	})
	if err := service.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", service.Pid))
		_, state, _ := strings.Cut(string(stat), ") ")
		return err == nil && strings.HasPrefix(state, "T")
	})
	var text strings.Builder
	for i := 0; text.Len() < arriving; i++ {
		fmt.Fprintf(&text, "request %d\n", i)
	}
	text.WriteString("unfinished")
	if _, err := io.WriteString(conn, text.String()); err != nil {
		t.Fatal(err)
	}
	sent := (answered-1)*len(long) + len("unread\n") + text.Len()
	left := awaitArrival(raw)
	conn.Close()
	if err := service.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	return sent - left
}

// awaitArrival waits until the peer's system has all that was written, or has taken no more of it
// for many looks, and returns how much it has not.
func awaitArrival(conn syscall.RawConn) (left int) {
	const looks = 20
	for same := 0; same < looks; same++ {
		time.Sleep(10 * time.Millisecond)
		var n int32
		conn.Control(func(fd uintptr) {
			syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
		})
		switch {
		case n == 0:
			return 0
		case int(n) != left:
			left, same = int(n), 0
		}
	}
	return left
}

// A peer that goes away without reading its replies loses nothing that had arrived: each byte of
// what was read belongs to a request that was told, or to the rest that was not finished. How many
// requests have no reply is said, whatever is told beside.
func TestPeerThatLeavesItsRepliesUnread(t *testing.T) {
	for _, engine := range []string{"loops", "goroutines"} {
		for _, told := range []string{"--verbose=false", "--verbose"} { // with which it is known where replies lie
			t.Run(engine+" "+told, func(t *testing.T) {
				s := startServer(t, told, "--engine", engine)
				arrived := sendAndLeave(t, s.addr, s.Process)
				s.stderr.await(t, "were not answered)\n")
				if code := s.stop(t, syscall.SIGINT); code != 0 {
					t.Errorf("exit code %d; %s", code, s.stderr)
				}
				checkUnread(t, s.process, arrived)
			})
		}
	}
}

// So does a tap of its client, which cannot take the replies that the server behind it makes.
func TestClientThatLeavesTheRepliesOfATapUnread(t *testing.T) {
	s := startServer(t, "-q", "--echo")
	tap := startTap(t, s.addr)
	arrived := sendAndLeave(t, tap.addr, tap.Process)
	tap.stderr.await(t, "were not answered)\n")
	if code := tap.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d; %s", code, tap.stderr)
	}
	checkUnread(t, tap.process, arrived)
}

// checkUnread compares what a service has told of requests with the sum at its end, and with its hint.
func checkUnread(t *testing.T, s *process, arrived int) {
	t.Helper()
	stderr := s.stderr.String()
	sum := numbers(t, stderr, `1 session, 0 probes, (\d+) requests, (\d+) bytes in, `)
	hint := numbers(t, stderr, `(?m)^parley: session 1 with \S+: the peer closed without reading its replies \((\d+) requests were not answered\)$`)
	requests, bytes := sum[0], sum[1]
	if bytes < arrived {
		t.Errorf("%d bytes were read of %d that had arrived", bytes, arrived)
	}
	if hint[0] != requests-answered {
		t.Errorf("%d requests were not answered, of %d and %d", hint[0], answered, requests-answered)
	}
	count, framed := requestsTold(s.stdout.String())
	rest := bytes - framed // -1 of a tap, which tells what is not finished too, as a request whose newline is not there
	if count != requests || rest < -1 || rest >= len("request 99999\n") {
		t.Errorf("%d of %d requests were told, %d bytes of %d with their newlines", count, requests, framed, bytes)
	}
}

func numbers(t *testing.T, text, pattern string) (found []int) {
	t.Helper()
	groups := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if groups == nil {
		t.Fatalf("no %s in\n%s", pattern, text)
	}
	for _, digits := range groups[1:] {
		n, err := strconv.Atoi(digits)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, n)
	}
	return found
}

// requestsTold counts the requests that a narrative tells, and their bytes with a newline each.
func requestsTold(stdout string) (count, bytes int) {
	for _, groups := range regexp.MustCompile(`: (?:incoming data|client) \[(\d+)\]: `).FindAllStringSubmatch(stdout, -1) {
		n, _ := strconv.Atoi(groups[1])
		count, bytes = count+1, bytes+n+1
	}
	return count, bytes
}

// A peer that never sent a byte is counted as a probe, whichever way it ends.
func TestProbesAreCounted(t *testing.T) {
	for _, engine := range []string{"loops", "goroutines"} {
		s := startServer(t, "--engine", engine)
		connect(t, s.addr).Close()
		conn := connect(t, s.addr)
		conn.SetLinger(0)
		conn.Close()
		eventually(t, "both are over", func() bool { return strings.Count(s.stdout.String(), "Connection closed! (no request)") == 2 })
		if s.stop(t, syscall.SIGINT); !strings.Contains(s.stderr.String(), "parley: 2 sessions, 2 probes, 0 requests, 0 bytes in, 0 bytes out\n") {
			t.Errorf("%s: the sum is %q", engine, s.stderr)
		}
	}
}
