//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clipperhouse/displaywidth"
)

// widthOfLines is how wide the widest line is that was written to a terminal. What is painted over is a line of
// its own.
func widthOfLines(raw string) (width int, line string) {
	measured := displaywidth.Options{ControlSequences: true}
	for l := range strings.SplitSeq(strings.NewReplacer("\r\x1b[K", "\n", "\r\n", "\n").Replace(raw), "\n") {
		if n := measured.String(l); n > width {
			width, line = n, l
		}
	}
	return width, line
}

// What is a table or a report fits the terminal that it is shown on, in lines that nothing has to wrap.
func TestEverythingFitsTheTerminal(t *testing.T) {
	dir := t.TempDir()
	kept, other := filepath.Join(dir, "kept.journal"), startServer(t, "--reply", "Request #{conn} is {message} ...")
	s := startServer(t, "--journal", kept, "--fault", "request.delay=1ms")
	long := strings.Repeat("日本 a long request \x1b[2J", 20)
	for _, text := range []string{"one\n", long + "\ntwo\n", "three\n\n"} {
		converse(t, s.addr, text)
	}
	peer := connect(t, s.addr)
	peer.Write([]byte("half"))
	peer.SetLinger(0)
	peer.Close()
	s.stdout.await(t, "(connection reset by peer)")
	s.stop(t, syscall.SIGTERM)
	closed := "127.0.0.1:" + freePort(t)
	for _, columns := range []int{80, 40, 20} {
		for _, args := range [][]string{
			{"log", kept}, {"log", kept, "--hex"}, {"log", kept, "--session", "2"}, {"log", kept, "--session", "2", "--hex"},
			{"log", kept, "--table"}, {"log", kept, "--table", "--hex"}, {"log", kept, "--sessions"},
			{"log", kept, "--stats"}, {"log", kept, "--stats", "--by", "session"}, {"log", kept, "--stats", "--by", "peer"}, {"log", kept, "--stats", "--every", "1h"},
			{"log", kept, "--sql", "SELECT * FROM v_exchange"}, {"log", kept, "--sql", "SELECT request, count(*) AS n FROM v_exchange GROUP BY 1"}, {"log", kept, "--verify"},
			{"demo"},
			{"check", other.addr, long}, {"check", other.addr, long, "--count", "2", "--interval", "1ms"}, {"check", other.addr, "hello", "--expect", "^nothing like it"}, {"check", closed},
			{"replay", kept, other.addr, "--speed", "max"}, {"replay", kept, other.addr, "--rate", "1000"},
		} {
			got := shown(t, program(t, args...), columns)
			if n, line := widthOfLines(got); n > columns || got == "" {
				t.Errorf("%v in %d columns has a line of %d: %q\n%s", args, columns, n, line, got)
			}
		}
	}
}

// A journal that is followed fits too.
func TestFollowedLogFitsTheTerminal(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "kept.journal")
	s := startServer(t, "--journal", kept)
	for _, form := range [][]string{{"--hex"}, {"--table"}} {
		log := onScreen(t, program(t, append([]string{"log", "-f", kept, "--color=never"}, form...)...), 40, 30)
		if err := log.AwaitText(map[string]string{"--hex": "", "--table": "request"}[form[0]]); err != nil {
			t.Fatal(err)
		}
		converse(t, s.addr, "this is a request that is longer than the terminal is wide\n")
		if err := log.AwaitText("this is a"); err != nil {
			t.Fatal(err)
		}
		if n, line := widthOfLines(log.Raw()); n > 40 {
			t.Errorf("%v has a line of %d: %q", form, n, line)
		}
		log.Type("\x03")
		log.Wait()
	}
}

// The line of a benchmark that runs is never wider than its terminal, and says how many errors there are.
func TestBenchProgressFitsTheTerminal(t *testing.T) {
	s := startServer(t, "-q", "--fault", "delay=5ms") // or a closed loop would be as fast as it can
	for columns, count := range map[int]string{24: "0 errors", 10: "0 errors", 6: "0 err"} {
		b := onScreen(t, program(t, "bench", "-d", "1100ms", "--warmup", "0s", "-c", "1", s.addr), columns, 40)
		live := func() string {
			before, _, _ := strings.Cut(b.Raw(), "\n")
			return before
		}
		if err := b.Await("a count of errors", func(string) bool { return strings.Contains(live(), count) }, time.Minute); err != nil {
			t.Fatal(err)
		}
		if n, line := widthOfLines(live()); n > columns {
			t.Errorf("in %d columns the line has %d: %q", columns, n, line)
		}
		b.Wait()
	}
}

// On a terminal a reply of redis is cut as its help says, in a pipe it is not.
func TestLongReplyOfRedisIsCutOnATerminal(t *testing.T) {
	reply := "$20000\r\n" + strings.Repeat("x", 20000)
	file := filepath.Join(t.TempDir(), "reply")
	if err := os.WriteFile(file, []byte(reply), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, "-f", "redis", "--reply", strings.TrimPrefix(reply, "$20000\r\n"))
	got := shown(t, program(t, "client", "-q", "-f", "redis", s.addr, "GET", "big"), 80)
	if !strings.HasSuffix(got, " bytes)\n") || len(got) > 5000 {
		t.Errorf("a terminal is shown %d bytes, which end in %q", len(got), got[max(0, len(got)-40):])
	}
	if got := run(t, program(t, "client", "-q", "-f", "redis", s.addr, "GET", "big"), ""); len(got) != 20001 {
		t.Errorf("a pipe gets %d bytes, want all", len(got))
	}
}
