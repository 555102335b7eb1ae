package fault

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/suggest"
)

// The most that a value may be.
const (
	MaxTime  = time.Hour // of a delay or a stall; a stall's interval may be 24 of them
	MaxCount = 1_000_000_000
	MaxSplit = 64 << 10 // bytes
	MaxRate  = 1 << 30  // bytes a second
)

// A setting is what Parse takes before the = of an item.
type setting struct {
	name  string
	both  bool   // of the session, and no direction's
	usage string // what may stand behind it
	set   func(p *Plan, s *Side, value string) bool
}

// settings are all of them, in the order in which they are told of.
var settings = []setting{
	{"delay", false, "a time of up to 1h, and how much less or more behind ~, at most as much: delay=50ms or delay=50ms~10ms", func(_ *Plan, s *Side, v string) bool {
		of, jitter, jitters := strings.Cut(v, "~")
		var ok bool
		s.Delay, ok = parseTime(of, MaxTime)
		if ok && jitters {
			s.Jitter, ok = parseTime(jitter, s.Delay)
		}
		return ok
	}},
	{"drop", false, oftenUsage("drop", "message"), func(_ *Plan, s *Side, v string) bool { return s.Drop.parse(v) }},
	{"cut", false, oftenUsage("cut", "message"), func(_ *Plan, s *Side, v string) bool { return s.Cut.parse(v) }},
	{"garbage", false, oftenUsage("garbage", "message"), func(_ *Plan, s *Side, v string) bool { return s.Garbage.parse(v) }},
	{"split", false, "how many bytes go out at a time, 1 to 65536: split=1", func(_ *Plan, s *Side, v string) bool {
		n, ok := parseCount(v, MaxSplit)
		s.Split = int(n)
		return ok
	}},
	{"rate", false, "bytes a second, in B, KiB, MiB or GiB, up to 1GiB/s: rate=1KiB/s", func(_ *Plan, s *Side, v string) (ok bool) {
		s.Rate, ok = parseRate(v)
		return ok
	}},
	{"close-after", false, "a number of messages: close-after=5", func(_ *Plan, s *Side, v string) (ok bool) {
		s.CloseAfter, ok = parseCount(v, MaxCount)
		return ok
	}},
	{"reset-after", false, "a number of messages: reset-after=5", func(_ *Plan, s *Side, v string) (ok bool) {
		s.ResetAfter, ok = parseCount(v, MaxCount)
		return ok
	}},
	{"refuse", true, oftenUsage("refuse", "connection"), func(p *Plan, _ *Side, v string) bool { return p.Refuse.parse(v) }},
	{"stall", true, "for how long, up to 1h, and behind / how often, which is longer and 24h at most: stall=5s/30s", func(p *Plan, _ *Side, v string) bool {
		of, every, _ := strings.Cut(v, "/")
		var ok, alsoOK bool
		p.Stall, ok = parseTime(of, MaxTime)
		p.StallEvery, alsoOK = parseTime(every, 24*MaxTime)
		return ok && alsoOK && p.Stall < p.StallEvery
	}},
	{"seed", true, "a whole number below 2^64: seed=42", func(p *Plan, _ *Side, v string) bool {
		n, err := strconv.ParseUint(v, 10, 64)
		p.Seed = n
		return err == nil
	}},
}

func oftenUsage(name, of string) string {
	return fmt.Sprintf("a number N for each Nth %s, or a percentage of up to 100%%: %[2]s=3 or %[2]s=10%%", of, name)
}

// Names are those of the faults, and seed, each with what may stand behind its =.
func Names() (names, usages []string) {
	for _, s := range settings {
		names, usages = append(names, s.name), append(usages, s.usage)
	}
	return names, usages
}

// Parse reads a list of items such as delay=50ms~10ms,request.drop=10%,seed=42: those of
// messages are of replies, unless request. stands before one. Without a seed one is drawn. The
// error is one line, and names the item.
func Parse(list string) (*Plan, error) {
	p := new(Plan)
	given := map[string]bool{}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			return nil, errors.New("an item is missing; use faults such as delay=50ms or drop=10%, with commas between them")
		}
		name, err := p.parseItem(item)
		if err != nil {
			return nil, err
		}
		if given[name] {
			return nil, fmt.Errorf("%s is given twice", name)
		}
		given[name] = true
	}
	for _, d := range []direction{requests, replies} {
		if s := p.side(d); s.CloseAfter > 0 && s.ResetAfter > 0 {
			return nil, fmt.Errorf("%v.close-after and %[1]v.reset-after both end the connection; use one of them", d)
		}
	}
	switch {
	case given["seed"] && len(given) == 1:
		return nil, errors.New("seed says nothing alone; a fault goes with it, such as drop=10%,seed=42")
	case !given["seed"]:
		p.Seed = rand.Uint64N(1_000_000_000_000) // short enough to be typed
	}
	return p, nil
}

// parseItem sets what one item says, and returns its name with its direction.
func (p *Plan) parseItem(item string) (name string, err error) {
	left, value, _ := strings.Cut(item, "=")
	d, base := replies, left
	before, behind, dotted := strings.Cut(left, ".")
	if dotted {
		base = behind
	}
	i := slices.IndexFunc(settings, func(s setting) bool { return s.name == base })
	switch {
	case i < 0:
		names, _ := Names()
		if meant := suggest.DidYouMean(base, "", names); meant != "" {
			return "", fmt.Errorf("no fault is named %q%s", left, meant)
		}
		return "", fmt.Errorf("no fault is named %q; there are %s", left, allNames())
	case dotted && settings[i].both:
		return "", fmt.Errorf("%s is no side's; leave %q out", base, before+".")
	case before == "request" && dotted:
		d = requests
	case before != "reply" && dotted:
		return "", fmt.Errorf("%s is of request. or of reply., not of %q", base, before+".")
	}
	s := &settings[i]
	if !s.set(p, p.side(d), value) {
		return "", fmt.Errorf("%s takes %s", left, s.usage)
	}
	if s.both {
		return base, nil
	}
	return d.String() + "." + base, nil
}

func allNames() string {
	names, _ := Names()
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

func (o *Often) parse(text string) bool {
	percent, isPercent := strings.CutSuffix(text, "%")
	if !isPercent {
		n, ok := parseCount(text, MaxCount)
		o.Each = n
		return ok
	}
	if strings.Trim(percent, "0123456789.") != "" {
		return false
	}
	f, err := strconv.ParseFloat(percent, 64)
	o.Percent = f
	return err == nil && f > 0 && f <= 100
}

func parseCount(text string, most uint64) (n uint64, ok bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && n >= 1 && n <= most
}

func parseTime(text string, most time.Duration) (d time.Duration, ok bool) {
	d, err := time.ParseDuration(text)
	return d, err == nil && d > 0 && d <= most
}

func parseRate(text string) (rate int, ok bool) {
	amount, ok := strings.CutSuffix(text, "/s")
	if !ok {
		return 0, false
	}
	for _, u := range units {
		number, isThis := strings.CutSuffix(amount, u.name)
		if !isThis {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n < 1 || n > math.MaxInt32 || int(n) > MaxRate/u.bytes {
			return 0, false
		}
		return int(n) * u.bytes, true
	}
	return 0, false
}
