package epoll

import "slices"

// Grown returns list with room for at least one more element. A table of sockets that
// is full doubles: append alone lets large slices grow by a quarter each time, which at
// 10,000 sockets has left several times the table as garbage.
func Grown[T any](list []T) []T {
	if len(list) == cap(list) {
		return slices.Grow(list, max(16, len(list)))
	}
	return list
}
