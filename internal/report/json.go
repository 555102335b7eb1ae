package report

import (
	"encoding/json"
	"io"
	"math"
	"time"
	"unicode/utf8"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/load"
)

// WriteJSON writes the report as one JSON object on a line. Those times that were not measured
// are null.
func (r *Report) WriteJSON(w io.Writer) error {
	return json.NewEncoder(w).Encode(newReportJSON(r))
}

// A reportJSON is a report as --json prints it.
type reportJSON struct {
	Target      string                       `json:"target"`
	Time        time.Time                    `json:"time"` // when counting began
	Connections int                          `json:"connections"`
	InFlight    int                          `json:"in_flight"`
	RateAsked   float64                      `json:"rate_asked_per_s"` // 0 in a closed loop
	Judged      bool                         `json:"judged"`
	Interrupted bool                         `json:"interrupted"`
	Requests    uint64                       `json:"requests"`
	Replies     uint64                       `json:"replies"`
	Taken       uint64                       `json:"taken,omitempty"` // where there are no replies
	Mismatched  uint64                       `json:"mismatched"`
	Missing     uint64                       `json:"missing"`
	Late        uint64                       `json:"late"`
	Extra       uint64                       `json:"extra"`
	Unsent      uint64                       `json:"unsent"`
	Errors      map[dial.Kind]uint64         `json:"errors"`
	NoTLS       string                       `json:"tls_error,omitempty"` // of the first that failed so
	Examples    map[load.Outcome]exampleJSON `json:"examples,omitzero"`   // the first of each kind
	Connects    uint64                       `json:"connects"`
	Resumed     *uint64                      `json:"resumed,omitempty"` // over TLS
	Seconds     float64                      `json:"elapsed_s"`
	Rate        float64                      `json:"rate_per_s"`
	Sent        uint64                       `json:"bytes_sent"`
	Received    uint64                       `json:"bytes_received"`
	CPU         float64                      `json:"cpu_share"` // share of its cores that the generator used
	Service     *timesJSON                   `json:"service"`
	Response    *timesJSON                   `json:"response"`
	Lag         *timesJSON                   `json:"lag"`
	Lookup      *timesJSON                   `json:"lookup"`
	Connect     *timesJSON                   `json:"connect"`
	Handshake   *timesJSON                   `json:"handshake,omitempty"` // over TLS
	Greeting    *timesJSON                   `json:"greeting,omitempty"`  // of servers that speak first
	FirstReply  *timesJSON                   `json:"first_reply"`
	Write       *timesJSON                   `json:"write,omitempty"`   // where there are no replies
	Script      string                       `json:"script,omitempty"`  // the file of a dialogue
	Steps       []stepJSON                   `json:"steps,omitempty"`   // its steps
	Against     *againstJSON                 `json:"against,omitempty"` // if it was judged against a run from before
	Together    *togetherJSON                `json:"agents,omitempty"`  // if several machines put the load on
}

func newReportJSON(r *Report) *reportJSON {
	j := &reportJSON{
		r.Target, r.Began.UTC(), max(1, r.Plan.Connections), max(1, r.Plan.InFlight), r.Plan.Rate, r.Plan.Expect.Judges(), r.Interrupted,
		r.Requests, r.Replies, r.Taken, r.Mismatched, r.Missing, r.Late, r.Extra, r.Unsent, r.Errors, r.NoTLS, newExamplesJSON(r.Result), r.Connects, nil,
		rounded(r.Elapsed.Seconds()), rounded(r.Rate), r.BytesSent, r.BytesReceived, rounded(r.CPU),
		newTimesJSON(r.Service), newTimesJSON(r.Response), newTimesJSON(r.Lag),
		newTimesJSON(r.Lookup), newTimesJSON(r.Connect), newTimesJSON(r.Handshake), newTimesJSON(r.Greeting), newTimesJSON(r.FirstReply), newTimesJSON(r.Write),
		"", r.stepsJSON(), newAgainstJSON(r.Against), newTogetherJSON(r.Together),
	}
	if j.Errors == nil {
		j.Errors = map[dial.Kind]uint64{}
	}
	if r.Plan.Script != nil {
		j.Script, j.Judged = r.Plan.Script.Dialogue.File, true
	}
	if r.Handshake.Count() > 0 {
		j.Resumed = &r.Resumed
	}
	return j
}

type timesJSON struct {
	Mean   float64 `json:"mean_us"`
	StdDev float64 `json:"stddev_us"`
	Min    float64 `json:"min_us"`
	P50    float64 `json:"p50_us"`
	P75    float64 `json:"p75_us"`
	P90    float64 `json:"p90_us"`
	P95    float64 `json:"p95_us"`
	P99    float64 `json:"p99_us"`
	P999   float64 `json:"p99_9_us"`
	P9999  float64 `json:"p99_99_us"`
	Max    float64 `json:"max_us"`
}

func newTimesJSON(t load.Times) *timesJSON {
	if t.Count() == 0 {
		return nil
	}
	us := microseconds
	return &timesJSON{
		us(t.Mean()), us(t.StdDev()), us(t.Min()), us(t.Quantile(50)), us(t.Quantile(75)), us(t.Quantile(90)),
		us(t.Quantile(95)), us(t.Quantile(99)), us(t.Quantile(99.9)), us(t.Quantile(99.99)), us(t.Max()),
	}
}

// rounded has three decimals.
func rounded(v float64) float64 { return math.Round(v*1000) / 1000 }

// exampleJSON has each message as its bytes, exactly: as a string if all of it is printable.
type exampleJSON struct {
	RequestBytes  *int    `json:"request_bytes,omitempty"` // of all of it
	Request       *string `json:"request,omitempty"`       // its first 4 KiB
	RequestBase64 []byte  `json:"request_base64,omitempty"`
	ReplyBytes    int     `json:"reply_bytes"`
	Reply         *string `json:"reply,omitempty"`
	ReplyBase64   []byte  `json:"reply_base64,omitempty"`
	TookUS        float64 `json:"took_us"`
	Kind          string  `json:"kind,omitempty"`  // of failure, for a reply that is missing
	Lacks         string  `json:"lacks,omitempty"` // what a reply lacks of which only this came
	Step          int     `json:"step,omitempty"`  // of a dialogue, from 1: the one that failed
	Line          int     `json:"line,omitempty"`  // of its file
	Want          string  `json:"want,omitempty"`  // what the step wants
	Why           string  `json:"why,omitempty"`   // what failed, in words
}

func newExamplesJSON(res *load.Result) map[load.Outcome]exampleJSON {
	all := make(map[load.Outcome]exampleJSON)
	for outcome, e := range res.Examples {
		j := exampleJSON{ReplyBytes: e.Reply.Size, TookUS: microseconds(e.Took), Kind: string(e.Cause), Lacks: e.Lacks}
		j.Reply, j.ReplyBase64 = textOrBytes(e.Reply.Bytes)
		if f := e.Failed; f != nil {
			j.Step, j.Line, j.Want, j.Why = f.Index+1, f.Line, f.Want, f.Why
		} else if outcome != load.Extra {
			j.RequestBytes = &e.Request.Size
			j.Request, j.RequestBase64 = textOrBytes(e.Request.Bytes)
		}
		all[outcome] = j
	}
	return all
}

// textOrBytes is a message as text if it is printable.
func textOrBytes(message []byte) (*string, []byte) {
	text := string(message)
	if !utf8.ValidString(text) || escaped(text) != text {
		return nil, message
	}
	return &text, nil
}

func microseconds(d time.Duration) float64 { return rounded(float64(d) / float64(time.Microsecond)) }
