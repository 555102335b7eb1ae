package console

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// With an output that keeps up nothing is skipped: each request has its line,
// whole, and in order within its session.
func TestEveryRequestHasItsLine(t *testing.T) {
	// Several times as much as the queue holds is told. What all send at once, some 500 bytes of JSON a request, fits
	// into the half of it that is free when they do.
	const conns, requests, atOnce, queue = 4, 10_000, 200, 1 << 20
	for _, engine := range []parley.Engine{parley.LoopsIfPossible, parley.Goroutines} {
		for name, narrator := range map[string]func(*Writer) parley.Observer{
			"narrative": func(w *Writer) parley.Observer { return NewNarrative(w, Limits{}, false) },
			"json":      func(w *Writer) parley.Observer { return NewJSON(w, "") },
		} {
			t.Run(engine.String()+" "+name, func(t *testing.T) {
				file, err := os.Create(filepath.Join(t.TempDir(), "log"))
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				w := NewWriter(file, queue, SkippedLine, nil)
				srv := &parley.Server{Engine: engine, Observer: narrator(w), Handler: parley.HandlerFunc(
					func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil })}
				addr := parleytest.Start(t, srv)
				var peers sync.WaitGroup
				for id := range conns {
					peers.Go(func() { converse(t, addr, byte('a'+id), requests, atOnce, w) })
				}
				peers.Wait()
				if err := srv.Shutdown(t.Context()); err != nil {
					t.Errorf("Shutdown = %v", err)
				}
				if err := w.Close(time.Minute); err != nil || w.Skipped() > 0 {
					t.Errorf("Close = %v, %d lines skipped", err, w.Skipped())
				}
				file.Seek(0, io.SeekStart)
				received, replied := countLines(t, file)
				if received != conns*requests || name == "json" && replied != conns*requests {
					t.Errorf("%d lines of requests and %d of replies, want %d", received, replied, conns*requests)
				}
			})
		}
	}
}

// converse sends numbered requests, so many at once, and waits where w falls behind:
// how fast this machine's disk is is not what is tested.
func converse(t *testing.T, addr string, id byte, requests, atOnce int, w *Writer) {
	behind := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.held > w.limit/2
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	line := func(dst []byte, n int) []byte {
		return append(dst, id, byte('0'+n/100000%10), byte('0'+n/10000%10), byte('0'+n/1000%10), byte('0'+n/100%10), byte('0'+n/10%10), byte('0'+n%10), '\n')
	}
	var text, got []byte
	for n := 0; n < requests; n += atOnce {
		text = text[:0]
		for k := range atOnce {
			text = line(text, n+k)
		}
		for behind() {
			time.Sleep(time.Millisecond)
		}
		got = append(got[:0], text...)
		c.Write(text)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, text) {
			t.Errorf("replies from %d on: %v, or wrong", n, err)
			return
		}
	}
}

// countLines counts the lines of requests and of replies, and looks at their order.
func countLines(t *testing.T, file io.Reader) (received, replied int) {
	var next [2]map[byte]int
	next[0], next[1] = make(map[byte]int), make(map[byte]int)
	in := bufio.NewScanner(file)
	for in.Scan() {
		line, kind := in.Text(), 0
		at := strings.Index(line, "incoming data [7]: ") + len("incoming data [7]: ")
		if strings.HasPrefix(line, `{"event":"re`) {
			at = strings.Index(line, `"payload":"`) + len(`"payload":"`)
			if strings.HasPrefix(line, `{"event":"replied"`) {
				kind = 1
			}
		} else if !strings.HasPrefix(line, "Server: incoming") {
			continue
		}
		if at+7 > len(line) {
			t.Fatalf("a torn line: %q", line)
		}
		id, n := line[at], 0
		for _, digit := range line[at+1 : at+7] {
			n = 10*n + int(digit-'0')
		}
		if n != next[kind][id] {
			t.Fatalf("%q comes where number %d is due", line, next[kind][id])
		}
		next[kind][id]++
		if kind == 0 {
			received++
		} else {
			replied++
		}
	}
	if err := in.Err(); err != nil {
		t.Error(err)
	}
	return received, replied
}

// A batch of lines is queued as if they came one by one: past the limit whole lines
// are skipped.
func TestAppendOfSeveralLines(t *testing.T) {
	const line = "123456789\n"
	for _, c := range []struct {
		lines, limit, written int
	}{{9, 100, 9}, {10, 100, 10}, {11, 100, 10}, {100, 99, 9}, {piece/10 + 1, QueueLimit, piece/10 + 1}, {1, 9, 0}} {
		out := &collector{gate: make(chan struct{})}
		w := NewWriter(out, c.limit, SkippedLine, nil)
		w.Append([]byte(strings.Repeat(line, c.lines)))
		close(out.gate)
		if err := w.Close(time.Minute); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), line); n != c.written || w.Skipped() != int64(c.lines-c.written) {
			t.Errorf("%d lines with a limit of %d bytes: %d written, %d skipped; want %d", c.lines, c.limit, n, w.Skipped(), c.written)
		}
	}
}

// A loop's observer formats without allocating.
func TestBatchAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	w := NewWriter(io.Discard, QueueLimit, SkippedLine, nil)
	defer w.Close(time.Minute)
	for name, o := range map[string]interface{ Fork() parley.Observer }{
		"narrative": NewNarrative(w, Limits{}, false), "verbose": NewNarrative(w, Limits{}, true), "json": NewJSON(w, ""),
	} {
		b := o.Fork().(*batch)
		e := &parley.Event{Kind: parley.Received, Time: time.Now(), Session: new(parley.Session), Seq: 7, Body: []byte("session 1 msg 1\x01")}
		if n := testing.AllocsPerRun(1000, func() { b.Observe(e); b.lines = b.lines[:0] }); n != 0 {
			t.Errorf("%s: %v allocations an event", name, n)
		}
	}
}

// A loop keeps the text of what its last event shares with the next; its lines are the same.
func TestBatchWritesTheSameLines(t *testing.T) {
	w := NewWriter(io.Discard, QueueLimit, SkippedLine, nil)
	defer w.Close(time.Minute)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	var sessions []*parley.Session
	for i := range 3 {
		sessions = append(sessions, parley.NewSession(uint64(i), &net.TCPAddr{IP: net.IPv4(10, 0, 0, byte(i)), Port: 1000 + i}, nil, at))
	}
	var events []*parley.Event
	for range 1000 {
		session := append(sessions, nil)[rand.IntN(4)]
		events = append(events, &parley.Event{Kind: parley.Replied, Session: session, Time: at.Add(time.Duration(rand.IntN(3))), Seq: uint64(rand.IntN(9))})
	}
	events = append(events, &parley.Event{Kind: parley.Opened, Session: sessions[0]}) // of no time
	for _, j := range []*JSON{NewJSON(w, ""), NewTapJSON(w, "", "there")} {
		var want []byte
		b := j.Fork().(*batch)
		for _, e := range events {
			want = j.appendEvent(want, e)
			b.lines = b.appendEvent(b.lines, e)
		}
		if got := string(b.lines); got != string(want) {
			t.Errorf("a loop writes\n%s\nwant\n%s", got, want)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	w := NewWriter(io.Discard, QueueLimit, SkippedLine, nil)
	defer w.Close(time.Minute)
	for name, o := range map[string]interface{ Fork() parley.Observer }{
		"narrative": NewNarrative(w, Limits{}, false), "verbose": NewNarrative(w, Limits{}, true), "json": NewJSON(w, ""),
	} {
		b.Run(name, func(b *testing.B) {
			o := o.Fork().(*batch)
			e := &parley.Event{Kind: parley.Received, Time: time.Now(), Session: new(parley.Session), Seq: 7, Body: []byte("session 1 msg 1")}
			b.ReportAllocs()
			for b.Loop() {
				o.Observe(e)
				if len(o.lines) > 4<<10 {
					o.Flush()
				}
			}
		})
	}
}
