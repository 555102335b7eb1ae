package secure

import (
	"fmt"
	"os"
	"runtime"
)

// openKeyLog opens the file to which crypto/tls adds the keys of each session, a line at a time,
// in the format of NSS. Who can read it can read what was said: nobody but us may. In a directory
// that all can write, such as /tmp, another may have put a file of his own there.
func openKeyLog(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("key log %s: %w", file, inWords(err))
	}
	if err := refuseForeign(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("key log %s: %w", file, err)
	}
	return f, nil
}

func refuseForeign(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if owner, isOurs := ownerOf(info); !isOurs {
		return fmt.Errorf("it belongs to another user (uid %d), who can read it; choose another file", owner)
	}
	return refuseOthers(f, 0o600)
}

// refuseOthers says what to do if a file or a directory is for others than its owner, or more
// than the mode allows. (Windows has no such modes.)
func refuseOthers(f *os.File, most os.FileMode) error {
	info, err := f.Stat()
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&^most == 0 {
		return err
	}
	return fmt.Errorf("it is not for its owner only (mode %04o); chmod %o %s", info.Mode().Perm(), most, f.Name())
}
