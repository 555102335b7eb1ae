package parley

// Held is how many bytes the server's sessions hold, as far as MaxHeld goes.
func (s *Server) Held() int64 { return s.held.Load() }

// Lingering is how many connections the server has hung up on and not closed.
func (s *Server) Lingering() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.lingering.size)
}

// Stopping reports whether the server lets nobody in any more.
func (s *Server) Stopping() bool {
	s.init()
	return s.stopped()
}
