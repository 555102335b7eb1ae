package agent

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/internal/natsconn"
)

// TeamOptions say what agents a bench wants.
type TeamOptions struct {
	Agents  int               // how many
	Wait    time.Duration     // how long for them to be there
	Version string            // of parley, which theirs has to be
	Bench   string            // who wants them, for people
	Told    func(what string) // what goes on, in words that are not escaped
}

// A Team is the agents of a bench, reserved for it until Close.
type Team struct {
	conn    *nats.Conn
	told    func(what string)
	run     string
	members []*member
	reports *nats.Subscription
	heard   chan heard
	jobs    int

	over    context.CancelFunc
	closed  <-chan struct{}
	beating sync.WaitGroup
}

// A member is one of the agents.
type member struct {
	announcement
	incoming assembler
	message  uint64 // of the commands to it
	lost     string // why it is, "" if it is not

	mu   sync.Mutex
	last time.Time // it was heard of
}

// heard is a report and whose it is.
type heard struct {
	member int
	report *report
}

const (
	callEvery   = 250 * time.Millisecond // each call takes so long to be answered
	mostAgents  = 10_000
	longestName = 255  // bytes
	longestWhy  = 1000 // bytes of what an agent says
)

// Gather reserves agents. Of those that are there it takes the first by name.
func Gather(ctx context.Context, conn *nats.Conn, opt TeamOptions) (*Team, error) {
	free, err := call(ctx, conn, opt)
	if err != nil {
		return nil, err
	}
	t := &Team{conn: conn, told: opt.Told, run: rand.Text(), heard: make(chan heard, 64)}
	var life context.Context
	life, t.over = context.WithCancel(context.Background())
	t.closed = life.Done()
	for _, a := range free[:opt.Agents] {
		t.members = append(t.members, &member{announcement: a, last: time.Now()})
	}
	if t.reports, err = conn.Subscribe(reportsSubject(t.run), t.hear); err != nil {
		t.over()
		return nil, errors.New(natsconn.Reason(err))
	}
	t.beating.Go(t.beat)
	for _, m := range t.members {
		if _, err := t.ask(ctx, m, order{Kind: reserve, Run: t.run, Bench: opt.Bench}); err != nil {
			t.Close()
			return nil, fmt.Errorf("agent %s: %w", m.Name, err)
		}
	}
	return t, nil
}

// call calls until as many agents are there and free as are wanted.
func call(ctx context.Context, conn *nats.Conn, opt TeamOptions) (free []announcement, err error) {
	deadline := time.Now().Add(opt.Wait)
	for said := -1; ; {
		all, err := callOnce(ctx, conn)
		if err != nil {
			return nil, err
		}
		free, why := chosen(all, opt)
		switch {
		case len(free) >= opt.Agents:
			return free, nil
		case time.Now().After(deadline):
			return nil, fmt.Errorf("%d agents were to take part, and after %v %s", opt.Agents, opt.Wait, why)
		case len(free) != said:
			said = len(free)
			opt.Told(fmt.Sprintf("waiting for %d agents: %s", opt.Agents, why))
		}
	}
}

// chosen are the agents that may be taken, in the order to take them, and in words who is there.
func chosen(all []announcement, opt TeamOptions) (free []announcement, why string) {
	slices.SortFunc(all, func(a, b announcement) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	var names, others []string
	for _, a := range all {
		switch {
		case a.Protocol != protocol || a.Version != opt.Version:
			others = append(others, fmt.Sprintf("%s is of %s, and this is %s", a.Name, a.Version, opt.Version))
		case a.Busy:
			others = append(others, a.Name+" is busy")
		default:
			names = append(names, a.Name)
			free = append(free, a)
		}
	}
	switch len(free) {
	case 0:
		why = "none is there"
	case 1:
		why = "only " + names[0] + " is there"
	default:
		why = "only " + strings.Join(names, ", ") + " are there"
	}
	return free, strings.Join(append([]string{why}, others...), "; ")
}

// callOnce calls all agents and collects who answers.
func callOnce(ctx context.Context, conn *nats.Conn) (all []announcement, err error) {
	inbox := nats.NewInbox()
	answers, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer answers.Unsubscribe()
	if err := conn.PublishRequest(callSubject, inbox, nil); err != nil {
		return nil, errors.New(natsconn.Reason(err))
	}
	within, cancel := context.WithTimeout(ctx, callEvery)
	defer cancel()
	for len(all) < mostAgents {
		msg, err := answers.NextMsgWithContext(within)
		if errors.Is(err, nats.ErrNoResponders) {
			<-within.Done() // nobody is there yet
			continue
		}
		if err != nil {
			break
		}
		var a announcement
		if decode(msg.Data, &a) == nil && len(a.Name) <= longestName && len(a.Version) <= longestName {
			all = append(all, a)
		}
	}
	return all, context.Cause(ctx)
}

// ask gives an agent an order, and returns its answer or why it refuses.
func (t *Team) ask(ctx context.Context, m *member, o order) (answer, error) {
	return answered(ctx, t.conn, agentSubject(m.ID), encode(o), silent)
}

func answered(ctx context.Context, conn *nats.Conn, subject string, body []byte, within time.Duration) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	msg, err := conn.RequestWithContext(ctx, subject, body)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = nats.ErrTimeout
		}
		return answer{}, errors.New(natsconn.Reason(err))
	}
	var a answer
	if err := decode(msg.Data, &a); err != nil {
		return a, err
	}
	if a.Refuse != "" {
		return a, errors.New(cut(a.Refuse))
	}
	return a, nil
}

// command sends an agent a command in parts, and returns why it refuses.
func (t *Team) command(ctx context.Context, m *member, c command, within time.Duration) error {
	m.message++
	body := encode(c)
	if len(body) > maxMessage {
		return fmt.Errorf("what is to be sent is too much for agents: %d MiB with all files, and they take %d", len(body)>>20, maxMessage>>20)
	}
	subject := loadSubject(t.run, m.ID)
	parts := split(m.message, body, t.conn.MaxPayload())
	for _, p := range parts[:len(parts)-1] {
		if err := t.conn.Publish(subject, encode(p)); err != nil {
			return errors.New(natsconn.Reason(err))
		}
	}
	_, err := answered(ctx, t.conn, subject, encode(parts[len(parts)-1]), within)
	return err
}

// beat tells the agents that the bench is there.
func (t *Team) beat() {
	beats := time.NewTicker(beat)
	defer beats.Stop()
	for {
		t.conn.Publish(ordersSubject(t.run), encode(order{Kind: here, Run: t.run}))
		select {
		case <-beats.C:
		case <-t.closed:
			return
		}
	}
}

// hear takes what an agent reports.
func (t *Team) hear(msg *nats.Msg) {
	i := slices.IndexFunc(t.members, func(m *member) bool { return reportSubject(t.run, m.ID) == msg.Subject })
	if i < 0 {
		return
	}
	m := t.members[i]
	m.mu.Lock()
	m.last = time.Now()
	m.mu.Unlock()
	var p part
	if decode(msg.Data, &p) != nil {
		return
	}
	body, whole, err := m.incoming.add(p)
	if err != nil || !whole {
		return
	}
	r := new(report)
	if decode(body, r) != nil || r.Kind == alive {
		return
	}
	r.Why = cut(r.Why)
	select {
	case t.heard <- heard{i, r}:
	case <-t.closed:
	}
}

func cut(why string) string { return why[:min(len(why), longestWhy)] }

// isSilent says whether nothing was heard of the agent for too long.
func (m *member) isSilent() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.last) > silent
}

// Close releases the agents.
func (t *Team) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), silent)
	defer cancel()
	var releasing sync.WaitGroup
	for _, m := range t.members {
		if m.lost == "" {
			releasing.Go(func() { t.ask(ctx, m, order{Kind: release, Run: t.run}) })
		}
	}
	releasing.Wait()
	t.over()
	t.beating.Wait()
	t.reports.Unsubscribe()
	t.conn.Flush()
}

// each has something done with all agents at once, and returns the first error with whose it is.
func (t *Team) each(what func(i int, m *member) error) error {
	errs := make([]error, len(t.members))
	var doing sync.WaitGroup
	for i, m := range t.members {
		doing.Go(func() {
			if err := what(i, m); err != nil {
				errs[i] = fmt.Errorf("agent %s: %w", m.Name, err)
			}
		})
	}
	doing.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Run has the agents put the load on, of which plan is what all of it is together: it is told of each
// second, and of what the steps of its dialogue are. When ctx ends they are stopped, and what they have
// measured by then is returned. It fails if the load does not begin, or if no agent is left.
func (t *Team) Run(ctx context.Context, l *Load, plan *load.Plan) (*load.Result, error) {
	t.jobs++
	r := &teamRun{Team: t, plan: plan, load: l, parts: make([]*result, len(t.members)), clocks: make([]comparison, len(t.members))}
	return r.run(ctx)
}

// A teamRun is one load of a team.
type teamRun struct {
	*Team
	plan   *load.Plan
	load   *Load
	shares []*Load
	clocks []comparison // of the agents
	merger *merger
	parts  []*result // nil of those that have none yet
	ready  int
}

func (r *teamRun) run(ctx context.Context) (*load.Result, error) {
	var err error
	if r.shares, err = r.load.share(len(r.members)); err != nil {
		return nil, err
	}
	began := time.Now()
	ours := func() time.Time { return began.Add(time.Since(began)) }
	err = r.each(func(i int, m *member) (err error) {
		r.clocks[i], err = compare(ours, func() (time.Time, error) {
			a, err := r.ask(ctx, m, order{Kind: tellTime})
			return time.Unix(0, a.Time), err
		})
		return err
	})
	if err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	r.merger = newMerger(len(r.members), r.plan.Watch)
	err = r.each(func(i int, m *member) error {
		return r.command(ctx, m, command{Job: r.jobs, Load: r.shares[i]}, r.plan.Timeout+silent)
	})
	if err == nil {
		err = r.awaitReady(ctx)
	}
	if err == nil {
		err = r.begin(ctx, ours)
	}
	if err != nil {
		r.stop()
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	if err := r.awaitResults(ctx); err != nil {
		r.stop()
		return nil, err
	}
	return r.result()
}

// stop stops what is running of the load.
func (r *teamRun) stop() {
	r.conn.Publish(ordersSubject(r.Team.run), encode(order{Kind: stop, Run: r.Team.run, Job: r.jobs}))
}

// awaitReady waits until all agents have their connections.
func (r *teamRun) awaitReady(ctx context.Context) error {
	for r.ready < len(r.members) {
		i, report, err := r.next(ctx)
		switch {
		case err != nil:
			return err
		case report.Kind == ready:
			r.ready++
		case report.Kind == failed, report.Kind == leaves:
			return fmt.Errorf("agent %s: %s", r.members[i].Name, report.Why)
		}
	}
	return nil
}

// lead is how far away the beginning is, so that the last agent has heard of it before.
const lead = 100 * time.Millisecond

// begin has all begin at one moment.
func (r *teamRun) begin(ctx context.Context, ours func() time.Time) error {
	farthest := time.Duration(0)
	for _, c := range r.clocks {
		farthest = max(farthest, c.within)
	}
	at := ours().Add(lead + 4*farthest)
	return r.each(func(i int, m *member) error {
		return r.command(ctx, m, command{Job: r.jobs, At: at.Add(r.clocks[i].ahead).UnixNano()}, silent)
	})
}

// next is the next report of this load. An agent that is not heard of is told of as one that leaves.
func (r *teamRun) next(ctx context.Context) (int, *report, error) {
	looks := time.NewTicker(beat)
	defer looks.Stop()
	for {
		select {
		case h := <-r.heard:
			if r.members[h.member].lost == "" && (h.report.Job == r.jobs || h.report.Kind == leaves) {
				return h.member, h.report, nil
			}
		case <-looks.C:
			for i, m := range r.members {
				if m.lost == "" && r.parts[i] == nil && m.isSilent() {
					return i, &report{Kind: leaves, Why: fmt.Sprintf("nothing was heard of it for %v", silent)}, nil
				}
			}
		case <-ctx.Done():
			return 0, nil, context.Cause(ctx)
		}
	}
}

// awaitResults waits until each agent has reported its result, or is lost. When ctx ends they are stopped
// first.
func (r *teamRun) awaitResults(ctx context.Context) error {
	for left := len(r.members); left > 0; {
		i, report, err := r.next(ctx)
		if err != nil {
			r.stop()
			ctx = context.WithoutCancel(ctx)
			continue
		}
		switch report.Kind {
		case told:
			if s, err := report.Second.restore(); err == nil {
				r.merger.add(i, s)
			}
			continue
		case done:
			if report.Result == nil {
				continue
			}
			r.parts[i] = report.Result
		case failed:
			return fmt.Errorf("agent %s: %s", r.members[i].Name, report.Why)
		case leaves:
			if r.parts[i] != nil {
				continue
			}
			r.members[i].lost = report.Why
			r.Team.told(fmt.Sprintf("agent %s is lost: %s; its share is left out", r.members[i].Name, report.Why))
		default:
			continue
		}
		r.merger.end(i)
		left--
	}
	return nil
}

// result makes one of what the agents have reported.
func (r *teamRun) result() (*load.Result, error) {
	together := &load.Together{}
	var parts []*load.Result
	var starts []time.Time // of those that have a result, by our clock
	var steps []load.StepTimes
	if r.plan.Script != nil {
		steps = r.plan.Script.Steps()
	}
	for i, m := range r.members {
		share := load.Share{Machine: m.Name, Connections: r.shares[i].Connections, Lost: m.lost}
		if m.lost == "" {
			part, err := r.parts[i].restore(steps)
			if err != nil {
				return nil, fmt.Errorf("agent %s: %w", m.Name, err)
			}
			part.Began = time.Unix(0, r.parts[i].Began).Add(-r.clocks[i].ahead)
			starts = append(starts, part.Began)
			part.Began = part.Began.Add(r.plan.Warmup)
			share.Requests, share.Rate, share.CPU = part.Requests, part.Rate, part.CPU
			if seen := part.Seen(); seen.Count() > 0 {
				share.P99 = seen.Quantile(99)
			}
			together.Uncertain = max(together.Uncertain, r.clocks[i].within)
			parts = append(parts, part)
		}
		together.Shares = append(together.Shares, share)
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("every agent is lost, and with them all that was measured; the first was %s: %s", r.members[0].Name, r.members[0].lost)
	}
	first, last := slices.MinFunc(starts, time.Time.Compare), slices.MaxFunc(starts, time.Time.Compare)
	together.Spread = last.Sub(first)
	for i, n := 0, 0; i < len(together.Shares); i++ {
		if together.Shares[i].Lost == "" {
			together.Shares[i].Behind = starts[n].Sub(first)
			n++
		}
	}
	all := load.Merge(parts...)
	all.Seconds, all.Together = r.merger.all, together
	return all, nil
}
