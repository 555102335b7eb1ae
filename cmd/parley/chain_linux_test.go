package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-tcp/parley/internal/capture"
	"github.com/parley-tcp/parley/internal/journal"
)

// What a client and redis say goes through all that there is for recordings. At the end of each link
// stands a tap, and has recorded the same exchanges, byte for byte.
func TestWhatIsSaidIsTheSameAllAlongTheChain(t *testing.T) {
	if os.Getuid() != 0 {
		skipOutsideCI(t, "only root may capture")
	}
	t.Parallel()
	redis := "unix:" + startRedis(t)
	dir := t.TempDir()
	recording, captured, dialogue := filepath.Join(dir, "recording"), filepath.Join(dir, "pcap"), filepath.Join(dir, "chain.talk")
	client := func(t *testing.T, addr string) {
		_, port, _ := net.SplitHostPort(addr)
		run(t, peer(t, "redis-cli", "-p", port), "SET k 41\nINCR k\nGET k\nRPUSH l \"\\x00\\r\\n\" \"\" ä\nLRANGE l 0 -1\nGET none\nNONSENSE\nDEL k l\n")
	}
	want := ""
	tapped := func(upstream, file string, use func(t *testing.T, addr string)) (said string) {
		t.Helper()
		tap := startTap(t, upstream, "--framing", "redis", "--journal", file)
		use(t, tap.addr)
		if code := tap.stop(t, os.Interrupt); code != 0 {
			t.Fatalf("the tap exits %d: %s", code, tap.stderr)
		}
		return exchangesIn(t, file)
	}
	links := func(name, upstream string, sessions int, use func(t *testing.T, addr string)) {
		t.Helper()
		got, want := tapped(upstream, filepath.Join(dir, name), use), strings.Repeat(want, sessions)
		if got != want {
			t.Errorf("%s: of what was said there are %s", name, whereDiffer([]byte(got), []byte(want)))
		}
	}
	link := func(name, upstream string, use func(t *testing.T, addr string)) {
		t.Helper()
		links(name, upstream, 1, use)
	}
	parley := func(args ...string) func(t *testing.T, addr string) {
		return func(t *testing.T, addr string) {
			t.Helper()
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "ADDR", addr)
			}
			run(t, program(t, args...), "")
		}
	}

	want = tapped(redis, recording, func(t *testing.T, addr string) {
		capturing(t, addr, captured, func() { client(t, addr) })
	})
	if n := strings.Count(want, "\n"); n != 11 { // redis-cli asks twice for all commands before, in vain
		t.Fatalf("%d lines are recorded, want 10 exchanges of one session", n)
	}
	run(t, program(t, "log", recording, "--export", "dialogue", "-o", dialogue), "")
	link("check", redis, parley("check", "--script", dialogue, "ADDR"))
	link("client", redis, parley("client", "--script", dialogue, "ADDR"))
	links("bench", redis, 3, parley("bench", "-q", "-c", "1", "-n", "3", "--connect-each", "--script", dialogue, "ADDR"))
	link("replay", redis, parley("replay", recording, "ADDR"))
	imported := filepath.Join(dir, "imported")
	run(t, program(t, "log", "--import", captured, "-o", imported, "--framing", "redis"), "")
	if got := exchangesIn(t, imported); got != want {
		t.Errorf("of what was captured there are %s", whereDiffer([]byte(got), []byte(want)))
	}
	link("replay of the capture", redis, parley("replay", imported, "ADDR"))

	mock := func(args ...string) *server { return startServer(t, append(args, "--strict")...) }
	for _, recorded := range []string{recording, imported} {
		answers := mock("--answers", recorded)
		link("client of a mock of "+filepath.Base(recorded), answers.addr, client)
		link("replay to a mock of "+filepath.Base(recorded), answers.addr, parley("replay", recording, "ADDR"))
		if code := answers.stop(t, os.Interrupt); code != 0 {
			t.Errorf("the mock exits %d: %s", code, answers.stderr)
		}
	}
	plays := mock("--script", dialogue)
	link("client of the dialogue", plays.addr, client)
	link("check of the dialogue", plays.addr, parley("check", "--script", dialogue, "ADDR"))
	if code := plays.stop(t, os.Interrupt); code != 0 {
		t.Errorf("the mock exits %d: %s", code, plays.stderr)
	}
}

// exchangesIn are those of each session of a journal: of redis all bytes that were on the wire.
func exchangesIn(t *testing.T, file string) string {
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
		if s.Requests == 0 {
			continue // a bench looks first whether it can connect at all
		}
		fmt.Fprintf(&text, "session: %s\n", s.Reason)
		for x, err := range r.Exchanges(t.Context(), journal.Filter{Session: s.ID, Loose: true}) {
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&text, "%d %q %q\n", x.Seq, x.Request, x.Reply)
		}
	}
	return text.String()
}

// capturing has tcpdump keep what goes over one connection to an address.
func capturing(t *testing.T, addr, file string, use func()) {
	t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	dumper := peer(t, "tcpdump", "-i", "lo", "-Z", "root", "-U", "--immediate-mode", "-w", "-", "port", port)
	dumper.Stdout = out
	dump := start(t, dumper)
	dump.stderr.await(t, "listening on lo")
	use()
	eventually(t, "the capture has the end of the connection", func() bool {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := capture.Read(t.Context(), bytes.NewReader(data), capture.Options{})
		return err == nil && sum.Sessions == 1 && sum.Open == 0
	})
	if code := dump.stop(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("tcpdump exits %d: %s", code, dump.stderr)
	}
}
