package secure

import (
	"fmt"
	"os"
	"runtime"
)

// openKeyLog opens the file to which crypto/tls adds the keys of each session, a line at a time,
// in the format of NSS. Who can read it can read what was said: nobody but its owner may.
func openKeyLog(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("key log %s: %w", file, inWords(err))
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&^0o600 != 0 && runtime.GOOS != "windows" {
		err = fmt.Errorf("others may use it too (mode %04o), and keys open what was said; chmod 600 %s", info.Mode().Perm(), file)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("key log %s: %w", file, inWords(err))
	}
	return f, nil
}
