package agent

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/parley-tcp/parley/internal/load"
)

func TestMessagesInParts(t *testing.T) {
	var a assembler
	for n, size := range []int{0, 1, 743, 744, 745, 5000} {
		body := bytes.Repeat([]byte{'x'}, size)
		parts := split(uint64(n+1), body, 1000)
		for i, p := range parts {
			if len(encode(p)) > 1000 {
				t.Errorf("%d bytes: part %d has %d", size, i, len(encode(p)))
			}
			got, whole, err := a.add(p)
			if err != nil || whole != (i == len(parts)-1) || whole && !bytes.Equal(got, body) {
				t.Errorf("%d bytes, part %d: %d, %v, %v", size, i, len(got), whole, err)
			}
		}
		if size == 5000 {
			a.add(parts[0])
			if _, _, err := a.add(parts[2]); err == nil {
				t.Error("a part is missing, and nobody says so")
			}
			if _, whole, err := a.add(parts[0]); whole || err != nil {
				t.Errorf("the next message: %v, %v", whole, err)
			}
		}
	}
}

// Seconds of the parts come together by when they were, however late they are told of.
func TestSecondsComeTogether(t *testing.T) {
	second := func(at time.Duration, replies uint64) load.Second {
		return load.Second{At: at, Length: time.Second, Replies: replies, Response: hdrhistogram.New(1, 100, 3)}
	}
	var shown []load.Second
	m := newMerger(3, func(s load.Second) { shown = append(shown, s) })
	s := time.Second
	m.add(0, second(-s/2, 0))
	m.add(1, second(-s/2, 0))
	m.add(2, second(-s/2, 0))
	m.add(2, second(0, 0)) // an end of the warm-up that the others tell with their first second
	m.add(0, second(s, 1))
	m.add(0, second(2*s+s/50, 10))
	m.add(1, second(s+s/10, 100))
	if len(shown) != 1 {
		t.Errorf("told of %d, want none of those that a part may add to", len(shown))
	}
	m.add(2, second(s, 1000))
	m.end(2)
	m.add(2, second(2*s, 99)) // it has ended: nothing is added
	m.add(1, second(2*s, 10_000))
	m.add(1, second(2*s-s/2, 5)) // too late: it counts with the next
	m.add(1, second(3*s, 20))
	m.end(1)
	m.end(0)
	var got []uint64
	for _, s := range shown {
		if s.At > 0 {
			got = append(got, s.Replies)
		}
	}
	if want := []uint64{1101, 10_010, 25}; !slices.Equal(got, want) || len(m.all) != 3 {
		t.Errorf("seconds of %v replies, %d kept; want %v", got, len(m.all), want)
	}
}

// What comes over NATS may be anybody's.
func FuzzMessages(f *testing.F) {
	h := hdrhistogram.New(1, int64(24*time.Hour), 3)
	h.RecordValue(1000)
	times := load.Times{Histogram: h}
	f.Add(encode(part{1, 0, 1, []byte("x")}))
	f.Add(encode(report{Kind: told, Second: newSecond(load.Second{Response: h})}))
	f.Add(encode(report{Kind: done, Result: newResult(&load.Result{Service: times, Response: times}, time.Now())}))
	f.Add(encode(command{Load: &Load{Host: "x", Port: "7", Framing: "line", Messages: load.ParseMessages([]byte("{n}")), Connections: 1, InFlight: 1, Timeout: 1, Part: load.Part{Of: 1}, Expect: "any"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a assembler
		var p part
		if decode(b, &p) == nil {
			a.add(p)
		}
		var r report
		if decode(b, &r) == nil {
			if s, err := r.Second.restore(); err == nil {
				load.MergeSeconds(s)
			}
			if r.Result != nil {
				if result, err := r.Result.restore(nil); err == nil {
					load.Merge(result)
				}
			}
		}
		var c command
		if decode(b, &c) == nil && c.Load != nil {
			c.Load.plan(nil)
		}
		decode(b, new(order))
		decode(b, new(announcement))
	})
}
