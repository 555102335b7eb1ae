//go:build linux && simulate

package simulation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/simkernel"
)

// stepsOfAHistory is how many there are in one at most, beside what ends it.
const stepsOfAHistory = 250

// An inhabited is a world to which steps happen.
type inhabited interface {
	do(step)
	end()         // ends it, once all has had time to go well
	fault() error // what was wrong first
}

// A maker makes a world in the bubble that it is called in; what happens there is noted in seen, if there is any.
type maker func(s *settings, seen *strings.Builder) inhabited

// TestServer has servers live through a million steps, or through the history of PARLEY_SEED.
func TestServer(t *testing.T) { explore(t, 1_000_000, serverWorld, serverHistory) }

// TestClients does the same with clients, for a fifth of that.
func TestClients(t *testing.T) { explore(t, 200_000, clientWorld, clientHistory) }

// TestTap does it with taps.
func TestTap(t *testing.T) { explore(t, 200_000, tapWorld, tapHistory) }

// TestJournal does it with servers that are recorded. A history has files of its own, and takes as long as ten without.
func TestJournal(t *testing.T) { explore(t, 20_000, journalWorld, journalHistory) }

// TestJournalOfATap does the same with taps.
func TestJournalOfATap(t *testing.T) { explore(t, 10_000, recordedTapWorld, recordedTapHistory) }

// withFiles is for how many steps of others one of those counts of which PARLEY_STEPS gives the number.
const withFiles = 10

func explore(t *testing.T, steps int, world maker, history func(seed uint64, length int) []step) {
	if seed, err := strconv.ParseUint(os.Getenv("PARLEY_SEED"), 10, 64); err == nil {
		check(t, seed, world, history(seed, stepsOfAHistory))
		return
	}
	if n, err := strconv.Atoi(os.Getenv("PARLEY_STEPS")); err == nil {
		if steps < 100_000 {
			n /= withFiles
		}
		steps = n
	}
	for seed := uint64(0); steps > 0 && !t.Failed(); seed++ {
		some := history(seed, stepsOfAHistory)
		check(t, seed, world, some)
		steps -= len(some)
	}
}

// check lives through the history of a seed, and shows the shortest one that fails like it.
func check(t *testing.T, seed uint64, world maker, steps []step) {
	settings := settingsOf(seed)
	var wrong error
	labels := pprof.Labels("PARLEY_SEED", strconv.FormatUint(seed, 10)) // see TestMain
	pprof.Do(t.Context(), labels, func(context.Context) { wrong = live(t, settings, world, steps, nil) })
	if wrong == nil {
		return
	}
	steps = shrink(steps, func(some []step) bool { return isLike(wrong, live(t, settings, world, some, nil)) })
	var diary strings.Builder
	live(t, settings, world, steps, &diary)
	t.Errorf("PARLEY_SEED=%d go test -tags simulate -run '^%s$' ./internal/simulation\n%v\nby as little as\n%sof which was seen\n%sunder %+v",
		seed, t.Name(), wrong, list(steps), &diary, *settings)
}

// live lives through a history, in a bubble of its own.
func live(t *testing.T, s *settings, world maker, steps []step, seen *strings.Builder) (wrong error) {
	defer func() {
		if v := recover(); v != nil && wrong == nil {
			wrong = &fault{fmt.Sprint(v), fmt.Sprint(v)} // goroutines are left, and wait for ever
		}
	}()
	synctest.Test(t, func(*testing.T) {
		w := world(s, seen)
		for _, step := range steps {
			if w.do(step); w.fault() != nil {
				break
			}
		}
		w.end()
		wrong = w.fault()
	})
	return wrong
}

// A fault is what must not be, such as another of its kind.
type fault struct{ kind, what string }

func (f *fault) Error() string { return f.what }

func isLike(a, b error) bool {
	var one, other *fault
	return errors.As(a, &one) && errors.As(b, &other) && one.kind == other.kind
}

// A diary notes what happens in a world, and what must not.
type diary struct {
	seen  *strings.Builder // for who reads it; nil while nobody does
	began time.Time
	wrong *fault // what was seen first
}

// sees notes what happens.
func (d *diary) sees(format string, about ...any) {
	if d.seen != nil {
		fmt.Fprintf(d.seen, "\t%12v  ", simkernel.Since(d.began))
		fmt.Fprintf(d.seen, format+"\n", about...)
	}
}

// isWrong notes what must not be. What comes behind it may be its consequence.
func (d *diary) isWrong(format string, about ...any) {
	if d.wrong == nil {
		d.wrong = &fault{format, fmt.Sprintf(format, about...)}
		d.sees("WRONG: %v", d.wrong)
	}
}

func (d *diary) fault() error {
	if d.wrong == nil {
		return nil
	}
	return d.wrong
}
