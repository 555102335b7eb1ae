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
	const seeds, atMost = 100, 5
	different := 0
	for seed := range uint64(seeds) {
		settings, steps := settingsOf(seed), serverHistory(seed, stepsOfAHistory)
		var one, other strings.Builder
		live(t, settings, serverWorld, steps, &one)
		live(t, settings, serverWorld, steps, &other)
		if one.String() != other.String() {
			different++
		}
	}
	if different > atMost {
		t.Errorf("of %d seeds %d are two histories each", seeds, different)
	}
}
