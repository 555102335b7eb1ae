package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Senders that never read: what they send arrives whole, to a server that sends nothing.

// soakRuns is how often each is run: once, or as often as PARLEY_SOAK says.
func soakRuns(t *testing.T) int {
	text := os.Getenv("PARLEY_SOAK")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("PARLEY_SOAK=%q is no number of runs", text)
	}
	return n
}

// seq 200000 | socat -u - TCP:…
func TestSoakLinesOfASenderThatNeverReads(t *testing.T) {
	lines := 200000 // more than sockets hold
	if os.Getenv("PARLEY_SOAK") != "" {
		lines = 1000000
	}
	var text strings.Builder
	for i := range lines {
		fmt.Fprintln(&text, i+1)
	}
	file := filepath.Join(t.TempDir(), "out")
	for i := range soakRuns(t) {
		s := serveSender(t, "line/none", peer(t, "socat", "-u", "-", "TCP:PORT"), text.String(), file)
		want := fmt.Sprintf("parley: 1 session, 0 probes, %d requests, %d bytes in, 0 bytes out\n", lines, text.Len())
		if !strings.HasSuffix(s.stderr.String(), want) {
			t.Fatalf("run %d: %q, want %q", i+1, s.stderr, want)
		}
	}
}

// serveSender has a program send a text to a server, which writes what it tells into a file and is
// stopped once it has seen the end.
func serveSender(t *testing.T, framing string, sender *exec.Cmd, text, file string) *server {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := startServerTo(t, out, "--json", "-f", framing)
	for i, arg := range sender.Args {
		sender.Args[i] = strings.NewReplacer("TCP:PORT", "TCP:"+s.addr, "PORT", s.port).Replace(arg)
	}
	run(t, sender, text)
	eventually(t, "the server has told the session's end", func() bool {
		info, err := out.Stat()
		if err != nil {
			t.Fatal(err)
		}
		size := info.Size()
		tail := make([]byte, min(size, 1000))
		out.ReadAt(tail, size-int64(len(tail)))
		return strings.Contains(string(tail), `"event":"closed"`)
	})
	s.Process.Signal(syscall.SIGTERM)
	if code := s.exit(t); code != 0 {
		t.Fatalf("exit code %d, %s", code, s.stderr)
	}
	return s
}

func TestSoakSyslogFromLogger(t *testing.T) {
	const lines = 5000
	var text strings.Builder
	for i := range lines {
		fmt.Fprintf(&text, "message %d.%s\n", i+1, strings.Repeat("x", i%500))
	}
	for framing, flags := range map[string][]string{"line/none": nil, "octets/none": {"--octet-count"}} {
		t.Run(framing, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "out")
			for range soakRuns(t) {
				logger := peer(t, "logger", append([]string{"-n", "127.0.0.1", "-P", "PORT", "-T", "--size", "2KiB", "--id", "-t", "soak"}, flags...)...)
				serveSender(t, framing, logger, text.String(), file)
				wantMessages(t, file, strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n"))
			}
		})
	}
}

// wantMessages reads the events of a server and compares the requests, which end in what was
// logged.
func wantMessages(t *testing.T, file string, logged []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		var e struct {
			Event, Payload, Reason string
			Out                    int `json:"bytes_out"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch e.Event {
		case "received":
			if n == len(logged) || !strings.HasSuffix(e.Payload, " "+logged[n]) {
				t.Fatalf("message %d is %q, want %q", n+1, e.Payload, logged[min(n, len(logged)-1)])
			}
			n++
		case "replied", "message", "skipped":
			t.Fatalf("told %s", line)
		case "closed":
			if e.Reason != "eof" || e.Out != 0 {
				t.Errorf("closed: %s", line)
			}
		}
	}
	if n != len(logged) {
		t.Fatalf("%d messages came, want %d", n, len(logged))
	}
}
