package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server that takes connections and says nothing is not live: the page says for how long, beside
// figures in grey, and notices at once when it goes on, and when it is gone.
func TestASilentServerIsNotLive(t *testing.T) {
	s, url := startWatched(t)
	browser := startBrowser(t)
	b := openTab(t, browser, 640, 480, url)
	b.until(isLive)
	talkTo(t, s.addr).say("hello")
	b.until(`document.querySelector('#now-p50').textContent !== '–'`)
	signal := func(sig os.Signal) {
		if err := s.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	defer s.Process.Signal(syscall.SIGCONT) // if something fails before it goes on
	b.until(`document.querySelector('#connection').textContent === 'stale for 3\u00a0s'`)
	b.until(`document.querySelector('#connection').textContent === 'stale for 4\u00a0s' && document.querySelector('#now-rate-age').textContent === '4\u00a0s ago' && document.querySelector('#now-rate').className === 'past'`)
	const color = `getComputedStyle(document.querySelector('%s')).color`
	if open, quiet := eval[string](b, fmt.Sprintf(color, "#now-open")), eval[string](b, fmt.Sprintf(color, ".now dt")); open != quiet {
		t.Errorf("a figure is %s while the page is stale, want it grey as what is beside it, %s", open, quiet)
	}
	asked := b.questions()
	signal(syscall.SIGCONT)
	b.until(isLive + ` && document.querySelector('#connection').textContent === 'Live' && document.querySelector('#now-rate').className === ''`)
	if more := b.questions() - asked; more > 3 {
		t.Errorf("it asked %d times more before it was live, want the question that it had asked already to be answered", more)
	}
	s.Process.Kill()
	b.until(`document.querySelector('#connection').dataset.state === 'lost' && document.querySelector('#connection').textContent === 'Connection lost; trying again'`)
}

// startShort starts a server with a page, a journal and so many descriptors.
func startShort(t *testing.T, descriptors int, stderr *os.File, args ...string) (s *server, page string) {
	t.Helper()
	dir := t.TempDir()
	file, page := filepath.Join(dir, "addr"), freeAddr(t)
	cmd := command(t, "sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec parley "$@"`, descriptors), "sh",
		"server", "127.0.0.1:0", "--addr-file", file, "--web", page, "--journal", filepath.Join(dir, "journal")}, args...)...)
	if stderr != nil {
		cmd.Stderr = stderr
	}
	s = &server{process: start(t, cmd)}
	s.addr = awaitAddr(t, file)
	return s, page
}

// Whoever can reach the page cannot take the descriptors that the service needs: as many
// sessions as there may be are served beside any number of the page's connections.
func TestPageLeavesTheServiceItsDescriptors(t *testing.T) {
	s, page := startShort(t, 256, nil)
	for n := range 300 {
		conn := connect(t, page)
		fmt.Fprintf(conn, "GET /session?number=%d HTTP/1.1\r\nHost: %s\r\nContent-Length: 10\r\n\r\n", n, page)
	}
	const sessions = (256 - 64) / 2 // parley.DefaultMaxSessions with 256 descriptors
	var all []*lines
	for n := range sessions {
		all = append(all, talkTo(t, s.addr))
		all[n].say("hello")
	}
	for _, l := range all {
		l.say("and again")
	}
	if code := s.stop(t, os.Interrupt); code != 0 {
		t.Errorf("exit code %d, want 0; %s", code, s.stderr)
	}
	if said := s.stderr.String(); strings.Contains(said, "too many open files") || strings.Contains(said, "refused") {
		t.Errorf("the server says %s", said)
	}
}

// The page complains while it can open no connection, and nobody reads what it says: the
// server ends all the same.
func TestPageThatComplainsLetsTheServerEnd(t *testing.T) {
	unread, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()
	defer stderr.Close()
	// It takes bytes until its deadline, which means until it is full.
	stderr.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := stderr.Write(make([]byte, 4<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the pipe is not full: %v", err)
	}
	const descriptors = 48
	s, page := startShort(t, descriptors, stderr, "--max-sessions", "100")
	for range descriptors {
		connect(t, s.addr)
	}
	eventually(t, "its descriptors are used up", func() bool {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Process.Pid))
		return err == nil && len(open) >= descriptors
	})
	connect(t, page)
	s.stop(t, os.Interrupt)
}
