package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-tcp/parley/internal/capture"
	"github.com/parley-tcp/parley/internal/journal"
)

// What tcpdump has captured of the connections of a tap becomes the journal that the tap has kept: the same
// exchanges byte for byte, and redis answers them the same.
func TestACaptureBecomesTheJournalOfATap(t *testing.T) {
	if os.Getuid() != 0 {
		skipOutsideCI(t, "only root may capture")
	}
	socket := startRedis(t)
	kept := filepath.Join(t.TempDir(), "kept")
	tap := startTap(t, "unix:"+socket, "--framing", "redis", "--journal", kept)
	_, port, _ := net.SplitHostPort(tap.addr)
	captured := filepath.Join(t.TempDir(), "pcap")
	out, err := os.Create(captured)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	dumper := peer(t, "tcpdump", "-i", "lo", "-Z", "root", "-U", "--immediate-mode", "-B", "65536", "-w", "-", "port", port)
	dumper.Stdout = out
	dump := start(t, dumper)
	dump.stderr.await(t, "listening on lo")

	run(t, peer(t, "redis-cli", "-p", port, "SET", "foo", "bar"), "")
	converse(t, tap.addr, "SET n 1\r\nMULTI\r\nINCR n\r\n"+respCommand("LRANGE", "l", "0", "-1")+"EXEC\r\nFOO\r\nGET foo\r\n")
	converse(t, tap.addr, respCommand("SET", "large", strings.Repeat("0123456789", 30000))+"GET large\r\n")
	sub := connect(t, tap.addr)
	pushed := bufio.NewReader(sub)
	for _, step := range []struct{ say, await string }{{respCommand("SUBSCRIBE", "ch"), ":1"}, {"", "one"}} {
		fmt.Fprint(sub, step.say)
		if step.say == "" {
			run(t, peer(t, "redis-cli", "-p", port, "PUBLISH", "ch", "one"), "")
		}
		for line := ""; !strings.Contains(line, step.await); {
			if line, err = pushed.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	sub.CloseWrite()
	io.Copy(io.Discard, sub)
	sub.Close()
	converse(t, tap.addr, "*zz\r\nmore")
	if code := tap.stop(t, os.Interrupt); code != 0 {
		t.Fatalf("the tap exits %d: %s", code, tap.stderr)
	}
	var sum *capture.Summary
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("captured so far: %+v; %s", sum, dump.stderr)
		}
	})
	eventually(t, "the capture has the end of all six", func() bool {
		data, err := os.ReadFile(captured)
		if err != nil {
			t.Fatal(err)
		}
		sum, err = capture.Read(t.Context(), bytes.NewReader(data), capture.Options{})
		return err == nil && sum.Sessions == 6 && sum.Open == 0
	})
	if code := dump.stop(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("tcpdump exits %d: %s", code, dump.stderr)
	}

	made := filepath.Join(t.TempDir(), "made")
	run(t, program(t, "log", "--import", captured, "-o", made, "--framing", "redis"), "")
	want, got := saidIn(t, kept), saidIn(t, made)
	if got != want {
		t.Errorf("of the capture there is\n%.3000s\nthe tap has\n%.3000s", got, want)
	}
	run(t, peer(t, "redis-cli", "-s", socket, "FLUSHALL"), "")
	// Slower than it was: what is published has to find its subscriber, and on a busy machine nothing else sees to that.
	text, code := replayed(t, made, "unix:"+socket, "--speed", "0.1x")
	if code != 0 || !strings.HasSuffix(text, " 0 differences\n") || !strings.Contains(text, "6 sessions, ") {
		t.Errorf("replay exits %d and says\n%.2000s", code, text)
	}
}

// saidIn is what a journal has of each session, but for when.
func saidIn(t *testing.T, file string) string {
	t.Helper()
	r, err := journal.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var text strings.Builder
	for s, err := range r.Sessions(t.Context(), journal.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "session %d of %s: %s, %d requests, replied %d, in %d, out %d, stray %d\n",
			s.Number, s.Remote, s.Reason, s.Requests, s.RepliedUpTo, s.BytesIn, s.BytesOut, s.Stray)
		for x, err := range r.Exchanges(t.Context(), journal.Filter{Session: s.ID, Loose: true}) {
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&text, "%d %q %q %+q %+q %v\n", x.Seq, x.Request, x.Reply, fmt.Sprint(x.RawRequest), fmt.Sprint(x.RawReply), x.Secret)
		}
	}
	return text.String()
}
