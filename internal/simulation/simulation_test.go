//go:build linux && simulate

package simulation

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
)

// stepsOfAHistory is how many there are in one, beside what ends it.
const stepsOfAHistory = 250

// TestServer has servers live through a million steps, or through the history of PARLEY_SEED.
func TestServer(t *testing.T) {
	if seed, err := strconv.ParseUint(os.Getenv("PARLEY_SEED"), 10, 64); err == nil {
		check(t, seed)
		return
	}
	steps := 1_000_000
	if n, err := strconv.Atoi(os.Getenv("PARLEY_STEPS")); err == nil {
		steps = n
	}
	for seed := uint64(0); steps > 0 && !t.Failed(); seed++ {
		steps -= check(t, seed)
	}
}

// check lives through the history of a seed, and shows the shortest one that fails like it. It reports how
// many steps it has.
func check(t *testing.T, seed uint64) int {
	settings, steps := settingsOf(seed), historyOf(seed, stepsOfAHistory)
	wrong := live(t, settings, steps, nil)
	if wrong == nil {
		return len(steps)
	}
	steps = shrink(steps, func(some []step) bool { return isLike(wrong, live(t, settings, some, nil)) })
	var seen strings.Builder
	live(t, settings, steps, &seen)
	t.Errorf("PARLEY_SEED=%d go test -tags simulate -run '^TestServer$' ./internal/simulation\n%v\nby as little as\n%sof which was seen\n%sunder %+v",
		seed, wrong, list(steps), &seen, *settings)
	return len(steps)
}

// live lives through a history, in a bubble of its own.
func live(t *testing.T, s *settings, steps []step, seen *strings.Builder) (wrong error) {
	defer func() {
		if v := recover(); v != nil && wrong == nil {
			wrong = &fault{fmt.Sprint(v), fmt.Sprint(v)} // goroutines are left, and wait for ever
		}
	}()
	synctest.Test(t, func(*testing.T) {
		w := newWorld(s, seen)
		for _, step := range steps {
			if w.do(step); w.wrong != nil {
				break
			}
		}
		w.end()
		wrong = w.wrong
	})
	return wrong
}

func isLike(a, b error) bool {
	var one, other *fault
	return errors.As(a, &one) && errors.As(b, &other) && one.kind == other.kind
}
