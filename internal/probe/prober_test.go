package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/parleytest"
)

// A watchedService counts the connections to it, in made-up time since the test began.
type watchedService struct {
	mu     sync.Mutex
	begun  time.Time
	times  map[string][]time.Duration // of the connections, by target
	open   map[string]int             // now, by target
	most   int                        // of one target at the same time
	all    int                        // now, of all targets
	atOnce int                        // the most of all targets at the same time
	closed []string                   // targets, in order
	takes  func(name string) time.Duration
	down   bool

	serving sync.WaitGroup
}

func newWatchedService(t *testing.T, takes func(name string) time.Duration) *watchedService {
	s := &watchedService{begun: time.Now(), times: map[string][]time.Duration{}, open: map[string]int{}, takes: takes}
	t.Cleanup(s.serving.Wait)
	return s
}

// targets are probes of the service, each of which takes as long as it is told to.
func (s *watchedService) targets(names ...string) (targets []*Target) {
	for _, name := range names {
		targets = append(targets, &Target{
			Name: name,
			Check: Check{Target: name + ":7", Probe: Probe{Timeout: time.Hour, Request: []byte("a"), Dialer: dial.Dialer{Network: "tcp", Host: "10.0.0.1", Port: "7",
				Connect: func(context.Context, string, string) (net.Conn, error) { return s.connect(name) }}}},
			Close: func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.closed = append(s.closed, name)
			},
		})
	}
	return targets
}

func (s *watchedService) closedSoFar() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.closed)
}

func (s *watchedService) connect(name string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[name] = append(s.times[name], time.Since(s.begun))
	if s.down {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	s.open[name]++
	s.all++
	s.most, s.atOnce = max(s.most, s.open[name]), max(s.atOnce, s.all)
	client, server := parleytest.ConnPair()
	s.serving.Go(func() {
		line := hearLine(server)
		time.Sleep(s.takes(name))
		s.mu.Lock()
		s.open[name]--
		s.all--
		s.mu.Unlock()
		io.WriteString(server, line+"\n")
		server.Close()
	})
	return client, nil
}

// inSeconds are such as 0, 7.5.
func inSeconds(times []time.Duration) string {
	var list []string
	for _, d := range times {
		list = append(list, fmt.Sprint(d.Seconds()))
	}
	return strings.Join(list, " ")
}

// probing runs a prober until it is stopped.
func probing(p *Prober, targets []*Target) (others chan<- []*Target, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	reload, done := make(chan []*Target), make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx, targets, reload)
	}()
	return reload, func() {
		cancel()
		<-done
	}
}

func takes(d time.Duration) func(string) time.Duration {
	return func(string) time.Duration { return d }
}

// However long a probe takes, it begins whole intervals behind the first, at its own place in them.
func TestProbesAreSpreadAndDoNotDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWatchedService(t, func(name string) time.Duration { return time.Duration(name[0]) * 37 * ms }) // an odd time
		p := &Prober{Every: 16 * time.Second}
		_, stop := probing(p, s.targets("a", "b", "c", "d", "e"))
		time.Sleep(1000*16*time.Second - ms)
		stop()
		for i, name := range []string{"a", "b", "c", "d", "e"} {
			place := []time.Duration{0, 8, 4, 12, 2}[i] * time.Second
			if n := len(s.times[name]); n != 1000 {
				t.Errorf("%s: %d probes, want 1000", name, n)
			}
			for k, at := range s.times[name] {
				if want := place + time.Duration(k)*16*time.Second; at != want {
					t.Fatalf("%s: probe %d at %v, want %v", name, k+1, at, want)
				}
			}
		}
		for _, state := range p.States() {
			if state.Skipped != 0 || state.Probes != 1000 {
				t.Errorf("%+v; want 1000 probes, none skipped", state)
			}
		}
	})
}

// A probe that takes longer than the interval has the beginnings skipped that it is in the way of, and
// the next is in its place again.
func TestProbesOfATargetDoNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWatchedService(t, takes(25*time.Second))
		p := &Prober{Every: 10 * time.Second}
		_, stop := probing(p, s.targets("slow"))
		time.Sleep(95 * time.Second)
		state := p.States()[0]
		stop()
		if got, want := inSeconds(s.times["slow"]), "0 30 60 90"; got != want || s.most != 1 {
			t.Errorf("probes at %s, %d at once; want %s, 1 at once", got, s.most, want)
		}
		if state.Skipped != 6 || state.Probes != 3 || !state.Up || state.Took != 25*time.Second {
			t.Errorf("%+v; want 6 skipped of 9", state)
		}
	})
}

// No more run at the same time than may. Who waits for a turn is probed late, and not twice.
func TestProbesWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWatchedService(t, takes(3*time.Second))
		p := &Prober{Every: 4 * time.Second, AtOnce: 2}
		_, stop := probing(p, s.targets("a", "b", "c", "d", "e", "f"))
		time.Sleep(60 * time.Second)
		states := p.States()
		stop()
		if s.atOnce != 2 {
			t.Errorf("%d at once, want 2", s.atOnce)
		}
		for _, state := range states {
			// Two that take 3 s each are at most 40 in a minute, of 90.
			if n := len(s.times[state.Name]); n < 4 || n > 9 || state.Skipped == 0 {
				t.Errorf("%s: %d probes, want about 6: %+v", state.Name, n, state)
			}
		}
	})
}

func TestPlacesAreInTheLargestGaps(t *testing.T) {
	var places []time.Duration
	for n := range uint64(100) {
		places = append(places, place(n, time.Minute))
		sorted := append(slices.Sorted(slices.Values(places)), time.Minute)
		least, most := time.Minute, time.Duration(0)
		for i := range places {
			gap := sorted[i+1] - sorted[i]
			least, most = min(least, gap), max(most, gap)
		}
		if most > 2*least+2 {
			t.Fatalf("of %d targets two are %v apart, and two %v", n+1, least, most)
		}
	}
}

// Other targets: who stays has its counts and its place, and what it holds open is closed once no probe
// needs it; who goes is probed no more, and a probe of it is cut short.
func TestOtherTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWatchedService(t, takes(3*time.Second))
		p := &Prober{Every: 8 * time.Second}
		var mu sync.Mutex
		var told []string
		p.Told = func(of *Target, f *Finding, was State) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, of.Name)
		}
		others, stop := probing(p, s.targets("stays", "goes")) // at 0 and at 4, for 3 s
		time.Sleep(13 * time.Second)                           // stays: 0, 8; goes: 4, 12 and not done
		others <- s.targets("new", "stays")                    // new: at 2, so from 18 on
		synctest.Wait()
		if got, want := strings.Join(s.closedSoFar(), " "), "stays goes"; got != want {
			t.Errorf("closed: %s, want %s", got, want)
		}
		time.Sleep(4 * time.Second) // 17: stays is probed since 16
		others <- s.targets("stays", "new")
		synctest.Wait()
		if got, want := strings.Join(s.closedSoFar(), " "), "stays goes new"; got != want {
			t.Errorf("closed while one is in use: %s, want %s", got, want)
		}
		time.Sleep(8 * time.Second) // 25
		states := p.States()
		stop()
		if got, want := strings.Join(s.closed[2:], " "), "new stays"; !strings.HasPrefix(got, want) || len(s.closed) != 6 {
			t.Errorf("closed: %v; want all six, those two after the first two: %s", s.closed, want)
		}
		for name, want := range map[string]string{"stays": "0 8 16 24", "goes": "4 12", "new": "18"} {
			if got := inSeconds(s.times[name]); got != want {
				t.Errorf("%s: probes at %s, want %s", name, got, want)
			}
		}
		if got, want := strings.Join(told, " "), "stays goes stays stays new"; got != want {
			t.Errorf("told of %s, want %s", got, want)
		}
		if len(states) != 2 || states[0].Name != "stays" || states[0].Probes != 3 || states[1].Name != "new" || states[1].Probes != 1 {
			t.Errorf("%+v; want 3 of stays, then 1 of new", states)
		}
	})
}

// A stop ends what runs at once, and what waits for its turn.
func TestAStopEndsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWatchedService(t, takes(time.Minute))
		p := &Prober{Every: 2 * time.Second, AtOnce: 1, Told: func(*Target, *Finding, State) { t.Error("a probe has a verdict") }}
		_, stop := probing(p, s.targets("runs", "waits"))
		time.Sleep(30 * time.Second)
		begin := time.Now()
		stop()
		if d := time.Since(begin); d != 0 || len(s.closed) != 2 {
			t.Errorf("it took %v, and closed %v; want 0s and both", d, s.closed)
		}
	})
}

// Each change is a line, and nothing else is unless every verdict is to be told.
func TestChangesAreTold(t *testing.T) {
	const up, down = "10.0.0.1:7 answered: reply 1000.00 ms: a", "cannot connect to web:7 (10.0.0.1:7): connection refused; is a server listening there?"
	for _, c := range []struct {
		name        string
		every, json bool
		want        string
	}{
		{"in words", false, false, "2000-01-01T00:00:00Z web is up: " + up + "\n2000-01-01T00:00:20Z web is down: " + down + "\n2000-01-01T00:00:40Z web is up: " + up + "\n"},
		{"each", true, false, "2000-01-01T00:00:00Z web is up: " + up + "\n2000-01-01T00:00:10Z web: " + up + "\n2000-01-01T00:00:20Z web is down: " + down +
			"\n2000-01-01T00:00:30Z web: " + down + "\n2000-01-01T00:00:40Z web is up: " + up + "\n"},
		{"in JSON", false, true, `{"event":"state","time":"2000-01-01T00:00:00Z","name":"web","state":"up","target":"web:7","address":"10.0.0.1:7","reply_ns":1000000000,"bytes":1,"payload":"a","held":true}
{"event":"state","time":"2000-01-01T00:00:20Z","name":"web","state":"down","was":"up","target":"web:7","address":"10.0.0.1:7","held":false,"kind":"refused","error":"` + down + `"}
{"event":"state","time":"2000-01-01T00:00:40Z","name":"web","state":"up","was":"down","target":"web:7","address":"10.0.0.1:7","reply_ns":1000000000,"bytes":1,"payload":"a","held":true}
`},
		{"each in JSON", true, true, `{"event":"check","time":"2000-01-01T00:00:10Z","name":"web","state":"up","target":"web:7",`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newWatchedService(t, takes(time.Second))
				var out strings.Builder
				p := &Prober{Every: 10 * time.Second, Told: func(of *Target, f *Finding, was State) { out.Write(of.Tell(f, was, c.every)) }}
				targets := s.targets("web")
				targets[0].Check.JSON = c.json
				_, stop := probing(p, targets)
				time.Sleep(15 * time.Second)
				s.set(true)
				time.Sleep(20 * time.Second)
				s.set(false)
				time.Sleep(9 * time.Second)
				state := p.States()[0]
				stop()
				if got := out.String(); got != c.want && !(c.every && c.json && strings.Contains(got, c.want)) {
					t.Errorf("got\n%swant\n%s", got, c.want)
				}
				if state.Probes != 5 || state.Failed[dial.Refused] != 2 || !state.Up || state.Held != time.Date(2000, 1, 1, 0, 0, 41, 0, time.UTC).Local() {
					t.Errorf("%+v; want 2 refused of 5", state)
				}
			})
		})
	}
}

func (s *watchedService) set(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// What is told is escaped, and is one line.
func TestChangesAreOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, _ := playing(t, "> a\n< = "+strings.Repeat("x", 200)+"\n", func(c *parleytest.Conn) {
			hearLine(c)
			io.WriteString(c, "\x1b[2J"+strings.Repeat("y", 200)+"\n")
		})
		found := check.Probe.Run(t.Context())
		line := string((&Target{Name: "a\x1b\nb", Check: *check}).Tell(&found[0], State{}, false))
		if strings.Count(line, "\n") != 1 || strings.Contains(line, "\x1b") || !strings.Contains(line, `Z a\x1b\nb is down: `) {
			t.Errorf("%q", line)
		}
	})
}
