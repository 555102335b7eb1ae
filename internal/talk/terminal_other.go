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

// Restore and Guard do nothing: what is typed is never hidden here.
func (t *Terminal) Restore() {}
func (t *Terminal) Guard()   {}

func (t *Terminal) Stop() bool { return false }

func (t *Terminal) TakePending(bool) []byte { return nil }

// Remember does nothing: a terminal has no memory of lines.
func (t *Terminal) Remember([]byte, bool) {}
