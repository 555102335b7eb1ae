package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A growing is a picture of what something costs as it grows: CPU time for all of n.
type growing struct {
	file    string // beside the page
	picture picture
	note    string
}

// growth measures what grows, and says of each curve how it does beside n log n.
func (b *bench) growth(ctx context.Context, rounds, exchanges int, page string) (report string, err error) {
	if err := b.buildOnce(ctx, buildParley); err != nil {
		return "", err
	}
	if err := b.buildOnce(ctx, servers[0].build); err != nil {
		return "", err
	}
	var out strings.Builder
	for _, measure := range []func() (growing, error){
		func() (growing, error) { return b.growingSessions(ctx, rounds) },
		func() (growing, error) { return b.growingMessages(ctx, rounds) },
		func() (growing, error) { return b.growingTabs(ctx, rounds) },
		func() (growing, error) { return b.growingJournal(ctx, exchanges) },
	} {
		g, err := measure()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "### %s\n\n", g.picture.title)
		if page != "" {
			if err := os.WriteFile(filepath.Join(filepath.Dir(page), g.file), []byte(g.picture.svg()), 0o644); err != nil {
				return "", err
			}
			fmt.Fprintf(&out, "![%s](%s)\n\n", g.picture.title, g.file)
		}
		fmt.Fprintf(&out, "%s\n%s\n\n", g.picture.table(), g.note)
	}
	return out.String(), nil
}

// steps measures every server at every step, and has a curve for each of what all of n cost.
func (b *bench) steps(ctx context.Context, chosen []server, steps []float64, at func(n float64) workload, rounds int) ([]curve, error) {
	curves := make([]curve, len(chosen))
	for _, n := range steps {
		w := at(n)
		w.name = "growth at " + thousands(n, 0)
		tables, err := b.compare(ctx, chosen, chosen[0].name, []workload{w}, rounds, nil)
		if err != nil {
			return nil, err
		}
		for i, r := range tables[0].rows {
			if r.failed != nil {
				return nil, fmt.Errorf("%s, %s: %w", r.server, w.name, r.failed)
			}
			curves[i].name = r.server
			curves[i].at = append(curves[i].at, spot{n, median(each(r.samples, cpuOf)) * float64(w.connections)})
		}
	}
	return curves, nil
}

func (b *bench) growingSessions(ctx context.Context, rounds int) (growing, error) {
	curves, err := b.steps(ctx, named(reference, "parley", "parley-goroutines"), []float64{1, 10, 100, 1000, 5000, 10000, 15000},
		func(n float64) workload { return workload{connections: int(n), inflight: 1, size: payload} }, rounds)
	return growing{
		file:    "growth-sessions.svg",
		picture: picture{title: "Sessions", x: "sessions", y: "CPU time of one request on each", curves: curves},
		note:    "What c-epoll shows as well is the kernel's, and that of the caches.",
	}, err
}

func (b *bench) growingMessages(ctx context.Context, rounds int) (growing, error) {
	const large = " --max-request 20MiB --max-unsent 20MiB --max-held 1GiB"
	curves, err := b.steps(ctx, []server{
		{name: "parley", run: runParley + "loops -q" + large},
		{name: "parley-narrative", run: runParley + "loops" + large, log: true},
		{name: "parley-goroutines", run: runParley + "goroutines -q" + large},
	}, []float64{16, 256, 4 << 10, 64 << 10, 1 << 20, 16 << 20},
		func(n float64) workload { return workload{connections: 1, inflight: 1, size: int(n)} }, rounds)
	return growing{
		file:    "growth-messages.svg",
		picture: picture{title: "The size of a message", x: "bytes", y: "CPU time of a request", curves: curves},
		note:    "One connection, with one request in flight; the reply is as long.",
	}, err
}

// growingTabs has n tabs of the live page look at a server that answers so many requests a
// second: each asks what is new, and if it shows a session, for that too.
func (b *bench) growingTabs(ctx context.Context, rounds int) (growing, error) {
	curves := []curve{{name: "tabs"}, {name: "tabs that show a session"}}
	for n := 1; n <= 32; n *= 2 {
		fmt.Fprintf(os.Stderr, "tabs: %d\n", n)
		for i := range curves {
			var costs []float64
			for range rounds {
				cost, err := b.tabs(ctx, n, i == 1)
				if err != nil {
					return growing{}, fmt.Errorf("%d tabs: %w", n, err)
				}
				costs = append(costs, cost)
			}
			curves[i].at = append(curves[i].at, spot{float64(n), median(costs)})
		}
	}
	return growing{
		file:    "growth-tabs.svg",
		picture: picture{title: "Tabs of the live page, and watchers of a session", x: "tabs", y: "CPU time of the server in a second", curves: curves},
		note: fmt.Sprintf("Of one browser, over six connections. The server answers %s requests a second besides, which is in it. A tab asks four times a second what is new, and one that shows a session\n"+
			"asks as often for that.", thousands(tabsRate, 0)),
	}, nil
}

const (
	tabsRate   = 200
	tabsAsk    = 250 * time.Millisecond
	tabsWindow = 2 * time.Second
)

// tabs is the server's CPU time in a second, in ns.
func (b *bench) tabs(ctx context.Context, n int, session bool) (float64, error) {
	web, err := freePort()
	if err != nil {
		return 0, err
	}
	p, err := b.startOne(ctx, server{run: runParley + "loops -q --web 127.0.0.1:BACK"}, b.cores.server, web)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	load := exec.CommandContext(ctx, "taskset", "-c", b.cores.load, filepath.Join(b.dir, "parley"), "bench", "-q", "-c", "16",
		"-r", fmt.Sprint(tabsRate), "-d", "1m", fmt.Sprintf("127.0.0.1:%d", p.port))
	if err := load.Start(); err != nil {
		return 0, err
	}
	defer func() {
		load.Process.Signal(syscall.SIGTERM)
		load.Wait()
	}()

	browser := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 6}} // which all its tabs share
	defer browser.CloseIdleConnections()
	address := fmt.Sprintf("http://127.0.0.1:%d", web)
	if err := awaitSession(ctx, browser, address); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	failed := make(chan error, n)
	defer asking.Wait()
	defer cancel()
	for i := range n {
		asking.Go(func() {
			// Not all at the same moment, as people do not open theirs either.
			pause(ctx, tabsAsk*time.Duration(i)/time.Duration(n))
			if err := look(ctx, browser, address, session); err != nil && ctx.Err() == nil {
				failed <- err
			}
		})
	}
	pause(ctx, 2*tabsAsk) // each has asked for the first time, for all there is
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	pause(ctx, tabsWindow)
	after, err := p.cpu()
	if err != nil {
		return 0, err
	}
	took := time.Since(began)
	select {
	case err := <-failed:
		return 0, err
	default:
		return float64(after-before) / took.Seconds(), ctx.Err()
	}
}

// lookedAt is a session of the load: the first of all was to see whether the server listens.
const lookedAt = "/session?number=2"

// awaitSession returns when the page knows the session.
func awaitSession(ctx context.Context, browser *http.Client, address string) error {
	giveUp := time.Now().Add(5 * time.Second)
	for {
		err := fetch(ctx, browser, address+lookedAt, nil)
		if err == nil || ctx.Err() != nil || time.Now().After(giveUp) {
			return err
		}
		pause(ctx, 2*time.Millisecond)
	}
}

// look is one tab, until the context ends.
func look(ctx context.Context, browser *http.Client, address string, session bool) error {
	for known := ""; ; pause(ctx, tabsAsk) {
		var told struct{ Cursor string }
		if err := fetch(ctx, browser, address+"/state?after="+known, &told); err != nil {
			return err
		}
		known = told.Cursor
		if session {
			if err := fetch(ctx, browser, address+lookedAt, nil); err != nil {
				return err
			}
		}
	}
}

// fetch reads an answer, and what it says in JSON if there is something to hold it.
func fetch(ctx context.Context, browser *http.Client, address string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := browser.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, answer.Status)
	}
	if into != nil {
		return json.NewDecoder(answer.Body).Decode(into)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// growingJournal has a server write a journal, and asks it the same when it is ten times as long.
func (b *bench) growingJournal(ctx context.Context, exchanges int) (growing, error) {
	file := filepath.Join(b.dir, "growing.journal")
	names := []string{"written", "indexed for texts", "--stats", "--text, indexed", "--session"}
	curves := make([]curve, len(names))
	for i, name := range names {
		curves[i].name = name
	}
	written, indexed, there := 0.0, 0.0, 0
	for n := 10_000; there < exchanges; n *= 10 {
		n = min(n, exchanges)
		fmt.Fprintf(os.Stderr, "a journal of %s exchanges\n", thousands(float64(n), 0))
		cost, err := b.write(ctx, file, n-there)
		if err != nil {
			return growing{}, err
		}
		there, written = n, written+cost
		costs := []float64{written, 0, 0, 0, 0}
		for i, args := range [][]string{
			1: {"--text", "message 7777 ..."}, // brings the index up to date
			2: {"--stats"},
			3: {"--text", "message 7777 ..."},
			4: {"--session", "1"},
		} {
			if args == nil {
				continue
			}
			if costs[i], err = b.ask(ctx, append([]string{file}, args...)); err != nil {
				return growing{}, fmt.Errorf("parley log %s: %w", strings.Join(args, " "), err)
			}
		}
		indexed += max(0, costs[1]-costs[3])
		costs[1] = indexed
		for i, cost := range costs {
			curves[i].at = append(curves[i].at, spot{float64(n), cost})
		}
	}
	return growing{
		file:    "growth-journal.svg",
		picture: picture{title: "A journal", x: "exchanges", y: "CPU time", curves: curves},
		note: "Measured once each. Written and indexed is the sum for all of them, on the server's side and by `parley log`; the others are the\n" +
			"whole time of `parley log`, with the file in the page cache. The text is in one exchange of each step, the session has 100.",
	}, nil
}

// write has a server keep n exchanges more. It is what the server uses, from its start on
// what is there to its end.
func (b *bench) write(ctx context.Context, file string, n int) (float64, error) {
	p, err := b.startOne(ctx, server{run: runParley + "loops -q --journal " + file}, b.cores.server, 0)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	for _, load := range [][]string{{"-c", "1", "-n", "100"}, {"-c", "16", "-p", "64", "-w", "1m", "-n", fmt.Sprint(n)}} {
		argv := append([]string{"-c", b.cores.load, filepath.Join(b.dir, "parley"), "bench", "-q", fmt.Sprintf("127.0.0.1:%d", p.port)}, load...)
		if out, err := exec.CommandContext(ctx, "taskset", argv...).CombinedOutput(); err != nil {
			return 0, errors.New(reason(out, err))
		}
	}
	if err := p.end(ctx); err != nil {
		return 0, err
	}
	return float64(p.used()), nil
}

// ask is what a question to a journal takes, in CPU time.
func (b *bench) ask(ctx context.Context, args []string) (float64, error) {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", b.cores.server, filepath.Join(b.dir, "parley"), "log"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, errors.New(reason(out, err))
	}
	return float64(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()), nil
}
