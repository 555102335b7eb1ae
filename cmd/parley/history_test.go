package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A toldStory is what the live page is told of a session, as far as it matters here.
type toldStory struct {
	Session struct {
		ID            int64
		Reason        string
		Requests, Out uint64
	}
	Exchanges []struct {
		Seq            uint64
		Request, Reply *struct{ Start []byte }
	}
}

func (s *toldStory) String() string {
	if s == nil {
		return "nothing is remembered"
	}
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

// storyAt asks a page for a session; nil is one that it does not have, as one that the page
// has forgotten already and the journal has still to write.
func storyAt(t *testing.T, page string, number int) *toldStory {
	t.Helper()
	answer, err := http.Get(fmt.Sprintf("%ssession?number=%d", page, number))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNotFound {
		return nil
	}
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
			connect(t, s.addr).Close()
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
	conn := connect(t, s.addr)
	long := strings.Repeat("x", 2000) // longer than what the page itself remembers
	fmt.Fprintln(conn, long)
	io.ReadFull(conn, make([]byte, 2001))
	eventually(t, "the story is told", func() bool {
		return storyAt(t, page, 1).String() == fmt.Sprintf(", 1 requests: 1 > %[1]s < %[1]s", long)
	})
}

// A tapped conversation as a person sees it: a greeting that nobody asked for, a request that
// is answered, and one that is not.
func TestPageShowsATappedConversation(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer l.Close()
	serving.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "220 ready\n")
		bufio.NewReader(conn).ReadString('\n')
		io.WriteString(conn, "250 ok\n")
		io.Copy(io.Discard, conn)
	})
	tap := startTap(t, l.Addr().String(), "--web", "0")
	b := openTab(t, startBrowser(t), 1200, 900, pageOf(t, tap.process))
	conn := connect(t, tap.addr)
	in := bufio.NewReader(conn)
	in.ReadString('\n')
	io.WriteString(conn, "HELO\n")
	in.ReadString('\n')
	io.WriteString(conn, "QUIT\n")
	conn.CloseWrite()
	io.Copy(io.Discard, in)
	b.until(rows + " === 3")
	if got, want := b.texts("#rows > li:last-child > .message"), []string{"not asked for", "[9] 220 ready"}; !slices.Equal(got, want) {
		t.Errorf("the greeting is shown as %q, want %q", got, want)
	}
	eval[any](b, `document.querySelector('#rows button').click()`)
	b.until(`document.querySelector('#steps-rows').textContent.includes('QUIT')`)
	want := []string{
		"client | connect → accept | connection",
		"tap | connect → accept | connection",
		"upstream | write → pass on | [9] 220 ready",
		"client | write → pass on | [4] HELO",
		"upstream | write → pass on | [6] 250 ok",
		"client | write → pass on | [4] QUIT",
	}
	if got := b.steps(); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("the session's steps are %q, want them to begin with %q", got, want)
	}
}
