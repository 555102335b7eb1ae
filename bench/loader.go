package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

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
