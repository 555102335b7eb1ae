package parley

import (
	"math"
	"runtime/debug"
	"unsafe"
)

const outOfMemoryText = "Error: server is out of memory for requests"

// evicted is what a session holds that was chosen to be ended for Memory: nothing that
// counts.
const evicted = -1

// DefaultMaxHeld is what MaxHeld is when left at zero, in bytes: a quarter of the memory
// limit, which is the smallest of the process's cgroup's, GOMEMLIMIT and the machine's memory;
// 1 GiB where none is known.
func DefaultMaxHeld() int64 {
	limit := min(debug.SetMemoryLimit(-1), systemMemory())
	if limit == math.MaxInt64 {
		return 1 << 30
	}
	return limit / 4
}

// hold notes how many bytes a session holds from now on, across reads or while a write is
// pending. It is called by what drives the session. If all sessions hold too much by that,
// those that hold most are ended.
func (s *Server) hold(session *Session, bytes int) {
	before := session.held.Load()
	if before == int64(bytes) || before == evicted || !session.held.CompareAndSwap(before, int64(bytes)) {
		return
	}
	if s.held.Add(int64(bytes)-before) > s.settings.maxHeld && int64(bytes) > before {
		s.evict()
	}
}

// evict ends the sessions that hold most, until what the others hold is within the limit.
func (s *Server) evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.held.Load() > s.settings.maxHeld {
		largest := s.largest()
		if largest == nil {
			return
		}
		session := largest.describe()
		// It may be about to hold something else.
		if bytes := session.held.Load(); bytes > 0 && session.held.CompareAndSwap(bytes, evicted) {
			s.held.Add(-bytes)
			largest.evict()
		}
	}
}

// largest is the session that holds most, nil if none holds anything.
func (s *Server) largest() (largest connection) {
	most := int64(0)
	for p := range s.sessions.all {
		if bytes := p.describe().held.Load(); bytes > most {
			largest, most = p, bytes
		}
	}
	return largest
}

// evicted reports whether the session is to end for Memory, or has.
func (s *Session) evicted() bool { return s.held.Load() == evicted }

// memory is how much memory a read buffer takes up for the bytes that it holds. An idle
// session's counts for nothing.
func (in *readBuffer) memory() int {
	if len(in.held()) == 0 {
		return 0
	}
	return cap(in.buf)
}

// memory is how much memory what a write buffer holds takes up. That it may have grown larger
// for another session does not count.
func (o *writeBuffer) memory() int {
	n := len(o.marks)
	return len(o.buf) + n*int(unsafe.Sizeof(mark{})) + min(n, cap(o.batch))*int(unsafe.Sizeof(Exchange{}))
}
