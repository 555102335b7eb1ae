package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/history"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/natstest"
)

// Clients talk to a server, and to another tap before it, while both are killed, paused, stopped and started again,
// the disk of the server's journal is filled, connections are reset, and who collects that journal dies. Then what
// the clients have seen, both journals and the collected one are compared.
//
// A seed says which, when and how: always the same one, since nobody's change is to fail by what another seed finds.
// PARLEY_SEED=n has that of another run, but for what the system does by itself; PARLEY_SOAK=60 is an hour of runs, from
// any seed on.
func TestHistories(t *testing.T) {
	t.Parallel() // it waits most of the time
	if os.Getuid() != 0 {
		skipOutsideCI(t, "only root can make a small file system")
	}
	seed := historySeed(t)
	if os.Getenv("PARLEY_SOAK") == "" {
		runHistory(t, seed)
		return
	}
	minutes := soakRuns(t)
	watched := watch(t)
	for end := time.Now().Add(time.Duration(minutes) * time.Minute); time.Now().Before(end) && !t.Failed(); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { runHistory(t, seed) })
	}
	watched.end()
}

func historySeed(t *testing.T) uint64 {
	text := os.Getenv("PARLEY_SEED")
	switch {
	case text == "" && os.Getenv("PARLEY_SOAK") == "":
		return 1
	case text == "":
		return rand.Uint64N(1e9)
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("PARLEY_SEED=%q is no number", text)
	}
	return seed
}

func runHistory(t *testing.T, seed uint64) {
	t.Logf("repeat this with PARLEY_SEED=%d go test ./cmd/parley -v -run '^TestHistories$'", seed)
	w := newWorld(t, seed)
	w.server.start()
	defer func() {
		if t.Failed() {
			t.Logf("the server says\n%s", w.server.stderr)
		}
	}()
	w.tap.start()
	w.collect()
	for i := range 10 {
		w.clients.Go(func() { w.beClient(i, i%5 < 2) })
	}
	for _, f := range w.faults() {
		w.wait(100, 500)
		t.Log(f.name)
		f.do(w)
	}
	w.wait(100, 500)
	w.ends()
	w.compare()
}

// A world is all that takes part in a run.
type world struct {
	t           *testing.T
	seed        uint64
	random      *rand.Rand // of what is done to the programs
	clock       history.Clock
	disk        string // a small file system
	server, tap *keeper
	nats        *natstest.Cluster
	all         string // the collected journal
	floods      int
	probes      int
	collector   *process

	over          chan struct{} // closed when clients are to come to an end
	clients       sync.WaitGroup
	mu            sync.Mutex
	conversations []*history.Conversation
	connected     map[*history.Conversation]*client
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), disk: t.TempDir(), all: filepath.Join(t.TempDir(), "all.journal"),
		over: make(chan struct{}), connected: make(map[*history.Conversation]*client)}
	if err := syscall.Mount("tmpfs", w.disk, "tmpfs", 0, "size=1g"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(w.disk, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	w.nats = natstest.New(t, 1, "").Start()
	w.nats.Connect()
	// An address that nobody else has: the programs come back at the same one.
	host := fmt.Sprintf("127.%d.%d.1", 1+os.Getpid()>>8&127, os.Getpid()&255)
	w.server = &keeper{w: w, addr: host + ":0", journal: filepath.Join(w.disk, "journal")}
	w.server.args = func(life int) []string { // of either engine by turns
		return []string{"server", w.server.addr, "--node", "web-1", "--ship", w.nats.URL(), "--reply", history.Pattern(life),
			"--engine", []string{"loops", "goroutines"}[(w.seed+uint64(life))%2], "--drain-timeout", w.anyOf("1s", "3s")}
	}
	w.tap = &keeper{w: w, addr: host + ":0", journal: filepath.Join(t.TempDir(), "journal")}
	w.tap.args = func(int) []string {
		return []string{"tap", w.tap.addr, w.server.addr, "--drain-timeout", w.anyOf("1s", "3s")}
	}
	return w
}

func (w *world) anyOf(words ...string) string { return words[w.random.IntN(len(words))] }

// wait has so many milliseconds pass: when something is done is the seed's choice too.
func (w *world) wait(least, most int) {
	time.Sleep(time.Duration(least+w.random.IntN(most-least)) * time.Millisecond)
}

// A keeper is a server or a tap, over its lives.
type keeper struct {
	w       *world
	addr    string // a port of its own once it has one
	journal string
	args    func(life int) []string
	*process
	addrFile string
	lives    []history.Life
}

// start begins a life, and waits until the program listens.
func (k *keeper) start() {
	k.begin()
	k.w.awaitListening(k)
}

func (k *keeper) begin() {
	k.w.t.Helper()
	k.addrFile = filepath.Join(k.w.t.TempDir(), "addr")
	life := history.Life{Sync: k.w.random.IntN(2) == 0, Started: k.w.clock.Now()}
	args := append(k.args(len(k.lives)+1), "-q", "--addr-file", k.addrFile, "--journal", k.journal)
	if life.Sync {
		args = append(args, "--journal-sync")
	}
	k.lives = append(k.lives, life)
	k.process = start(k.w.t, ours(k.w.t, args...))
}

func (w *world) awaitListening(k *keeper) {
	w.t.Helper()
	eventually(w.t, "it listens", func() bool {
		select {
		case <-k.exited:
			w.t.Fatalf("%s has ended: %v\n%s", k, k.ProcessState, k.stderr)
		default:
		}
		text, err := os.ReadFile(k.addrFile)
		if err == nil {
			k.addr = strings.TrimSpace(string(text))
		}
		return err == nil
	})
	k.life().Listening = w.clock.Now()
}

func (k *keeper) life() *history.Life { return &k.lives[len(k.lives)-1] }

// kill ends a life as nothing else does.
func (k *keeper) kill() {
	k.life().Stopping = k.w.clock.Now()
	k.Process.Kill()
	<-k.exited
	k.life().Exit = history.Killed
	k.soundness()
}

// terminate ends a life in good order. Each of the further signals comes so long behind the one before.
func (k *keeper) terminate(further ...time.Duration) {
	k.w.t.Helper()
	k.life().Stopping = k.w.clock.Now()
	k.Process.Signal(syscall.SIGTERM)
	for _, behind := range further {
		select {
		case <-k.exited:
		case <-time.After(behind):
			k.Process.Signal(syscall.SIGTERM)
		}
	}
	switch code := k.exit(k.w.t); code {
	case 0:
		k.life().Exit = history.Drained
	case 1:
		k.life().Exit = history.Cut
	case 2:
		k.life().Exit = history.Unrecorded
		if !strings.Contains(k.stderr.String(), "full") {
			k.w.t.Errorf("%s: exit code 2\n%s", k, k.stderr)
		}
	default:
		k.w.t.Errorf("%s: exit code %d\n%s", k, code, k.stderr)
	}
	k.soundness()
}

// soundness looks whether the program itself found something wrong.
func (k *keeper) soundness() {
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(k.stderr.String(), bad) {
			k.w.t.Errorf("%s says\n%s", k, k.stderr)
		}
	}
}

// A worldFault is what is done to the programs.
type worldFault struct {
	name string
	do   func(w *world)
}

// faults are all of them, in the seed's order.
func (w *world) faults() []worldFault {
	all := []worldFault{
		{"the server is killed", func(w *world) {
			if w.random.IntN(2) == 0 {
				w.server.Process.Signal(syscall.SIGSTOP) // with requests that it has not read
				w.wait(1, 500)
			}
			w.server.kill()
			w.server.start()
		}},
		{"the server is killed, and again as it starts", func(w *world) {
			w.server.kill()
			w.server.begin()
			w.wait(1, 300)
			w.server.kill()
			w.server.start()
		}},
		{"the server is paused", func(w *world) { w.pause(w.server) }},
		{"the server is stopped", func(w *world) {
			w.flood(time.Duration(100+w.random.IntN(700)) * time.Millisecond)
			for range 2 { // each engine
				w.chatter()
				w.wait(50, 300)
				if w.random.IntN(2) == 0 {
					w.server.terminate(time.Millisecond) // one stop, delivered twice
				} else {
					w.server.terminate()
				}
				w.server.start()
			}
		}},
		{"the server is stopped by two signals", func(w *world) { w.server.terminate(sameStop + 100*time.Millisecond); w.server.start() }},
		{"the tap is killed", func(w *world) { w.tap.kill(); w.tap.start() }},
		{"the tap is paused", func(w *world) { w.pause(w.tap) }},
		{"the tap is stopped", func(w *world) { w.tap.terminate(); w.tap.start() }},
		{"the disk is full", func(w *world) {
			w.fill(2)
			w.wait(1, 1500)
			w.free()
			w.recordsAgain()
		}},
		{"the disk is full, and the server is killed", func(w *world) {
			w.fill(1)
			w.wait(1, 1000)
			w.server.kill()
			w.free()
			w.server.start()
			w.recordsAgain()
		}},
		{"the disk is full, and the server is stopped", func(w *world) {
			w.fill(1)
			w.wait(1, 1000)
			w.server.terminate()
			w.free()
			w.server.start()
			w.recordsAgain()
		}},
		{"all connections are reset", (*world).resetAll},
		{"the collector is killed, and NATS with all it has", func(w *world) {
			w.collector.Process.Kill()
			<-w.collector.exited
			w.nats.Kill()
			w.nats.Wipe()
			w.wait(1, 500)
			w.nats.Start()
			w.collect()
		}},
	}
	w.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func (w *world) pause(k *keeper) {
	k.Process.Signal(syscall.SIGSTOP)
	w.wait(50, 1000)
	k.Process.Signal(syscall.SIGCONT)
}

// fill leaves nothing of the disk: it is made as small as what is on it. Then the server comes to notice, and tries
// so often to write the same.
func (w *world) fill(tries int) {
	w.t.Helper()
	eventually(w.t, "the disk is full", func() bool {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(w.disk, &disk); err != nil {
			w.t.Fatal(err)
		}
		return w.resize(fmt.Sprint((disk.Blocks-disk.Bfree)*uint64(disk.Bsize))) == nil // it may have grown meanwhile
	})
	enough := w.flood(0)
	eventually(w.t, "the journal cannot be written", func() bool {
		said := w.server.stderr.String()
		return strings.Count(said[max(0, strings.LastIndex(said, "can be written again")):], "cannot be written") >= tries
	})
	enough()
}

func (w *world) free() {
	if err := w.resize("1g"); err != nil {
		w.t.Error(err)
	}
}

// recordsAgain has one more client say something to the server, behind a full disk, and waits until the journal has it:
// of a server that is killed later nobody could tell whether it had come to record again.
func (w *world) recordsAgain() {
	w.t.Helper()
	w.probes++
	name, sent := fmt.Sprintf("probe.%d", w.probes), w.clock.Now()
	if w.converse(name, w.server.addr, false, manner{messages: 1, window: 1, goes: -1}, nil) == 0 {
		w.t.Fatal("the disk has room again, and nobody is answered")
	}
	eventually(w.t, "the disk has room again, and what is said is recorded", func() bool { return hasExchange(w.t, w.server.journal, name) })
	w.server.life().Recorded = sent
}

func (w *world) resize(size string) error {
	return syscall.Mount("tmpfs", w.disk, "tmpfs", syscall.MS_REMOUNT, "size="+size)
}

func (w *world) collect() {
	w.t.Helper()
	w.collector = start(w.t, ours(w.t, "collect", w.nats.URL(), w.all))
	w.collector.stderr.await(w.t, "collecting from")
}

// ends has all come to an end in good order, the server at last and with all that it has recorded collected.
func (w *world) ends() {
	w.t.Helper()
	close(w.over)
	w.clients.Wait()
	for _, k := range []*keeper{w.tap, w.server} {
		k.terminate()
		shipped := !strings.Contains(k.stderr.String(), "to be shipped the next time")
		if shipped && k.life().Exit != history.Drained {
			w.t.Errorf("%s: nobody talks any more, and it was %v\n%s", k, k.life().Exit, k.stderr)
		}
	}
	if code := w.collector.stop(w.t, syscall.SIGTERM); code != 0 {
		w.t.Errorf("the collector exits with %d\n%s", code, w.collector.stderr)
	}
	// One shipper ships what is left, and is stopped again where it has not reached NATS yet; another gives once more
	// what the stream has lost.
	eventually(w.t, "all is shipped", func() bool { return w.ship().stop(w.t, syscall.SIGTERM) == 0 })
	again := w.ship()
	once := start(w.t, ours(w.t, "collect", w.nats.URL(), w.all, "--once"))
	if code := once.exit(w.t); code != 0 {
		w.t.Errorf("collect --once exits with %d\n%s", code, once.stderr)
	}
	again.stop(w.t, syscall.SIGTERM)
}

func (w *world) ship() *process {
	p := start(w.t, ours(w.t, "ship", w.server.journal, "--to", w.nats.URL(), "--drain-timeout", "1m"))
	p.stderr.await(w.t, "shipping")
	return p
}

// compare compares all that was seen with all that was kept.
func (w *world) compare() {
	w.t.Helper()
	h := history.History{Conversations: w.conversations}
	h.Server = history.Keeper{Lives: w.server.lives, Sessions: keptSessions(w.t, w.server.journal)}
	h.Tap = history.Keeper{Lives: w.tap.lives, Sessions: keptSessions(w.t, w.tap.journal)}
	wrong := h.Check()
	for _, line := range wrong[:min(len(wrong), 20)] {
		w.t.Error(line)
	}
	if len(wrong) > 20 {
		w.t.Errorf("and %d more", len(wrong)-20)
	}
	w.compareCollected(h.Server.Sessions)
	if w.t.Failed() {
		w.t.Logf("lives of the server: %+v\nlives of the tap: %+v", w.server.lives, w.tap.lives)
	}
	ends, replies := make(map[history.End]int), 0
	for _, c := range w.conversations {
		ends[c.End]++
		replies += len(c.Read)
	}
	w.t.Logf("%d conversations, which ended so: %v; %d replies; %d sessions of the server, %d of the tap",
		len(w.conversations), ends, replies, len(h.Server.Sessions), len(h.Tap.Sessions))
	if replies < 500 || ends[history.EOF] < 20 || len(h.Tap.Sessions) < 10 {
		w.t.Error("that is too little to say anything")
	}
}

// compareCollected compares the collected journal with the server's own sessions.
func (w *world) compareCollected(sessions []history.Session) {
	w.t.Helper()
	missing := make(map[string]int)
	for _, s := range sessions {
		missing[fmt.Sprintf("%+v", s)]++
	}
	for _, s := range keptSessions(w.t, w.all) {
		missing[fmt.Sprintf("%+v", s)]--
	}
	for session, n := range missing {
		switch {
		case n > 0:
			w.t.Errorf("%d times in the server's journal, and not collected: %.300s", n, session)
		case n < 0:
			w.t.Errorf("%d times collected, and not in the server's journal: %.300s", -n, session)
		}
	}
}

// hasExchange reports whether a journal that is being written has a text.
func hasExchange(t *testing.T, file, text string) bool {
	t.Helper()
	r, err := journal.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, err := range r.Exchanges(t.Context(), journal.Filter{Text: []byte(text)}) {
		if err != nil {
			t.Fatal(err)
		}
		return true
	}
	return false
}

// keptSessions are the sessions of a journal, which has to be whole.
func keptSessions(t *testing.T, file string) (all []history.Session) {
	t.Helper()
	r, err := journal.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Damaged = func(d journal.Damage) { t.Errorf("%s: %v", file, d) }
	if _, err := r.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	place := make(map[int64]int)
	for s, err := range r.Sessions(t.Context(), journal.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		place[s.ID] = len(all)
		all = append(all, history.Session{Number: s.Number, Remote: s.Remote, Closed: !s.Closed.IsZero(), Reason: s.Reason, Requests: s.Requests, BytesIn: s.BytesIn, RepliedUpTo: s.RepliedUpTo})
	}
	for x, err := range r.Exchanges(t.Context(), journal.Filter{}) {
		switch {
		case err != nil:
			t.Fatal(err)
		case x.Seq == 0:
			continue // bytes that were no message
		}
		s := &all[place[x.Session]]
		if asked := slices.IndexFunc(s.Exchanges, func(a history.Exchange) bool { return a.Seq == x.Seq }); x.Request == nil && asked >= 0 {
			s.Exchanges[asked].Reply, s.Exchanges[asked].Answered = string(x.Reply), true // a tap had recorded the request before
			continue
		}
		s.Exchanges = append(s.Exchanges, history.Exchange{Seq: x.Seq, Request: string(x.Request), Reply: string(x.Reply), Answered: x.Reply != nil})
	}
	return all
}
