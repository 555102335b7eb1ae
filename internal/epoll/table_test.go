package epoll

import "testing"

func TestTableHoldsWhatItReached(t *testing.T) {
	var table Table[uint32]
	if table.Len() != 0 {
		t.Errorf("an empty table holds %d numbers", table.Len())
	}
	var first *uint32
	for i := range uint32(3*page + 1) {
		table.Grow(i)
		*table.At(i) = i
		if i == 0 {
			first = table.At(0)
		}
	}
	if table.Len() != 4*page {
		t.Errorf("it holds %d numbers, want 4 pages", table.Len())
	}
	for i := range uint32(3*page + 1) {
		if *table.At(i) != i {
			t.Errorf("at %d is %d", i, *table.At(i))
		}
	}
	if table.At(0) != first {
		t.Error("what was there has moved")
	}
}
