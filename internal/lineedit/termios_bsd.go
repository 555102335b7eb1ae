//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package lineedit

import "golang.org/x/sys/unix"

const getTermios, setTermios = unix.TIOCGETA, unix.TIOCSETA

// discardInput has the terminal forget what was typed and not read.
func discardInput(fd int) {
	const ofReading = 1 // FREAD
	unix.IoctlSetPointerInt(fd, unix.TIOCFLUSH, ofReading)
}
