//go:build !unix

package talk

import "os"

// A Terminal is where somebody types. Here a read of one cannot be interrupted.
type Terminal struct{ file *os.File }

// OpenTerminal makes a Terminal of an open one. Close it; that leaves the file open.
func OpenTerminal(file *os.File) (*Terminal, error) { return &Terminal{file}, nil }

// Close gives back what OpenTerminal took.
func (t *Terminal) Close() error { return nil }

// Read waits for a line and reads once.
func (t *Terminal) Read(p []byte) (int, error) { return t.file.Read(p) }

func (t *Terminal) stop() bool { return false }

func (t *Terminal) takePending() []byte { return nil }
