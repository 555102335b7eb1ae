//go:build unix

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Many requests in flight to a real service: each reply is that of its request, in order.
func TestPipelineToRedis(t *testing.T) {
	socket := startRedis(t)
	const count = 600
	var input, want strings.Builder
	for i := range count {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&input, "SET key%d value%d\n", i, i)
			want.WriteString("OK\n")
		case 1:
			fmt.Fprintf(&input, "GET key%d\n", i-1)
			fmt.Fprintf(&want, "value%d\n", i-1)
		case 2:
			fmt.Fprintf(&input, "INCR counter\n")
			fmt.Fprintf(&want, "%d\n", i/3+1)
		}
	}
	input.WriteString("QUIT\n")
	want.WriteString("OK\n")
	for _, window := range []string{"1", "64", "65536"} {
		flush := program(t, "client", "-q", "-f", "redis", "unix:"+socket, "FLUSHALL")
		run(t, flush, "")
		cmd := program(t, "client", "-q", "-f", "redis", "--pipeline", window, "unix:"+socket)
		if got := run(t, cmd, input.String()); got != want.String() {
			t.Errorf("%s in flight: %d bytes of replies, want %d", window, len(got), want.Len())
		}
	}
}

// A mail server is asked ahead as far as it lets itself be, and gets its mail.
func TestPipelineToExim(t *testing.T) {
	addr := startExim(t)
	mail := "EHLO me.test\nMAIL FROM:<ann@a.test>\nRCPT TO:<bob@b.test>\nDATA\nSubject: hi\n\nhello\n.\nQUIT\n"
	lockstep := run(t, program(t, "client", "-q", "-f", "smtp", addr), mail)
	ahead := run(t, program(t, "client", "-q", "-f", "smtp", "--pipeline", "16", addr), mail)
	codes := func(replies string) string {
		var codes []string
		for line := range strings.Lines(replies) {
			if len(line) > 3 && line[0] >= '2' && line[0] <= '5' {
				codes = append(codes, line[:4])
			}
		}
		return strings.Join(codes, ",")
	}
	if codes(ahead) != codes(lockstep) || !strings.HasSuffix(strings.TrimRight(codes(ahead), " "), "221") {
		t.Errorf("replies %s, and in lockstep %s", codes(ahead), codes(lockstep))
	}
}

// A service of HTTP/1.1 answers requests that were sent ahead, and one of lines that knows nothing of it
// does too.
func TestPipelineToOthers(t *testing.T) {
	s := startServer(t, "-f", "http", "--reply", "{message}")
	got := run(t, program(t, "client", "-q", "-f", "http", "--pipeline", "8", s.addr), "GET /1\nGET /2\nGET /3\n")
	one, two, three := strings.Index(got, "GET /1"), strings.Index(got, "GET /2"), strings.Index(got, "GET /3")
	if one < 0 || two < one || three < two {
		t.Errorf("the replies are not those of the three requests, in order:\n%s", got)
	}
	socket := filepath.Join(t.TempDir(), "echo")
	start(t, peer(t, "socat", "UNIX-LISTEN:"+socket+",fork", "EXEC:cat"))
	var input strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&input, "line %d\n", i)
	}
	eventually(t, "socat listens", func() bool {
		return program(t, "client", "-q", "unix:"+socket, "x").Run() == nil
	})
	if got := run(t, program(t, "client", "-q", "--pipeline", "100", "unix:"+socket), input.String()); got != input.String() {
		t.Errorf("socat's cat said %d bytes, want %d", len(got), input.Len())
	}
}
