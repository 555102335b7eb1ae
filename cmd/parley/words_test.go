//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// The same error of the system is another thing of an address than of a file.
func TestErrorsAreToldByWhatTheyAreAbout(t *testing.T) {
	for _, c := range []struct {
		number syscall.Errno
		about  subject
		want   string
	}{
		{syscall.ENOENT, aFileToRead, "no such file"},
		{syscall.ENOENT, aFileToWrite, "no such directory"},
		{syscall.ENOENT, aSocket, "no such directory"},
		{syscall.EACCES, aFileToRead, "permission denied"},
		{syscall.EACCES, aFileToWrite, "permission denied"},
		{syscall.EACCES, aSocket, "permission denied"},
		{syscall.EACCES, aPort, "permission denied; ports below 1024 want more rights"},
		{syscall.EADDRINUSE, aPort, "the port is in use; choose another, or 0 for any free one"},
		{syscall.EEXIST, aFileToWrite, "something else of that name is there"},
		{syscall.EISDIR, aFileToRead, "is a directory"},
		{syscall.EROFS, aFileToWrite, "read-only file system"},
	} {
		err := fmt.Errorf("within: %w", &os.PathError{Op: "open", Path: "x", Err: c.number})
		if got := inWords(err, c.about).Error(); got != c.want {
			t.Errorf("%v about %d is told as %q, want %q", c.number, c.about, got, c.want)
		}
	}
}
