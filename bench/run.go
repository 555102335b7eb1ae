package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A bench is what all runs share.
type bench struct {
	dir     string // the programs and the outputs of the running server
	seconds float64
	warmup  float64
	cores   cores
	built   map[string]error // what was made of each command that builds a program

	// What other programs used of all cores while windows were measured, and how long
	// these were together.
	others, watched time.Duration
}

// cores are where the two sides run, as taskset writes it.
type cores struct{ server, load string }

// apart is one core each: neither takes time from the other.
var apart = cores{server: "0", load: "1"}

// A workload is one table.
type workload struct {
	name        string // 64x1, idle, accepts
	connections int
	inflight    int
	size        int // of a payload, in bytes
	lines       int // that are sent in all, where nobody replies
}

const (
	idleConnections = 10000
	idleHold        = time.Second
	acceptsAtOnce   = 16
	payload         = 16
	redisAround     = len("*2\r\n$3\r\nGET\r\n$16\r\n\r\n") - len("\n")
)

func parseWorkload(name string) (workload, error) {
	w := workload{name: name, inflight: 1, size: payload}
	switch name {
	case "idle":
		w.connections = idleConnections
	case "accepts":
		w.connections = acceptsAtOnce
	default:
		fmt.Sscanf(name, "%dx%d", &w.connections, &w.inflight)
		if w.connections < 1 || w.inflight < 1 || name != fmt.Sprintf("%dx%d", w.connections, w.inflight) {
			return w, fmt.Errorf("no workload %q; write CONNECTIONSxINFLIGHT, idle or accepts", name)
		}
	}
	return w, nil
}

// A sample is what one run found. A request is a whole connection under accepts.
type sample struct {
	cpu            float64 // ns of the server for a request
	rate           float64 // requests a second
	p50, p99, p999 float64 // latency in µs
	memory         float64 // resident at the end, in MiB
	perConnection  float64 // the memory of an idle connection, in KiB
}

// patience is for a whole run: the longest takes about three seconds.
const patience = 30 * time.Second

// measure starts the server, puts the load on it and ends both.
func (b *bench) measure(ctx context.Context, s server, w workload) (sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done in %v", patience))
	defer cancel()
	p, err := b.start(ctx, s)
	if err != nil {
		return sample{}, err
	}
	defer p.stop()
	l, err := b.startLoad(ctx, p.port, s, w)
	if err != nil {
		return sample{}, err
	}
	defer l.stop()
	switch {
	case w.name == "idle":
		return measureIdle(ctx, p, l, w)
	case w.lines > 0:
		return b.measureSink(ctx, p, l, w)
	}
	return b.measureBusy(ctx, p, l)
}

func (b *bench) measureBusy(ctx context.Context, p *running, l *loader) (sample, error) {
	if _, err := l.awaitWord(ctx, "start"); err != nil {
		return sample{}, err
	}
	before, err := readClocks(p, l)
	if err != nil {
		return sample{}, err
	}
	l.goOn()
	figures, err := l.awaitWord(ctx, "end")
	if err != nil {
		return sample{}, err
	}
	after, err := readClocks(p, l)
	if err != nil {
		return sample{}, err
	}
	server := after.server - before.server
	b.others += after.machine - before.machine - (after.ours - before.ours)
	b.watched += after.at.Sub(before.at)
	memory, err := p.memory()
	if err != nil {
		return sample{}, err
	}
	found, err := parseFigures(figures)
	if err != nil {
		return sample{}, err
	}
	busy := found.sample()
	busy.cpu, busy.memory = float64(server)/found.Requests, memory/(1<<20)
	return busy, nil
}

// figures are what load prints.
type figures struct {
	Requests, Seconds float64
	P50               float64 `json:"p50_ns"`
	P99               float64 `json:"p99_ns"`
	P999              float64 `json:"p999_ns"`
}

func parseFigures(text string) (figures, error) {
	var f figures
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return f, fmt.Errorf("load: %w", err)
	}
	if f.Requests == 0 {
		return f, errors.New("no request was done in the window")
	}
	return f, nil
}

func (f *figures) sample() sample {
	return sample{rate: f.Requests / f.Seconds, p50: f.P50 / 1e3, p99: f.P99 / 1e3, p999: f.P999 / 1e3}
}

// clocks are read while all connections are at rest.
type clocks struct {
	at                    time.Time
	server, ours, machine time.Duration // CPU time used by what is measured, by all that runs for it, and by all
}

func readClocks(p *running, l *loader) (clocks, error) {
	c := clocks{at: time.Now()}
	var errs [4]error
	var own, behind, load time.Duration
	own, errs[0] = p.cpu()
	if p.back != nil {
		behind, errs[1] = p.back.cpu()
	}
	load, errs[2] = cpuTime(l.cmd.Process.Pid)
	c.machine, errs[3] = machineTime()
	c.server, c.ours = own, own+behind+load
	if p.whole {
		c.server += behind
	}
	return c, errors.Join(errs[:]...)
}

// measureIdle relies on start's exchange: what a first connection sets up is not
// counted as memory of the idle ones.
func measureIdle(ctx context.Context, p *running, l *loader, w workload) (sample, error) {
	if _, err := l.awaitWord(ctx, "ready"); err != nil {
		return sample{}, err
	}
	select {
	case <-time.After(idleHold):
	case <-ctx.Done():
		return sample{}, context.Cause(ctx)
	}
	memory, err := p.memory()
	if err != nil {
		return sample{}, err
	}
	return sample{
		memory:        memory / (1 << 20),
		perConnection: (memory - p.memoryBefore) / 1024 / float64(w.connections),
	}, nil
}

// measureSink waits until the server has kept all lines, and ends it: what it has to do
// then, to write a rest say, counts as well.
func (b *bench) measureSink(ctx context.Context, p *running, l *loader, w workload) (sample, error) {
	if _, err := l.awaitWord(ctx, "start"); err != nil {
		return sample{}, err
	}
	before, err := p.cpu()
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	l.goOn()
	if _, err := l.awaitWord(ctx, "end"); err != nil {
		return sample{}, err
	}
	for p.keeps && err == nil {
		var kept os.FileInfo
		if kept, err = os.Stat(p.file("sink")); err == nil && kept.Size() == int64(w.lines*(w.size+1)) {
			break
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			err = fmt.Errorf("not all lines are in its file: %w", context.Cause(ctx))
		}
	}
	if err != nil {
		return sample{}, err
	}
	took := time.Since(began)
	if err := p.end(ctx); err != nil {
		return sample{}, err
	}
	if p.record {
		if err := p.recorded(ctx, w.lines); err != nil {
			return sample{}, err
		}
	}
	return sample{cpu: float64(p.used()-before) / float64(w.lines), rate: float64(w.lines) / took.Seconds()}, nil
}

// A running server.
type running struct {
	server
	cmd          *exec.Cmd
	port         int
	back         *running // what is behind it
	dir          string   // where its files are, whose names end with its port
	files        []*os.File
	memoryBefore float64 // after one exchange
	exited       chan struct{}
	err          error // how it ended, once exited is closed
}

// start runs the server on its core and returns when it has answered a first request.
// What is behind it has that core too if it counts, else the one of the load.
func (b *bench) start(ctx context.Context, s server) (*running, error) {
	if s.behind == "" {
		return b.startOne(ctx, s, b.cores.server, 0)
	}
	core := b.cores.load
	if s.whole {
		core = b.cores.server
	}
	back, err := b.startOne(ctx, server{run: s.behind}, core, 0)
	if err != nil {
		return nil, fmt.Errorf("behind it: %w", err)
	}
	p, err := b.startOne(ctx, s, b.cores.server, back.port)
	if err != nil {
		back.stop()
		return nil, err
	}
	p.back = back
	return p, nil
}

func (b *bench) startOne(ctx context.Context, s server, core string, backPort int) (*running, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	argv := append([]string{"-c", core}, b.command(s.run, port, backPort)...)
	p := &running{server: s, dir: b.dir, port: port, cmd: exec.Command("taskset", argv...), exited: make(chan struct{})}
	p.cmd.Env = plainEnvironment()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stderr, err = p.output("stderr")
	if s.log && err == nil {
		p.cmd.Stdout, err = p.output("stdout")
	}
	if s.config != "" && err == nil {
		err = os.WriteFile(p.file("config"), []byte(b.fillIn(s.config, port, backPort)), 0o644)
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		p.removeFiles()
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	if err := p.await(ctx, core); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// plainEnvironment leaves out what would tune Go's runtime: its defaults are measured.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG"}, name)
	})
}

func (p *running) file(name string) string {
	return filepath.Join(p.dir, fmt.Sprintf("%s-%d", name, p.port))
}

func (p *running) output(name string) (*os.File, error) {
	f, err := os.Create(p.file(name))
	if err == nil {
		p.files = append(p.files, f)
	}
	return f, err
}

// await has one exchange with the server, as soon as it listens.
func (p *running) await(ctx context.Context, core string) error {
	addr := fmt.Sprintf("127.0.0.1:%d", p.port)
	giveUp := time.Now().Add(5 * time.Second)
	for {
		err := p.exchange(addr)
		if err == nil {
			break
		}
		select {
		case <-p.exited:
			return p.lastWords()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(giveUp) {
			return fmt.Errorf("no first reply in 5s: %w", err)
		}
	}
	allowed, err := statusField(p.cmd.Process.Pid, "Cpus_allowed_list")
	if err == nil && allowed != core {
		err = fmt.Errorf("runs on cores %s, not on %s", allowed, core)
	}
	if err != nil {
		return err
	}
	p.memoryBefore, err = p.memory()
	return err
}

func (p *running) exchange(addr string) error {
	c, err := net.Dial("tcp4", addr)
	if err != nil || p.mute {
		if err == nil {
			c.Close()
		}
		return err
	}
	if p.tls {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(c, "first\n"); err != nil {
		return err
	}
	_, err = bufio.NewReader(c).ReadSlice('\n')
	return err
}

func (p *running) lastWords() error {
	said, _ := os.ReadFile(p.files[0].Name())
	return fmt.Errorf("the server ended: %s", reason(said, p.err))
}

func (p *running) cpu() (time.Duration, error) {
	if p.forks {
		return groupCPUTime(p.cmd.Process.Pid)
	}
	return cpuTime(p.cmd.Process.Pid)
}

func (p *running) memory() (float64, error) {
	pid := p.cmd.Process.Pid
	if !p.forks {
		return residentMemory(pid)
	}
	var total float64 // what the processes share is counted for each
	for _, member := range group(pid) {
		m, _ := residentMemory(member.pid) // it may have ended since
		total += m
	}
	return total, nil
}

// end has the server do what it has to before it ends; stop then only tidies up.
func (p *running) end(ctx context.Context) error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// used is the CPU time of a server that has ended, and of the processes that it waited for.
func (p *running) used() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// recorded sees whether the journal has all lines.
func (p *running) recorded(ctx context.Context, lines int) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, "parley"), "log", p.file("journal"), "--csv", "--sql", "SELECT count(*) FROM v_exchange")
	out, err := cmd.CombinedOutput()
	if said := strings.Fields(string(out)); err != nil || len(said) != 2 || said[1] != fmt.Sprint(lines) {
		return fmt.Errorf("of %d lines the journal has %q, %v", lines, said, err)
	}
	return nil
}

// stop ends what start started, and only that: the group has the id of its leader.
func (p *running) stop() {
	pid := p.cmd.Process.Pid
	syscall.Kill(-pid, syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(2 * time.Second):
	}
	if len(group(pid)) > 0 {
		syscall.Kill(-pid, syscall.SIGKILL)
	}
	<-p.exited
	p.removeFiles()
	if p.back != nil {
		p.back.stop()
	}
}

func (p *running) removeFiles() {
	for _, f := range p.files {
		f.Close()
	}
	names, _ := filepath.Glob(p.file("*") + "*")
	for _, name := range names {
		os.Remove(name)
	}
}

// A loader is the running load program.
type loader struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
	said  bytes.Buffer // on standard error
}

func (b *bench) startLoad(ctx context.Context, port int, s server, w workload) (*loader, error) {
	program, size := "load", w.size
	if s.tls {
		program = "load-tls"
	}
	if s.redis {
		size -= redisAround // so that a request is as long as a line
	}
	argv := []string{"-c", b.cores.load, filepath.Join(b.dir, program),
		fmt.Sprintf("--connections=%d", w.connections),
		fmt.Sprintf("--inflight=%d", w.inflight),
		fmt.Sprintf("--size=%d", size),
		fmt.Sprintf("--seconds=%g", b.seconds),
		fmt.Sprintf("--warmup=%g", b.warmup),
	}
	if s.echo {
		argv = append(argv, "--echo")
	}
	if s.redis {
		argv = append(argv, "--redis")
	}
	if w.lines > 0 {
		argv = append(argv, fmt.Sprintf("--sink=%d", w.lines))
	}
	if w.name == "idle" || w.name == "accepts" {
		argv = append(argv, "--"+w.name)
	}
	l := &loader{cmd: exec.CommandContext(ctx, "taskset", append(argv, fmt.Sprint(port))...)}
	l.cmd.Stderr = &l.said
	var err error
	if l.stdin, err = l.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	l.lines = bufio.NewScanner(out)
	return l, l.cmd.Start()
}

// awaitWord reads the line that begins with the word and returns the rest of it.
func (l *loader) awaitWord(ctx context.Context, word string) (string, error) {
	if l.lines.Scan() {
		if rest, ok := strings.CutPrefix(l.lines.Text(), word); ok {
			return rest, nil
		}
		return "", fmt.Errorf("load said %q, not %q", l.lines.Text(), word)
	}
	err := l.cmd.Wait()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return "", errors.New(reason(l.said.Bytes(), err))
}

func (l *loader) goOn() { io.WriteString(l.stdin, "\n") }

// stop lets the load program close its connections and waits until it has.
func (l *loader) stop() {
	l.stdin.Close()
	l.cmd.Wait()
}
