package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

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
	if p.keeps {
		if err := p.awaitKept(ctx, int64(w.lines*(w.size+1))); err != nil {
			return sample{}, err
		}
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

// awaitKept returns when all bytes are in the server's file.
func (p *running) awaitKept(ctx context.Context, size int64) error {
	for {
		kept, err := os.Stat(p.file("sink"))
		if err != nil {
			return err
		}
		if kept.Size() == size {
			return nil
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("its file has %d of %d bytes: %w", kept.Size(), size, context.Cause(ctx))
		}
	}
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
