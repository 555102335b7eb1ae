package main

import (
	"bufio"
	"bytes"
	"context"
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
}

const (
	idleConnections = 10000
	idleHold        = time.Second
	acceptsAtOnce   = 16
	payload         = 16
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
	if w.name == "idle" {
		return measureIdle(ctx, p, l, w)
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
	b.others += after.machine - before.machine - server - (after.load - before.load)
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
	server, load, machine time.Duration // CPU time used
}

func readClocks(p *running, l *loader) (clocks, error) {
	c := clocks{at: time.Now()}
	var errs [3]error
	c.server, errs[0] = p.cpu()
	c.load, errs[1] = cpuTime(l.cmd.Process.Pid)
	c.machine, errs[2] = machineTime()
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

// A running server.
type running struct {
	server
	cmd          *exec.Cmd
	port         int
	files        []*os.File
	journal      string  // what it keeps, if it does
	memoryBefore float64 // after one exchange
	exited       chan struct{}
	err          error // how it ended, once exited is closed
}

// start runs the server on its core and returns when it has answered a first request.
func (b *bench) start(ctx context.Context, s server) (*running, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	argv := append([]string{"-c", b.cores.server}, b.command(s.run, port)...)
	p := &running{server: s, port: port, cmd: exec.Command("taskset", argv...), exited: make(chan struct{}),
		journal: filepath.Join(b.dir, fmt.Sprintf("journal-%d", port))}
	p.cmd.Env = plainEnvironment()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.cmd.Stderr, err = p.output(b.dir, "stderr"); err != nil {
		return nil, err
	}
	if s.log {
		if p.cmd.Stdout, err = p.output(b.dir, "stdout"); err != nil {
			return nil, err
		}
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	if err := p.await(ctx, b.cores); err != nil {
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

func (p *running) output(dir, name string) (*os.File, error) {
	f, err := os.Create(filepath.Join(dir, name))
	if err == nil {
		p.files = append(p.files, f)
	}
	return f, err
}

// await has one exchange with the server, as soon as it listens.
func (p *running) await(ctx context.Context, on cores) error {
	addr := fmt.Sprintf("127.0.0.1:%d", p.port)
	giveUp := time.Now().Add(5 * time.Second)
	for {
		err := exchange(addr)
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
	if err == nil && allowed != on.server {
		err = fmt.Errorf("runs on cores %s, not on %s", allowed, on.server)
	}
	if err != nil {
		return err
	}
	p.memoryBefore, err = p.memory()
	return err
}

func exchange(addr string) error {
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		return err
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
	for _, f := range p.files {
		f.Close()
		os.Remove(f.Name())
	}
	journals, _ := filepath.Glob(p.journal + "*")
	for _, f := range journals {
		os.Remove(f)
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
	argv := []string{"-c", b.cores.load, filepath.Join(b.dir, "load"),
		fmt.Sprintf("--connections=%d", w.connections),
		fmt.Sprintf("--inflight=%d", w.inflight),
		fmt.Sprintf("--size=%d", w.size),
		fmt.Sprintf("--seconds=%g", b.seconds),
		fmt.Sprintf("--warmup=%g", b.warmup),
	}
	if s.echo {
		argv = append(argv, "--echo")
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
