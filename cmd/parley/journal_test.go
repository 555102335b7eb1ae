package main

import (
	"bufio"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/journal"
)

var kills = flag.Int("kills", 6, "how often a server is killed, with --journal-sync and again without it")

// Killed at a random moment under load, a server leaves a journal that opens clean. With
// --journal-sync every reply that a client has read has its record; without it at most
// the newest of them have none.
func TestKilledServerLeavesItsJournal(t *testing.T) {
	t.Parallel() // it waits most of the time
	for _, sync := range []bool{true, false} {
		t.Run(fmt.Sprint("sync ", sync), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "journal")
			args := []string{"-q", "--journal", file}
			if sync {
				args = append(args, "--journal-sync")
			}
			for n := range *kills {
				killUnderLoad(t, file, n, sync, args)
				if t.Failed() {
					return
				}
			}
		})
	}
}

const (
	killClients   = 8
	killPipelined = 4
)

func killUnderLoad(t *testing.T, file string, n int, sync_ bool, args []string) {
	s := startServer(t, args...)
	var clients sync.WaitGroup
	var replied [killClients]int
	for i := range replied {
		c := connect(t, s.addr)
		clients.Go(func() { replied[i] = readReplies(c, fmt.Sprintf("%d.%d.", n, i)) })
	}
	time.Sleep(time.Duration(rand.Int64N(int64(150 * time.Millisecond)))) // the random moment
	s.stop(t, syscall.SIGKILL)
	clients.Wait()

	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var check string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		t.Errorf("kill %d: integrity_check: %s, %v", n, check, err)
	}
	for i, replies := range replied {
		var recorded, last int
		err := db.QueryRow("SELECT count(*), coalesce(max(seq), 0) FROM messages WHERE CAST(request AS TEXT) GLOB ?", fmt.Sprintf("%d.%d.*", n, i)).Scan(&recorded, &last)
		if err != nil {
			t.Fatal(err)
		}
		if recorded != last {
			t.Errorf("kill %d, client %d: %d records, the last of them %d: there are holes, or some are there twice", n, i, recorded, last)
		}
		if sync_ && recorded < replies {
			t.Errorf("kill %d, client %d: %d replies were read, and only %d are recorded", n, i, replies, recorded)
		}
	}
}

// readReplies sends numbered lines, some of them at once, until the connection ends, and
// returns how many were answered.
func readReplies(c net.Conn, prefix string) (n int) {
	in := bufio.NewReader(c)
	for {
		var lines strings.Builder
		for i := range killPipelined {
			fmt.Fprintf(&lines, "%s%d\n", prefix, n+i+1)
		}
		if _, err := io.WriteString(c, lines.String()); err != nil {
			return n
		}
		for range killPipelined {
			reply, err := in.ReadString('\n')
			if err != nil {
				return n
			}
			if !strings.Contains(reply, fmt.Sprintf("%s%d ", prefix, n+1)) {
				return -1
			}
			n++
		}
	}
}

// A disk that fails to sync once is not believed any more: nothing is synced again, and
// nobody is answered, or all are and no record is claimed.
func TestFailedSyncIsNotTriedAgain(t *testing.T) {
	t.Parallel() // it waits most of the time
	for _, policy := range []string{"stop", "serve"} {
		t.Run(policy, func(t *testing.T) {
			dir := t.TempDir()
			addr, trace := filepath.Join(dir, "addr"), filepath.Join(dir, "trace")
			// strace counts for each thread; the first one to sync for the 12th time fails.
			p := start(t, peer(t, "strace", "-D", "-f", "-qq", "-o", trace, "-e", "signal=none",
				"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=12",
				program(t).Path, "server", "127.0.0.1:0", "-q", "--addr-file", addr, "--drain-timeout", "100ms",
				"--journal", filepath.Join(dir, "journal"), "--journal-sync", "--journal-on-error", policy))
			c := connect(t, awaitAddr(t, addr))
			in := bufio.NewReader(c)
			const failed = "the disk has failed to sync, so nothing is recorded until the server is started again"
			replies, behind := 0, 0
			for behind < 100 {
				fmt.Fprintln(c, "x")
				c.SetReadDeadline(time.Now().Add(patience / 10))
				if _, err := in.ReadString('\n'); err != nil {
					break
				}
				replies++
				if strings.Contains(p.stderr.String(), failed) {
					behind++
				}
			}
			p.stderr.await(t, failed)
			if served := behind > 0; served != (policy == "serve") || replies == behind {
				t.Errorf("%d requests were answered, %d of them behind the failure", replies, behind)
			}
			// Also where somebody was cut off, which by itself is 1.
			if code := p.stop(t, syscall.SIGINT); code != 2 || !strings.Contains(p.stderr.String(), "exchanges not recorded: ") {
				t.Errorf("exit code %d, want 2\n%s", code, p.stderr)
			}
			text, err := os.ReadFile(trace)
			before, after, _ := strings.Cut(string(text), "(INJECTED)")
			if !strings.Contains(before, "sync(") || strings.Contains(after, "sync(") || err != nil {
				t.Errorf("behind the failure: %q, %v; want no sync", after, err)
			}
		})
	}
}

// With --journal-sync the -wal file is synced behind each record and before its reply.
func TestSyncComesBeforeTheReply(t *testing.T) {
	dir := t.TempDir()
	addr, trace := filepath.Join(dir, "addr"), filepath.Join(dir, "trace")
	p := start(t, peer(t, "strace", "-D", "-f", "-qq", "-o", trace, "-e", "signal=none", "-e", "trace=fsync,fdatasync,write,sendto",
		program(t).Path, "server", "127.0.0.1:0", "-q", "--echo", "--addr-file", addr, "--journal", filepath.Join(dir, "journal"), "--journal-sync"))
	c := connect(t, awaitAddr(t, addr))
	in := bufio.NewReader(c)
	const n = 20
	for i := range n {
		fmt.Fprintf(c, "request %d\n", i)
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	p.stop(t, syscall.SIGINT)
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		before, after, replied := strings.Cut(string(text), fmt.Sprintf("\"request %d\\n\"", i))
		if !replied || !strings.Contains(before, "sync(") {
			t.Fatalf("reply %d is not seen, or nothing was synced since the one before it", i)
		}
		text = []byte(after)
	}
}

func TestJournalKeepFlag(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]journal.Keep{
		"7d": {Age: 7 * day}, "12h": {Age: 12 * time.Hour}, "5m": {Age: 5 * time.Minute},
		"106751d": {Age: 106751 * day}, "106752d": {Age: 106751 * day}, "213504d": {Age: 106751 * day}, // where days wrap
		"10MiB": {Bytes: 10 << 20}, "1G": {Bytes: 1 << 30}, "1024k": {Bytes: 1 << 20},
	} {
		var f keepFlag
		if err := f.Set(text); err != nil || f.Keep != want {
			t.Errorf("%s is %+v, %v; want %+v", text, f.Keep, err, want)
		}
	}
	for _, text := range []string{"", "d", "0d", "-1d", "100", "0h", "1.5d", "99999999999999999999d", "0GiB", "10TB", "1023k", "64KiB"} {
		if err := new(keepFlag).Set(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// A journal says who wrote it, in which framing and where, so that who reads it needs no flags.
func TestJournalSaysHowItWasMade(t *testing.T) {
	dir := t.TempDir()
	node, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	srv := startServer(t, "-q", "--framing", "crlf", "--journal", filepath.Join(dir, "server"))
	addrFile := filepath.Join(dir, "addr")
	tap := start(t, program(t, "tap", "127.0.0.1:0", srv.addr, "-q", "--framing", "delim:0d0a/line", "--addr-file", addrFile, "--journal", filepath.Join(dir, "tap")))
	tapAddr := awaitAddr(t, addrFile)
	if got := converse(t, tapAddr, "one\r\n"); got != "Request #1 - one ...\r\n" {
		t.Errorf("the reply is %q", got)
	}
	for _, p := range []*process{tap, srv.process} {
		if code := p.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	for file, want := range map[string]journal.About{
		"server": {Framing: "crlf", Role: "server", Listener: srv.addr, Node: node},
		"tap":    {Framing: "delim:0d0a/line", Role: "tap", Listener: tapAddr, Upstream: srv.addr, Node: node},
	} {
		r, err := journal.Open(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for s, err := range r.Sessions(t.Context(), journal.Filter{}) {
			if err != nil || s.About != want {
				t.Errorf("%s: %+v, %v; want %+v", file, s.About, err, want)
			}
		}
		if names, err := r.Framings(t.Context()); err != nil || len(names) != 1 || names[0] != want.Framing {
			t.Errorf("%s: framings %q, %v", file, names, err)
		}
	}
}
