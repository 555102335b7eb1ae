//go:build race

package parley_test

// raceEnabled: under the race detector sync.Pool drops at random, so allocations say
// nothing.
const raceEnabled = true
