package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialogue"
)

// A sample is one request as a run counts it.
type sample struct {
	fate  int // of the request
	at    time.Duration
	times [8]time.Duration
}

func randomSamples(random *rand.Rand, n int) (samples []sample) {
	for range n {
		s := sample{fate: random.IntN(20), at: time.Duration(random.Int64N(int64(3 * time.Second)))}
		for i := range s.times {
			s.times[i] = time.Duration(random.ExpFloat64() * float64(20*time.Microsecond))
		}
		samples = append(samples, s)
	}
	return samples
}

// measured is the result of a run that had these samples, and its seconds.
func measured(plan *Plan, base time.Time, samples []sample) (*Result, []Second) {
	var seconds []Second
	plan.Watch = func(s Second) {
		s.Response = hdrhistogram.Import(s.Response.Export())
		seconds = append(seconds, s)
	}
	r := newRun(plan)
	r.base, r.until = base, 3*time.Second
	for second := range 3 {
		begin, end := time.Duration(second)*time.Second, time.Duration(second+1)*time.Second
		for i, s := range samples {
			if s.at < begin || s.at >= end {
				continue
			}
			r.recorders[i%len(r.recorders)].count(func(c *stats) {
				c.requests++
				c.last = max(c.last, s.at)
				c.connects += uint64(s.fate % 2)
				example := &Example{At: s.at, Took: s.times[0]}
				switch s.fate {
				case 0:
					c.missing++
					c.errors[dial.Reset]++
					c.examples.add(Missing, example)
				case 1:
					c.late++
					c.examples.add(Late, example)
				case 2:
					c.mismatched++
					c.examples.add(Mismatched, example)
				default:
					c.replies++
					c.within++
					for i, h := range c.histograms() {
						record(h, s.times[i])
					}
				}
			})
			if plan.Script != nil {
				r.recorders[i%len(r.recorders)].countSteps(s.times[:2])
			}
		}
		r.collect(begin, end)
	}
	return r.result(), seconds
}

// What is merged of parts is what one run would have measured that had all their samples: to the last
// sample of each histogram.
func TestPartsAreMergedExactly(t *testing.T) {
	d, err := dialogue.Parse("d.talk", []byte("> a\n< = b\n"))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	base := time.Now()
	for round := range 6 { // each of open and closed with each of replies, dialogues and none
		parts := 2 + random.IntN(3)
		plan := Plan{Messages: SizedMessages(8), Rate: float64(round % 2 * 100), Connections: 1}
		switch round % 3 {
		case 1:
			plan.Script = &Script{Dialogue: d}
		case 2:
			plan.Replies = parley.NoReplies
		}
		samples := randomSamples(random, 1+random.IntN(300))
		split := make([][]sample, parts)
		for _, s := range samples {
			i := random.IntN(parts)
			split[i] = append(split[i], s)
		}
		one, seconds := measured(&plan, base, samples)
		var results []*Result
		bySecond := make([][]Second, 3)
		for _, share := range split {
			r, told := measured(&plan, base, share)
			results = append(results, r)
			for i, s := range told {
				bySecond[i] = append(bySecond[i], s)
			}
		}
		all := Merge(results...)
		for i, s := range bySecond {
			merged := MergeSeconds(s...)
			compareTimes(t, "second", Times{merged.Response}, Times{seconds[i].Response})
			merged.Response, seconds[i].Response = nil, nil
			if merged != seconds[i] {
				t.Errorf("second %d: %+v, want %+v", i, merged, seconds[i])
			}
		}
		theirs := one.times()
		for i, times := range all.times() {
			compareTimes(t, fmt.Sprint("times ", i), *times, *theirs[i])
			*times, *theirs[i] = Times{}, Times{}
		}
		for i := range one.Steps {
			compareTimes(t, "step", all.Steps[i].Times, one.Steps[i].Times)
		}
		one.Seconds, one.CPU, all.CPU, one.Steps, all.Steps = nil, 0, 0, nil, nil
		if !reflect.DeepEqual(all, one) {
			t.Errorf("%d parts:\n%+v, want\n%+v", parts, all, one)
		}
	}
}

func compareTimes(t *testing.T, what string, got, want Times) {
	t.Helper()
	switch {
	case got.Histogram == nil || want.Histogram == nil:
		if got.Count() != want.Count() {
			t.Errorf("%s: %d times, want %d", what, got.Count(), want.Count())
		}
	case !got.Histogram.Equals(want.Histogram):
		t.Errorf("%s: other times than those of one run: %d with a mean of %v, want %d with %v", what, got.Count(), got.Mean(), want.Count(), want.Mean())
	}
}

// The parts of a load together send the requests of one, each when it is due there; no number is
// there twice, whether of a request or of a connection.
func TestPartsOfALoadAreOneLoad(t *testing.T) {
	const parts = 3
	whole := newRun(&Plan{Rate: 1000, Messages: SizedMessages(8)})
	due := map[time.Duration]uint64{}
	for i := range uint64(300) {
		due[whole.due(i)] = i + 1
	}
	for index := range parts {
		r := newRun(&Plan{Rate: 1000, Messages: SizedMessages(8), Connections: 2, Part: Part{Index: index, Of: parts, Connections: 2 * index}})
		if first, last := r.workers[0].id, r.workers[1].id; first != uint64(2*index+1) || last != first+1 {
			t.Errorf("part %d has the connections %d and %d", index, first, last)
		}
		for i := range uint64(100) {
			j, _ := r.jobAt(i)
			if due[j.due] != j.n {
				t.Errorf("part %d: request %d is due at %v, want it when %d is", index, j.n, j.due, due[j.due])
			}
			delete(due, j.due)
		}
		if n := r.dueBefore(300 * time.Millisecond); n != 100 {
			t.Errorf("part %d: %d requests are due in 300ms, want 100", index, n)
		}
	}
	if len(due) > 0 {
		t.Errorf("%d requests are nobody's", len(due))
	}
}

// The connections are made before a load begins, and nothing is sent.
func TestALoadBeginsWhenItIsTold(t *testing.T) {
	var mu sync.Mutex
	var requests []time.Time
	s := answering(func(dst []byte, req *parley.Request) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		requests = append(requests, time.Now())
		return append(dst, req.Body...), nil
	})
	defer s.closed.Wait()
	plan := Plan{Dial: s.dial, Messages: SizedMessages(8), Connections: 2, Requests: 10}
	var at time.Time
	plan.Begin = func(context.Context) (time.Time, error) {
		at = time.Now().Add(20 * time.Millisecond)
		return at, nil
	}
	r, err := plan.Run(t.Context())
	if err != nil || r.Replies != 10 || r.Began.Before(at) {
		t.Fatalf("%+v, %v", r, err)
	}
	if first := slices.MinFunc(requests, time.Time.Compare); first.Before(at) {
		t.Errorf("the first request came %v too early", at.Sub(first))
	}
	no := errors.New("no")
	plan.Begin = func(context.Context) (time.Time, error) { return time.Time{}, no }
	if _, err := plan.Run(t.Context()); !errors.Is(err, no) {
		t.Errorf("%v, want that it does not begin", err)
	}
}

func FuzzTimesFromTheWire(f *testing.F) {
	times := Times{newHistogram()}
	record(times.Histogram, time.Second)
	record(times.Histogram, longest)
	b, _ := times.MarshalBinary()
	f.Add(b)
	steps := Times{newStepHistogram()}
	record(steps.Histogram, longest)
	b, _ = steps.MarshalBinary()
	f.Add(b)
	f.Add([]byte{0})
	f.Add([]byte{3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var times, again Times
		if times.UnmarshalBinary(b) != nil {
			return
		}
		b, err := times.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		compareTimes(t, "again", again, times)
	})
}

func FuzzMessagesFromTheWire(f *testing.F) {
	for _, text := range []string{"", "a", "{n}", "{{n}}", "{{{n}}}", "{{{n}}", "{{n}{{conn}}}", "{{{{n}}}}{conn}{", "\x00"} {
		f.Add([]byte(text), []byte("other {n}"), uint16(len(text)))
	}
	f.Fuzz(func(t *testing.T, one, two []byte, size uint16) {
		var junk Messages
		junk.UnmarshalBinary(one)
		for _, m := range []*Messages{ParseMessages(one, two), ParseMessages(one), SizedMessages(int(size) + 1)} {
			b, _ := m.MarshalBinary()
			var again Messages
			if err := again.UnmarshalBinary(b); err != nil {
				t.Fatalf("%q: %v", b, err)
			}
			var x, y bytes.Buffer
			m.write(&x)
			again.write(&y)
			if x.String() != y.String() || again.numbered != m.numbered {
				t.Errorf("%q came as %q: %s, want %s", one, b, y.String(), x.String())
			}
		}
	})
}
