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
}

// Named are the sockets of a name, that of FileDescriptorName= or of the .socket unit, which
// several may have.
func (s *Sockets) Named(name string) ([]*os.File, error) {
	s.once.Do(s.read)
	if files := s.byName[name]; len(files) > 0 {
		return files, nil
	}
	if len(s.byName) == 0 {
		return nil, errors.New("no sockets were passed to this process; LISTEN_FDS and LISTEN_PID would say so")
	}
	var names []string
	for _, n := range slices.Sorted(maps.Keys(s.byName)) {
		names = append(names, "systemd:"+n)
	}
	return nil, fmt.Errorf("no socket of that name was passed to this process; there is %s", strings.Join(names, ", "))
}

func (s *Sockets) read() {
	s.byName = make(map[string][]*os.File)
	for _, f := range activation.Files(true) {
		s.byName[f.Name()] = append(s.byName[f.Name()], f)
	}
}
