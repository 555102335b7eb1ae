//go:build linux && simulate && !race

package simulation

import (
	"strings"
	"testing"
)

// A seed is one history: what is seen of it is the same each time, but for a few in which timers of the server
// ring at the same time, which the runtime leaves to chance.
// Under the race detector it shuffles goroutines too.
func TestASeedIsAHistory(t *testing.T) {
	for name, of := range map[string]struct {
		world   maker
		history func(seed uint64, length int) []step
		seeds   uint64
		atMost  int // a journal has timers of its own
	}{"server": {serverWorld, serverHistory, 100, 5}, "journal": {journalWorld, journalHistory, 20, 6}} {
		different := 0
		for seed := range of.seeds {
			settings, steps := settingsOf(seed), of.history(seed, stepsOfAHistory)
			var one, other strings.Builder
			live(t, settings, of.world, steps, &one)
			live(t, settings, of.world, steps, &other)
			if one.String() != other.String() {
				different++
			}
		}
		if different > of.atMost {
			t.Errorf("%s: of %d seeds %d are two histories each", name, of.seeds, different)
		}
	}
}
