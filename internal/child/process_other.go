//go:build !unix

package child

import (
	"errors"
	"os"
	"time"
)

// Possible says whether programs can be run here.
const Possible = false

type process struct{ exited chan struct{} }

func fork(*Command, []string, *pipes) (*process, error) { return nil, errors.ErrUnsupported }

func (p *process) kill()                              {}
func (p *process) end(time.Duration, <-chan struct{}) {}
func (p *process) hasEnded() bool                     { return true }
func (p *process) failure() string                    { return "" }

func openTerminal() (ours, theirs *os.File, err error) { return nil, nil, errors.ErrUnsupported }
