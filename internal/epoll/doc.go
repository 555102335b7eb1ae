// Package epoll waits for many sockets in one goroutine (Linux, epoll(7)) and makes
// the system calls on them that cannot block. It knows no conversation.
//
//	set, err := epoll.NewSet()
//	id, err := set.Add(fd, epoll.In)
//	n, err := set.Wait(wheel.Next())
//	for i := range n {
//		if id, events := set.Event(i); events&epoll.In != 0 {
//			n, err := epoll.Read(fds[id], buf)
//
// A Wheel beside it keeps the deadlines of the same sockets, and a Mailbox is how other goroutines reach the one that waits.
package epoll
