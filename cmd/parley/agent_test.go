package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	natsd "github.com/nats-io/nats-server/v2/server"
)

// natsServer starts NATS in this process and returns where it is.
func natsServer(t testing.TB, options natsd.Options) string {
	t.Helper()
	options.Host, options.NoLog, options.NoSigs = "127.0.0.1", true, true
	if options.Port == 0 {
		options.Port = natsd.RANDOM_PORT
	}
	s, err := natsd.NewServer(&options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("nats-server does not listen")
	}
	return s.Addr().String()
}

// startAgents starts agents that are called a1, a2 and so on.
func startAgents(t testing.TB, at string, n int, args ...string) (agents []*process) {
	t.Helper()
	for i := range n {
		args := append([]string{"agent", "nats://" + at, "--node", fmt.Sprint("a", i+1), "--allow-target", "127.0.0.1:*"}, args...)
		agents = append(agents, start(t, program(t, args...)))
	}
	for _, a := range agents {
		a.stderr.await(t, "waits for work; it may load 127.0.0.1:*\n")
	}
	return agents
}

// benchOn is a bench with agents at NATS.
func benchOn(t testing.TB, at string, agents int, args ...string) *process {
	t.Helper()
	return start(t, program(t, append([]string{"bench", "-w", "20s", "--agents", fmt.Sprint(agents), "--nats", "nats://" + at}, args...)...))
}

// reported is what of a report in JSON is of several machines.
type reported struct {
	Requests uint64  `json:"requests"`
	Replies  uint64  `json:"replies"`
	Connects uint64  `json:"connects"`
	Rate     float64 `json:"rate_per_s"`
	Service  struct {
		P99 float64 `json:"p99_us"`
	} `json:"service"`
	Agents struct {
		Starts *float64 `json:"starts_within_us"`
		Shares []struct {
			Agent       string  `json:"agent"`
			Connections int     `json:"connections"`
			Requests    uint64  `json:"requests"`
			Lost        string  `json:"lost"`
			P99         float64 `json:"p99_us"`
		} `json:"shares"`
	} `json:"agents"`
}

// One, two and four agents put on the load that was asked for: to the connection and the request.
func TestAgentsPutOnOneLoad(t *testing.T) {
	s := startServer(t, "-q")
	at := natsServer(t, natsd.Options{})
	startAgents(t, at, 4)
	for _, n := range []int{1, 4} {
		b := benchOn(t, at, n, "-q", "--json", "-n", "1002", "-c", "5", s.addr)
		if code := b.exit(t); code != 0 {
			t.Fatalf("%d agents: exit code %d\n%s", n, code, b.stderr)
		}
		var r reported
		if err := json.Unmarshal([]byte(b.stdout.String()), &r); err != nil {
			t.Fatal(err)
		}
		requests, connections, p99 := uint64(0), 0, 0.0
		for i, share := range r.Agents.Shares {
			if share.Agent != fmt.Sprint("a", i+1) || share.Lost != "" {
				t.Errorf("%d agents: share %d is %+v", n, i+1, share)
			}
			requests, connections, p99 = requests+share.Requests, connections+share.Connections, max(p99, share.P99)
		}
		if r.Requests != 1002 || r.Replies != 1002 || r.Connects != 5 || len(r.Agents.Shares) != n || requests != 1002 || connections != 5 {
			t.Errorf("%d agents: %+v", n, r)
		}
		if r.Agents.Starts == nil || *r.Agents.Starts < 0 || r.Service.P99 > p99 {
			t.Errorf("%d agents: starts within %v µs; p99 of all %v µs, of shares %v at most", n, *r.Agents.Starts, r.Service.P99, p99)
		}
	}
}

// What a bench does with one machine it does with several: it searches, compares, keeps and judges.
func TestBenchesOverAgents(t *testing.T) {
	s := startServer(t, "-q", "--fault", "delay=5ms") // or a closed loop would be as fast as it can
	at := natsServer(t, natsd.Options{})
	startAgents(t, at, 2)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(file("d.talk"), []byte("> hello {n}\n< ~ hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("requests"), []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	short := []string{"-d", "200ms", "--warmup", "0s", "-c", "2"}
	for _, c := range []struct {
		args []string
		want string // in what is printed
	}{
		{append(short, "--slo", "max=20s"), `requests/s keep max=20s: they did in 3 of 3 more runs`},
		{append(short, "--compare", "--rounds", "1", s.addr), `1 round in turn`},
		{[]string{"-n", "10", "-c", "2", "--save", file("was"), "--csv", file("csv"), "--hdr", file("hdr"), "--html", file("html")}, "closed loop, 2 connections on 2 agents"},
		{[]string{"-n", "10", "-c", "2", "--against", file("was")}, "Not judged:"},
		{[]string{"-n", "10", "-c", "2", "--script", file("d.talk")}, "< ~ hello       10"},
		{[]string{"-n", "10", "-c", "2", "--file", file("requests")}, "10"},
		{[]string{"-n", "10", "-c", "2", "--connect-each"}, "2 connections at a time, one for each request on 2 agents"},
		{[]string{"-n", "10", "-c", "2", "-e", "^no$"}, "want a match of `^no$`"},
	} {
		b := benchOn(t, at, 2, append(append([]string{"-q"}, c.args...), s.addr)...)
		b.exit(t)
		if !strings.Contains(b.stdout.String(), c.want) || b.stderr.String() != "" {
			t.Errorf("%v: no %q in\n%s%s", c.args, c.want, b.stdout, b.stderr)
		}
	}
	for name, want := range map[string]string{"was": `"agents":2,"connections":2`, "csv": ",10,", "hdr": "HISTF", "html": "on 2 agents"} {
		if text, err := os.ReadFile(file(name)); err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s: %v, no %q in\n%.2000s", name, err, want, text)
		}
	}
	one := start(t, program(t, "bench", "-q", "-n", "10", "-c", "2", "--against", file("was"), s.addr))
	if code := one.exit(t); code != exitUsage || !strings.Contains(one.stderr.String(), "agents: 2 then, 0 now") {
		t.Errorf("one machine is judged by two: exit code %d\n%s", code, one.stderr)
	}
}

// What is lost with an agent is told and left out, and is no success; an interrupt stops all of them.
func TestAnAgentDiesInTheMiddle(t *testing.T) {
	s := startServer(t, "-q", "--fault", "delay=5ms") // or a closed loop would be as fast as it can
	at := natsServer(t, natsd.Options{})
	agents := startAgents(t, at, 2)
	b := benchOn(t, at, 2, "-d", "1h", "--warmup", "0s", "-c", "4", "--save", filepath.Join(t.TempDir(), "was"), s.addr)
	b.stderr.await(t, "s: ")
	agents[1].Process.Signal(syscall.SIGKILL)
	b.stderr.await(t, "agent a2 is lost: nothing was heard of it for 3s; its share is left out\n")
	if code := b.stop(t, os.Interrupt); code != exitNetwork {
		t.Errorf("exit code %d, want %d", code, exitNetwork)
	}
	for _, want := range []string{
		"closed loop, 4 connections on 2 agents, ", ", interrupted\n",
		"Incomplete: agent a2 was lost: nothing was heard of it for 3s. Its share, 2 connections, is in no figure but those of the seconds that were told before.\n",
	} {
		if !strings.Contains(b.stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, b.stdout)
		}
	}
	if line := regexp.MustCompile(`(?m)^ *a2 +2 +lost .*$`).FindString(b.stdout.String()); line == "" {
		t.Errorf("no share of a2 in\n%s", b.stdout)
	}
	if !strings.Contains(b.stderr.String(), "not kept, since an agent was lost\n") {
		t.Errorf("it is kept:\n%s", b.stderr)
	}
	if code := agents[0].stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the agent that was left: exit code %d, want 0\n%s", code, agents[0].stderr)
	}
}

// A bench that is killed leaves nothing behind: its agents stop, and are free.
func TestABenchIsKilled(t *testing.T) {
	s := startServer(t)
	at := natsServer(t, natsd.Options{})
	agents := startAgents(t, at, 1)
	b := benchOn(t, at, 1, "-d", "1h", "-r", "100", "-c", "1", s.addr)
	s.stdout.await(t, "Server: connection from ")
	second := benchOn(t, at, 1, "-q", "-w", "1ms", "-n", "1", "-c", "1", s.addr)
	if code := second.exit(t); code != exitNetwork || second.stderr.String() != "parley: --agents: 1 agents were to take part, and after 1ms none is there; a1 is busy, at NATS on "+at+"\n" {
		t.Errorf("exit code %d\n%s", code, second.stderr)
	}
	b.Process.Kill()
	agents[0].stderr.await(t, " is gone: nothing was heard of it for 3s, so this agent is free again\n")
	s.stdout.await(t, "Server: Connection closed!\n")
}

func TestWrongUseOfAgents(t *testing.T) {
	at := natsServer(t, natsd.Options{})
	startAgents(t, at, 1)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"agent", 2, "agent needs the NATS servers where it waits for work, such as: parley agent nats://host:4222 --allow-target db.internal:6969"},
		{"agent nats://" + at, 2, "--allow-target is missing: where loads may go, such as db.internal:6969 or 10.0.0.0/8:*"},
		{"agent nats://" + at + " --allow-target db", 2, "--allow-target \"db\": write host:port, host:* or CIDR:port, such as db.internal:5432, 10.0.0.0/8:6969 or [2001:db8::/32]:*"},
		{"agent nats://u:hunter2@127.0.0.1:1 --allow-target db:1", 1, "cannot connect to NATS at 127.0.0.1:1: connection refused; is nats-server running there?"},
		{"agent nats://u:hunter2@127.0.0.1:1 --allow-target db:1 --nats-cert x", 2, "--nats-cert goes with --nats-key"},
		{"agent nats://a --allow-target a:1,b:0", 2, `--allow-target "a:1,b:0": b:0: port 0: use a number from 1 to 65535, or * for any`},
		{"bench --agents 3 --nats nats://a -c 2 :1", 2, "--agents 3: each needs a connection, and there are 2; --connections takes more"},
		{"bench --agents 3 --nats nats://a -c 4 -n 1 :1", 2, "--agents 3: each needs a request, and there is 1; --requests takes more"},
		{"bench --agents 2 :1", 2, "--agents goes with --nats"},
		{"bench --nats nats://a :1", 2, "--nats goes with --agents"},
		{"bench --agents 0 --nats nats://a :1", 2, "--agents 0: it must be at least 1"},
		{"bench --agents 1 --nats nats://a --via http://p:1 :1", 2, "--via goes without --agents: each goes its own way"},
		{"bench --agents 1 --nats nats://a unix:/s", 2, "--agents: unix:/s is a socket of one machine; name an address that theirs can reach"},
		{"bench --agents 1 --nats u:hunter2@127.0.0.1:1 :1", 1, "cannot connect to NATS at 127.0.0.1:1: connection refused; is nats-server running there?"},
		{"bench -q --agents 1 --nats " + at + " 127.0.0.2:1", 1, "agent a1: no --allow-target of it allows 127.0.0.2:1"},
		{"bench -q --agents 1 --nats " + at + " 127.0.0.1:1", 1, "agent a1: it cannot connect: connection refused; is a server listening there?"},
	} {
		p := start(t, program(t, strings.Fields(c.args)...))
		if code := p.exit(t); code != c.code || p.stderr.String() != "parley: "+c.want+"\n" {
			t.Errorf("%s: exit code %d, want %d\n%swant\n%s", c.args, code, c.code, p.stderr, c.want)
		}
	}
}

// The permissions that the manual gives bench and agents are enough, and those of others do not do; what
// goes to them over NATS goes over TLS, to a service that wants a client's certificate.
func TestAgentsWithUsersAndTLS(t *testing.T) {
	dir := t.TempDir()
	pem := filepath.Join(dir, "pair.pem")
	pair, _ := writePair(t, pem, "localhost")
	page, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	begin := bytes.Index(page, []byte("    authorization {"))
	conf := page[begin : begin+bytes.Index(page[begin:], []byte("\n    }\n"))+len("\n    }\n")]
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BENCH_PASSWORD", "hunter2")
	t.Setenv("AGENT_PASSWORD", "hunter3")
	options, err := natsd.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	options.TLS, options.TLSConfig = true, &tls.Config{Certificates: []tls.Certificate{pair}}
	_, port, _ := net.SplitHostPort(natsServer(t, *options))
	s := startServer(t, "-q", "--tls-cert", pem, "--tls-key", pem, "--tls-client-ca", pem)
	a := start(t, program(t, "agent", "tls://agent:hunter3@localhost:"+port, "--nats-ca", pem, "--node", "a1", "--allow-target", "localhost:*"))
	a.stderr.await(t, "waits for work")
	bench := func(user string, args ...string) *process {
		return start(t, program(t, append([]string{"bench", "-q", "--agents", "1", "--nats", "tls://" + user + "@localhost:" + port, "--nats-ca", pem,
			"--tls", "--ca", pem, "--cert", pem, "--key", pem, "-n", "100", "localhost:" + s.port}, args...)...))
	}
	b := bench("bench:hunter2")
	if code := b.exit(t); code != 0 || !strings.Contains(b.stdout.String(), "replies                     100") || b.stderr.String() != "" {
		t.Errorf("exit code %d\n%s%s", code, b.stdout, b.stderr)
	}
	if strings.Contains(a.stderr.String(), "NATS") {
		t.Errorf("the agent may not do what it must:\n%s", a.stderr)
	}
	if code := bench("agent:hunter3", "-w", "1s").exit(t); code != exitNetwork {
		t.Errorf("an agent's user may have loads put on: exit code %d", code)
	}
	wrong := bench("bench:hunter4")
	if code := wrong.exit(t); code != exitNetwork || strings.Contains(wrong.stderr.String(), "hunter") || !strings.Contains(wrong.stderr.String(), "it does not let us in") {
		t.Errorf("exit code %d\n%s", code, wrong.stderr)
	}
	if strings.Contains(a.stderr.String(), "hunter") {
		t.Errorf("a secret is told:\n%s", a.stderr)
	}
}
