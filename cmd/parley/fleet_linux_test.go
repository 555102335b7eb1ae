package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/journal"
)

// A node of docs/fleet.md, with its addresses in this test.
type node struct {
	*process
	args           []string
	name           string
	address, admin string
	journal        string
}

const nodesToken = "correct-horse-battery"

// start starts it, and waits until it says that it is ready.
func (n *node) start(t *testing.T) {
	t.Helper()
	cmd := program(t, n.args...)
	cmd.Env = append(os.Environ(), "PARLEY_ADMIN_TOKEN="+nodesToken)
	n.process = start(t, cmd)
	eventually(t, n.name+" is ready", func() bool { return n.readiness() == http.StatusOK })
}

// readiness is what /readyz answers; 0 is nothing.
func (n *node) readiness() int {
	r := must(http.NewRequest("GET", "http://"+n.admin+"/readyz", nil))
	r.Header.Set("Authorization", "Bearer "+nodesToken)
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

// manualsFleet is what docs/fleet.md shows: its nodes, not started, and its haproxy, with the address that clients connect to.
func manualsFleet(t *testing.T) (nodes []*node, config, clients string) {
	t.Helper()
	page := string(must(os.ReadFile("../../docs/fleet.md")))
	_, text, found := strings.Cut(page, "```haproxy-fleet\n")
	text, _, _ = strings.Cut(text, "```")
	dir := t.TempDir()
	clients = "127.0.0.1:" + freePort(t)
	// The delays of the page are for machines that are far apart. A check may take as long as its interval.
	here := []string{"bind :7000", "bind " + clients, "inter 500ms fall 1", "inter 100ms fall 1", "--drain-delay 3s", "--drain-delay 1500ms", "--proxy-trust 10.0.0.5", "--proxy-trust 127.0.0.1"}
	for i := range 3 {
		n := &node{name: fmt.Sprintf("web-%d", i+1), address: "127.0.0.1:" + freePort(t), admin: "127.0.0.1:" + freePort(t)}
		n.journal = filepath.Join(dir, n.name)
		ip := fmt.Sprintf("10.0.0.1%d", i+1)
		_, adminPort, _ := net.SplitHostPort(n.admin)
		here = append(here, ip+":6969 port 9115 addr "+ip, n.address+" port "+adminPort+" addr 127.0.0.1", ip+":6969", n.address, ip+":9115", n.admin)
		nodes = append(nodes, n)
	}
	replace := strings.NewReplacer(here...).Replace
	config = filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, []byte(replace(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		for line := range strings.Lines(replace(page)) {
			if command, is := strings.CutPrefix(line, "    $ parley "); is && strings.Contains(command, "--node "+n.name+" ") && strings.Contains(command, "--drain-delay") {
				n.args = append(shellWords(command), "-q", "--journal", n.journal)
			}
		}
		if !found || n.args == nil {
			t.Fatalf("docs/fleet.md does not have haproxy or %s", n.name)
		}
	}
	return nodes, config, clients
}

// A careful client honours the end of a connection: where it comes in good order it connects again, and
// asks again what has no reply, since that was not read.
type carefulClient struct {
	addr    string
	name    string
	conn    *net.TCPConn
	in      *bufio.Reader
	asked   int // on this connection
	again   int // requests that were asked again
	replies map[string]string
}

const askedAConnection = 25

// ask asks for a reply, on another connection if that has to be.
func (c *carefulClient) ask(request string) error {
	for try := 0; ; try++ {
		reply, err := c.try(request)
		switch {
		case err == nil:
			name, rest, _ := strings.Cut(reply, ": ")
			if _, twice := c.replies[request]; twice || rest != request {
				return fmt.Errorf("%s is answered %q", request, reply)
			}
			c.replies[request] = name
			return nil
		case err != io.EOF || reply != "" || try == 10:
			return fmt.Errorf("%s, try %d: %q, %w", request, try+1, reply, err)
		}
		c.again++
		c.leave()
	}
}

func (c *carefulClient) try(request string) (reply string, err error) {
	if c.asked == askedAConnection {
		c.conn.CloseWrite()
		if rest, err := io.ReadAll(c.in); len(rest) > 0 || err != nil {
			return "", fmt.Errorf("behind the last reply there is %q, %v", rest, err)
		}
		c.leave()
	}
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			return "", err
		}
		conn.SetDeadline(time.Now().Add(patience))
		c.conn, c.in, c.asked = conn.(*net.TCPConn), bufio.NewReader(conn), 0
	}
	c.asked++
	if _, err := io.WriteString(c.conn, request+"\n"); err != nil {
		return "", err
	}
	reply, err = c.in.ReadString('\n')
	return strings.TrimSuffix(reply, "\n"), err
}

func (c *carefulClient) leave() {
	if c.conn != nil {
		c.conn.Close()
		c.conn, c.asked = nil, 0
	}
}

// All three nodes of docs/fleet.md are restarted one after the other behind a real haproxy, under load: not one
// request of careful clients fails, and each was received by one node, once.
func TestTheManualsRollingRestart(t *testing.T) {
	nodes, config, addr := manualsFleet(t)
	for _, n := range nodes {
		n.start(t)
	}
	haproxy := startHaproxy(t, config)
	eventually(t, "haproxy listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})

	var answered [3]atomic.Int64 // by each node
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	all := make([]*carefulClient, 6)
	for i := range all {
		c := &carefulClient{addr: addr, name: fmt.Sprintf("client-%d", i+1), replies: map[string]string{}}
		all[i] = c
		clients.Go(func() {
			defer c.leave()
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for n := 1; load.Err() == nil; n++ {
				request := fmt.Sprintf("%s request %d", c.name, n)
				if err := c.ask(request); err != nil {
					t.Error(err)
					return
				}
				var number int
				fmt.Sscanf(c.replies[request], "web-%d", &number)
				if number < 1 || number > len(answered) {
					t.Errorf("%s is answered by %q", request, c.replies[request])
					return
				}
				answered[number-1].Add(1)
				<-pace.C
			}
		})
	}
	everyone := func(when string) {
		t.Helper()
		for i, n := range nodes {
			before := answered[i].Load()
			eventually(t, fmt.Sprintf("%s answers %s", n.name, when), func() bool { return answered[i].Load() > before+10 || t.Failed() })
		}
	}
	everyone("at first")
	for i, n := range nodes {
		if err := n.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, n.name+" says that it stops", func() bool { return n.readiness() == http.StatusServiceUnavailable })
		before := answered[i].Load()
		eventually(t, n.name+" goes on for now", func() bool { return answered[i].Load() > before || t.Failed() })
		if code := n.exit(t); code != 0 {
			t.Errorf("%s exits with %d: %s", n.name, code, n.stderr)
		}
		if said := n.stderr.String(); strings.Contains(said, nodesToken) {
			t.Errorf("%s tells the token: %s", n.name, said)
		}
		n.start(t)
		everyone("once " + n.name + " is back")
	}
	stop()
	clients.Wait()
	haproxy.stop(t, syscall.SIGTERM)
	for _, n := range nodes {
		if code := n.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("%s exits with %d: %s", n.name, code, n.stderr)
		}
	}

	// What the clients were told and what the nodes recorded is the same.
	received := map[string]string{}
	for _, n := range nodes {
		for request, reply := range recordedIn(t, n.journal) {
			if before, twice := received[request]; twice {
				t.Errorf("%s was received twice: %s, %s", request, before, reply)
			}
			received[request] = reply
		}
	}
	replies, again := 0, 0
	for _, c := range all {
		replies, again = replies+len(c.replies), again+c.again
		for request, name := range c.replies {
			if got, want := received[request], name+": "+request; got != want {
				t.Errorf("%s was answered by %s, and its record is %q", request, name, got)
			}
		}
	}
	if replies != len(received) {
		t.Errorf("clients have %d replies, nodes %d records", replies, len(received))
	}
	t.Logf("%d requests, each answered; by the nodes %d, %d, %d; %d were asked again", replies, answered[0].Load(), answered[1].Load(), answered[2].Load(), again)
}

// recordedIn are the replies in a journal, by request.
func recordedIn(t *testing.T, file string) map[string]string {
	t.Helper()
	r, err := journal.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := map[string]string{}
	for e, err := range r.Exchanges(t.Context(), journal.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := all[string(e.Request)]; twice {
			t.Errorf("%s has %q twice", file, e.Request)
		}
		all[string(e.Request)] = string(e.Reply)
	}
	return all
}
