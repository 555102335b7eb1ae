package main

import (
	"bufio"
	"context"
	"crypto/tls"
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
