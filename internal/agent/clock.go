package agent

import "time"

// A comparison is what is known of another clock.
type comparison struct {
	ahead  time.Duration // of ours
	within time.Duration // how wrong that may be, to either side
}

// roundTrips is how often another clock is asked for its time. The answer is from somewhere within the
// round trip, so the shortest of them says most.
const roundTrips = 16

// compare compares a clock with ours, by asking it for its time.
func compare(ours func() time.Time, ask func() (theirs time.Time, err error)) (comparison, error) {
	best := comparison{}
	for i := range roundTrips {
		asked := ours()
		theirs, err := ask()
		if err != nil {
			return comparison{}, err
		}
		half := ours().Sub(asked) / 2
		if i == 0 || half < best.within {
			best = comparison{theirs.Sub(asked.Add(half)), half}
		}
	}
	return best, nil
}
