package metrics

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// valuesOf are what is told now, by name and labels.
func valuesOf(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := strings.TrimPrefix(f.GetName(), "parley_")
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func checkValues(t *testing.T, c prometheus.Collector, want map[string]float64) {
	t.Helper()
	got := valuesOf(t, c)
	for name, n := range want {
		if v, there := got[name]; v != n || !there {
			t.Errorf("%s is %v, want %v", name, v, n)
		}
	}
}

// What two sessions say is counted while they are open and once they are over, by either engine; sessions
// that say nothing are probes.
func TestSessionsAreCounted(t *testing.T) {
	for _, engine := range []parley.Engine{parley.Goroutines, parley.LoopsIfPossible} {
		t.Run(engine.String(), func(t *testing.T) {
			counts := NewCounts()
			closed := make(chan struct{}, 8)
			addr := parleytest.Start(t, &parley.Server{
				Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil }),
				Engine:  engine,
				Observer: parley.Observers(counts, parley.ObserverFunc(func(e *parley.Event) {
					if e.Kind == parley.Closed {
						closed <- struct{}{}
					}
				})),
			})
			var conns []*net.TCPConn
			for range 2 {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(30 * time.Second))
				io.WriteString(conn, "one\ntwo\nthree\n")
				for in, n := bufio.NewReader(conn), 0; n < 3; n++ {
					if _, err := in.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
				conns = append(conns, conn.(*net.TCPConn))
			}
			// A session says how far it has come when it waits again, just behind its last reply.
			for deadline := time.Now().Add(30 * time.Second); valuesOf(t, counts)["requests_total"] < 6 || valuesOf(t, counts)["requests_waiting"] > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("it is told %v", valuesOf(t, counts))
				}
			}
			checkValues(t, counts, map[string]float64{
				"sessions_total": 2, "sessions_open": 2, "requests_total": 6, "replies_total": 6, "requests_waiting": 0,
				"bytes_total in": 28, "bytes_total out": 28, "request_duration_seconds": 6, "sessions_ended_total eof": 0,
			})
			for _, conn := range conns {
				conn.CloseWrite()
				<-closed
			}
			probe, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			probe.Close()
			<-closed
			checkValues(t, counts, map[string]float64{
				"sessions_total": 3, "sessions_open": 0, "requests_total": 6, "replies_total": 6, "requests_waiting": 0,
				"bytes_total in": 28, "bytes_total out": 28, "sessions_ended_total eof": 2, "sessions_ended_total no_request": 1, "probes_total": 1,
			})
		})
	}
}

// A request whose handler is at work is told of as waiting, under the engine whose handlers may block.
func TestRequestsThatWaitAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := NewCounts()
		goOn := make(chan struct{})
		conn := parleytest.Pipe(t, &parley.Server{Observer: counts, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			<-goOn
			return append(dst, req.Body...), nil
		})})
		io.WriteString(conn, "slow\n")
		synctest.Wait()
		checkValues(t, counts, map[string]float64{"requests_total": 1, "replies_total": 0, "requests_waiting": 1})
		close(goOn)
		synctest.Wait()
		checkValues(t, counts, map[string]float64{"requests_total": 1, "replies_total": 1, "requests_waiting": 0})
		conn.Close()
	})
}

// Nothing that only goes up goes down, also when a session had sent less than was thought.
func TestCountersDoNotGoBack(t *testing.T) {
	counts := NewCounts()
	s := parley.NewSession(1, nil, nil, time.Now())
	counts.Observe(&parley.Event{Kind: parley.Opened, Session: s})
	s.Advance(parley.Progress{Requests: 5, In: 50, Out: 500})
	checkValues(t, counts, map[string]float64{"requests_total": 5, "bytes_total in": 50, "bytes_total out": 500})
	counts.Observe(&parley.Event{Kind: parley.Closed, Session: s, Seq: 5, In: 50, Out: 400, Reason: parley.Reset})
	checkValues(t, counts, map[string]float64{"requests_total": 5, "bytes_total in": 50, "bytes_total out": 500})
}

// What is refused, what goes wrong before there is a session and what does on purpose is told by kind.
func TestRefusalsAndFailuresAreCountedByKind(t *testing.T) {
	counts := NewCounts()
	refused := parley.NewSession(0, nil, nil, time.Now())
	for _, e := range []parley.Event{
		{Kind: parley.Refused, Reason: parley.Full},
		{Kind: parley.Refused, Reason: parley.Fault, Fault: "refuse=10%"},
		{Kind: parley.Faulted, Fault: "reply.delay=50ms"},
		{Kind: parley.Faulted, Fault: "reply.delay=70ms"},
		{Kind: parley.AcceptFailed, Err: io.ErrUnexpectedEOF},
		{Kind: parley.HandshakeFailed, Reason: parley.NoRequest},
		{Kind: parley.HandshakeFailed, Reason: parley.HandshakeTimeout},
		{Kind: parley.HandshakeFailed, Reason: parley.Handshake, Err: fmt.Errorf("in words: %w", tls.RecordHeaderError{Msg: "no TLS"})},
		{Kind: parley.HandshakeFailed, Reason: parley.Handshake, Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}},
		{Kind: parley.HandshakeFailed, Reason: parley.Handshake, Err: &net.OpError{Op: "remote error", Err: tls.AlertError(48)}},
		{Kind: parley.HandshakeFailed, Reason: parley.Handshake, Err: &net.OpError{Op: "local error", Err: tls.AlertError(70)}},
		{Kind: parley.HandshakeFailed, Reason: parley.Handshake, Err: errors.New("a peer's own words")},
	} {
		e.Session = refused
		counts.Observe(&e)
	}
	checkValues(t, counts, map[string]float64{
		"sessions_refused_total full": 1, "sessions_refused_total fault": 1, "faults_total refuse": 1, "faults_total reply.delay": 2, "accept_errors_total": 1, "probes_total": 1,
		"handshake_failures_total no_request": 1, "handshake_failures_total handshake_timeout": 1, "handshake_failures_total not_tls": 1,
		"handshake_failures_total client_certificate": 1, "handshake_failures_total client_refused": 1, "handshake_failures_total protocol": 1, "handshake_failures_total other": 1,
	})
}

// Every reason has its name and is told from the start, so that none is missing once it comes.
func TestEveryReasonIsTold(t *testing.T) {
	told := map[string]bool{}
	for _, r := range append(endings, refusals...) {
		told[r.String()] = true
	}
	for _, kind := range handshakes {
		told[kind] = true
	}
	for r := parley.EndOfFile; r.String() != "unknown"; r++ {
		if !told[r.String()] && r != parley.Handshake { // which is told by what is known of its error
			t.Errorf("%v is told nowhere", r)
		}
	}
}

func TestNamesAndHelpAreAsPrometheusWantsThem(t *testing.T) {
	counts := NewCounts()
	counts.Observe(&parley.Event{Kind: parley.Faulted, Fault: "reply.delay=50ms"})
	r, err := registry(&Options{Counts: counts, Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(r)
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
}
