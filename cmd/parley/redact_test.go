package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What --redact conceals is on the wire, and else nowhere: not in the narrative, not in the journal, and
// not on the live page, whose stream has all that it shows.
func TestNobodyElseSeesWhatIsRedacted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal")
	for _, engine := range []string{"loops", "goroutines"} {
		s := startServer(t, "-v", "--engine", engine, "--journal", file, "--web", "0", "--redact", "hunter[0-9]")
		page := pageOf(t, s.process)
		stream, err := http.Get(page + "events")
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Body.Close()
		if got := converse(t, s.addr, "pass hunter2\n"); !strings.Contains(got, "pass hunter2 ...") {
			t.Errorf("the peer is told %q", got)
		}
		shown := new(strings.Builder)
		for buf := make([]byte, 4096); !strings.Contains(shown.String(), "redacted") && err == nil; {
			var n int
			n, err = stream.Body.Read(buf)
			shown.Write(buf[:n])
		}
		if err != nil && err != io.EOF {
			t.Fatalf("the page tells %q, then %v", shown, err)
		}
		eventually(t, "the page has it of the journal", func() bool {
			story := storyAt(t, page, 1)
			return strings.Contains(story.String(), "pass [redacted]") && !strings.Contains(story.String(), "hunter")
		})
		stream.Body.Close()
		if code := s.stop(t, syscall.SIGINT); code != 0 {
			t.Errorf("exit code %d, want 0; %s", code, s.stderr)
		}
		kept, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for where, text := range map[string]string{"page": shown.String(), "narrative": s.stdout.String(), "notes": s.stderr.String(), "journal": string(kept)} {
			if strings.Contains(text, "hunter") {
				t.Errorf("%s: the %s has it", engine, where)
			}
		}
	}
}
