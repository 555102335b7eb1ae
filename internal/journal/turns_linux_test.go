package journal

import (
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
)

// Who reads much of a journal lets others of the process go first again and again: where there is one processor,
// a server's sessions are answered while a page or a shipper reads.
func TestReadersTakeTurns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	many(t, file, 10*rowsInARow)
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	done := make(chan struct{})
	var turns atomic.Int64
	var stop atomic.Bool
	go func() {
		defer close(done)
		for !stop.Load() {
			turns.Add(1)
			runtime.Gosched()
		}
	}()
	rows := 0
	for _, err := range r.Exchanges(t.Context(), Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		rows++
	}
	had := turns.Load()
	stop.Store(true)
	<-done
	if rows != 10*rowsInARow || had < 9 {
		t.Errorf("while %d rows were read, others had %d turns, want 9", rows, had)
	}
}
