package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A toldStory is what the live page is told of a session, as far as it matters here.
type toldStory struct {
	Session struct {
		Reason        string
		Requests, Out uint64
	}
	Exchanges []struct {
		Seq            uint64
		Request, Reply *struct{ Start []byte }
	}
}

func (s *toldStory) String() string {
	text := fmt.Sprintf("%s, %d requests:", s.Session.Reason, s.Session.Requests)
	for _, x := range s.Exchanges {
		text += fmt.Sprintf(" %d", x.Seq)
		if x.Request != nil {
			text += fmt.Sprintf(" > %s", x.Request.Start)
		}
		if x.Reply != nil {
			text += fmt.Sprintf(" < %s", x.Reply.Start)
		}
	}
	return text
}

// pageOf is the address of the live page that a process has named.
func pageOf(t *testing.T, p *process) string {
	t.Helper()
	const before = "parley: live page at "
	p.stderr.await(t, before)
	_, url, _ := strings.Cut(p.stderr.String(), before)
	url, _, whole := strings.Cut(url, "\n")
	if !whole {
		t.Fatalf("the page's address is not whole: %s", p.stderr)
	}
	return url
}

// storyAt asks a page for a session.
func storyAt(t *testing.T, page string, number int) *toldStory {
	t.Helper()
	answer, err := http.Get(fmt.Sprintf("%ssession?number=%d", page, number))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	story := new(toldStory)
	if answer.StatusCode != http.StatusOK || err != nil || json.Unmarshal(text, story) != nil {
		t.Fatalf("the page answers %s: %s, %v", answer.Status, text, err)
	}
	return story
}

// A page remembers 500 sessions that are over and 1 KiB of a message; a journal all, also
// of a server that was started anew on the same file and counts from 1 again.
func TestPageShowsWhatTheJournalHas(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal")
	for _, said := range []string{"before", "after"} {
		s := startServer(t, "--echo", "--journal", file, "--web", "0")
		page := pageOf(t, s.process)
		long := strings.Repeat(said, 1000)
		converse(t, s.addr, said+"\n"+long+"\n")
		for range 501 {
			dial(t, s.addr).Close()
		}
		eventually(t, "all sessions are over", func() bool {
			return strings.Count(s.stdout.String(), "Server: Connection closed!") == 502
		})
		eventually(t, "the journal has the first one", func() bool {
			return storyAt(t, page, 1).String() == fmt.Sprintf("eof, 2 requests: 1 > %[1]s < %[1]s 2 > %[2]s < %[2]s", said, long)
		})
		if code := s.stop(t, syscall.SIGINT); code != 0 {
			t.Errorf("exit code %d, want 0; %s", code, s.stderr)
		}
	}
}

// While a session is open the journal does not know its counts yet; the page does.
func TestPageCountsAnOpenSessionThatIsJournaled(t *testing.T) {
	s := startServer(t, "--echo", "--journal", filepath.Join(t.TempDir(), "journal"), "--web", "0")
	page := pageOf(t, s.process)
	conn := dial(t, s.addr)
	long := strings.Repeat("x", 2000) // longer than what the page itself remembers
	fmt.Fprintln(conn, long)
	io.ReadFull(conn, make([]byte, 2001))
	eventually(t, "the story is told", func() bool {
		return storyAt(t, page, 1).String() == fmt.Sprintf(", 1 requests: 1 > %[1]s < %[1]s", long)
	})
}
