package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/natstest"
)

// manyNodes are nodes that serve and keep a journal each, which is shipped over NATS, and who collects them.
type manyNodes struct {
	t         testing.TB
	nats      *natstest.Cluster
	nodes     []*shippingNode
	all       string
	collector *process
}

// A shippingNode is a server with its journal, and who ships it if that is another process.
type shippingNode struct {
	f             *manyNodes
	name, journal string
	addr          string
	beside        bool // the shipper is a process of its own
	server        *process
	shipper       *process
	clients       int
}

// startNodes starts nodes: every other one has a shipper that is a process of its own.
func startNodes(t testing.TB, nats *natstest.Cluster, nodes int) *manyNodes {
	t.Helper()
	f := &manyNodes{t: t, nats: nats, all: filepath.Join(t.TempDir(), "all.journal")}
	for i := range nodes {
		n := &shippingNode{f: f, name: fmt.Sprintf("web-%d", i+1), journal: filepath.Join(t.TempDir(), "journal"), beside: i%2 == 1}
		f.nodes = append(f.nodes, n)
		n.start()
	}
	return f
}

// start starts what of the node does not run.
func (n *shippingNode) start() {
	t := n.f.t
	t.Helper()
	if n.server == nil {
		file := filepath.Join(t.TempDir(), "addr")
		args := []string{"server", "127.0.0.1:0", "-q", "--addr-file", file, "--journal", n.journal, "--node", n.name, "--drain-timeout", "1m"}
		if !n.beside {
			args = append(args, "--ship", n.f.nats.URL())
		}
		n.server = start(t, ours(t, args...))
		n.addr = awaitAddr(t, file)
	}
	if n.beside && n.shipper == nil {
		n.shipper = start(t, ours(t, "ship", n.journal, "--to", n.f.nats.URL(), "--drain-timeout", "1m"))
		n.shipper.stderr.await(t, "shipping")
	}
}

// ours is parley, for as long as the test takes: start ends it.
func ours(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("parley")
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, args...)
}

// kill kills who ships, with the server where that is the same process.
func (n *shippingNode) kill() {
	p := &n.server
	if n.beside {
		p = &n.shipper
	}
	(*p).Process.Kill()
	<-(*p).exited
	*p = nil
}

// stop ends a node in good order: the shipper last.
func (n *shippingNode) stop() {
	n.f.t.Helper()
	for _, p := range []*process{n.server, n.shipper} {
		if p == nil {
			continue
		}
		if code := p.stop(n.f.t, syscall.SIGTERM); code != 0 {
			n.f.t.Errorf("%s: %s exits with %d\n%s", n.name, p, code, p.stderr)
		}
	}
	n.server, n.shipper = nil, nil
}

func (f *manyNodes) collect() {
	f.t.Helper()
	f.collector = start(f.t, ours(f.t, "collect", f.nats.URL(), f.all))
	f.collector.stderr.await(f.t, "collecting from")
}

func (f *manyNodes) killCollector() {
	f.collector.Process.Kill()
	<-f.collector.exited
}

// talk has every node answer some requests on each of some connections.
func (f *manyNodes) talk(connections, requests int) {
	f.t.Helper()
	for _, n := range f.nodes {
		for range connections {
			n.clients++
			conn := connect(f.t, n.addr)
			replies := bufio.NewScanner(conn)
			for i := range requests {
				fmt.Fprintf(conn, "%s client %d request %d\n", n.name, n.clients, i)
				if !replies.Scan() {
					f.t.Fatalf("%s: no reply: %v", n.name, replies.Err())
				}
			}
			conn.Close()
		}
	}
}

// ends collects what is left, stops all nodes, and compares the journals.
func (f *manyNodes) ends() {
	f.t.Helper()
	if f.collector != nil {
		if code := f.collector.stop(f.t, syscall.SIGTERM); code != 0 {
			f.t.Errorf("the collector exits with %d\n%s", code, f.collector.stderr)
		}
	}
	for _, n := range f.nodes {
		// What is shipped is what the collector can know of, and the last session has to be in.
		n.stop()
		n.start()
	}
	once := start(f.t, ours(f.t, "collect", f.nats.URL(), f.all, "--once"))
	if code := once.exit(f.t); code != 0 {
		f.t.Errorf("collect --once exits with %d\n%s", code, once.stderr)
	}
	for _, n := range f.nodes {
		n.stop()
	}
	f.compare()
}

// compare compares the journal of all nodes with each of theirs, session by session.
func (f *manyNodes) compare() {
	f.t.Helper()
	all := recordsBySession(f.t, f.all)
	total := 0
	for _, n := range f.nodes {
		for session, want := range recordsBySession(f.t, n.journal) {
			total += len(want)
			got := all[session]
			delete(all, session)
			if !slices.Equal(got, want) {
				f.t.Errorf("session %s: collected are %d records, want %d:\n%s\nwant\n%s", session, len(got), len(want), strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	for session, got := range all {
		f.t.Errorf("session %s is in no node's journal: %d records", session, len(got))
	}
	requests := 0
	for _, n := range f.nodes {
		requests += n.clients
	}
	if total < requests {
		f.t.Errorf("the journals of the nodes have %d records of %d connections", total, requests)
	}
}

// recordsBySession are a journal's exchanges in its order, and how each session ended.
func recordsBySession(t testing.TB, file string) map[string][]string {
	t.Helper()
	sessions := make(map[string][]string)
	for _, query := range []string{
		"SELECT s.node || '/' || s.number || ' ' || s.remote || ' ' || s.opened AS session, e.seq || ' ' || e.received || ' ' || e.took_ns || ' ' || e.request || ' ' || coalesce(e.reply, 'no reply') AS what FROM v_exchange e JOIN v_session s ON s.id = e.session ORDER BY e.id",
		"SELECT s.node || '/' || s.number || ' ' || s.remote || ' ' || s.opened AS session, 'ended ' || coalesce(s.closed, '') || ' ' || coalesce(s.reason, 'open') AS what FROM v_session s",
	} {
		out := run(t, program(t, "log", file, "--json", "--sql", query), "")
		for line := range strings.Lines(out) {
			session, what, ok := strings.Cut(strings.TrimSpace(line), `","what":"`)
			if !ok {
				t.Fatalf("%s: %q is no record", file, line)
			}
			sessions[session] = append(sessions[session], what)
		}
	}
	return sessions
}

// The journals of the nodes are one, whatever dies: a shipper, the collector, and all of NATS with what it has
// stored.
func TestJournalsAreCollectedWhateverDies(t *testing.T) {
	f := startNodes(t, natstest.New(t, 3, "").Start(), 2)
	f.collect()
	f.talk(2, 5)
	f.nodes[1].kill() // its server goes on
	f.killCollector()
	f.talk(2, 5)
	f.nodes[0].kill()
	f.nodes[0].start()
	f.nodes[1].start()
	f.talk(1, 5)
	f.nats.Kill()
	f.nats.Wipe()
	f.talk(2, 5)
	f.collect()
	f.nats.Start()
	f.talk(1, 5)
	f.ends()
}

// A server goes on when its journal cannot be shipped any more, and says so at once.
func TestShippingEndsBeforeItsServer(t *testing.T) {
	c := natstest.New(t, 1, "").Start()
	file, other := filepath.Join(t.TempDir(), "journal"), filepath.Join(t.TempDir(), "journal")
	for _, name := range []string{file, other} {
		w, err := journal.Create(name, journal.Options{About: journal.About{Node: "web-1"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	told := make(chan string, 8)
	opt := shipOptions{to: c.URL()}
	sh, err := opt.start(file, time.Second, func(format string, args ...any) { told <- fmt.Sprintf(format, args...) })
	if err != nil {
		t.Fatal(err)
	}
	<-told // that it begins
	if err := os.Rename(other, file); err != nil {
		t.Fatal(err)
	}
	want := "cannot ship " + file + ": the file was replaced by another; nothing more is shipped until this is started again"
	for line := range told {
		if line == want {
			break
		}
	}
	if !sh.Count().Away {
		t.Error("its metrics say that all is well")
	}
	var exit *exitError
	if err := sh.end(t.Logf); !errors.As(err, &exit) || exit.code != exitUsage {
		t.Errorf("it ends with %v, want exit code %d", err, exitUsage)
	}
}
