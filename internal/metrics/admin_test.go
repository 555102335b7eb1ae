package metrics

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/guard"
)

func newAdmin(t *testing.T, opt Options) *Admin {
	t.Helper()
	a, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ask asks for a path; headers are names and values.
func ask(a *Admin, method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:9115"+path, nil)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w
}

var paths = []string{"/", "/metrics", "/healthz", "/readyz", "/debug/pprof/", "/nowhere"}

// Health and readiness are the two answers that load balancers and supervisors ask for.
func TestHealthAndReadiness(t *testing.T) {
	ready := errors.New("stopping")
	a := newAdmin(t, Options{Ready: func() error { return ready }})
	check := func(method, path string, code int, body string) {
		t.Helper()
		if w := ask(a, method, path); w.Code != code || w.Body.String() != body {
			t.Errorf("%s %s = %d %q, want %d %q", method, path, w.Code, w.Body, code, body)
		}
	}
	check("GET", "/readyz", 503, "stopping\n")
	check("OPTIONS", "/readyz", 503, "stopping\n")
	check("GET", "/healthz", 200, "ok\n")
	ready = nil
	check("GET", "/readyz", 200, "ok\n")
	check("GET", "/", 200, "/metrics\n/healthz\n/readyz\n")
	a = newAdmin(t, Options{})
	check("GET", "/readyz", 200, "ok\n")
	check("GET", "/healthz", 200, "ok\n")
}

// What there is tells nothing to a name of somebody else's that resolves to this host, to another site's
// page, or to who wants to change something.
func TestOthersAreTurnedAway(t *testing.T) {
	a := newAdmin(t, Options{Pprof: true, Guard: guard.Guard{Hosts: []string{"box.lan"}}})
	for _, path := range paths {
		for want, headers := range map[int][]string{
			http.StatusMisdirectedRequest: {"Host", "evil.example:9115"},
			http.StatusForbidden:          {"Origin", "http://evil.example"},
		} {
			if w := ask(a, "GET", path, headers...); w.Code != want || strings.Contains(w.Body.String(), "parley_") {
				t.Errorf("GET %s with %q = %d, want %d", path, headers, w.Code, want)
			}
		}
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			if w := ask(a, method, path); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s = %d", method, path, w.Code)
			}
		}
	}
	for _, host := range []string{"127.0.0.1:9115", "[::1]:9115", "localhost", "box.lan:9115"} {
		if w := ask(a, "GET", "/healthz", "Host", host); w.Code != http.StatusOK {
			t.Errorf("Host %s = %d", host, w.Code)
		}
	}
}

// Without the token nothing is told, of no path; it comes as Prometheus, haproxy or a browser send it.
func TestTokenIsAskedFor(t *testing.T) {
	const token = "correct horse battery"
	a := newAdmin(t, Options{Pprof: true, Guard: guard.Guard{Token: token}})
	basic := func(password string) string {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth("prometheus", password)
		return r.Header.Get("Authorization")
	}
	for _, path := range paths {
		for _, sent := range []string{"", "Bearer wrong", "Bearer ", "Bearer " + token + "x", token, basic("wrong"), basic("")} {
			w := ask(a, "GET", path, "Authorization", sent)
			if w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), token) || len(w.Header().Values("WWW-Authenticate")) != 2 {
				t.Errorf("%s with %q = %d %q", path, sent, w.Code, w.Body)
			}
		}
		if w := ask(a, "GET", path+"?token=correct+horse+battery"); w.Code != http.StatusUnauthorized {
			t.Errorf("%s with the token in its address, which logs keep, = %d", path, w.Code)
		}
		for _, sent := range []string{"Bearer " + token, basic(token)} {
			if w := ask(a, "GET", path, "Authorization", sent); w.Code == http.StatusUnauthorized || strings.Contains(w.Body.String(), token) {
				t.Errorf("%s with %q = %d, and tells the token: %v", path, sent, w.Code, strings.Contains(w.Body.String(), token))
			}
		}
	}
}

// Profiles are there only where they are wanted, and never the command line, which may have a token.
func TestProfilesAreThereIfWanted(t *testing.T) {
	for on, want := range map[bool]int{false: 404, true: 200} {
		a := newAdmin(t, Options{Pprof: on})
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=1", "/debug/pprof/symbol"} {
			if w := ask(a, "GET", path); w.Code != want {
				t.Errorf("with %v %s = %d, want %d", on, path, w.Code, want)
			}
		}
		if w := ask(a, "GET", "/debug/pprof/cmdline"); w.Code != 404 {
			t.Errorf("with %v the command line is told: %q", on, w.Body)
		}
	}
}

// Metrics come in the form and compressed as whoever scrapes asks for.
func TestMetricsComeAsTheyAreAskedFor(t *testing.T) {
	nan := math.NaN()
	a := newAdmin(t, Options{Counts: NewCounts(), Version: "v1.2",
		Gauges: []Gauge{
			{Name: "probe_success", Help: "1 if it answered.", Labels: map[string]string{"target": "a"}, Value: func() float64 { return 1 }},
			{Name: "probe_success", Help: "1 if it answered.", Labels: map[string]string{"target": "b"}, Value: func() float64 { return 0 }},
			{Name: "unknown_yet", Help: "Is not known.", Value: func() float64 { return nan }},
		},
		Counters: []Counter{{Name: "parley_shipped_total", Help: "Records.", Value: func() float64 { return 7 }}},
	})
	w := ask(a, "GET", "/metrics")
	text := w.Body.String()
	for _, want := range []string{"probe_success{target=\"a\"} 1\n", "probe_success{target=\"b\"} 0\n", "parley_shipped_total 7\n", `version="v1.2"`, "parley_sessions_open 0\n",
		"parley_request_duration_seconds_bucket{le=\"1e-05\"} 0\n", "parley_request_duration_seconds_bucket{le=\"10\"} 0\n", "go_goroutines", "# TYPE parley_shipped_total counter\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "unknown_yet") {
		t.Errorf("what is not known is told:\n%s", text)
	}
	w = ask(a, "GET", "/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text") || !strings.HasSuffix(w.Body.String(), "# EOF\n") {
		t.Errorf("as OpenMetrics it is %q", w.Header())
	}
	w = ask(a, "GET", "/metrics", "Accept-Encoding", "gzip")
	unzipped, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(unzipped); err != nil || !strings.Contains(string(all), "parley_shipped_total 7\n") {
		t.Errorf("unzipped it is %q, %v", all, err)
	}
	w = ask(a, "GET", "/metrics", "Accept", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/vnd.google.protobuf") {
		t.Errorf("with native histograms it is %q", w.Header())
	}
}

func TestMetricsThatDoNotGoTogetherAreRefused(t *testing.T) {
	twice := Gauge{Name: "twice", Help: "Is there twice.", Value: func() float64 { return 1 }}
	if _, err := New(Options{Gauges: []Gauge{twice, twice}}); err == nil {
		t.Error("a gauge that is there twice is taken")
	}
}

// Of a thousand connections that say nothing, or half a request, all but the last few are hung up on at once, and
// those after a while; others are answered meanwhile, and it ends though one more is slow.
func TestHostileScrapersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmin(t, Options{Counts: NewCounts()})
		l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- a.Serve(ctx, l) }()
		const all = 1000
		began := time.Now()
		var ended atomic.Int64
		for n := range all {
			conn := l.dial()
			go func() {
				if n%2 == 0 {
					io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
				}
				io.Copy(io.Discard, conn)
				ended.Add(1)
			}()
		}
		synctest.Wait()
		if n := ended.Load(); n != all-maxConnections {
			t.Errorf("%d of %d connections are open, want %d", all-n, all, maxConnections)
		}
		conn := l.dial()
		io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
		if answer, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(answer), "\r\n\r\nok\n") {
			t.Errorf("behind them the answer is %q, %v", answer, err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it took %v, want no time", waited)
		}
		time.Sleep(guard.ReadWithin)
		synctest.Wait()
		if n := ended.Load(); n != all {
			t.Errorf("after %v %d are open still", guard.ReadWithin, all-n)
		}
		slow := l.dial()
		io.WriteString(slow, "GET /metrics HTTP/1.1\r\n")
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// A pipeListener hands out connections in memory, for which time can be fake.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
