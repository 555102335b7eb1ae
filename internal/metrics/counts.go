package metrics

import (
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-tcp/parley"
)

// Counts count what a server or a tap does, as its observer. What happens with every request is counted by a
// loop of its own; how many requests and bytes there were, each session knows itself.
type Counts struct {
	since         time.Time
	shared        *durations    // of sessions that no event loop has
	acceptsFailed atomic.Uint64 // errors of Accept

	mu       sync.Mutex
	loops    []*durations
	open     map[*parley.Session]struct{}
	opened   uint64
	over     parley.Progress // of sessions that are over
	stray    uint64
	told     parley.Progress // at the last scrape
	ended    [256]uint64     // by CloseReason
	refused  [256]uint64
	tls      map[string]uint64 // handshakes by version
	unshaken map[string]uint64 // connections without a session, by kind
	faults   map[string]uint64
}

// NewCounts returns counts of nothing. They are for one server or tap.
func NewCounts() *Counts {
	return &Counts{since: time.Now(), shared: newDurations(), open: make(map[*parley.Session]struct{}),
		tls: make(map[string]uint64), unshaken: make(map[string]uint64), faults: make(map[string]uint64)}
}

// Wants what is rare, and replies for their times.
func (c *Counts) Wants(kind parley.EventKind) bool {
	switch kind {
	case parley.Opened, parley.Answered, parley.Closed, parley.Refused, parley.HandshakeFailed, parley.AcceptFailed, parley.Faulted:
		return true
	}
	return false
}

// Observe counts an event of any session.
func (c *Counts) Observe(e *parley.Event) {
	if e.Kind == parley.Answered {
		c.shared.add(e.Took, e.Replied)
		return
	}
	c.count(e)
}

// Fork returns the observer for one event loop.
func (c *Counts) Fork() parley.Observer {
	l := &ofLoop{c, newDurations()}
	c.mu.Lock()
	c.loops = append(c.loops, l.durations)
	c.mu.Unlock()
	return l
}

// An ofLoop counts for one event loop.
type ofLoop struct {
	counts    *Counts
	durations *durations
}

func (l *ofLoop) Observe(e *parley.Event) {
	if e.Kind == parley.Answered {
		l.durations.add(e.Took, e.Replied)
		return
	}
	l.counts.count(e)
}

// count counts what is rare.
func (c *Counts) count(e *parley.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Kind {
	case parley.Opened:
		c.opened++
		c.open[e.Session] = struct{}{}
		if version := e.Session.TLSVersion(); version != "" {
			c.tls[version]++
		}
	case parley.Closed:
		delete(c.open, e.Session)
		c.ended[e.Reason]++
		c.over.Requests += e.Seq
		c.over.In += e.In
		c.over.Out += e.Out
		c.stray += e.Stray
	case parley.Refused:
		c.refused[e.Reason]++
		if e.Fault != "" {
			c.faults[kindOfFault(e.Fault)]++
		}
	case parley.HandshakeFailed:
		c.unshaken[kindOfHandshake(e)]++
	case parley.AcceptFailed:
		c.acceptsFailed.Add(1)
	case parley.Faulted:
		c.faults[kindOfFault(e.Fault)]++
	}
}

// kindOfFault is such as "reply.delay".
func kindOfFault(fault string) string {
	kind, _, _ := strings.Cut(fault, "=")
	return kind
}

// kindOfHandshake says why there was no session: the reason, or of one that failed what is known of the
// error. There are few, whatever peers send.
func kindOfHandshake(e *parley.Event) string {
	var header tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case e.Reason != parley.Handshake:
		return e.Reason.String()
	case errors.As(e.Err, &header):
		return "not_tls"
	case errors.As(e.Err, &certificate):
		return "client_certificate"
	case errors.As(e.Err, &op) && op.Op == "remote error":
		return "client_refused"
	case errors.As(e.Err, &op) && op.Op == "local error":
		return "protocol"
	}
	return "other"
}

// The metrics.
var (
	sessionsDesc  = describe("sessions_total", "Sessions that were begun.")
	openDesc      = describe("sessions_open", "Sessions that there are now.")
	endedDesc     = describe("sessions_ended_total", "Sessions that have ended, by reason.", "reason")
	refusedDesc   = describe("sessions_refused_total", "Connections that were refused, by reason.", "reason")
	probesDesc    = describe("probes_total", "Connections that ended without having sent a byte.")
	requestsDesc  = describe("requests_total", "Requests that were received.")
	repliesDesc   = describe("replies_total", "Replies that were written.")
	waitingDesc   = describe("requests_waiting", "Requests whose reply is not written yet.")
	bytesDesc     = describe("bytes_total", "Bytes that were read from peers (in) and written to them (out).", "direction")
	strayDesc     = describe("stray_bytes_total", "Bytes read in sessions that are over that belonged to no message.")
	durationDesc  = describe("request_duration_seconds", "From the arrival of a request to its reply being written.")
	acceptDesc    = describe("accept_errors_total", "Errors of accepting connections.")
	tlsDesc       = describe("tls_handshakes_total", "TLS handshakes after which a session began, by version.", "version")
	handshakeDesc = describe("handshake_failures_total", "Connections that ended before there was a session, in TLS or a PROXY header, by kind.", "kind")
	faultsDesc    = describe("faults_total", "What went wrong on purpose (--fault), by kind.", "kind")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("parley_"+name, help, labels, nil)
}

// Describe tells of all metrics.
func (c *Counts) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sessionsDesc, openDesc, endedDesc, refusedDesc, probesDesc, requestsDesc, repliesDesc, waitingDesc,
		bytesDesc, strayDesc, durationDesc, acceptDesc, tlsDesc, handshakeDesc, faultsDesc} {
		descs <- d
	}
}

// The reasons that are told with 0 too, so that a rate is there from the first one on.
var (
	endings = []parley.CloseReason{
		parley.EndOfFile, parley.Blank, parley.NoRequest, parley.Truncated, parley.Reset, parley.IdleTimeout, parley.FirstByteTimeout,
		parley.RequestTimeout, parley.WriteTimeout, parley.TooLong, parley.Malformed, parley.Memory, parley.HandlerError, parley.HangUp,
		parley.Draining, parley.DrainCut, parley.ServerClosed, parley.IOError, parley.Unreachable, parley.UpstreamReset, parley.Mismatch, parley.Fault,
	}
	refusals   = []parley.CloseReason{parley.Full, parley.PerIP, parley.Denied, parley.Fault}
	handshakes = []string{"no_request", "handshake_timeout", "full", "per_ip", "not_tls", "client_certificate", "client_refused", "protocol", "other"}
	versions   = []string{"TLS 1.2", "TLS 1.3"}
)

// Collect tells what was counted.
func (c *Counts) Collect(metrics chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n uint64) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	byKind := func(d *prometheus.Desc, counts map[string]uint64, known []string) {
		for _, kind := range known {
			counter(d, counts[kind], kind)
		}
		for _, kind := range slices.Sorted(maps.Keys(counts)) {
			if !slices.Contains(known, kind) {
				counter(d, counts[kind], kind)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all, waiting := c.progress()
	took := &durationsMetric{durationDesc, c.since, append(slices.Clone(c.loops), c.shared)}
	counter(sessionsDesc, c.opened)
	gauge(openDesc, uint64(len(c.open)))
	for _, r := range endings {
		counter(endedDesc, c.ended[r], r.String())
	}
	for _, r := range refusals {
		counter(refusedDesc, c.refused[r], r.String())
	}
	counter(probesDesc, c.ended[parley.NoRequest]+c.ended[parley.FirstByteTimeout]+c.unshaken[parley.NoRequest.String()])
	counter(requestsDesc, all.Requests)
	counter(repliesDesc, took.count())
	gauge(waitingDesc, waiting)
	counter(bytesDesc, all.In, "in")
	counter(bytesDesc, all.Out, "out")
	counter(strayDesc, c.stray)
	metrics <- took
	counter(acceptDesc, c.acceptsFailed.Load())
	byKind(tlsDesc, c.tls, versions)
	byKind(handshakeDesc, c.unshaken, handshakes)
	byKind(faultsDesc, c.faults, nil)
}

// progress is how far all sessions have come together, and how many requests wait for their reply. None of it
// goes back, though a session that is over may be known to have had less than it was told of: its peer may not
// have taken all that was written to it.
func (c *Counts) progress() (all parley.Progress, waiting uint64) {
	all = c.over
	for s := range c.open {
		p := s.Progress()
		all.Requests += p.Requests
		all.In += p.In
		all.Out += p.Out
		waiting += p.Waiting
	}
	c.told.Requests, c.told.In, c.told.Out = max(all.Requests, c.told.Requests), max(all.In, c.told.In), max(all.Out, c.told.Out)
	return c.told, waiting
}
