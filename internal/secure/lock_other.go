//go:build !unix || solaris || aix

package secure

import (
	"io/fs"
	"os"
)

// lock cannot be done here: two servers that start for the first time at once may make a CA each.
func lock(*os.File) error { return nil }

// ownerOf: whose a file is cannot be told here.
func ownerOf(fs.FileInfo) (uid uint32, isOurs bool) { return 0, true }
