//go:build linux && simulate

package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A step is one thing that happens. What its numbers mean depends on what there is at that time, so that a
// history stays one when steps are left out.
type step struct {
	act  act
	who  int // which peer, of those there are
	much int
}

type act int

const (
	connect act = iota
	send
	flood
	read
	readAll
	halfClose
	reset
	hangUp
	stall
	unstall
	fail
	pass // time does
	pause
	release
	finish
	shutdown
	closeServer
	ask    // a client does
	cancel // what it asks
	early  // its server says what nobody asked for
	failFile
	breakDisk
	mendDisk
	setClock // the wall's
)

// acts are what there is to happen, and how often to servers, to clients, to taps and to what is recorded.
var acts = [...]struct {
	name                          string
	server, clients, tap, journal int
}{
	connect: {"connect", 8, 2, 6, 8}, send: {"send", 60, 60, 60, 60}, flood: {"flood", 8, 20, 10, 3}, read: {"read", 20, 60, 20, 10}, readAll: {"read all", 30, 30, 30, 40},
	halfClose: {"half-close", 2, 1, 3, 3}, reset: {"reset", 1, 1, 1, 1}, hangUp: {"hang up", 1, 1, 1, 1}, stall: {"stall", 3, 3, 3, 1}, unstall: {"unstall", 8, 8, 8, 3},
	fail: {"fail", 4, 2, 2, 1}, pass: {"pass", 8, 4, 6, 20}, pause: {"pause", 3, 0, 0, 2}, release: {"release", 20, 0, 20, 0}, finish: {"finish", 10, 0, 0, 5},
	shutdown: {"shutdown", 0, 0, 0, 0}, closeServer: {"close", 0, 1, 0, 0},
	ask: {"ask", 0, 60, 0, 0}, cancel: {"cancel", 0, 2, 0, 0}, early: {"early", 0, 2, 0, 0},
	failFile: {"fail a file", 0, 0, 0, 12}, breakDisk: {"break the disk", 0, 0, 0, 2}, mendDisk: {"mend the disk", 0, 0, 0, 5},
	setClock: {"set the clock", 1, 0, 1, 2},
}

// String is such as "3 sends 17".
func (s step) String() string { return fmt.Sprintf("%d %s %d", s.who, acts[s.act].name, s.much) }

// afterStop is how many steps there are at most once a server is being stopped.
const afterStop = 50

// serverHistory makes the steps of a seed. One history in four has the server stopped on the way.
func serverHistory(seed uint64, length int) []step {
	return stopped(rand.New(rand.NewPCG(seed, 2)), length, func(a act) int { return acts[a].server })
}

// journalHistory makes those of a server that is recorded.
func journalHistory(seed uint64, length int) []step {
	return stopped(rand.New(rand.NewPCG(seed, 8)), length, func(a act) int { return acts[a].journal })
}

func stopped(r *rand.Rand, length int, weight func(act) int) []step {
	steps := history(r, length, weight)
	if r.IntN(4) == 0 {
		at := r.IntN(length)
		steps[at].act = []act{shutdown, shutdown, closeServer}[r.IntN(3)]
		steps = steps[:min(length, at+afterStop)]
	}
	return steps
}

// tapHistory makes those of a tap.
func tapHistory(seed uint64, length int) []step {
	return history(rand.New(rand.NewPCG(seed, 6)), length, func(a act) int { return acts[a].tap })
}

// recordedTapHistory makes those of a tap that is recorded.
func recordedTapHistory(seed uint64, length int) []step {
	return history(rand.New(rand.NewPCG(seed, 9)), length, func(a act) int {
		if a >= failFile {
			return acts[a].journal
		}
		return acts[a].tap
	})
}

// clientHistory makes those of clients.
func clientHistory(seed uint64, length int) []step {
	return history(rand.New(rand.NewPCG(seed, 4)), length, func(a act) int { return acts[a].clients })
}

func history(r *rand.Rand, length int, weight func(act) int) []step {
	var deck []act
	for a := range acts {
		n := weight(act(a))
		switch r.IntN(4) { // of each history others are left out, and others often: rare ones come together
		case 0:
			if act(a) != connect && act(a) != send {
				n = 0
			}
		case 1:
			n *= 8
		}
		deck = append(deck, slices.Repeat([]act{act(a)}, n)...)
	}
	steps := make([]step, length)
	for i := range steps {
		steps[i] = step{deck[r.IntN(len(deck))], r.IntN(1 << 10), r.IntN(1 << 16)}
	}
	return steps
}

// shrink leaves out steps for as long as what is left still fails, in pieces that get smaller.
func shrink(steps []step, fails func([]step) bool) []step {
	for size := len(steps) / 2; size > 0; size /= 2 {
		for at := 0; at < len(steps); {
			rest := slices.Concat(steps[:at], steps[min(at+size, len(steps)):])
			if fails(rest) {
				steps = rest
			} else {
				at += size
			}
		}
	}
	return steps
}

func list(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		fmt.Fprintf(&b, "\t%d: %v\n", i+1, s)
	}
	return b.String()
}
