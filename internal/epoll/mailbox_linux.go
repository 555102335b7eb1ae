//go:build !386

package epoll

import "sync"

// A Mailbox is how other goroutines reach the one that waits for a Set. The set is to have no
// other mailbox.
type Mailbox[T any] struct {
	set  *Set
	mu   sync.Mutex
	sent []T
	read []T // swapped with sent
}

// NewMailbox makes an empty mailbox for whoever waits for the set.
func NewMailbox[T any](s *Set) *Mailbox[T] { return &Mailbox[T]{set: s} }

// Send puts something in, and ends the Wait that is under way, or else the next one. Any goroutine
// may call it, until the set is freed.
func (m *Mailbox[T]) Send(v T) {
	m.mu.Lock()
	m.sent = append(m.sent, v)
	m.mu.Unlock()
	m.set.wake()
}

// Read takes out all that is there, in the order in which it was sent. Only the goroutine that waits for the set may call it;
// with nothing there it costs as much as to look at a number.
func (m *Mailbox[T]) Read(do func(T)) {
	if !m.set.wasWoken() {
		return
	}
	m.mu.Lock()
	m.sent, m.read = m.read[:0], m.sent
	m.mu.Unlock()
	for _, v := range m.read {
		do(v)
	}
	clear(m.read)
}
