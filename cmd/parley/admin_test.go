//go:build unix

package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// adminOf is where a server answers operators.
func adminOf(t *testing.T, p *process) (url string) {
	t.Helper()
	at := regexp.MustCompile(`parley: admin at (\S+)/\n`)
	eventually(t, "its address for operators is told", func() bool {
		if m := at.FindStringSubmatch(p.stderr.String()); m != nil {
			url = m[1]
		}
		return url != ""
	})
	return url
}

// fetchFrom returns what is at a place.
func fetchFrom(t *testing.T, client *http.Client, url string) (status int, text string) {
	t.Helper()
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode, string(must(io.ReadAll(answer.Body)))
}

// once is a client that leaves no connection behind.
func once(config *tls.Config) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
}

// docs/metrics.md names every metric that a server with everything has, with its type and its labels, and no
// other; and no label has anything of a peer.
func TestEveryMetricIsInTheManual(t *testing.T) {
	dir := t.TempDir()
	pair := filepath.Join(dir, "pair.pem")
	_, roots := writePair(t, pair, "localhost")
	s := startServer(t, "-q", "--tls-cert", pair, "--tls-key", pair, "--journal", filepath.Join(dir, "journal"), "--fault", "delay=1ms", "--ship", "nats://127.0.0.1:1",
		"--admin", "localhost:0", "--admin-tls-cert", pair, "--admin-tls-key", pair)
	conn := tls.Client(connect(t, s.addr), &tls.Config{RootCAs: roots, ServerName: "localhost"})
	fmt.Fprint(conn, "hello\n")
	if _, err := conn.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	status, text := fetchFrom(t, once(&tls.Config{RootCAs: roots}), adminOf(t, s.process)+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics = %d %s", status, text)
	}

	told := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (parley_\w+) (\w+)$`).FindAllStringSubmatch(text, -1) {
		labels := regexp.MustCompile(`(?m)^` + m[1] + `\{([^}]*)\} `).FindStringSubmatch(text)
		name := m[1]
		if labels != nil {
			var names []string
			for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(labels[1], -1) {
				names = append(names, l[1])
			}
			slices.Sort(names)
			name += "{" + strings.Join(names, ",") + "}"
		}
		told[name] = m[2]
	}
	page := string(must(os.ReadFile("../../docs/metrics.md")))
	listed := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(parley_\\w+)(\\{[^}]*\\})?` \\| (\\w+) \\|").FindAllStringSubmatch(page, -1) {
		labels := strings.Split(strings.Trim(m[2], "{}"), ",")
		slices.Sort(labels)
		name := m[1]
		if m[2] != "" {
			name += "{" + strings.Join(labels, ",") + "}"
		}
		listed[name] = m[3]
	}
	for name, kind := range told {
		if listed[name] != kind {
			t.Errorf("docs/metrics.md does not have %s, a %s", name, kind)
		}
	}
	for name := range listed {
		if told[name] == "" {
			t.Errorf("docs/metrics.md has %s, which is not told", name)
		}
	}
	if strings.Contains(text, conn.LocalAddr().String()) || regexp.MustCompile(`(?m)^parley_.*(127\.0\.0\.1|session=)`).MatchString(text) {
		t.Errorf("something of a peer is told:\n%s", text)
	}
	for _, want := range []string{`parley_tls_handshakes_total{version="TLS 1.3"} 1`, `parley_requests_total 1`, `parley_faults_total{kind="reply.delay"} 1`, `parley_journal_failing 0`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
}

// A client's certificate opens the address that others can reach, and nothing else does.
func TestAdminWantsAClientsCertificate(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "ours.pem"), filepath.Join(dir, "alice.pem")
	_, roots := writePair(t, ours, "localhost")
	alice, _ := writePair(t, theirs, "alice")
	s := startServer(t, "-q", "--admin", "0.0.0.0:0", "--admin-tls-cert", ours, "--admin-tls-key", ours, "--admin-tls-client-ca", theirs)
	port := adminOf(t, s.process)[strings.LastIndex(adminOf(t, s.process), ":"):]
	if answer, err := once(&tls.Config{RootCAs: roots}).Get("https://localhost" + port + "/metrics"); err == nil {
		answer.Body.Close()
		t.Errorf("without a certificate /metrics = %s", answer.Status)
	}
	if status, _ := fetchFrom(t, once(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{alice}}), "https://localhost"+port+"/healthz"); status != http.StatusOK {
		t.Errorf("with one /healthz = %d", status)
	}
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
}

// During the delay of a drain connections are accepted and answered, sessions go on, and only readiness says that
// the end has begun. A second signal ends the delay.
func TestDrainDelay(t *testing.T) {
	for _, command := range []string{"server", "tap"} {
		t.Run(command, func(t *testing.T) {
			args := []string{"-q", "--admin", "0", "--drain-delay", "1h"}
			var s *server
			if command == "tap" {
				behind := startServer(t, "-q")
				s = startTap(t, behind.addr, args...)
			} else {
				s = startServer(t, args...)
			}
			url := adminOf(t, s.process)
			check := func(path string, want int) {
				t.Helper()
				if status, text := fetchFrom(t, once(nil), url+path); status != want {
					t.Errorf("%s = %d %q, want %d", path, status, text, want)
				}
			}
			eventually(t, "it is ready", func() bool { status, _ := fetchFrom(t, once(nil), url+"/readyz"); return status == http.StatusOK })
			before := talkTo(t, s.addr)
			before.say("hello")
			if err := s.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			signalled := time.Now()
			s.stderr.await(t, "stopping in 1h0m0s")
			check("/readyz", http.StatusServiceUnavailable)
			check("/healthz", http.StatusOK)
			before.say("still here")
			talkTo(t, s.addr).say("and so am I")
			for time.Since(signalled) < sameStop+100*time.Millisecond { // until then it is the same signal
				time.Sleep(10 * time.Millisecond)
			}
			if code := s.stop(t, syscall.SIGTERM); code != 1 || !strings.Contains(s.stderr.String(), "stopped at once by a second signal") {
				t.Errorf("the second signal has it end with %d: %s", code, s.stderr)
			}
		})
	}
}

// SIGUSR1 tells of sessions that are open and silent as well, and ends nothing.
func TestReportOnSIGUSR1(t *testing.T) {
	for _, args := range [][]string{{"--engine", "auto"}, {"--engine", "goroutines"}, nil} {
		behind := startServer(t, append([]string{"-q"}, args...)...)
		s := behind
		if args == nil {
			s = startTap(t, behind.addr, "-q")
		}
		busiest := ""
		for n := range 12 {
			l := talkTo(t, s.addr)
			for range n {
				l.say("hello")
			}
			busiest = l.conn.LocalAddr().String()
		}
		report := regexp.MustCompile(`(?m)^parley: so far: 12 sessions, 0 probes, 66 requests, 396 bytes in, \d+ bytes out\nparley: open now: 12 sessions, of which these have had the most requests:\nparley: session 12 with ` +
			regexp.QuoteMeta(busiest) + `: 11 requests \(0 waiting\), 66 bytes in, \d+ bytes out, open for \d+s\n(parley: session \d+ with .*\n){9}$`)
		eventually(t, "it tells of all", func() bool { // a session's last reply may be there just before it is counted
			if err := s.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			return report.MatchString(s.stderr.String())
		})
		if code := s.stop(t, syscall.SIGKILL); code != -1 {
			t.Errorf("it had ended with %d", code)
		}
	}
}
