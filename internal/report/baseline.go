package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/load"
)

// A Setup is what two runs must have in common for one to say anything of the other.
type Setup struct {
	Plan    PlanFacts    `json:"plan"`
	Machine MachineFacts `json:"machine"`
}

// PlanFacts are all of a load that its figures depend on. Where it goes is there by its kind alone:
// another port, or another socket, is no other plan.
type PlanFacts struct {
	Target      string  `json:"target"` // loopback, unix, or the host
	Framing     string  `json:"framing"`
	Greeting    string  `json:"greeting"` // awaited on each connection, "" for none
	TLS         string  `json:"tls"`      // "" for plain
	Way         string  `json:"way"`      // what else is on the way: a proxy, a header; "" for nothing
	Agents      int     `json:"agents"`   // machines that put it on; 0 if the one that reports did
	Connections int     `json:"connections"`
	InFlight    int     `json:"in_flight"`
	Rate        float64 `json:"rate_per_s"` // 0 in a closed loop
	ConnectEach bool    `json:"connect_each"`
	Messages    string  `json:"requests_sha256"` // of what is sent, which may be a secret; of a dialogue all of it
	Expect      string  `json:"expected"`
	Timeout     float64 `json:"timeout_s"`
	Warmup      float64 `json:"warmup_s"`
	Duration    float64 `json:"duration_s"` // 0 for no end
	Requests    uint64  `json:"requests"`   // 0 for no end
}

// MachineFacts say what the load program ran on.
type MachineFacts struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	GOMAXPROCS int    `json:"gomaxprocs"`
	System     string `json:"system"` // such as linux/amd64
	Kernel     string `json:"kernel"` // "" if unknown
	Parley     string `json:"parley"` // its version
}

// NewSetup describes a plan and this machine. The caller says what the plan does not: of PlanFacts
// all down to Way, and the version of this program.
func NewSetup(facts PlanFacts, plan *load.Plan, version string) Setup {
	facts.Connections, facts.InFlight = max(1, plan.Connections), max(1, plan.InFlight)
	facts.Rate, facts.ConnectEach = plan.Rate, plan.ConnectEach
	facts.Messages, facts.Expect = plan.Digest(), plan.Expect.String()
	facts.Timeout, facts.Warmup, facts.Duration = plan.Timeout.Seconds(), plan.Warmup.Seconds(), plan.Duration.Seconds()
	facts.Requests = plan.Requests
	return Setup{facts, MachineFacts{cpuModel(), runtime.NumCPU(), runtime.GOMAXPROCS(0), runtime.GOOS + "/" + runtime.GOARCH, kernelRelease(), version}}
}

// Differences are what is another in a later setup, such as "connections: 16 then, 8 now".
func (s Setup) Differences(now Setup) []string {
	return append(differences(s.Plan, now.Plan), differences(s.Machine, now.Machine)...)
}

func differences(then, now any) (all []string) {
	a, b := reflect.ValueOf(then), reflect.ValueOf(now)
	for i := range a.NumField() {
		if was, is := a.Field(i).Interface(), b.Field(i).Interface(); was != is {
			name, unit := a.Type().Field(i).Tag.Get("json"), ""
			for _, suffix := range []struct{ of, unit string }{{"_per_s", "/s"}, {"_s", " s"}, {"_sha256", ""}} {
				if short, ok := strings.CutSuffix(name, suffix.of); ok {
					name, unit = short, suffix.unit
					break
				}
			}
			all = append(all, fmt.Sprintf("%s: %s%s then, %s%s now", strings.ReplaceAll(name, "_", " "), factOf(was), unit, factOf(is), unit))
		}
	}
	return all
}

// factOf is a fact as a line shows it: of a digest the beginning, and in quotes a text of several
// words or none.
func factOf(fact any) string {
	text := fmt.Sprint(fact)
	switch {
	case len(text) == hex.EncodedLen(sha256.Size):
		return text[:12] + "…"
	case text == "" || strings.ContainsAny(text, ",; "):
		text = `"` + text + `"`
	}
	return escaped(text)
}

// A Baseline is a run as it is saved, for later ones to be judged against.
type Baseline struct {
	Version int       `json:"parley_bench"`
	Saved   time.Time `json:"saved"`
	Setup
	Result  *reportJSON  `json:"result"` // without what was sent and what came
	Seconds []secondJSON `json:"seconds"`
}

// baselineVersion is that of the file.
const baselineVersion = 1

// secondJSON is a part of the counted time.
type secondJSON struct {
	At      float64 `json:"at_s"` // its end
	Length  float64 `json:"length_s"`
	Replies uint64  `json:"replies"` // where there are none, requests that were taken
	Bad     uint64  `json:"bad"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
}

// NewBaseline is a run that was measured now.
func NewBaseline(setup Setup, r *Report) *Baseline {
	b := &Baseline{Version: baselineVersion, Saved: time.Now().UTC().Truncate(time.Second), Setup: setup, Result: newReportJSON(r)}
	b.Result.Examples, b.Result.Against = nil, nil
	for _, s := range r.Seconds {
		b.Seconds = append(b.Seconds, secondJSON{rounded(s.At.Seconds()), rounded(s.Counted().Seconds()), s.Replies, s.Bad, microseconds(s.P50), microseconds(s.P99)})
	}
	return b
}

// Write writes it as a JSON object on a line.
func (b *Baseline) Write(w io.Writer) error { return json.NewEncoder(w).Encode(b) }

// What a file may hold: a day has 86,400 seconds, of 100 bytes each.
const maxBaseline = 64 << 20

// ReadBaseline reads what Write has written. Its errors say what else the file is.
func ReadBaseline(r io.Reader) (*Baseline, error) { return readBaseline(r, maxBaseline) }

func readBaseline(r io.Reader, most int64) (*Baseline, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(text)) > most:
		return nil, fmt.Errorf("it is longer than %d bytes, as no run is that bench --save wrote", most)
	}
	b := new(Baseline)
	var broken *json.SyntaxError
	switch err := json.Unmarshal(text, b); {
	case errors.As(err, &broken) && broken.Offset == int64(len(text)) && bytes.HasPrefix(text, []byte(`{"parley_bench":`)):
		return nil, fmt.Errorf("it is cut short: it ends after %d bytes, in the middle", len(text))
	case b.Version > baselineVersion: // whatever else it has
		return nil, fmt.Errorf("a newer parley has written it (version %d of the file; this one reads %d)", b.Version, baselineVersion)
	case errors.As(err, &broken), b.Version != baselineVersion:
		return nil, errors.New("it is no run that bench --save wrote")
	case err != nil:
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if what := b.impossible(); what != "" {
		return nil, fmt.Errorf("it is damaged: %s", what)
	}
	return b, nil
}

// impossible says what no run can have measured.
func (b *Baseline) impossible() string {
	const most = float64(math.MaxInt64 / int64(time.Microsecond)) // µs of a time.Duration
	is := func(v float64) bool { return v >= 0 && v <= most }
	if b.Result == nil || b.Result.Rate <= 0 || b.times() == nil {
		return "no reply is in its result"
	}
	if t := b.times(); !is(t.P50) || !is(t.P99) {
		return "a time of its result is out of range"
	}
	for _, s := range b.Seconds {
		if s.Length <= 0 || !is(s.P50) || !is(s.P99) {
			return "a figure of its seconds is out of range"
		}
	}
	return ""
}

// times are those that a user of the service sees.
func (b *Baseline) times() *timesJSON {
	if b.Result.Write != nil {
		return b.Result.Write
	}
	return b.Result.Response
}

// leastPart is how long a part has to be for its figures to stand beside those of others, in s:
// the last one may be shorter.
const leastPart = 0.5

// sample are the figures of the seconds. In one without a reply the percentiles
// are infinite, unless none may have been due.
func (b *Baseline) sample(key string) (values []float64) {
	for _, s := range b.Seconds {
		switch {
		case s.Length < leastPart:
		case key == "rate":
			values = append(values, float64(s.Replies)/s.Length)
		case s.Replies > 0:
			values = append(values, s.P99)
		case b.Plan.Rate >= 1:
			values = append(values, math.Inf(1))
		}
	}
	return values
}
