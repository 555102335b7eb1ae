package report

import (
	"encoding/json"
	"io"
	"math"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/load"
)

// WriteJSON writes the report as one JSON object on a line. Times are in µs; those that
// were not measured are null.
func (r *Report) WriteJSON(w io.Writer) error {
	errors := r.Errors
	if errors == nil {
		errors = map[dial.Kind]uint64{}
	}
	return json.NewEncoder(w).Encode(struct {
		Target      string               `json:"target"`
		Time        time.Time            `json:"time"` // when counting began
		Connections int                  `json:"connections"`
		InFlight    int                  `json:"in_flight"`
		RateAsked   float64              `json:"rate_asked"` // 0 in a closed loop
		Judged      bool                 `json:"judged"`
		Interrupted bool                 `json:"interrupted"`
		Requests    uint64               `json:"requests"`
		Replies     uint64               `json:"replies"`
		Mismatched  uint64               `json:"mismatched"`
		Missing     uint64               `json:"missing"`
		Late        uint64               `json:"late"`
		Extra       uint64               `json:"extra"`
		Unsent      uint64               `json:"unsent"`
		Errors      map[dial.Kind]uint64 `json:"errors"`
		Connects    uint64               `json:"connects"`
		Seconds     float64              `json:"seconds"`
		Rate        float64              `json:"rate"`
		Sent        uint64               `json:"bytes_sent"`
		Received    uint64               `json:"bytes_received"`
		CPU         float64              `json:"cpu"` // share of its cores that the generator used
		Service     *timesJSON           `json:"service"`
		Response    *timesJSON           `json:"response"`
		Lag         *timesJSON           `json:"lag"`
		Lookup      *timesJSON           `json:"lookup"`
		Connect     *timesJSON           `json:"connect"`
		FirstReply  *timesJSON           `json:"first_reply"`
	}{
		r.Target, r.Began.UTC(), max(1, r.Plan.Connections), max(1, r.Plan.InFlight), r.Plan.Rate, r.Plan.Expect.Judges(), r.Interrupted,
		r.Requests, r.Replies, r.Mismatched, r.Missing, r.Late, r.Extra, r.Unsent, errors, r.Connects,
		rounded(r.Elapsed.Seconds()), rounded(r.Rate), r.BytesSent, r.BytesReceived, rounded(r.CPU),
		newTimesJSON(r.Service), newTimesJSON(r.Response), newTimesJSON(r.Lag),
		newTimesJSON(r.Lookup), newTimesJSON(r.Connect), newTimesJSON(r.FirstReply),
	})
}

type timesJSON struct {
	Mean   float64 `json:"mean"`
	StdDev float64 `json:"stddev"`
	Min    float64 `json:"min"`
	P50    float64 `json:"p50"`
	P75    float64 `json:"p75"`
	P90    float64 `json:"p90"`
	P99    float64 `json:"p99"`
	P999   float64 `json:"p99_9"`
	P9999  float64 `json:"p99_99"`
	Max    float64 `json:"max"`
}

func newTimesJSON(t load.Times) *timesJSON {
	if t.Count() == 0 {
		return nil
	}
	us := func(d time.Duration) float64 { return rounded(float64(d) / float64(time.Microsecond)) }
	return &timesJSON{
		us(t.Mean()), us(t.StdDev()), us(t.Min()), us(t.Quantile(50)), us(t.Quantile(75)), us(t.Quantile(90)),
		us(t.Quantile(99)), us(t.Quantile(99.9)), us(t.Quantile(99.99)), us(t.Max()),
	}
}

// rounded has three decimals.
func rounded(v float64) float64 { return math.Round(v*1000) / 1000 }
