package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
)

// A tray hands over each write and blocks until it is taken.
type tray chan string

func (c tray) Write(p []byte) (int, error) {
	c <- string(p)
	return len(p), nil
}

func TestAWriteIsOfWholeLines(t *testing.T) {
	out := make(tray)
	w := NewWriter(out, QueueLimit, SkippedLine, nil)
	var want strings.Builder
	for i := range 5000 {
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i%97))
		want.WriteString(line)
		w.Append([]byte(line))
	}
	wantWritten(t, w, out, want.String())
}

// wantWritten ends a writer, and fails unless what comes out are whole lines and all that went in.
func wantWritten(t *testing.T, w *Writer, out tray, want string) {
	t.Helper()
	go func() { w.Close(time.Minute); close(out) }()
	var got strings.Builder
	for p := range out {
		if len(p) > piece || !strings.HasSuffix(p, "\n") {
			t.Errorf("a write of %d bytes ends in %q", len(p), p[len(p)-1:])
		}
		got.WriteString(p)
	}
	if got.String() != want {
		t.Errorf("%d bytes came out, not the %d that went in", got.Len(), len(want))
	}
}

// Lines that are handed over come out as they were, also those whose memory is not copied, and
// what comes back in its place is free.
func TestHandedLinesComeOut(t *testing.T) {
	out := make(tray)
	w := NewWriter(out, QueueLimit, SkippedLine, nil)
	var want strings.Builder
	var lines []byte
	for i, long := range slices.Repeat([]int{10, piece / 2, piece - 100, piece, 2 * piece, piece / 2, piece / 3}, 8) {
		for len(lines) < long {
			lines = fmt.Appendf(lines, "%d %s\n", i, strings.Repeat("x", min(long-len(lines), 97)))
		}
		want.Write(lines)
		if lines = w.Hand(lines); len(lines) > 0 {
			t.Fatalf("%d bytes come back", len(lines))
		}
	}
	wantWritten(t, w, out, want.String())
}

// Where there is no room for all that is handed over, its lines are skipped one by one, and counted in their place.
func TestHandedLinesPastTheLimitAreSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const line, lines = "123456789\n", piece * 2 / 3 / 10
		out := make(tray)
		w := NewWriter(out, piece*3/2, SkippedLine, nil)
		hand := func() {
			t.Helper()
			if room := w.Hand(bytes.Repeat([]byte(line), lines)); len(room) > 0 {
				t.Errorf("%d bytes come back", len(room))
			}
			synctest.Wait()
		}
		hand()
		hand()
		hand()
		got := <-out
		synctest.Wait()
		hand()
		go func() { w.Close(time.Minute); close(out) }()
		for p := range out {
			got += p
		}
		kept := piece*3/2/len(line) - 2*lines // of the third
		if want := fmt.Sprintf("%sServer: %d lines skipped\n%s", strings.Repeat(line, 2*lines+kept), lines-kept, strings.Repeat(line, lines)); got != want {
			t.Errorf("%d bytes came out, %d lines skipped; want %d bytes and %d lines", len(got), w.Skipped(), len(want), lines-kept)
		}
	})
}

// A reader that takes a long line bit by bit makes room bit by bit.
func TestRoomComesBackWithEachPiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := make(tray)
		w := NewWriter(out, 4*piece, SkippedLine, nil)
		w.Append(append(bytes.Repeat([]byte("x"), 4*piece-1), '\n'))
		synctest.Wait()
		w.Append([]byte("a\n"))
		<-out
		synctest.Wait()
		w.Append([]byte("b\n"))
		if n := w.Skipped(); n != 1 {
			t.Errorf("%d lines skipped, want 1", n)
		}
		for range 3 {
			<-out
		}
		if got, want := <-out, "Server: 1 line skipped\nb\n"; got != want {
			t.Errorf("then came %q, want %q", got, want)
		}
		w.Close(time.Minute)
	})
}

// Every line is written, or counted in a notice; those of one goroutine stay in order.
func TestManyAppendersLoseNothingUnsaid(t *testing.T) {
	const appenders, lines = 8, 2000
	out := make(tray)
	w := NewWriter(out, 16<<10, SkippedLine, nil)
	var all sync.WaitGroup
	for a := range appenders {
		all.Go(func() {
			for i := range lines {
				w.Append(fmt.Appendf(nil, "%d %d\n", a, i))
			}
		})
	}
	go func() { all.Wait(); w.Close(time.Minute); close(out) }()

	written, skipped := 0, 0
	var last [appenders]int
	for p := range out {
		for line := range strings.Lines(p) {
			var a, i, n int
			if _, err := fmt.Sscanf(line, "Server: %d line", &n); err == nil {
				skipped += n
			} else if _, err := fmt.Sscanf(line, "%d %d\n", &a, &i); err != nil || i < last[a] {
				t.Fatalf("%q after line %d: %v", line, last[a], err)
			} else {
				last[a] = i
				written++
			}
		}
	}
	if written+skipped != appenders*lines || int64(skipped) != w.Skipped() {
		t.Errorf("%d written and %d skipped (%d counted), want %d in all", written, skipped, w.Skipped(), appenders*lines)
	}
}

// What Close had no time for does not come out later, and the goroutine ends.
func TestNothingIsWrittenAfterCloseGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &collector{gate: make(chan struct{})}
		w := NewWriter(out, QueueLimit, SkippedLine, nil)
		w.Append([]byte("in the write\n"))
		synctest.Wait()
		w.Append([]byte("behind it\n"))
		if err := w.Close(0); !errors.Is(err, ErrNotAllWritten) {
			t.Errorf("Close = %v, want ErrNotAllWritten", err)
		}
		close(out.gate)
		<-w.done
		if got, want := out.String(), "in the write\n"; got != want {
			t.Errorf("written %q, want %q", got, want)
		}
		if err := w.Err(); !errors.Is(err, ErrNotAllWritten) {
			t.Errorf("Err = %v, want ErrNotAllWritten", err)
		}
	})
}

// Lines in quick succession share a write; the first does not wait for company, and
// Close does not wait for the pause to end.
func TestABusyWriterWritesSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := make(tray, 10)
		w := NewWriter(out, QueueLimit, SkippedLine, nil)
		start := time.Now()
		w.Append([]byte("a\n"))
		synctest.Wait()
		w.Append([]byte("b\n"))
		synctest.Wait()
		w.Append([]byte("c\n"))
		if got := <-out; got != "a\n" || time.Since(start) != 0 {
			t.Errorf("%q after %v, want the first line at once", got, time.Since(start))
		}
		if got := <-out; got != "b\nc\n" || time.Since(start) != writePause {
			t.Errorf("%q after %v, want both others after %v", got, time.Since(start), writePause)
		}
		w.Append([]byte("d\n"))
		if err := w.Close(time.Minute); err != nil || time.Since(start) != writePause || <-out != "d\n" {
			t.Errorf("Close = %v, %v after the start", err, time.Since(start))
		}
	})
}

// A reader that has caught up is told what it missed, even if nothing happens any more.
func TestSkippedLinesAreSaidOnceTheQueueIsEmpty(t *testing.T) {
	for name, lines := range map[string][]string{
		"many":               slices.Repeat([]string{"123456789\n"}, 25),
		"longer than it all": {strings.Repeat("x", 100) + "\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			out := &collector{gate: make(chan struct{})}
			w := NewWriter(out, 100, SkippedLine, nil)
			for _, line := range lines {
				w.Append([]byte(line))
			}
			close(out.gate)
			time.Sleep(2 * writePause)
			synctest.Wait()
			want := fmt.Sprintf("Server: %s skipped\n", plural(w.Skipped(), "line"))
			if got := out.String(); w.Skipped() == 0 || !strings.HasSuffix(got, want) {
				t.Errorf("%s: %d lines skipped, and the last that was said is %.40q, want %q", name, w.Skipped(), got[max(0, len(got)-40):], want)
			}
			w.Close(time.Minute)
		})
	}
}

// A disk takes room bytes more.
type disk struct {
	mu   sync.Mutex
	text []byte
	room int
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(p), d.room)
	d.text, d.room = append(d.text, p[:n]...), d.room-n
	if n < len(p) {
		return n, &fs.PathError{Op: "write", Path: "log", Err: syscall.ENOSPC}
	}
	return n, nil
}

func (d *disk) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.text)
}

func (d *disk) clear(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

// A disk that is full is told of once, and once there is room the lines go on where they stopped.
func TestAFullDiskIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, told := &disk{room: 15}, 0
		w := NewWriter(out, 100, SkippedLine, func(err error, full bool) {
			if told++; !full || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("told of %v, full: %v", err, full)
			}
		})
		for range 12 {
			w.Append([]byte("123456789\n"))
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if told != 1 || out.String() != "123456789\n12345" {
			t.Errorf("told %d times of the full disk, want once; it has %q", told, out)
		}
		out.clear(1000)
		time.Sleep(fullPause)
		synctest.Wait()
		want := strings.Repeat("123456789\n", int(12-w.Skipped())) + fmt.Sprintf("Server: %s skipped\n", plural(w.Skipped(), "line"))
		if got := out.String(); got != want || w.Skipped() == 0 || w.Err() != nil {
			t.Errorf("%d skipped, Err = %v, written\n%swant\n%s", w.Skipped(), w.Err(), got, want)
		}
		w.Close(time.Minute)
	})
}

// A disk that stays full does not keep the process from ending, and what it did not take counts as
// skipped.
func TestCloseGivesAFullDiskUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWriter(&disk{room: 15}, 100, SkippedLine, nil)
		w.Append([]byte("123456789\n123456789\n"))
		synctest.Wait()
		w.Append([]byte("123456789\n"))
		start := time.Now()
		if err := w.Close(time.Minute); !errors.Is(err, syscall.ENOSPC) || w.Skipped() != 2 || time.Since(start) > 0 {
			t.Errorf("Close = %v after %v, %d lines skipped, want 2", err, time.Since(start), w.Skipped())
		}
	})
}

func BenchmarkEvents(b *testing.B) {
	e := &parley.Event{Kind: parley.Received, Time: time.Now(), Session: new(parley.Session), Seq: 1, Body: []byte("session 1 msg 1")}
	for _, c := range []struct {
		name string
		make func(w *Writer) parley.Observer
	}{
		{"narrative", func(w *Writer) parley.Observer { return NewNarrative(w, Limits{}, false) }},
		{"verbose", func(w *Writer) parley.Observer { return NewNarrative(w, Limits{}, true) }},
		{"json", func(w *Writer) parley.Observer { return NewJSON(w, "") }},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := NewWriter(io.Discard, QueueLimit, SkippedLine, nil)
			defer w.Close(time.Minute)
			o := c.make(w)
			b.ReportAllocs()
			for b.Loop() {
				o.Observe(e)
			}
		})
	}
}
