package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// pipedLines is how many go through a pipe.
const pipedLines = 1_000_000

const (
	pipedClient = "parley client --pipeline 64"
	pipedBench  = "parley bench -c 1 -p 64"
)

// pipeContests are of what reads commands, or lines, from a pipe and sends them ahead of
// their replies.
func pipeContests(lines int) []contest {
	return []contest{
		{title: "To redis-server", server: redis, generators: []generator{
			{"redis-cli --pipe", piping(lines, "redis-cli --pipe -p PORT")},
			{pipedClient + " -f redis", piping(lines, "DIR/parley client -q --pipeline 64 -f redis 127.0.0.1:PORT")},
		}},
		{title: piped, server: server{name: "parley", run: runParley + "loops -q"}, generators: []generator{
			{pipedBench, parleyBench("-p", "64", "--size", fmt.Sprint(len(fmt.Sprintf(commandLine, 0, 0))))},
			{pipedClient, piping(lines, "DIR/parley client -q --pipeline 64 127.0.0.1:PORT")},
		}},
	}
}

// pipes runs the contests. A row that failed has its reason.
func (b *bench) pipes(ctx context.Context, rounds, lines int) ([]table, error) {
	if err := b.buildOnce(ctx, buildParley); err != nil {
		return nil, err
	}
	if err := writeCommands(filepath.Join(b.dir, "commands"), lines); err != nil {
		return nil, err
	}
	var tables []table
	for _, c := range pipeContests(lines) {
		c.connections = 1
		t, err := b.contend(ctx, c, rounds)
		if err != nil {
			return nil, err
		}
		t.workload = workload{name: "pipe", lines: lines}
		tables = append(tables, t)
	}
	return tables, nil
}

const commandLine = "SET key:%05d value:%05d"

// writeCommands writes commands of redis, each in a line, which redis-cli sends as they are.
func writeCommands(file string, lines int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	for i := range lines {
		fmt.Fprintf(out, commandLine+"\n", i%100_000, i%100_000)
	}
	return errors.Join(out.Flush(), f.Close())
}

// piping has a program read the commands. The CPU time is that of the whole process, and
// so is the time it took.
func piping(lines int, command string) func(ctx context.Context, b *bench, port, connections int) (sample, error) {
	return func(ctx context.Context, b *bench, port, _ int) (sample, error) {
		in, err := os.Open(filepath.Join(b.dir, "commands"))
		if err != nil {
			return sample{}, err
		}
		defer in.Close()
		argv := append([]string{"-c", b.cores.load}, b.command(command, port, 0)...)
		cmd := exec.CommandContext(ctx, "taskset", argv...)
		cmd.Env = plainEnvironment()
		var said bytes.Buffer
		cmd.Stdin, cmd.Stderr = in, &said
		began := time.Now()
		if err := cmd.Run(); err != nil {
			return sample{}, errors.New(reason(said.Bytes(), err))
		}
		took := time.Since(began)
		used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		return sample{rate: float64(lines) / took.Seconds(), cpu: float64(used) / float64(lines)}, nil
	}
}
