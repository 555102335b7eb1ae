package load

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/parley-tcp/parley"
)

// A Probe asks a service one thing, each time over a connection of its own.
type Probe struct {
	Dialer  Dialer
	All     bool           // each address of the name is probed, not only the first that answers
	Framing parley.Framing // Lines if nil
	Timeout time.Duration  // for each message to come
	Banner  bool           // the server speaks first
	Request []byte         // nil to send nothing; what comes first afterwards is its reply
	Expect  Expectation    // of the last message
}

// A Finding is what a Probe found.
type Finding struct {
	Time      time.Time // when it began
	Connected bool
	Steps
	Banner, Reply time.Duration // until each was there, 0 if it is not
	Message       []byte        // the last that came, nil if none did
	Kind          Kind          // of failure, "" if all holds
	Err           error         // behind Kind; nil if that is Mismatch
}

// Run probes, and returns a finding for each address in turn if all are wanted, else
// one. A name that is not found is one finding. What the end of ctx cut short is left out.
func (p *Probe) Run(ctx context.Context) []Finding {
	if !p.All {
		return p.add(ctx, nil, p.Dialer.Dial)
	}
	addresses, lookup, err := p.Dialer.Addresses(ctx)
	if err != nil {
		return p.add(ctx, nil, func(context.Context) (net.Conn, Steps, error) { return nil, Steps{Lookup: lookup}, err })
	}
	var found []Finding
	for _, address := range addresses {
		found = p.add(ctx, found, func(ctx context.Context) (net.Conn, Steps, error) {
			conn, steps, err := p.Dialer.DialAddress(ctx, address)
			steps.Lookup = lookup
			return conn, steps, err
		})
	}
	return found
}

// add probes over the connection that dial makes.
func (p *Probe) add(ctx context.Context, found []Finding, dial func(context.Context) (net.Conn, Steps, error)) []Finding {
	f := Finding{Time: time.Now()}
	conn, steps, err := dial(ctx)
	f.Steps = steps
	if err == nil {
		f.Connected = true
		err = p.converse(ctx, conn, &f)
		conn.Close()
	}
	switch {
	case ctx.Err() != nil:
		return found
	case err != nil:
		f.Kind, f.Err = KindOf(err), err
	case f.Message != nil && !p.Expect.Holds(p.Request, f.Message):
		f.Kind = Mismatch
	}
	return append(found, f)
}

// converse hears the banner, asks, and hears the reply.
func (p *Probe) converse(ctx context.Context, conn net.Conn, f *Finding) (err error) {
	client := parley.NewClient(conn, p.Framing)
	if p.Banner {
		if f.Banner, err = p.hear(ctx, client, nil, f); err != nil {
			return err
		}
	}
	if p.Request != nil {
		f.Reply, err = p.hear(ctx, client, p.Request, f)
	}
	return err
}

// hear sends a request, if there is one, and waits for the next message.
func (p *Probe) hear(ctx context.Context, client *parley.Client, request []byte, f *Finding) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	begin := time.Now()
	if request != nil {
		if err := client.Send(ctx, request); err != nil {
			return 0, err
		}
	}
	message, err := client.Receive(ctx)
	if err != nil {
		return 0, err
	}
	f.Message = append([]byte{}, message...) // not nil, though it may be empty
	return time.Since(begin), nil
}

// Pauses between the tries of Retry: the first, doubled up to the last.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = time.Second
)

// Retry tries until it holds, ctx ends, or patience has run out: the last try begins
// then. Each is told how much patience is left.
func Retry(ctx context.Context, patience time.Duration, try func(left time.Duration) (holds bool)) {
	deadline := time.Now().Add(patience)
	for pause, left := firstPause, patience; !try(left); pause = min(2*pause, lastPause) {
		rest := time.Until(deadline)
		if rest <= 0 || !sleep(ctx, min(pause, rest)) {
			return
		}
		left = time.Until(deadline)
	}
}

// Repeat runs a round count times, until ctx ends. Each begins interval after the one
// before, or at once if that one took longer.
func Repeat(ctx context.Context, count int, interval time.Duration, round func()) {
	for i := range count {
		begin := time.Now()
		round()
		if i+1 == count || !sleep(ctx, interval-time.Since(begin)) {
			return
		}
	}
}

// sleep says whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// A Series counts findings. Its zero value is ready.
type Series struct {
	Probes, Held   int
	Failed         map[Kind]int
	connect, reply []time.Duration
}

// Add counts one more.
func (s *Series) Add(f *Finding) {
	s.Probes++
	if f.Kind == "" {
		s.Held++
	} else {
		if s.Failed == nil {
			s.Failed = make(map[Kind]int)
		}
		s.Failed[f.Kind]++
	}
	if f.Connected {
		s.connect = append(s.connect, f.Connect)
	}
	if f.Reply > 0 {
		s.reply = append(s.reply, f.Reply)
	}
}

// Lost is how many went unanswered. A reply other than expected is an answer.
func (s *Series) Lost() int { return s.Probes - s.Held - s.Failed[Mismatch] }

// Connect is how long connecting took, when it could be done.
func (s *Series) Connect() Spread { return spreadOf(s.connect) }

// Reply is how long replies took, those that came.
func (s *Series) Reply() Spread { return spreadOf(s.reply) }

// A Spread says how durations lie.
type Spread struct {
	N                     int // how many they are; the others are 0 if none
	Min, Median, P99, Max time.Duration
}

func spreadOf(durations []time.Duration) Spread {
	n := len(durations)
	if n == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(durations))
	rank := func(percent int) time.Duration { return sorted[(n*percent+99)/100-1] } // the nearest rank
	return Spread{N: n, Min: sorted[0], Median: rank(50), P99: rank(99), Max: sorted[n-1]}
}
