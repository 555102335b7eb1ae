// Package agent has many machines put one load on a service, over NATS.
//
// An Agent is a machine that takes part. It puts loads on those targets that it allows, one at a time, and
// runs nothing else. A Team is what one bench has of them: it parts a load, has all begin at once, each by
// its own clock, and makes one result of theirs.
//
// Both tell each other that they are there. An agent that does not hear of its bench stops within seconds,
// and an agent that the bench does not hear of is lost: its share is left out.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/internal/natsconn"
)

// An Agent waits for loads and puts them on.
type Agent struct {
	Name    string // of the machine, for people
	Version string // of parley: a bench of another is refused
	Allowed Allowed

	MaxConnections int     // of its share of a load; no limit if zero
	MaxRate        float64 // requests a second of its share of an open loop; no limit if zero

	Told  func(what string) // what goes on, in words that are not escaped
	Clock func() time.Time  // time.Now if nil

	conn *nats.Conn
	id   string

	mu   sync.Mutex
	held *engagement // nil while it is free
}

// Serve waits for work until ctx ends. What is running then is stopped, and the bench is told.
func (a *Agent) Serve(ctx context.Context, conn *nats.Conn) error {
	a.conn, a.id = conn, rand.Text()
	if a.Clock == nil {
		begin := time.Now()
		a.Clock = func() time.Time { return begin.Add(time.Since(begin)) } // no step of the clock in the middle
	}
	calls, err := conn.Subscribe(callSubject, a.announce)
	if err != nil {
		return err
	}
	defer calls.Unsubscribe()
	orders, err := conn.Subscribe(agentSubject(a.id), a.obey)
	if err != nil {
		return err
	}
	defer orders.Unsubscribe()
	if err := conn.FlushTimeout(silent); err != nil { // by then the server knows what is asked of us
		return err
	}
	a.Told(fmt.Sprintf("agent %s waits for work; it may load %s", a.Name, a.Allowed))
	<-ctx.Done()
	a.mu.Lock()
	held := a.held
	a.mu.Unlock()
	if held != nil {
		held.tell(&report{Kind: leaves, Why: "it was stopped"})
		conn.Flush()
		held.end(errors.New("this agent is being stopped"))
		<-held.ended
	}
	return nil
}

// announce answers a call.
func (a *Agent) announce(call *nats.Msg) {
	a.mu.Lock()
	busy := a.held != nil
	a.mu.Unlock()
	respond(call, announcement{a.id, a.Name, protocol, a.Version, busy})
}

// obey carries out an order, which is answered.
func (a *Agent) obey(msg *nats.Msg) {
	now := a.Clock() // before anything else: the bench compares clocks by it
	var o order
	if err := decode(msg.Data, &o); err != nil {
		return
	}
	reply := answer{Time: now.UnixNano()}
	a.mu.Lock()
	held := a.held
	a.mu.Unlock()
	switch {
	case o.Kind == tellTime:
	case o.Kind == reserve && (!isRun(o.Run) || len(o.Bench) > 255):
		return
	case o.Kind == reserve && held == nil:
		if err := a.engage(&o); err != nil {
			reply.Refuse = natsconn.Reason(err)
		}
	case o.Kind == reserve:
		reply.Refuse = fmt.Sprintf("it is busy: it works for the bench of %s", held.bench)
	case held == nil || o.Run != held.run:
		reply.Refuse = "it does not work for this bench"
	case o.Kind == release:
		held.end(nil)
		<-held.ended
	}
	respond(msg, reply)
}

// respond answers who has asked for it.
func respond(msg *nats.Msg, v any) {
	if natsconn.IsInbox(msg.Reply) {
		msg.Respond(encode(v))
	}
}

// An engagement is an agent's with one bench.
type engagement struct {
	*Agent
	run, bench string
	ctx        context.Context
	end        context.CancelCauseFunc
	ended      chan struct{}

	mu       sync.Mutex
	heard    time.Time // of the bench
	message  uint64
	incoming assembler
	job      *job // nil while none is running
	over     bool // no load is taken any more
	working  sync.WaitGroup
}

// engage gives the agent to a bench until that releases it, is gone, or the agent ends.
func (a *Agent) engage(o *order) error {
	e := &engagement{Agent: a, run: o.Run, bench: o.Bench, ended: make(chan struct{}), heard: time.Now()}
	e.ctx, e.end = context.WithCancelCause(context.Background())
	orders, err := a.conn.Subscribe(ordersSubject(e.run), e.hear)
	if err != nil {
		return err
	}
	loads, err := a.conn.Subscribe(loadSubject(e.run, a.id), e.take)
	if err != nil {
		orders.Unsubscribe()
		return err
	}
	a.mu.Lock()
	a.held = e
	a.mu.Unlock()
	go func() {
		e.watch()
		orders.Unsubscribe()
		loads.Unsubscribe()
		e.mu.Lock()
		e.over = true
		e.mu.Unlock()
		e.working.Wait()
		a.mu.Lock()
		a.held = nil
		a.mu.Unlock()
		close(e.ended)
	}()
	return nil
}

// watch tells that the agent is there, until the engagement ends or the bench is gone.
func (e *engagement) watch() {
	beats := time.NewTicker(beat)
	defer beats.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-beats.C:
			e.tell(&report{Kind: alive})
			e.mu.Lock()
			gone := time.Since(e.heard) > silent
			e.mu.Unlock()
			if gone {
				e.Told(fmt.Sprintf("the bench of %s is gone: nothing was heard of it for %v, so this agent is free again", e.bench, silent))
				e.end(errors.New("the bench is gone"))
			}
		}
	}
}

// tell reports to the bench. Where NATS is away nobody is told, and the bench takes the agent for lost.
func (e *engagement) tell(r *report) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.message++
	publish(e.conn, reportSubject(e.run, e.id), e.message, encode(r))
}

// hear takes what the bench says to all its agents.
func (e *engagement) hear(msg *nats.Msg) {
	var o order
	if err := decode(msg.Data, &o); err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = time.Now()
	if o.Kind == stop && e.job != nil && e.job.number == o.Job {
		e.job.stop()
	}
}

// A job is one load.
type job struct {
	number int
	begin  chan time.Time // when the load begins, by this process's clock; told once
	stop   context.CancelFunc
}

// A command is what comes with a load, in parts: the load itself, or when it begins.
type command struct {
	Job  int
	Load *Load
	At   int64 // if there is no load: when that of the job begins, in ns of the agent's clock since 1970
}

// take takes a command, and answers where it is whole.
func (e *engagement) take(msg *nats.Msg) {
	reply := answer{}
	if err := e.takePart(msg.Data); err != nil {
		reply.Refuse = err.Error()
	}
	respond(msg, reply)
}

func (e *engagement) takePart(data []byte) error {
	var p part
	if err := decode(data, &p); err != nil {
		return err
	}
	body, whole, err := e.incoming.add(p)
	if err != nil || !whole {
		return err
	}
	var c command
	if err := decode(body, &c); err != nil {
		return err
	}
	if c.Load == nil {
		return e.begin(&c)
	}
	return e.start(&c)
}

// start takes a load on. It is put on when it is to begin.
func (e *engagement) start(c *command) error {
	plan, err := c.Load.plan(e.Allowed)
	switch {
	case err != nil:
		return err
	case e.MaxConnections > 0 && c.Load.Connections > e.MaxConnections:
		return fmt.Errorf("its share would be %d connections, and its --max-connections is %d", c.Load.Connections, e.MaxConnections)
	case e.MaxRate > 0 && c.Load.Rate/float64(c.Load.Part.Of) > e.MaxRate:
		return fmt.Errorf("its share would be %v requests a second, and its --max-rate is %v", c.Load.Rate/float64(c.Load.Part.Of), e.MaxRate)
	}
	if err := c.Load.resolve(e.ctx, e.Allowed); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.job != nil || e.over {
		return errors.New("it is at another load still")
	}
	ctx, cancel := context.WithCancel(e.ctx)
	j := &job{number: c.Job, begin: make(chan time.Time, 1), stop: cancel}
	e.job = j
	e.working.Go(func() {
		defer cancel()
		e.work(ctx, j, plan)
	})
	e.Told(fmt.Sprintf("for the bench of %s: %d connections to %s:%s", e.bench, plan.Connections, c.Load.Host, c.Load.Port))
	return nil
}

// begin has the load of the job begin.
func (e *engagement) begin(c *command) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.job == nil || e.job.number != c.Job {
		return errors.New("it has no such load")
	}
	left := time.Unix(0, c.At).Sub(e.Clock())
	if left > maxWait {
		return errors.New("the beginning is too far away")
	}
	select {
	case e.job.begin <- time.Now().Add(left):
	default: // it was told before
	}
	return nil
}

// maxWait is how far away the beginning may be: connections wait for it, and services do not wait for
// these for ever.
const maxWait = time.Minute

// work puts the load on and reports.
func (e *engagement) work(ctx context.Context, j *job, plan *load.Plan) {
	plan.Begin = func(ctx context.Context) (time.Time, error) {
		e.tell(&report{Kind: ready, Job: j.number})
		select {
		case at := <-j.begin:
			return at, nil
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
	plan.Watch = func(s load.Second) { e.tell(&report{Kind: told, Job: j.number, Second: newSecond(s)}) }
	measured, err := plan.Run(ctx)
	r := &report{Kind: failed, Job: j.number}
	if err != nil {
		r.Why = whyNot(plan, err)
	} else {
		began := measured.Began.Add(-plan.Warmup)
		r.Kind, r.Result = done, newResult(measured, e.Clock().Add(-time.Since(began)))
	}
	e.mu.Lock()
	e.job = nil
	e.mu.Unlock()
	e.tell(r)
}

// whyNot says in words why a load could not begin.
func whyNot(plan *load.Plan, err error) string {
	var greeting *load.GreetingError
	var refused *notAllowedError
	switch {
	case errors.As(err, &refused):
		return refused.Error()
	case errors.As(err, &greeting):
		return "no greeting came: " + dial.WhyNot(plan.Timeout, greeting.Err)
	}
	return "it cannot connect: " + dial.WhyNot(plan.Timeout, err)
}

// resolve says whether every address of the target may be loaded, before any is.
func (l *Load) resolve(ctx context.Context, allowed Allowed) error {
	dialer := dial.Dialer{Network: "tcp", Host: l.Host, Port: l.Port, Family: l.Family, Timeout: l.Timeout}
	addresses, _, err := dialer.Addresses(ctx)
	if err != nil {
		return errors.New(dial.WhyNotConnected(l.Host+":"+l.Port, l.Timeout, err))
	}
	for _, address := range addresses {
		if err := allowed.check(l.Host, address); err != nil {
			return err
		}
	}
	return nil
}
