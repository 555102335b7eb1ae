package report

import (
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/parley-tcp/parley/internal/load"
)

// An HDRLog writes the response times of each counted second as a line of an
// HdrHistogram log, format 1.3, which the tools of that project read: timestamps in s
// from when counting began, the greatest time in ms, the histogram itself in ns.
type HDRLog struct {
	log   *hdrhistogram.HistogramLogWriter
	began bool
	err   error
}

// NewHDRLog returns a log to w. It writes nothing before the first counted second.
func NewHDRLog(w io.Writer) *HDRLog {
	return &HDRLog{log: hdrhistogram.NewHistogramLogWriter(w)}
}

// Add writes a second, during the call of Plan.Watch: its histogram is valid no longer.
// Those of the warm-up are left out, those in which no reply came are not.
func (l *HDRLog) Add(s load.Second) {
	if s.At <= 0 || l.err != nil {
		return
	}
	if !l.began {
		l.began = true
		l.err = l.begin(time.Now().Add(-s.At))
	}
	if l.err == nil {
		l.err = l.line(s)
	}
}

// Err is the first error of writing, after which nothing more was written.
func (l *HDRLog) Err() error { return l.err }

// begin writes what comes before the lines. The writer's own start and base times are in
// whole seconds, which would shift every line by the rest; as comments they may have
// decimals, and readers take them so.
func (l *HDRLog) begin(began time.Time) error {
	ms := began.UnixMilli()
	seconds := fmt.Sprintf("%d.%03d", ms/1000, ms%1000)
	if err := l.log.OutputLogFormatVersion(); err != nil {
		return err
	}
	if err := l.log.OutputComment(fmt.Sprintf("[StartTime: %s (seconds since epoch), %s]", seconds, began.UTC().Format(time.RFC3339))); err != nil {
		return err
	}
	if err := l.log.OutputComment(fmt.Sprintf("[BaseTime: %s (seconds since epoch)]", seconds)); err != nil {
		return err
	}
	return l.log.OutputLegend()
}

func (l *HDRLog) line(s load.Second) error {
	s.Response.SetStartTimeMs((s.At - s.Counted()).Milliseconds())
	s.Response.SetEndTimeMs(s.At.Milliseconds())
	return l.log.OutputIntervalHistogram(s.Response)
}
