package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/internal/natsconn"
	"github.com/parley-tcp/parley/parleytest"
)

const patience = 30 * time.Second

// startNATS starts a server that takes messages of maxPayload bytes.
func startNATS(t *testing.T, maxPayload int32) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, MaxPayload: maxPayload})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("nats-server does not listen")
	}
	return s.Addr().String()
}

func connect(t *testing.T, at string) *nats.Conn {
	t.Helper()
	conn, err := natsconn.Options{URLs: at}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// startAgent starts an agent, which is stopped at the latest at the end of the test.
func startAgent(t *testing.T, at string, a *Agent) (stop func()) {
	t.Helper()
	conn := connect(t, at)
	waits := make(chan struct{})
	var once sync.Once
	a.Told = func(string) { once.Do(func() { close(waits) }) }
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- a.Serve(ctx, conn) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-waits:
	case <-time.After(patience):
		t.Fatal("the agent does not wait for work")
	}
	return stop
}

func echo(t *testing.T) (host, port string) {
	t.Helper()
	addr := parleytest.Start(t, &parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil })})
	host, port, _ = net.SplitHostPort(addr)
	return host, port
}

func loopback() Allowed {
	a, _ := ParseAllowed("127.0.0.0/8:*")
	return a
}

func teamOf(n int) TeamOptions {
	return TeamOptions{Agents: n, Wait: patience, Version: "v10", Bench: "here", Told: func(string) {}}
}

func gather(t *testing.T, at string, n int) *Team {
	t.Helper()
	team, err := Gather(t.Context(), connect(t, at), teamOf(n))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(team.Close)
	return team
}

// aLoad is one of lines, and the plan of the whole.
func aLoad(host, port string) (*Load, *load.Plan) {
	messages := load.ParseMessages([]byte("message {n} of {conn}"))
	l := &Load{Host: host, Port: port, Framing: "line", Messages: messages, Expect: "exact", Connections: 5, InFlight: 1, Timeout: patience}
	return l, &load.Plan{Messages: messages, Connections: 5, Timeout: patience}
}

// Three agents, one of which has a clock that is an hour ahead and another one an hour behind, put one load
// on: every number is there once, and they begin within what their clocks can be compared to.
func TestAgentsBeginAtOneMomentWhateverTheirClocksSay(t *testing.T) {
	at := startNATS(t, 4096) // so that results and loads come in parts
	var mu sync.Mutex
	seen := map[string]int{}
	addr := parleytest.Start(t, &parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		seen[string(req.Body)]++
		return append(dst, req.Body...), nil
	})})
	for i, shift := range []time.Duration{0, time.Hour, -time.Hour} {
		startAgent(t, at, &Agent{Name: fmt.Sprint("web-", i), Version: "v10", Allowed: loopback(), Clock: func() time.Time { return time.Now().Add(shift) }})
	}
	team := gather(t, at, 3)
	host, port, _ := net.SplitHostPort(addr)
	l, plan := aLoad(host, port)
	l.Messages = load.ParseMessages([]byte("{n} " + strings.Repeat("x", 10_000)))
	l.Requests = 1000
	seconds := uint64(0)
	plan.Watch = func(s load.Second) { seconds += s.Replies }
	r, err := team.Run(t.Context(), l, plan)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests != 1000 || r.Replies != 1000 || r.Connects != 5 || r.Service.Count() != 1000 || r.Failed() || seconds != 1000 {
		t.Errorf("%d requests, %d replies, %d of them timed, %d told of, %d connections; want 1000 and 5", r.Requests, r.Replies, r.Service.Count(), seconds, r.Connects)
	}
	for number, n := range seen {
		if n != 1 {
			t.Errorf("request %.20s was sent %d times", number, n)
		}
	}
	var shares []string
	for _, s := range r.Together.Shares {
		shares = append(shares, fmt.Sprintf("%s %d %d", s.Machine, s.Connections, s.Requests))
	}
	if got, want := strings.Join(shares, ", "), "web-0 2 334, web-1 2 333, web-2 1 333"; got != want {
		t.Errorf("shares %s, want %s", got, want)
	}
	// A busy machine may wake them late; clocks that were not brought into line would differ by an hour.
	if r.Together.Spread > time.Minute || time.Since(r.Began) > time.Minute || time.Until(r.Began) > 0 {
		t.Errorf("they began within %v, at %v by our clock", r.Together.Spread, r.Began)
	}
	t.Logf("starts within %v, clocks to ± %v", r.Together.Spread, r.Together.Uncertain)
}

// An open loop of several agents has the rate of one machine, to the request.
func TestRateIsThatOfAll(t *testing.T) {
	at := startNATS(t, 0)
	for i := range 2 {
		startAgent(t, at, &Agent{Name: fmt.Sprint(i), Version: "v10", Allowed: loopback()})
	}
	l, plan := aLoad(echo(t))
	l.Rate, l.Duration = 333, 500*time.Millisecond
	plan.Rate = l.Rate
	r, err := gather(t, at, 2).Run(t.Context(), l, plan)
	if want := uint64(167); err != nil || r.Requests+r.Unsent != want { // those due before 500 ms
		t.Errorf("%+v, %v, want %d requests", r, err, want)
	}
}

func TestAgentsRefuse(t *testing.T) {
	at := startNATS(t, 0)
	startAgent(t, at, &Agent{Name: "web-1", Version: "v10", Allowed: loopback(), MaxConnections: 5, MaxRate: 100})
	team := gather(t, at, 1)
	host, port := echo(t)
	for _, c := range []struct {
		change func(l *Load)
		want   string
	}{
		{func(l *Load) { l.Host = "192.0.2.1" }, "agent web-1: no --allow-target of it allows 192.0.2.1:" + port},
		{func(l *Load) { l.Connections = 6 }, "agent web-1: its share would be 6 connections, and its --max-connections is 5"},
		{func(l *Load) { l.Rate = 101 }, "agent web-1: its share would be 101 requests a second, and its --max-rate is 100"},
		{func(l *Load) { l.Framing = "nope" }, "agent web-1: no framing is named \"nope\""},
		{func(l *Load) { l.Expect = "(" }, "agent web-1: regular expression"},
		{func(l *Load) { l.Timeout = 0 }, "agent web-1: such a load is none that a bench asks for"},
		{func(l *Load) { l.TLS = &TLS{CA: []byte("junk")} }, "agent web-1: CA of the load: it is not PEM"},
		{func(l *Load) { l.Script = &Script{"x.talk", []byte("nonsense")} }, "agent web-1: x.talk:1"},
		{func(l *Load) { l.Port = freePort(t) }, "agent web-1: it cannot connect: connection refused"},
		{func(l *Load) { l.Connections = 0 }, "0 connections are too few for 1 agents: one would have none"},
	} {
		l, plan := aLoad(host, port)
		c.change(l)
		if r, err := team.Run(t.Context(), l, plan); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v, %v, want %s", r, err, c.want)
		}
	}
	l, plan := aLoad(host, port) // what it refuses ends nothing
	l.Requests = 10
	if r, err := team.Run(t.Context(), l, plan); err != nil || r.Replies != 10 {
		t.Errorf("%+v, %v, want 10 replies", r, err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Too few agents, busy ones and those of another version are told in one line; an agent that is released
// is free.
func TestWhichAgentsAreTaken(t *testing.T) {
	at := startNATS(t, 0)
	startAgent(t, at, &Agent{Name: "web-3", Version: "v9", Allowed: loopback()})
	for _, name := range []string{"web-2", "web-1"} {
		startAgent(t, at, &Agent{Name: name, Version: "v10", Allowed: loopback()})
	}
	first := gather(t, at, 1)
	if name := first.members[0].Name; name != "web-1" {
		t.Errorf("%s was taken, want the first by name", name)
	}
	opt := teamOf(2)
	opt.Wait = 0
	_, err := Gather(t.Context(), connect(t, at), opt)
	if want := "2 agents were to take part, and after 0s only web-2 is there; web-1 is busy; web-3 is of v9, and this is v10"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := first.ask(t.Context(), first.members[0], order{Kind: release, Run: "another"}); err == nil || err.Error() != "it does not work for this bench" {
		t.Errorf("another bench releases it: %v", err)
	}
	first.Close()
	gather(t, at, 2)
}

// It is the connection that is looked at, not only what the load names.
func TestEveryConnectionOfALoadIsLookedAt(t *testing.T) {
	host, port := echo(t)
	for _, c := range []struct {
		allowed Allowed
		want    error
	}{{loopback(), nil}, {nil, &notAllowedError{}}} {
		l, _ := aLoad(host, port)
		l.Part.Of = 1
		plan, err := l.plan(c.allowed)
		if err != nil {
			t.Fatal(err)
		}
		conn, _, err := plan.Dial(t.Context())
		if err == nil {
			conn.Close()
		}
		if fmt.Sprintf("%T", err) != fmt.Sprintf("%T", c.want) {
			t.Errorf("%v: %v, want %T", c.allowed, err, c.want)
		}
	}
}

// An agent that is stopped in the middle is told of with what it leaves out, as is one that nothing is
// heard of; what the others measured is the result.
func TestALostAgentIsLeftOut(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"stopped", "silent"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			at := startNATS(t, 0)
			startAgent(t, at, &Agent{Name: "stays", Version: "v10", Allowed: loopback()})
			goes := &Agent{Name: "goes", Version: "v10", Allowed: loopback()}
			stop := startAgent(t, at, goes)
			l, plan := aLoad(echo(t))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			told := 0
			plan.Watch = func(load.Second) {
				told++
				switch {
				case told == 1 && how == "stopped":
					stop()
				case told == 1:
					goes.conn.Close()
				case told == 2:
					cancel() // the rest goes on for as long as it is let
				}
			}
			r, err := gather(t, at, 2).Run(ctx, l, plan)
			if err != nil {
				t.Fatal(err)
			}
			lost := r.Lost()
			if len(lost) != 1 || lost[0].Machine != "goes" || lost[0].Connections != 3 || r.Connects != 2 || !r.Interrupted || r.Replies == 0 {
				t.Errorf("%+v is lost, of %+v", lost, r)
			}
			if want := map[string]string{"stopped": "it was stopped", "silent": "nothing was heard of it for 3s"}[how]; lost[0].Lost != want {
				t.Errorf("it is lost since %q, want %q", lost[0].Lost, want)
			}
		})
	}
}

// An agent whose bench is not heard of stops, and is free.
func TestAnAgentWithoutItsBenchIsFree(t *testing.T) {
	t.Parallel()
	at := startNATS(t, 0)
	startAgent(t, at, &Agent{Name: "web-1", Version: "v10", Allowed: loopback()})
	conn := connect(t, at)
	team, err := Gather(t.Context(), conn, teamOf(1))
	if err != nil {
		t.Fatal(err)
	}
	l, plan := aLoad(echo(t))
	ran := make(chan error, 1)
	plan.Watch = func(load.Second) { conn.Close() } // as if it were killed
	go func() {
		_, err := team.Run(t.Context(), l, plan)
		ran <- err
	}()
	defer func() { // once nothing is heard of the agent
		if err := <-ran; err == nil || err.Error() != "every agent is lost, and with them all that was measured; the first was web-1: nothing was heard of it for 3s" {
			t.Errorf("%v, want that every agent is lost", err)
		}
		team.Close()
	}()
	other := gather(t, at, 1) // waits until it is free
	l, plan = aLoad(l.Host, l.Port)
	l.Requests = 10
	if r, err := other.Run(t.Context(), l, plan); err != nil || r.Replies != 10 {
		t.Errorf("%+v, %v, want 10 replies", r, err)
	}
}

// The shortest round trip says most of another clock.
func TestClocksAreCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c, err := compare(time.Now, func() (time.Time, error) {
			asked++
			there, back := time.Duration(20-asked)*time.Millisecond, 2*time.Duration(20-asked)*time.Millisecond
			time.Sleep(there)
			defer time.Sleep(back)
			return time.Now().Add(time.Hour), nil
		})
		// The last has 4 ms there and 8 back: 6 each is what one takes it for.
		if want := (comparison{time.Hour - 2*time.Millisecond, 6 * time.Millisecond}); err != nil || c != want {
			t.Errorf("%+v, %v, want %+v", c, err, want)
		}
		no := errors.New("no")
		if _, err := compare(time.Now, func() (time.Time, error) { return time.Time{}, no }); err != no {
			t.Errorf("%v, want %v", err, no)
		}
	})
}

// A stranger has an agent neither listen to the subjects of all benches nor publish elsewhere for him.
func TestStrangeOrdersAreLeftAlone(t *testing.T) {
	at := startNATS(t, 0)
	a := &Agent{Name: "one"}
	startAgent(t, at, a)
	conn := connect(t, at)
	elsewhere, err := conn.SubscribeSync("elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	conn.PublishRequest(callSubject, elsewhere.Subject, nil)
	conn.PublishRequest(agentSubject(a.id), elsewhere.Subject, encode(order{Kind: tellTime}))
	for _, run := range []string{"", "*", ">", "A.B", "A B", strings.Repeat("A", 5000)} {
		conn.Publish(agentSubject(a.id), encode(order{Kind: reserve, Run: run}))
	}
	conn.Publish(agentSubject(a.id), encode(order{Kind: reserve, Run: "A", Bench: strings.Repeat("x", 256)}))
	msg, err := conn.Request(agentSubject(a.id), encode(order{Kind: reserve, Run: "MINE"}), patience) // answered behind those
	if err != nil {
		t.Fatal(err)
	}
	var is answer
	if err := decode(msg.Data, &is); err != nil || is.Refuse != "" {
		t.Errorf("the agent is not free: %q, %v", is.Refuse, err)
	}
	if n, _, _ := elsewhere.Pending(); n != 0 {
		t.Errorf("%d answers go to %s", n, elsewhere.Subject)
	}
}
