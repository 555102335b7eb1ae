package talk

import "golang.org/x/sys/unix"

const (
	ioctlReadTermios  = unix.TCGETS
	ioctlWriteTermios = unix.TCSETS
)

// Longest is how many bytes of a line the system keeps: it throws away what is typed or pasted behind
// them, and a line that is as long may have been cut (termios(3), canonical mode).
func (t *Terminal) Longest() int { return 4095 }
