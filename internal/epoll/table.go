package epoll

// A Table holds a T for each small number. It grows by a page at a time and copies
// nothing: of a slice that grows the last copies, in sum as much as itself, stay resident
// as garbage, which at 10,000 sockets is a tenth of what each takes.
type Table[T any] struct {
	pages []*[page]T
}

const page = 256

// Grow has the table hold number i.
func (t *Table[T]) Grow(i uint32) {
	for i >= t.Len() {
		t.pages = append(t.pages, new([page]T))
	}
}

// Len is how many numbers it holds: those from 0 on.
func (t *Table[T]) Len() uint32 { return uint32(len(t.pages)) * page }

// At is the T of number i, which the table must hold.
func (t *Table[T]) At(i uint32) *T { return &t.pages[i/page][i%page] }
