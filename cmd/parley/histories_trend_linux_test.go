package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/history"
)

// By how much each figure of a process may grow after the first quarter of the time, by the line through its
// samples. That comes and goes with what clients are about at the moment.
var mayGrow = map[string]float64{"memory": 16 << 20, "descriptors": 4, "goroutines": 4}

// A watchedWorld is one in which clients do as elsewhere, and nothing is done to the programs: their memory,
// descriptors and goroutines are watched for a trend.
type watchedWorld struct {
	*world
	enough  chan struct{}
	done    chan struct{}
	samples map[string][]float64 // such as those of "server memory"
	said    int                  // replies
}

// watch starts to watch. Nothing of it is kept for long: the journals are bounded.
func watch(t *testing.T) *watchedWorld {
	t.Helper()
	w := &watchedWorld{world: newWorld(t, 0), enough: make(chan struct{}), done: make(chan struct{}), samples: make(map[string][]float64)}
	for _, k := range []*keeper{w.server, w.tap} {
		args := k.args
		k.args = func(life int) []string {
			return append(args(life), "--journal-keep", "16MiB", "--admin", "unix:"+adminSocket(k))
		}
		k.start()
	}
	w.collect()
	for i := range 4 {
		w.clients.Go(func() { w.beClient(i, i%2 == 0) })
	}
	go func() {
		defer close(w.done)
		for tick := time.NewTicker(5 * time.Second); ; {
			select {
			case <-tick.C:
				w.look()
			case <-w.enough:
				tick.Stop()
				return
			}
		}
	}()
	return w
}

func adminSocket(k *keeper) string { return filepath.Join(filepath.Dir(k.journal), "admin") }

// look takes a sample of each process, and compares what clients have seen since the one before.
func (w *watchedWorld) look() {
	ended := w.takeEnded()
	h := history.History{Conversations: ended, Server: history.Keeper{Lives: w.server.lives}, Tap: history.Keeper{Lives: w.tap.lives}}
	for _, line := range h.CheckClients() {
		w.t.Error(line)
	}
	for _, c := range ended {
		w.said += len(c.Read)
	}
	for name, p := range map[string]*process{"server": w.server.process, "tap": w.tap.process, "collector": w.collector} {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
		w.sample(name+" memory", status, `RssAnon:\s+(\d+) kB`, 1024, err)
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Process.Pid))
		w.sample(name+" descriptors", fmt.Append(nil, len(open)), `(\d+)`, 1, err)
	}
	for name, k := range map[string]*keeper{"server": w.server, "tap": w.tap} {
		metrics, err := overUnix(w.t.Context(), adminSocket(k), "/metrics")
		w.sample(name+" goroutines", metrics, `(?m)^go_goroutines (\d+)$`, 1, err)
	}
}

// sample takes the number that an expression finds in a text.
func (w *watchedWorld) sample(figure string, text []byte, expression string, unit float64, err error) {
	found := regexp.MustCompile(expression).FindSubmatch(text)
	if err != nil || found == nil {
		w.t.Errorf("%s: %v, %.100q", figure, err, text)
		return
	}
	n, _ := strconv.ParseFloat(string(found[1]), 64)
	w.samples[figure] = append(w.samples[figure], n*unit)
}

func overUnix(ctx context.Context, socket, path string) ([]byte, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	req, err := http.NewRequestWithContext(ctx, "GET", "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// end ends the watched programs and judges the trends, which take minutes to show: nothing else may have ended
// it before.
func (w *watchedWorld) end() {
	w.t.Helper()
	early := w.t.Failed()
	close(w.enough)
	<-w.done
	w.ends()
	w.t.Logf("the programs that were watched have answered %d requests", w.said)
	for _, figure := range slices.Sorted(maps.Keys(w.samples)) {
		all := w.samples[figure]
		warm := all[len(all)/4:]
		growth, most := history.Growth(warm), mayGrow[strings.Fields(figure)[1]]
		w.t.Logf("%s: from %.0f to %.0f, growth %.1f, in %d samples", figure, slices.Min(warm), slices.Max(warm), growth, len(warm))
		if growth <= most {
			continue
		}
		w.t.Logf("it may grow by %.1f: %.0f", most, all)
		if !early {
			w.t.Errorf("%s grows", figure)
		}
	}
}
