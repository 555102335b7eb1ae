// Package systemd is how a service and the service manager that started it talk: which sockets
// it was passed, and how it is. Whoever speaks the same protocol can be that manager.
package systemd

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets are those that the process was passed (sd_listen_fds). The zero value is ready; the
// variables that say so are read once, and unset: they are for no child of the process.
type Sockets struct {
	once   sync.Once
	byName map[string][]*os.File
	named  map[string]bool
}

// Named are the sockets of a name, that of FileDescriptorName= or of the .socket unit, which
// several may have.
func (s *Sockets) Named(name string) ([]*os.File, error) {
	s.once.Do(s.read)
	if files := s.byName[name]; len(files) > 0 {
		s.named[name] = true
		return files, nil
	}
	if len(s.byName) == 0 {
		return nil, errors.New("no sockets were passed to this process; LISTEN_FDS and LISTEN_PID would say so")
	}
	return nil, fmt.Errorf("no socket of that name was passed to this process; there is systemd:%s", strings.Join(slices.Sorted(maps.Keys(s.byName)), ", systemd:"))
}

// Rest are those of which nobody has asked by their names, as systemd:NAME; none if nobody has
// asked for any.
func (s *Sockets) Rest() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		if !s.named[name] {
			names = append(names, "systemd:"+name)
		}
	}
	return names
}

func (s *Sockets) read() {
	s.byName, s.named = make(map[string][]*os.File), make(map[string]bool)
	for _, f := range activation.Files(true) {
		s.byName[f.Name()] = append(s.byName[f.Name()], f)
	}
}
