package fault_test

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/fault"
	"github.com/parley-tcp/parley/parleytest"
)

// What each fault of either direction does to who asks a1, a2, a3 and a4, and what is told of it, on
// a server and on a tap.
func TestFaults(t *testing.T) {
	const all = "0s A1; 0s A2; 0s A3; 0s A4"
	each := func(fault string, letter string) string {
		var told []string
		for i := range 4 {
			told = append(told, fmt.Sprintf("%d %s %q", i+1, fault, fmt.Sprint(letter, i+1)))
		}
		return strings.Join(append(told, "closed eof"), "\n")
	}
	for _, row := range []struct{ list, came, told string }{
		{"delay=50ms", "50ms A1; 50ms A2; 50ms A3; 50ms A4", each("reply.delay=50ms", "A")},
		{"request.delay=50ms", "50ms A1; 50ms A2; 50ms A3; 50ms A4", each("request.delay=50ms", "a")},
		{"request.delay=50ms~20ms", `63\.744813ms A1; 42\.41134ms A2; 61\.174601ms A3; 53\.032809ms A4`,
			"1 request.delay=63.7ms \"a1\"\n2 request.delay=42.4ms \"a2\"\n3 request.delay=61.2ms \"a3\"\n4 request.delay=53ms \"a4\"\nclosed eof"},
		{"drop=3", "0s A1; 0s A2; nothing; 0s A4", "3 reply.drop \"A3\"\nclosed eof"},
		{"request.drop=3", "0s A1; 0s A2; nothing; 0s A4", "SEQ request.drop \"a3\"\nclosed eof"},
		{"cut=2", "0s A1; 0s A2?; EOF", "2 reply.cut=2 \"A2\"\nclosed fault (reply.cut=2: reply 2 cut after 2 bytes on purpose)"},
		{"request.cut=2", "0s A1; EOF", "2 request.cut=1 \"a2\"\nclosed fault (request.cut=1: request 2 cut after 1 byte on purpose)"},
		{"garbage=2", `0s A1; 0s ([A\x{FFFD}]\x{FFFD}|\x{FFFD}2); 0s A3; 0s ([A\x{FFFD}]\x{FFFD}|\x{FFFD}4)`, "2 reply.garbage=1 \"A2\"\n4 reply.garbage=1 \"A4\"\nclosed eof"},
		{"request.garbage=2", `0s A1; 0s ([A\x{FFFD}]\x{FFFD}|\x{FFFD}2); 0s A3; 0s ([A\x{FFFD}]\x{FFFD}|\x{FFFD}4)`, "2 request.garbage=1 \"a2\"\n4 request.garbage=1 \"a4\"\nclosed eof"},
		{"split=1", all, each("reply.split=1", "A")},
		{"request.split=1", all, each("request.split=1", "a")},
		{"rate=10B/s", "300ms A1; 300ms A2; 300ms A3; 300ms A4", each("reply.rate=10B/s", "A")},
		{"request.rate=10B/s", "300ms A1; 300ms A2; 300ms A3; 300ms A4", each("request.rate=10B/s", "a")},
		{"close-after=2", "0s A1; 0s A2; EOF", "2 reply.close-after=2 \"A2\"\nclosed fault (reply.close-after=2: closed after 2 replies on purpose)"},
		{"request.close-after=2", "0s A1; (0s A2; )?EOF", "2 request.close-after=2 \"a2\"\nclosed fault (request.close-after=2: closed after 2 requests on purpose)"},
		{"reset-after=2", "0s A1; (0s A2; )?connection reset by peer", "2 reply.reset-after=2 \"A2\"\nclosed fault (reply.reset-after=2: reset after 2 replies on purpose)"},
		{"request.reset-after=1", "(0s A1; )?connection reset by peer", "1 request.reset-after=1 \"a1\"\nclosed fault (request.reset-after=1: reset after 1 request on purpose)"},
		{"stall=1s/3s,request.delay=2s", "2s A1; 2s A2; 3s A3; 3s A4",
			"1 request.delay=2s \"a1\"\n2 request.delay=2s \"a2\"\n3 request.delay=2s \"a3\"\n0 stall=1s\n4 request.delay=2s \"a4\"\n0 stall=1s\nclosed eof"},
		{"refuse=1", "connection reset by peer|", "refused fault (refuse: refused on purpose)"},
		{"drop=2,delay=10ms,garbage=2,close-after=2", "10ms A1; EOF", // what is dropped has no other fault, and counts
			"1 reply.delay=10ms \"A1\"\n2 reply.drop \"A2\"\n2 reply.close-after=2 \"A2\"\nclosed fault (reply.close-after=2: closed after 2 replies on purpose)"},
		{"delay=10ms,garbage=1,cut=2,split=1,rate=10B/s", "310ms [^;]{2}; [12]10ms [^;]{1,2}; EOF", // in the order in which they apply
			"1 reply.delay=10ms \"A1\"\n1 reply.garbage=1 \"A1\"\n1 reply.split=1 \"A1\"\n1 reply.rate=10B/s \"A1\"\n" +
				"2 reply.delay=10ms \"A2\"\n2 reply.garbage=1 \"A2\"\n2 reply.cut=2 \"A2\"\n2 reply.split=1 \"A2\"\n2 reply.rate=10B/s \"A2\"\nclosed fault (reply.cut=2: reply 2 cut after 2 bytes on purpose)"},
	} {
		for kind, seq := range map[string]string{"server": "0", "tap": "3"} {
			bubble(t, kind+" "+row.list, func(t *testing.T) {
				r := newRig(t, kind, row.list+",seed=1", parley.Lines)
				came := r.ask("a1", "a2", "a3", "a4")
				synctest.Wait()
				r.server.Shutdown(context.Background())
				if !regexp.MustCompile(`^(` + row.came + `)$`).MatchString(came) {
					t.Errorf("came %q, want %s", came, row.came)
				}
				told := touched.ReplaceAllString(r.told.of(1)+r.told.of(0), "")
				if want := strings.Replace(row.told, "SEQ", seq, 1); told != want {
					t.Errorf("told\n%s\nwant\n%s", told, want)
				}
			})
		}
	}
}

// touched is a line of an event that names what befell what it tells of.
var touched = regexp.MustCompile(`(?m)^\d+ (received|replied) .*\n`)

// A server tells of a request, and of a reply, what befell it.
func TestEventsNameTheirFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "server", "request.delay=10ms,drop=2,split=1,seed=1", parley.Lines)
		r.ask("a1", "a2")
		synctest.Wait()
		r.server.Shutdown(context.Background())
		want := `1 request.delay=10ms "a1"
1 received (request.delay=10ms)
1 reply.split=1 "A1"
1 replied (reply.split=1)
2 request.delay=10ms "a2"
2 received (request.delay=10ms)
2 reply.drop "A2"
2 replied (reply.drop)
closed eof`
		if got := r.told.of(1); got != want {
			t.Errorf("told\n%s\nwant\n%s", got, want)
		}
	})
}

// Messages that go out together wait together: a delay is no limit to how many there may be.
func TestDelayIsOfTheMomentOfWriting(t *testing.T) {
	for _, kind := range []string{"server", "tap"} {
		bubble(t, kind, func(t *testing.T) {
			r := newRig(t, kind, "delay=1s,seed=1", parley.Lines)
			client := r.in.dial()
			defer client.Close()
			io.WriteString(client, strings.Repeat("a\n", 100))
			begun := time.Now()
			if _, err := io.ReadFull(client, make([]byte, 200)); err != nil || time.Since(begun) > 3*time.Second {
				t.Errorf("100 replies after %v, %v", time.Since(begun), err)
			}
		})
	}
}

// A write of its own for each piece, and a read.
func TestSplitIsByWritesAndReads(t *testing.T) {
	plan, _ := fault.Parse("split=2,request.split=3")
	layer := &fault.Layer{Plan: plan}
	layer.Observer(nil)
	peer, ours := parleytest.ConnPair()
	below := &counting{Conn: ours}
	conn := layer.Client(below)
	parley.NewSession(1, conn.RemoteAddr(), nil, time.Now()).Join(conn)
	if n, err := conn.Write([]byte("hello\nx\n")); n != 8 || err != nil {
		t.Fatal(n, err)
	}
	if want := []int{2, 2, 2, 2}; !slices.Equal(below.writes, want) {
		t.Errorf("writes of %v, want %v", below.writes, want)
	}
	io.WriteString(peer, "hello\nx\n")
	var reads []string
	for buf := make([]byte, 100); len(reads) < 3; {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		reads = append(reads, string(buf[:n]))
	}
	if want := []string{"hel", "lo\n", "x\n"}; !slices.Equal(reads, want) {
		t.Errorf("reads of %q, want %q", reads, want)
	}
}

// counting notes how long each write is.
type counting struct {
	*parleytest.Conn
	writes []int
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes = append(c.writes, len(p))
	return c.Conn.Write(p)
}

// However a stream is cut into reads and writes, the same faults befall the same messages.
func TestFaultsAreTheSameHoweverBytesCome(t *testing.T) {
	const stream = "first\nsecond one\n\nfourth\nfifth\nthe sixth line\n"
	for _, step := range []int{len(stream), 1, 2, 3, 7, 20} {
		plan, _ := fault.Parse("drop=2,request.drop=3,close-after=5,seed=3")
		layer := &fault.Layer{Plan: plan}
		layer.Observer(nil)
		peer, ours := parleytest.ConnPair()
		conn := layer.Client(ours)
		parley.NewSession(1, conn.RemoteAddr(), nil, time.Now()).Join(conn)
		var failed error
		for rest := stream; len(rest) > 0 && failed == nil; rest = rest[min(step, len(rest)):] {
			_, failed = io.WriteString(conn, rest[:min(step, len(rest))])
			io.WriteString(peer, rest[:min(step, len(rest))])
		}
		conn.Close()
		got, _ := io.ReadAll(peer)
		if want := "first\n\nfifth\n"; string(got) != want || failed == nil || failed.Error() != "closed after 5 replies on purpose" {
			t.Errorf("%d bytes at a time: %q, %v; want %q", step, got, failed, want)
		}
	}
}

// The same seed and traffic have the same faults, whatever runs beside it.
func TestSameSeedSameFaults(t *testing.T) {
	const sessions, list = 20, "drop=20%,delay=5ms~5ms,request.garbage=10%,cut=3%,seed=4711"
	run := func(kind string) (all []string) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, kind, list, parley.Lines)
			done := make(chan struct{})
			for range sessions {
				go func() {
					client := r.in.dial()
					io.WriteString(client, strings.Repeat("hello\n", 40))
					client.CloseWrite()
					io.Copy(io.Discard, client)
					client.Close()
					done <- struct{}{}
				}()
			}
			for range sessions {
				<-done
			}
			r.server.Shutdown(context.Background())
			for i := range sessions {
				lines := strings.Split(touched.ReplaceAllString(r.told.of(uint64(i+1)), ""), "\n")
				slices.Sort(lines) // a tap has two directions, of which each is in order
				all = append(all, strings.Join(lines, "\n"))
			}
		})
		return all
	}
	for _, kind := range []string{"server", "tap"} {
		first, second := run(kind), run(kind)
		differs := 0
		for i := range first {
			if first[i] != second[i] {
				t.Errorf("%s, session %d: the first time\n%s\nthe second\n%s", kind, i+1, first[i], second[i])
			}
			if first[i] != first[0] {
				differs++
			}
		}
		if differs < sessions/2 {
			t.Errorf("%s: %d of %d sessions differ from the first", kind, differs, sessions)
		}
	}
}
