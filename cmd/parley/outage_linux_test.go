//go:build !386 && !arm

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/crashfs"
)

// The power fails again and again under a server, at an operation on its disk that a seed chooses: when it starts, goes
// on with what the last failure has left, or is under load. What was not synced is gone, or some of it. What is left is a
// whole journal without a hole, and the next server goes on with it. With --journal-sync it has every exchange whose
// reply a client has read; without, those that were read two syncs ago, of which there is one a second.
//
// PARLEY_SEED=n has other moments, but for what the system does by itself; PARLEY_SOAK=100 is so many seeds.
func TestSoakThePowerFailsUnderAServer(t *testing.T) {
	t.Parallel() // it waits most of the time
	for _, synced := range []bool{true, false} {
		t.Run(fmt.Sprint("sync ", synced), func(t *testing.T) {
			t.Parallel()
			first := historySeed(t)
			for seed := first; seed < first+uint64(soakRuns(t)) && !t.Failed(); seed++ {
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { newOutages(t, seed, synced).run() })
			}
		})
	}
}

const outageClients = 4

// outages are those of one journal.
type outages struct {
	t      *testing.T
	seed   uint64
	synced bool
	random *rand.Rand
	disk   *crashfs.Disk
	dir    string

	mu      sync.Mutex
	asked   map[string]bool
	replies []readReply     // since the last one
	there   map[string]bool // what has to be in the journal from now on
	torn    bool            // its -wal file, as the last one has left it
	counts  struct{ cuts, read, owed int }
}

// A readReply is an exchange of which a client has read the reply.
type readReply struct {
	request string
	syncs   int // of the journal, until then at least
}

func newOutages(t *testing.T, seed uint64, synced bool) *outages {
	o := &outages{t: t, seed: seed, synced: synced, random: rand.New(rand.NewPCG(seed, 0)), disk: crashfs.New(),
		asked: make(map[string]bool), there: make(map[string]bool)}
	o.dir = o.disk.Mount(t)
	return o
}

const outageJournal = "journal"

func (o *outages) journal() string { return filepath.Join(o.dir, outageJournal) }

func (o *outages) run() {
	o.t.Logf("repeat this with PARLEY_SEED=%d go test ./cmd/parley -v -run '^%s$'", o.seed, o.t.Name())
	lives, most := 12, 3000
	if !o.synced {
		lives, most = 5, 500 // of which there are fewer a second
	}
	for life := range lives {
		operations := most
		switch life % 3 {
		case 1:
			operations = o.random.IntN(most)
		case 2:
			operations = o.random.IntN(60) // it is still starting
		}
		fate := crashfs.Fate(o.random.IntN(int(crashfs.Fates)))
		o.live(life, operations, fate)
		if o.t.Failed() {
			return
		}
	}
	o.lastOne()
	c := o.counts
	o.t.Logf("%d power cuts, %d replies read, %d of them owed", c.cuts, c.read, c.owed)
	if c.owed == 0 {
		o.t.Error("nothing was owed")
	}
}

// live has a server live until the power fails.
func (o *outages) live(life, operations int, fate crashfs.Fate) {
	failed := o.disk.FailBehind(operations)
	p, addr := o.serve(failed)
	var clients sync.WaitGroup
	if addr != "" {
		for i := range outageClients {
			clients.Go(func() { o.beClient(life, i, addr) })
		}
	}
	select {
	case <-failed:
	case <-time.After(patience):
		o.t.Errorf("%d operations are not done after %v", operations, patience)
		o.disk.FailBehind(0)
	}
	p.Process.Kill()
	p.exit(o.t)
	clients.Wait()
	o.disk.Unmount(o.t)
	o.settle()
	o.disk = o.disk.Left(fate, o.random)
	o.dir = o.disk.Mount(o.t)
	o.counts.cuts++
	if o.check(fate); o.t.Failed() {
		o.t.Logf("the power failed in life %d behind %d operations, and %v; the server said\n%s", life, operations, fate, p.stderr)
	}
}

// serve starts a server, whose address is empty if the power has failed before it listens.
func (o *outages) serve(failed <-chan struct{}) (p *process, addr string) {
	o.t.Helper()
	file := filepath.Join(o.t.TempDir(), "addr")
	args := []string{"server", "127.0.0.1:0", "-q", "--addr-file", file, "--journal", o.journal()}
	if o.synced {
		args = append(args, "--journal-sync")
	}
	p = start(o.t, program(o.t, args...))
	eventually(o.t, "the server listens", func() bool {
		select {
		case <-failed:
			return true
		case <-p.exited:
			// It may have ended because the power has failed just before.
			select {
			case <-failed:
				return true
			default:
				o.t.Fatalf("the server cannot go on: %s", p.stderr)
			}
		default:
		}
		text, err := os.ReadFile(file)
		addr = strings.TrimSpace(string(text))
		return err == nil
	})
	return p, addr
}

// beClient asks until the power has failed. Where replies do not wait for records it waits for a sync in between, so that
// no more is queued at any time than one batch takes.
func (o *outages) beClient(life, number int, addr string) {
	random := rand.New(rand.NewPCG(o.seed, uint64(1+life*outageClients+number)))
	for asked := 0; ; {
		before := o.disk.Syncs(outageJournal)
		var requests []string
		for range 1 + random.IntN(80) {
			asked++
			filler := random.IntN(40)
			if random.IntN(8) == 0 {
				filler = random.IntN(4000) // which takes a page of its own
			}
			requests = append(requests, fmt.Sprintf("%d.%d %d %s", life, number, asked, strings.Repeat("x", filler)))
		}
		if !o.converse(addr, requests) || !o.synced && !o.disk.AwaitSync(outageJournal, before) {
			return
		}
	}
}

// converse has a session in which some requests are sent at once, and is false if it is cut off.
func (o *outages) converse(addr string, requests []string) bool {
	const atOnce = 4
	o.mu.Lock()
	for _, r := range requests {
		o.asked[r] = true
	}
	o.mu.Unlock()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * patience))
	in := bufio.NewReader(conn)
	for i, r := range requests {
		if i%atOnce == 0 {
			if _, err := io.WriteString(conn, strings.Join(requests[i:min(i+atOnce, len(requests))], "\n")+"\n"); err != nil {
				return false
			}
		}
		reply, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if !strings.Contains(reply, " - "+r+" ...") {
			o.t.Errorf("%.40q is answered %.60q", r, reply)
		}
		syncs := o.disk.Syncs(outageJournal)
		o.mu.Lock()
		o.replies = append(o.replies, readReply{r, syncs})
		o.mu.Unlock()
	}
	return true
}

// settle says of which replies the exchanges have to be there. A sync may have begun before a record was queued; the one
// behind it has it.
func (o *outages) settle() {
	syncs := o.disk.Syncs(outageJournal)
	for _, r := range o.replies {
		if o.counts.read++; o.synced || r.syncs+2 <= syncs {
			o.there[r.request] = true
			o.counts.owed++
		}
	}
	o.replies = nil
}

// check wants the journal to be whole, and to have what it has to.
func (o *outages) check(fate crashfs.Fate) {
	out, err := program(o.t, "log", "--verify", o.journal()).Output()
	if err != nil {
		exit := new(exec.ExitError)
		errors.As(err, &exit)
		// As a power cut leaves it, says --verify, if the process did not just end.
		torn := strings.HasPrefix(string(out), "its -wal file is not whole") && strings.Count(string(out), "\n") == 2
		if exit.ExitCode() != exitNetwork || !torn || fate == crashfs.There && !o.torn {
			o.t.Errorf("verify: %v\n%s%s", err, out, exit.Stderr)
			return
		}
	}
	o.torn = err != nil
	const query = "SELECT * FROM (SELECT CAST(request AS TEXT) AS request FROM messages ORDER BY id) UNION ALL SELECT 'a gap: ' || reason FROM gaps"
	found, last := make(map[string]bool), make(map[string]int)
	for line := range strings.Lines(strings.TrimPrefix(run(o.t, program(o.t, "log", "--csv", "--sql", query, o.journal()), ""), "request\r\n")) {
		request := strings.TrimRight(line, "\r\n")
		client, rest, _ := strings.Cut(request, " ")
		number := 0
		fmt.Sscan(rest, &number)
		if last[client]++; !o.asked[request] || number != last[client] {
			o.t.Errorf("there is %.60q behind number %d of that client", request, last[client]-1)
			return
		}
		found[request] = true
	}
	for request := range o.there {
		if !found[request] {
			o.t.Errorf("%.60q is not there, of %d that have to be and %d that are", request, len(o.there), len(found))
			return
		}
	}
	o.there = found // for good
}

// lastOne stops in good order, and then the power fails: that loses nothing.
func (o *outages) lastOne() {
	p, addr := o.serve(nil)
	o.converse(addr, []string{"last 1 "})
	if code := p.stop(o.t, syscall.SIGTERM); code != 0 {
		o.t.Errorf("exit code %d: %s", code, p.stderr)
	}
	for _, r := range o.replies {
		o.there[r.request] = true
	}
	o.disk.Unmount(o.t)
	o.disk = o.disk.Left(crashfs.Lost, o.random)
	o.dir = o.disk.Mount(o.t)
	if len(o.replies) != 1 {
		o.t.Error("the last server did not answer")
	}
	o.check(crashfs.Lost)
	o.disk.Unmount(o.t)
}
