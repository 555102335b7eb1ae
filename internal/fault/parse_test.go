package fault

import (
	"strings"
	"testing"
	"time"
)

func TestPlanIsWhatWasTyped(t *testing.T) {
	for list, want := range map[string]Plan{
		"delay=50ms~10ms,seed=42":                             {Replies: Side{Delay: 50 * time.Millisecond, Jitter: 10 * time.Millisecond}, Seed: 42},
		"request.drop=3,seed=1":                               {Requests: Side{Drop: Often{Each: 3}}, Seed: 1},
		"reply.drop=10%,seed=0":                               {Replies: Side{Drop: Often{Percent: 10}}},
		"cut=0.5%, garbage=2,seed=1":                          {Replies: Side{Cut: Often{Percent: .5}, Garbage: Often{Each: 2}}, Seed: 1},
		"split=65536,rate=1GiB/s,seed=1":                      {Replies: Side{Split: MaxSplit, Rate: MaxRate}, Seed: 1},
		"request.close-after=5,reset-after=1000000000,seed=1": {Requests: Side{CloseAfter: 5}, Replies: Side{ResetAfter: MaxCount}, Seed: 1},
		"refuse=100%,stall=5s/30s,seed=18446744073709551615":  {Refuse: Often{Percent: 100}, Stall: 5 * time.Second, StallEvery: 30 * time.Second, Seed: 1<<64 - 1},
		"delay=1h~1h,stall=1h/24h,rate=1536B/s,seed=1":        {Replies: Side{Delay: time.Hour, Jitter: time.Hour, Rate: 1536}, Stall: time.Hour, StallEvery: 24 * time.Hour, Seed: 1},
	} {
		got, err := Parse(list)
		if err != nil || *got != want {
			t.Errorf("%s: %+v, %v; want %+v", list, got, err, want)
			continue
		}
		if again, err := Parse(got.String()); err != nil || *again != want {
			t.Errorf("%s: printed as %v, read as %+v, %v", list, got, again, err)
		}
	}
}

func TestBadItemIsNamedInALine(t *testing.T) {
	for list, want := range map[string]string{
		"":                            "an item is missing; use faults such as delay=50ms or drop=10%, with commas between them",
		"drop=3,":                     "an item is missing",
		"noise=3":                     `no fault is named "noise"; there are delay, drop, cut, garbage, split, rate, close-after, reset-after, refuse, stall and seed`,
		"dealy=3":                     `no fault is named "dealy"; did you mean delay?`,
		"request.drp=3":               `no fault is named "request.drp"; did you mean drop?`,
		"=3":                          `no fault is named ""`,
		"request.stall=1s/2s":         `stall is no side's; leave "request." out`,
		"both.drop=3":                 `drop is of request. or of reply., not of "both."`,
		"drop=3,reply.drop=10%":       "reply.drop is given twice",
		"close-after=1,reset-after=2": "reply.close-after and reply.reset-after both end the connection; use one of them",
		"seed=42":                     "seed says nothing alone; a fault goes with it, such as drop=10%,seed=42",
		"drop":                        `drop takes a number N for each Nth message, or a percentage of up to 100%: drop=3 or drop=10%`,
		"drop=0":                      `drop takes`,
		"drop=1000000001":             `drop takes`,
		"drop=0%":                     `drop takes`,
		"drop=100.1%":                 `drop takes`,
		"drop=NaN%":                   `drop takes`,
		"drop=-1":                     `drop takes`,
		"delay=50":                    `delay takes a time of up to 1h, and how much less or more behind ~, at most as much: delay=50ms or delay=50ms~10ms`,
		"delay=1h1ns":                 `delay takes`,
		"delay=10ms~11ms":             `delay takes`,
		"delay=10ms~":                 `delay takes`,
		"split=65537":                 `split takes`,
		"rate=0B/s":                   `rate takes`,
		"rate=1KiB":                   `rate takes`,
		"rate=1048577KiB/s":           `rate takes`,
		"stall=5s":                    `stall takes`,
		"stall=5s/5s":                 `stall takes`,
		"stall=1s/24h1s":              `stall takes`,
		"seed=18446744073709551616":   `seed takes`,
		"\x1b[31m=1":                  `no fault is named "\x1b[31m"`,
	} {
		plan, err := Parse(list)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, %v\nwant an error that begins %s", list, plan, err, want)
		}
	}
}

func TestWithoutSeedOneIsDrawn(t *testing.T) {
	a, _ := Parse("drop=10%")
	b, _ := Parse("drop=10%")
	if a.Seed == b.Seed {
		t.Errorf("twice the seed %d", a.Seed)
	}
}

// A percentage is that many, and a number each so-manieth; sessions, directions and kinds of fault
// have nothing to do with each other.
func TestChanceIsAsOftenAsItSays(t *testing.T) {
	plan, err := Parse("drop=10%,request.drop=3,seed=42")
	if err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	dropped, alike := 0, 0
	for i := range uint64(n) {
		a, b := plan.fate(1, replies, i+1), plan.fate(2, replies, i+1)
		if a.drop {
			dropped++
		}
		if a.drop && b.drop {
			alike++
		}
		if c := plan.fate(1, requests, i+1); c.drop != ((i+1)%3 == 0) {
			t.Fatalf("request %d: dropped is %v", i+1, c.drop)
		}
	}
	if dropped < n*9/100 || dropped > n*11/100 || alike < n*6/1000 || alike > n*14/1000 {
		t.Errorf("%d of %d dropped, %d in both sessions; want about %d and %d", dropped, n, alike, n/10, n/100)
	}
}

func FuzzParse(f *testing.F) {
	for _, list := range []string{
		"delay=50ms~10ms,drop=3", "drop=10%,close-after=5", "request.reset-after=5,cut=10%", "garbage=1%,split=1,rate=1KiB/s",
		"refuse=10%,stall=5s/30s,seed=7", "reply.delay=1h", "drop=0.0000001%", "=", ",", "request.=1",
	} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		plan, err := Parse(list)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x1b") {
				t.Fatalf("%q: %q is no line", list, err)
			}
			return
		}
		again, err := Parse(plan.String())
		if err != nil || *again != *plan || again.String() != plan.String() {
			t.Fatalf("%q is %v, and that %v, %v", list, plan, again, err)
		}
	})
}
