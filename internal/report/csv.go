package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"time"

	"github.com/parley-tcp/parley/internal/load"
)

// A SecondsCSV writes a row of comma-separated values for each counted second. Where there are no
// replies, those of secondsColumns are requests that were taken; of a dialogue they are plays of it.
type SecondsCSV struct {
	rows *csv.Writer
	err  error
}

// secondsColumns are the names of the columns, with their units.
var secondsColumns = []string{"time", "at_s", "length_s", "replies", "rate_per_s", "bad", "p50_us", "p95_us", "p99_us", "in_flight"}

// NewSecondsCSV writes to w, the names of the columns first.
func NewSecondsCSV(w io.Writer) *SecondsCSV {
	c := &SecondsCSV{rows: csv.NewWriter(w)}
	c.write(secondsColumns)
	return c
}

// Add writes a second that has just ended. Those of the warm-up are left out; one without a reply has
// no times.
func (c *SecondsCSV) Add(s load.Second) {
	if s.At <= 0 {
		return
	}
	length := s.Counted()
	row := []string{
		time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), decimal(s.At.Seconds()), decimal(length.Seconds()),
		strconv.FormatUint(s.Replies, 10), decimal(float64(s.Replies) / length.Seconds()), strconv.FormatUint(s.Bad, 10),
	}
	for _, took := range []time.Duration{s.P50, s.P95, s.P99} {
		cell := ""
		if s.Replies > 0 {
			cell = decimal(microseconds(took))
		}
		row = append(row, cell)
	}
	c.write(append(row, strconv.Itoa(s.Open)))
}

// Err is the first error of writing, after which nothing more was written.
func (c *SecondsCSV) Err() error { return c.err }

// write has the row in the file at once: a run may take hours, and somebody may look.
func (c *SecondsCSV) write(row []string) {
	if c.err != nil {
		return
	}
	c.rows.Write(row) // its error is kept
	c.rows.Flush()
	c.err = c.rows.Error()
}

// decimal is a number with three decimals at most.
func decimal(v float64) string { return strconv.FormatFloat(rounded(v), 'f', -1, 64) }
