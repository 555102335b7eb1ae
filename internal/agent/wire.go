package agent

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/nats-io/nats.go"

	"github.com/parley-tcp/parley/internal/load"
)

// protocol is the version of what agents and benches say to each other. Besides, the two must be the same
// parley: what one measures has to be what the other means.
const protocol = 1

// The subjects. None is under parley., where journals are shipped: no name of a node is in the way.
const (
	callSubject = "parley-bench.call" // a bench calls, and each agent announces itself to the call's inbox
)

func agentSubject(agent string) string   { return "parley-bench.agent." + agent }              // orders of any bench, with a reply
func ordersSubject(run string) string    { return "parley-bench.run." + run + ".all" }         // of a bench to all agents of its run
func loadSubject(run, a string) string   { return "parley-bench.run." + run + ".load." + a }   // a load, in parts
func reportSubject(run, a string) string { return "parley-bench.run." + run + ".report." + a } // of an agent, in parts
func reportsSubject(run string) string   { return "parley-bench.run." + run + ".report.*" }

// isRun reports whether a run may be called so: its name is a part of subjects, of which it must be one, and no
// wildcard.
func isRun(name string) bool {
	isOther := func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') }
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, isOther)
}

// When one side takes the other for dead: it has not been heard of for so long. Both tell every beat that
// they are there.
const (
	beat   = 300 * time.Millisecond
	silent = 3 * time.Second
)

// An announcement is how an agent answers a call.
type announcement struct {
	ID       string
	Name     string
	Protocol int
	Version  string // of parley
	Busy     bool
}

// What a bench asks of one agent, which replies with an answer.
type order struct {
	Kind  orderKind
	Run   string
	Bench string // reserve: who it is, for people
	Job   int    // stop
}

type orderKind uint8

const (
	tellTime orderKind = iota + 1 // the answer has the agent's time
	reserve                       // for this run alone, until it is released or the bench is not heard of
	release
	stop // what is running, and report
	here // the bench is
)

type answer struct {
	Time   int64  // in ns of the agent's clock since 1970
	Refuse string // why not, in words; "" if it will
}

// A report is what an agent tells the bench.
type report struct {
	Kind   reportKind
	Job    int
	Second *second
	Result *result
	Why    string // failed, leaves
}

type reportKind uint8

const (
	alive  reportKind = iota + 1
	ready             // the connections are made
	told              // of a second
	done              // with the result
	failed            // it could not begin, and why
	leaves            // it is being stopped
)

// A second is one of a load, with its histogram.
type second struct {
	load.Second
	Times load.Times
}

func newSecond(s load.Second) *second {
	times := load.Times{Histogram: s.Response}
	s.Response = nil
	return &second{s, times}
}

func (s *second) restore() (load.Second, error) {
	if s == nil || s.Times.Histogram == nil {
		return load.Second{}, errors.New("a second without its histogram")
	}
	s.Second.Response = s.Times.Histogram
	return s.Second, nil
}

// A result is that of a load, with what of it is no mere data.
type result struct {
	Result load.Result
	Steps  []load.Times
	Began  int64 // when the load did, by the agent's clock, in ns since 1970
}

func newResult(r *load.Result, began time.Time) *result {
	w := &result{Result: *r, Began: began.UnixNano()}
	for _, step := range r.Steps {
		w.Steps = append(w.Steps, step.Times)
	}
	w.Result.Steps, w.Result.Seconds, w.Result.Together = nil, nil, nil
	return w
}

// restore makes it a result of the plan that the agent had a part of.
func (w *result) restore(steps []load.StepTimes) (*load.Result, error) {
	if len(w.Steps) != len(steps) {
		return nil, fmt.Errorf("a result of %d steps, of a dialogue that has %d", len(w.Steps), len(steps))
	}
	r := w.Result
	for _, times := range []load.Times{r.Service, r.Response, r.Lag, r.Connect, r.Handshake, r.Greeting, r.Lookup, r.FirstReply} {
		if times.Histogram == nil {
			return nil, errors.New("a result without its histograms")
		}
	}
	r.Steps = nil
	for i, times := range w.Steps {
		step := steps[i]
		step.Times = times
		r.Steps = append(r.Steps, step)
	}
	return &r, nil
}

// A part is a piece of a message that may be longer than NATS takes at once.
type part struct {
	Message uint64 // of the sender's, from 1
	Index   int
	Of      int
	Body    []byte
}

// What one message may be, in bytes, whole.
const maxMessage = 64 << 20

const partHead = 256 // bytes that a part has beside its body, at most, and NATS beside the part

// split cuts a message into parts that NATS takes.
func split(message uint64, body []byte, maxPayload int64) []part {
	size := max(int(maxPayload)-partHead, 1)
	parts := []part{}
	for at := 0; at == 0 || at < len(body); at += size {
		parts = append(parts, part{Message: message, Index: len(parts), Body: body[at:min(at+size, len(body))]})
	}
	for i := range parts {
		parts[i].Of = len(parts)
	}
	return parts
}

// An assembler puts the parts of one sender's messages together, which come in order.
type assembler struct {
	message uint64
	parts   int // that came of it
	body    []byte
}

// add returns the message once it is whole. One of which a part is missing is dropped.
func (a *assembler) add(p part) (body []byte, whole bool, err error) {
	if p.Index == 0 {
		*a = assembler{message: p.Message}
	}
	if p.Message != a.message || p.Index != a.parts || p.Index >= p.Of || len(a.body)+len(p.Body) > maxMessage {
		*a = assembler{}
		return nil, false, errors.New("a part of a message is missing, or it is too long")
	}
	a.parts++
	a.body = append(a.body, p.Body...)
	if a.parts < p.Of {
		return nil, false, nil
	}
	body = a.body
	*a = assembler{}
	return body, true, nil
}

// What is read may be anybody's who is let in to NATS.
var (
	encoding = mustEncoding(cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.EncMode())
	decoding = mustEncoding(cbor.DecOptions{MaxNestedLevels: 16, MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 16}.DecMode())
)

func mustEncoding[M any](mode M, err error) M {
	if err != nil {
		panic(err)
	}
	return mode
}

// encode cannot fail: what is encoded here is plain data.
func encode(v any) []byte {
	b, err := encoding.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func decode(b []byte, v any) error {
	if err := decoding.Unmarshal(b, v); err != nil {
		return errors.New("it is no message of an agent or a bench")
	}
	return nil
}

// publish publishes a message in parts.
func publish(conn *nats.Conn, subject string, message uint64, body []byte) error {
	for _, p := range split(message, body, conn.MaxPayload()) {
		if err := conn.Publish(subject, encode(p)); err != nil {
			return err
		}
	}
	return nil
}
