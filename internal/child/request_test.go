//go:build unix

package child

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

func newRequests(t *testing.T, command string) (*Requests, *notebook) {
	r, said := newRunner(t, command)
	return &Requests{Runner: r, Queue: 1, Timeout: patience, InLines: true, Lines: true}, said
}

func request(body string) *parley.Request {
	return &parley.Request{Session: sessionOf(1), Seq: 1, Body: []byte(body)}
}

func TestRepliesOfPrograms(t *testing.T) {
	for _, c := range []struct {
		what, command, request, reply, err string
	}{
		{"its output", "tr a-z A-Z", "hello", "HELLO", ""},
		{"one that does not read", "echo hi", strings.Repeat("x", 1<<20), "hi", ""},
		{"a request with its newline", "od -An -c", "a", "   a  \\n", ""},
		{"no output", "true", "x", "", ""},
		{"no newline", "printf hi", "x", "hi", ""},
		{"CRLF", `printf 'hi\r\n'`, "x", "hi", ""},
		{"an empty line", "echo; echo", "x", "", "sh wrote 2 lines, and a reply is one"},
		{"lines", "echo a; echo b", "x", "", "sh wrote 2 lines, and a reply is one"},
		{"exit status", "echo half; exit 3", "x", "Error: exit status 3", ""},
		{"signal", "kill -SEGV $$", "x", "Error: ended by signal 11 (segmentation fault)", ""},
		{"1 GiB", "exec head -c 1G /dev/zero", "x", "Error: reply longer than 1048576 bytes", ""},
		{"without an end", "exec yes", "x", "Error: reply longer than 1048576 bytes", ""},
		{"a child with the output", "sleep 1000 & echo hi", "x", "hi", ""},
		{"a child that has left", "setsid sleep 1000 & echo hi $!", "x", "hi", ""},
	} {
		h, _ := newRequests(t, c.command)
		reply, err := h.Reply(nil, request(c.request))
		got := string(reply)
		if c.what == "a child that has left" {
			got, _, _ = strings.Cut(got, " ")
			if pid, err := strconv.Atoi(strings.TrimPrefix(string(reply), "hi ")); err == nil {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if got != c.reply || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: %.80q, %v, want %q, %s", c.what, got, err, c.reply, c.err)
		}
	}
}

func TestBytesOfOtherFramingsAreExact(t *testing.T) {
	h, _ := newRequests(t, "cat; echo")
	h.InLines, h.Lines = false, false
	reply, err := h.Reply([]byte{}, request("a\nb\x00"))
	if string(reply) != "a\nb\x00\n" || err != nil {
		t.Errorf("%q, %v", reply, err)
	}
}

func TestAProgramThatTakesTooLongIsKilled(t *testing.T) {
	for name, command := range map[string]string{
		"asleep":              "sleep 1000",
		"ignores SIGTERM":     "trap '' TERM; while :; do sleep 1000; done",
		"closed its output":   "exec >&-; sleep 1000",
		"never ends its line": "printf x; sleep 1000",
		"in a child":          "sleep 1000 | cat",
	} {
		h, _ := newRequests(t, command)
		h.Timeout = 50 * time.Millisecond
		if reply, err := h.Reply(nil, request("x")); string(reply) != "Error: timed out" || err != nil {
			t.Errorf("%s: %q, %v", name, reply, err)
		}
	}
}

func TestRequestsWaitForRoomAndAreToldWhenThereIsNone(t *testing.T) {
	gate := t.TempDir() + "/gate"
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	h, _ := newRequests(t, "cat; cat "+gate)
	h.Runner.Max = 1
	h.Runner.init()
	replies := make(chan string, 2)
	ask := func() {
		reply, err := h.Reply(nil, request("x"))
		if err != nil {
			t.Error(err)
		}
		replies <- string(reply)
	}
	go ask()
	eventually(t, "one program is running", func() bool { return len(h.Runner.slots) == 1 })
	go ask()
	eventually(t, "one request waits", func() bool { return h.waiting.Load() == 1 })
	if reply, err := h.Reply(nil, request("x")); string(reply) != "Error: busy" || err != nil {
		t.Errorf("past the queue: %q, %v", reply, err)
	}
	for range 2 {
		f, err := os.OpenFile(gate, os.O_WRONLY, 0) // which waits for a reader
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if reply := <-replies; reply != "x" {
			t.Errorf("a request with room, at once or in its turn: %q", reply)
		}
	}
}

func TestARequestWhoseTurnDoesNotComeIsToldSo(t *testing.T) {
	h, _ := newRequests(t, "echo > "+t.TempDir()+"/ran")
	h.Runner.Max = 1
	h.Runner.init()
	h.Runner.slots <- struct{}{}
	h.Timeout = 10 * time.Millisecond
	if reply, err := h.Reply(nil, request("x")); string(reply) != "Error: busy" || err != nil {
		t.Errorf("%q, %v", reply, err)
	}
}

func TestTheEndOfASessionEndsItsProgramAndItsWait(t *testing.T) {
	h, _ := newRequests(t, "sleep 1000")
	h.Runner.Max = 1
	h.Runner.init()
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := h.answer(ctx, nil, request("x"))
			errs <- err
		}()
	}
	eventually(t, "one request waits", func() bool { return h.waiting.Load() == 1 })
	cancel()
	for range 2 {
		if err := <-errs; err == nil {
			t.Error("a request of a session that is over was answered")
		}
	}
}

func TestAThousandRequestsLeaveNothing(t *testing.T) {
	h, _ := newRequests(t, "exec cat")
	h.Queue = 1000
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 250 {
				if reply, err := h.Reply(nil, request("hi")); string(reply) != "hi" || err != nil {
					t.Errorf("%q, %v", reply, err)
					return
				}
			}
		}()
	}
	for range 4 {
		<-done
	}
}
