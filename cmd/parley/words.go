package main

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// A subject is what an error of the system was about: the same number says other things of an
// address than of a file.
type subject int

const (
	aPort   subject = iota // to listen on
	aSocket                // in the file system, to listen on
	aFileToRead
	aFileToWrite
)

// inWords says an error of the system in words, without the names that the caller knows better.
// Any other error is returned as it is.
func inWords(err error, about subject) error {
	var number syscall.Errno
	if !errors.As(err, &number) {
		return err
	}
	text := number.Error()
	isNew := about == aSocket || about == aFileToWrite
	switch {
	case number == syscall.ENOENT && isNew:
		text = "no such directory"
	case number == syscall.ENOENT:
		text = "no such file"
	case number == syscall.EEXIST && isNew:
		text = "something else of that name is there"
	case number == syscall.EACCES && about == aPort:
		text = "permission denied; ports below 1024 want more rights"
	case number == syscall.EADDRINUSE && about == aPort:
		text = "the port is in use; choose another, or 0 for any free one"
	case number == syscall.EADDRNOTAVAIL:
		text = "this host has no such address"
	}
	return &plainError{text, err}
}

// cannotWrite is the error of an output that did not take what was written.
func cannotWrite(err error) error {
	return usageError("cannot write the output: %w", inWords(err, aFileToWrite))
}

// isOfOutput says whether err is about a write to standard output.
func isOfOutput(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Op == "write" && path.Path == os.Stdout.Name()
}

// A plainError says err in other words.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.err }
