package report

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/parley-tcp/parley/internal/load"
)

// histogramOf is times as a run keeps it.
func histogramOf(t *testing.T, list ...time.Duration) *hdrhistogram.Histogram {
	t.Helper()
	h := hdrhistogram.New(1, int64(10*time.Minute), 3)
	for _, d := range list {
		if err := h.RecordValue(int64(d)); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestHDRLogIsReadBack(t *testing.T) {
	var file bytes.Buffer
	log := NewHDRLog(&file)
	second := histogramOf(t, 50*time.Microsecond, 60*time.Microsecond, 70*time.Microsecond, 1500*time.Millisecond, 10*time.Minute)
	log.Add(load.Second{At: 400 * time.Millisecond, Length: time.Second, Response: histogramOf(t, time.Millisecond)})
	log.Add(load.Second{At: 1400 * time.Millisecond, Length: time.Second, Response: histogramOf(t)})
	log.Add(load.Second{At: 2400 * time.Millisecond, Length: time.Second, Response: second})
	if err := log.Err(); err != nil {
		t.Fatal(err)
	}

	reader := hdrhistogram.NewHistogramLogReader(&file)
	for i, want := range []struct {
		start, end int64 // ms
		times      *hdrhistogram.Histogram
	}{
		{0, 400, histogramOf(t, time.Millisecond)},
		{400, 1400, histogramOf(t)},
		{1400, 2400, second},
	} {
		got, err := reader.NextIntervalHistogram()
		if err != nil || got == nil {
			t.Fatalf("line %d: histogram %v, error %v", i, got, err)
		}
		// What a reader calls the start is absolute; the length of the interval remains.
		if length := got.EndTimeMs() - got.StartTimeMs(); length != want.end-want.start {
			t.Errorf("line %d: an interval of %d ms, want %d", i, length, want.end-want.start)
		}
		if got.TotalCount() != want.times.TotalCount() {
			t.Errorf("line %d: %d times, want %d", i, got.TotalCount(), want.times.TotalCount())
		}
		for _, p := range []float64{0, 25, 50, 75, 90, 99, 99.9, 100} {
			if g, w := got.ValueAtQuantile(p), want.times.ValueAtQuantile(p); g != w {
				t.Errorf("line %d: p%v = %d ns, want %d", i, p, g, w)
			}
		}
	}
	if got, err := reader.NextIntervalHistogram(); got != nil || err != nil {
		t.Errorf("after the last line: %v, %v, want nothing", got, err)
	}
}

func TestHDRLogHasItsHeaderOnceAndNoWarmup(t *testing.T) {
	var file bytes.Buffer
	log := NewHDRLog(&file)
	log.Add(load.Second{At: -time.Second, Length: time.Second, Response: histogramOf(t, time.Hour/6)})
	log.Add(load.Second{At: 0, Length: time.Second, Response: histogramOf(t, time.Hour/6)})
	if file.Len() > 0 {
		t.Fatalf("the warm-up wrote %q, want nothing", file.String())
	}
	before := time.Now().Add(-1500 * time.Millisecond)
	log.Add(load.Second{At: 1500 * time.Millisecond, Length: time.Second, Response: histogramOf(t, 2500*time.Microsecond)})
	log.Add(load.Second{At: 2500 * time.Millisecond, Length: time.Second, Response: histogramOf(t)})

	want := []string{
		`^#\[Histogram log format version 1\.3\]$`,
		`^#\[StartTime: (\d+\.\d{3}) \(seconds since epoch\), \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\]$`,
		`^#\[BaseTime: \d+\.\d{3} \(seconds since epoch\)\]$`,
		`^"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"$`,
		`^0\.500000,1\.000000,2\.50\d+,HISTF[0-9A-Za-z+/=]+$`,
		`^1\.500000,1\.000000,0\.000000,HISTF[0-9A-Za-z+/=]+$`,
		`^$`,
	}
	lines := strings.Split(file.String(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), file.String())
	}
	for i, pattern := range want {
		if !regexp.MustCompile(pattern).MatchString(lines[i]) {
			t.Errorf("line %d is %q, want a match of %s", i+1, lines[i], pattern)
		}
	}
	if stamp := regexp.MustCompile(want[1]).FindStringSubmatch(lines[1]); stamp != nil {
		began, _ := time.ParseDuration(stamp[1] + "s")
		if got := time.Unix(0, int64(began)); got.Before(before.Truncate(time.Millisecond)) || got.After(time.Now()) {
			t.Errorf("counting began at %v, want it 1.5 s before the first line, at %v", got, before)
		}
	}
}

func TestHDRLogStopsAtTheFirstError(t *testing.T) {
	for lines := range 5 {
		full := &fullDisk{room: lines}
		log := NewHDRLog(full)
		for i := range 3 {
			log.Add(load.Second{At: time.Duration(i+1) * time.Second, Length: time.Second, Response: histogramOf(t, time.Millisecond)})
		}
		if log.Err() != errFull || full.writes != lines+1 {
			t.Errorf("room for %d lines: error %v after %d writes, want %v after %d", lines, log.Err(), full.writes, errFull, lines+1)
		}
	}
}

var errFull = errors.New("no space left on device")

// A fullDisk takes some writes, then fails.
type fullDisk struct{ room, writes int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.writes++; d.writes > d.room {
		return 0, errFull
	}
	return len(p), nil
}
