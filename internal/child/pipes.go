package child

import "os"

// pipes are what a program reads and writes: our end of each, and its own.
type pipes struct {
	stdin, stdout, stderr *os.File
	theirs                [3]*os.File
}

// newPipes makes them; with terminal the standard output is a pseudo-terminal, on which what is
// written passes as it is. Pipes keep the two directions apart as one socket would not: each has an
// end of file of its own, and none is reset by what nobody has read.
func newPipes(terminal bool) (_ *pipes, err error) {
	p := new(pipes)
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.theirs[0], p.stdin, err = os.Pipe(); err != nil {
		return nil, err
	}
	if terminal {
		p.stdout, p.theirs[1], err = openTerminal()
	} else {
		p.stdout, p.theirs[1], err = os.Pipe()
	}
	if err != nil {
		return nil, err
	}
	if p.stderr, p.theirs[2], err = os.Pipe(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *pipes) closeTheirs() {
	for _, f := range p.theirs {
		if f != nil {
			f.Close()
		}
	}
}

// close closes what of them is there, and open.
func (p *pipes) close() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			f.Close()
		}
	}
	p.closeTheirs()
}
