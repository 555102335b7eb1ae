package simkernel

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTheWallClockStepsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, step := range []time.Duration{0, time.Hour, -time.Hour, 50 * 365 * 24 * time.Hour, -50 * 365 * 24 * time.Hour} {
			k := New(nil, 1, 1, 1)
			before, wall := Now(), time.Now()
			time.Sleep(1500 * time.Millisecond)
			k.SetClock(step)
			now := Now()
			if passed := now.Sub(before); passed != 1500*time.Millisecond || Since(before) != passed {
				t.Errorf("after a step of %v: %v have passed", step, passed)
			}
			if at := now.Round(0); !at.Equal(wall.Add(1500*time.Millisecond + step)) {
				t.Errorf("after a step of %v it is %v, and was %v", step, at, wall)
			}
			if at := now.Add(time.Second); at.UnixNano()-now.UnixNano() != int64(time.Second) || at.Sub(now) != time.Second {
				t.Errorf("after a step of %v a second is %v", step, at.Sub(now))
			}
		}
	})
}
