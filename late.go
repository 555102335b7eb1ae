package parley

import "time"

// Replies do not wait for a slow handler behind them: the timer late flushes them while it is at work. What is not
// told here of a goroutineConn is in engine.go.

// flushAfter is how long replies may wait behind a handler that is still at work.
const flushAfter = time.Millisecond

// Who has the write buffer of a goroutineConn: its goroutine, or the timer late.
const (
	notLent     = iota
	lent        // the goroutine is in a handler: the timer may take it
	lentToTimer // which flushes it
	toBeFlushed // it was not lent when the timer came
)

// lend lets the timer have the write buffer until takeBack. It runs on from one handler to the next: to set it
// for each would cost more than most replies. If it has come in between, what is in the buffer is flushed instead.
func (d *goroutineConn) lend() bool {
	if !d.awaited {
		d.awaited = true
		d.lateDone.Add(1)
		if d.late == nil {
			d.late = time.AfterFunc(flushAfter, d.flushLate)
		} else {
			d.late.Reset(flushAfter)
		}
	}
	if d.lending.CompareAndSwap(notLent, lent) {
		return true
	}
	d.timerHasCome()
	d.flush(d.held())
	return false
}

// takeBack waits for a flush that is under way.
func (d *goroutineConn) takeBack() {
	if d.lending.CompareAndSwap(lent, notLent) {
		return
	}
	d.timerHasCome()
}

func (d *goroutineConn) timerHasCome() {
	d.lateDone.Wait()
	d.awaited = false
	d.lending.Store(notLent)
}

// flushLate is called by the timer.
func (d *goroutineConn) flushLate() {
	defer d.lateDone.Done()
	for !d.lending.CompareAndSwap(notLent, toBeFlushed) {
		if d.lending.CompareAndSwap(lent, lentToTimer) {
			d.flush(d.held())
			return
		}
	}
}

// stopLate stops the timer, with the last handler behind us.
func (d *goroutineConn) stopLate() {
	if !d.awaited {
		return
	}
	if d.late.Stop() {
		d.lateDone.Done()
	}
	d.timerHasCome()
}
