// Package statedir says where the state of this user's runs is kept: what was typed, which addresses
// were talked to, the certificates that were made.
package statedir

import (
	"errors"
	"os"
	"path/filepath"
)

// Path is the place of that name in $XDG_STATE_HOME/parley, or in ~/.local/state/parley if the variable is not
// set or not absolute: the XDG Base Directory Specification has relative ones ignored.
func Path(name string) (string, error) {
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "parley", name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", errors.New("there is no home directory to keep it in; set XDG_STATE_HOME to a directory")
	}
	return filepath.Join(home, ".local", "state", "parley", name), nil
}
