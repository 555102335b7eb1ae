package load

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
)

// A Script is a dialogue that each connection plays again and again, or once. In its texts {n} is the
// number of the play, {conn} that of the connection, and what a named group has caught is that
// connection's own.
type Script struct {
	Dialogue *dialogue.Dialogue
	Framing  dialect.Framing                                            // of both sides, greeting included
	StartTLS func(ctx context.Context, conn net.Conn) (net.Conn, error) // for its tls steps; nil if there are none
}

// size is the number of steps; none has none.
func (s *Script) size() int {
	if s == nil {
		return 0
	}
	return len(s.Dialogue.Steps)
}

// stepDigits are those to which the times of steps are kept. There may be many steps, and each has
// a histogram for every CPU.
const stepDigits = 2

func newStepHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(longest), stepDigits)
}

// StepTimes are those of one step of a dialogue: of a message that was sent until it was taken, of
// one that was expected from then on until it came as expected.
type StepTimes struct {
	Index int // from 0
	Step  *dialogue.Step
	Times
}

// Steps are those that are timed, all but the pauses, without their times.
func (s *Script) Steps() (all []StepTimes) {
	for i := range s.Dialogue.Steps {
		if step := &s.Dialogue.Steps[i]; step.Kind != dialogue.Wait {
			all = append(all, StepTimes{Index: i, Step: step})
		}
	}
	return all
}

func (r *run) stepTimes() (all []StepTimes) {
	if r.Script == nil {
		return nil
	}
	all = r.Script.Steps()
	for i := range all {
		sum := newStepHistogram()
		for _, recorder := range r.recorders {
			sum.Merge(recorder.steps[all[i].Index])
		}
		all[i].Times = Times{sum}
	}
	return all
}

// An actor plays the dialogue for a worker.
type actor struct {
	player dialogue.Player
	play   *dialogue.Play  // on the connection that there is; nil before its first
	values dialogue.Values // of that connection
	number []byte          // {n}
	played bool            // once to its end
	took   []time.Duration // of each step of this play that was done as expected, -1 of the others
}

func newActor(r *run, conn uint64) *actor {
	a := &actor{took: make([]time.Duration, r.Script.size())}
	a.player = dialogue.Player{Framing: r.Script.Framing, Timeout: r.Timeout, MaxReply: r.ReplyLimit(), StartTLS: r.Script.StartTLS, Done: a.done}
	a.values = dialogue.Values{"conn": strconv.AppendUint(nil, conn, 10)}
	return a
}

// begin makes the actor ready for another connection.
func (a *actor) begin(conn net.Conn) {
	a.play = a.player.Open(conn)
	id := a.values["conn"]
	clear(a.values)
	a.values["conn"] = id
}

func (a *actor) done(d dialogue.Done) {
	if d.Err == nil && d.Step.Kind != dialogue.Wait {
		a.took[d.Index] = d.Took
	}
}

// perform plays the dialogue for the n-th time.
func (a *actor) perform(ctx context.Context, d *dialogue.Dialogue, n uint64) error {
	for i := range a.took {
		a.took[i] = -1
	}
	a.number = strconv.AppendUint(a.number[:0], n, 10)
	a.values["n"] = a.number
	return a.play.Run(ctx, d, a.values)
}

// playAll plays the dialogue again and again.
func (w *worker) playAll() error {
	for {
		free := w.now()
		j, ok := w.next(free, nil)
		if !ok {
			return nil
		}
		w.prepare(j, w.now(), free)
		if err := w.playOne(j); err != nil {
			return err
		}
	}
}

// playOne plays the dialogue once and counts it. That of a play that failed is left to connectionLost.
func (w *worker) playOne(j job) error {
	err := w.actor.perform(w.waiting, w.Script.Dialogue, j.n)
	if j.counted && w.waiting.Err() == nil {
		w.recorder.countSteps(w.actor.took)
	}
	if err != nil {
		if isLocal(err) && !w.actor.played {
			w.fault.CompareAndSwap(nil, &err) // no play will go better
			w.end()
		}
		return err
	}
	w.actor.played = true
	req, _ := w.oldestRequest()
	w.count(req, nil, w.now())
	w.finish()
	return nil
}

// countSteps counts the steps that were done as expected.
func (r *recorder) countSteps(took []time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, t := range took {
		if t >= 0 {
			record(r.steps[i], t)
		}
	}
}

// kindOf is what ended a connection, for a person and for programs.
func kindOf(err error) dial.Kind {
	var failure *dialogue.Failure
	if errors.As(err, &failure) {
		return failure.Kind()
	}
	return dial.KindOf(err)
}

// isLocal says whether it is the dialogue's own fault that it could not be played.
func isLocal(err error) bool {
	var failure *dialogue.Failure
	return errors.As(err, &failure) && failure.Local()
}

// isMismatch says whether something else came in a dialogue than expected.
func isMismatch(err error) bool {
	var failure *dialogue.Failure
	return errors.As(err, &failure) && failure.Mismatch()
}
