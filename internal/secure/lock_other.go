//go:build !unix || solaris || aix

package secure

import "os"

// lock cannot be done here: two servers that start for the first time at once may make a CA each.
func lock(*os.File) error { return nil }
