package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/parley-tcp/parley/internal/guard"
	"github.com/parley-tcp/parley/internal/probe"
)

// maxConnections is how many there are at once, of Prometheus, load balancers and people. With those of
// a live page they must fit into the 64 descriptors that parley.DefaultMaxSessions leaves to everything
// but sessions.
const maxConnections = 16

const maxScrapes = 2 // at once; more are answered 503

var goVersion = runtime.Version()

// Options are what an Admin goes by; all may be left out.
type Options struct {
	guard.Guard // who is answered; the token is a Bearer's or the password of Basic

	Version string       // of parley, for parley_build_info
	Ready   func() error // of /readyz: why no connection should be sent here; must not block; it is ready if nil
	Pprof   bool         // there is /debug/pprof

	Counts   *Counts              // of a server or a tap
	Targets  func() []probe.State // of a prober; must not block
	Gauges   []Gauge
	Counters []Counter

	Warn func(line string) // told what net/http has to say, at most once a second; must not block; may be nil
}

// An Admin is what answers operators and their programs, as an http.Handler.
type Admin struct {
	opt    Options
	routes http.ServeMux
}

// New returns one that answers. The error is that of metrics which do not go together.
func New(opt Options) (*Admin, error) {
	a := &Admin{opt: opt}
	r, err := registry(&opt)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	a.routes.Handle("/metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes, Timeout: guard.WriteWithin / 2, ErrorHandling: promhttp.ContinueOnError,
	}))
	a.routes.HandleFunc("/healthz", verdict(nil)) // that it answers is the answer
	a.routes.HandleFunc("/readyz", verdict(opt.Ready))
	a.routes.HandleFunc("/{$}", a.contents)
	if opt.Pprof {
		a.routes.HandleFunc("/debug/pprof/", pprof.Index)
		a.routes.HandleFunc("/debug/pprof/cmdline", http.NotFound) // flags may have a token
		a.routes.HandleFunc("/debug/pprof/profile", pprof.Profile)
		a.routes.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		a.routes.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return a, nil
}

// Serve answers what comes to l, which it closes, until ctx ends. No peer keeps it from returning. The
// error is the listener's; nil if it was ctx.
func (a *Admin) Serve(ctx context.Context, l net.Listener) error {
	return guard.Serve(ctx, l, a, maxConnections, a.opt.Warn)
}

// ServeHTTP answers one request. Every route is behind the same checks, and none of them changes anything.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case a.opt.Refuses(w, r, false):
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions: // which haproxy checks with
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "there is nothing to change here", http.StatusMethodNotAllowed)
	case !a.admits(r):
		w.Header().Add("WWW-Authenticate", "Bearer")
		w.Header().Add("WWW-Authenticate", `Basic realm="parley"`)
		http.Error(w, "a token is needed: Authorization: Bearer …, or as the password of Basic", http.StatusUnauthorized)
	default:
		a.routes.ServeHTTP(w, r)
	}
}

// admits reports whether who asks knows the token.
func (a *Admin) admits(r *http.Request) bool {
	if a.opt.Token == "" {
		return true
	}
	if has, right := a.opt.Bearer(r); has {
		return right
	}
	_, password, has := r.BasicAuth()
	return has && guard.Same(password, a.opt.Token)
}

// verdict answers 200 ok, or 503 and why not.
func verdict(of func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if of != nil {
			if err := of(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "ok")
	}
}

// contents says what there is.
func (a *Admin) contents(w http.ResponseWriter, _ *http.Request) {
	all := []string{"/metrics", "/healthz", "/readyz"}
	if a.opt.Pprof {
		all = append(all, "/debug/pprof/")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, strings.Join(all, "\n"))
}
