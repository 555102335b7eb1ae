//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// startProber starts a prober of the targets in a file, and returns it and the address of its metrics.
func startProber(t *testing.T, file string, args ...string) (*process, string) {
	t.Helper()
	p := start(t, program(t, append([]string{"check", "--targets", file, "--admin", "127.0.0.1:0"}, args...)...))
	return p, adminOf(t, p)
}

// metric is the value of a series, such as `probe_success{target="web"}`; "" if there is none.
func metric(t *testing.T, url, series string) string {
	t.Helper()
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v\n%s", resp.Status, err, text)
	}
	if m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}

// A prober of several services: each change is a line, all is counted, its file is read again at a hangup, and a
// signal ends it in order.
func TestAProber(t *testing.T) {
	s, tls := startServer(t, "-q"), startServer(t, "-q", "--tls-self-signed")
	file := filepath.Join(t.TempDir(), "targets")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf("web %s hello\n'a b' %s --tls --insecure\naway 127.0.0.1:1\n", s.addr, tls.addr))
	p, url := startProber(t, file, "--every", "20ms")
	p.stdout.await(t, "Z web is up: "+s.addr+" answered: ")
	p.stdout.await(t, "Z a b is up: "+tls.addr+" is reachable: ")
	p.stdout.await(t, "Z away is down: cannot connect to 127.0.0.1:1: connection refused; is a server listening there?\n")
	if got := p.stderr.String(); !strings.Contains(got, "parley: a b: --insecure: the server's certificate is not verified\n") {
		t.Errorf("stderr: %s", got)
	}
	for series, want := range map[string]string{
		`probe_success{target="web"}`:                                   "1",
		`probe_success{target="away"}`:                                  "0",
		`probe_tls_version_info{target="a b",version="TLS 1.3"}`:        "1",
		`probe_dns_lookup_time_seconds{target="web"}`:                   "0",
		`probe_ssl_earliest_cert_expiry{target="web"}`:                  "",
		`probe_ssl_earliest_cert_expiry{target="a b"}`:                  "some",
		`parley_probe_step_duration_seconds{step="reply",target="web"}`: "some",
		`parley_probe_step_duration_seconds{step="tls",target="a b"}`:   "some",
		`parley_probe_failures_total{reason="refused",target="away"}`:   "some",
		`parley_probe_last_success_timestamp_seconds{target="web"}`:     "some",
		`parley_probe_last_success_timestamp_seconds{target="away"}`:    "",
		`parley_probe_targets_last_reload_successful`:                   "1",
		`parley_probe_skipped_total{target="web"}`:                      "some",
	} {
		if got := metric(t, url, series); got != want && (want != "some" || got == "") {
			t.Errorf("%s is %q, want %q", series, got, want)
		}
	}

	s.stop(t, os.Interrupt)
	p.stdout.await(t, "Z web is down: ") // refused, or reset if a probe was under way

	write("web 127.0.0.1:1\nnew 127.0.0.1:1\nweb again\n")
	p.Process.Signal(syscall.SIGHUP)
	p.stderr.await(t, "parley: not reloaded, the targets stay as they were: "+file+":3:1: line 1 has the name web already; each target needs its own\n")
	if got := metric(t, url, "parley_probe_targets_last_reload_successful"); got != "0" || strings.Contains(p.stdout.String(), "new") {
		t.Errorf("parley_probe_targets_last_reload_successful is %q, want 0; or there is a target of a file that is wrong\n%s", got, p.stdout)
	}
	write("new 127.0.0.1:1\nweb " + tls.addr + "\n")
	p.Process.Signal(syscall.SIGHUP)
	p.stderr.await(t, "parley: reloaded "+file+", targets: 2\n")
	p.stdout.await(t, "Z new is down: ")
	p.stdout.await(t, "Z web is up: "+tls.addr+" is reachable")
	if got := metric(t, url, `probe_success{target="away"}`); got != "" {
		t.Errorf("a target that has gone is counted: %s", got)
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for line := range strings.Lines(p.stdout.String()) {
		if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (web|a b|away|new) is (up|down): .*\n$`).MatchString(line) {
			t.Errorf("it says %q", line)
		}
	}
}

// Without a file it is one target, known by its address; in JSON each change is an object, with -v each verdict,
// and -q says nothing.
func TestAProberOfOne(t *testing.T) {
	s := startServer(t, "-q")
	p := start(t, program(t, "check", "--every", "10ms", "--json", "-v", "--node", "here", "--admin", "127.0.0.1:0", s.addr, "hello"))
	quiet := start(t, program(t, "check", "--every", "10ms", "-q", "--admin", "127.0.0.1:0", s.addr, "hello"))
	url, up := adminOf(t, quiet), `probe_success{target="`+s.addr+`"}`
	eventually(t, "there is "+up, func() bool { return metric(t, url, up) == "1" })
	if metric(t, url, "parley_probe_targets_last_reload_successful") != "" {
		t.Error("there is no file, and it tells of its reload")
	}
	p.stdout.await(t, `"event":"check"`)
	s.stop(t, os.Interrupt)
	p.stdout.await(t, `"was":"up"`)
	if code := p.stop(t, os.Interrupt); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if code := quiet.stop(t, syscall.SIGTERM); code != 0 || quiet.stdout.String() != "" {
		t.Errorf("exit code %d, want 0; stdout %q, want nothing", code, quiet.stdout)
	}
	counts := map[string]int{}
	for line := range strings.Lines(p.stdout.String()) {
		var o struct {
			Event, Name, State, Was, Node, Kind string
			Held                                bool
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		if o.Name != s.addr || o.Node != "here" || o.Held != (o.State == "up") || o.Held != (o.Kind == "") {
			t.Errorf("%+v", o)
		}
		counts[o.Event+" "+o.State+" "+o.Was]++
	}
	if counts["state up "] != 1 || counts["state down up"] != 1 || counts["check up "] < 1 || counts["state down "] != 0 {
		t.Errorf("%v; want a change up and one down, and others in between", counts)
	}
}
