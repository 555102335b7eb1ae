package child

import (
	"bufio"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
)

const (
	maxSpoken   = 4 << 10                // bytes of a line of standard error; the rest of it is left out
	speechBurst = 100                    // lines at once
	speechEvery = 100 * time.Millisecond // a line more
)

// A speech is what there is to say of all programs of a Runner, as far as it does not flood the log.
type speech struct {
	mu      sync.Mutex
	spent   time.Time // when all lines that have been said would have been, one every speechEvery
	session *parley.Session
	skipped int
}

// say passes on a line, or counts it as left out.
func (h *speech) say(to func(*parley.Session, string), s *parley.Session, line string) {
	now := time.Now()
	h.mu.Lock()
	if h.spent.Before(now) {
		h.spent = now
	}
	if h.spent.Sub(now) > (speechBurst-1)*speechEvery {
		h.skipped++
		h.session = s
		h.mu.Unlock()
		return
	}
	h.spent = h.spent.Add(speechEvery)
	skipped, of := h.skipped, h.session
	h.skipped = 0
	h.mu.Unlock()
	if skipped > 0 {
		to(of, leftOut(skipped))
	}
	to(s, line)
}

// rest tells how many lines were left out and not told of yet.
func (h *speech) rest(to func(*parley.Session, string)) {
	h.mu.Lock()
	skipped, of := h.skipped, h.session
	h.skipped = 0
	h.mu.Unlock()
	if skipped > 0 {
		to(of, leftOut(skipped))
	}
}

func leftOut(lines int) string {
	return fmt.Sprintf("and programs said more: %d lines are left out", lines)
}

// hear passes on what a program says on standard error until it says no more.
func (r *Runner) hear(s *parley.Session, stderr io.Reader) {
	in := bufio.NewReaderSize(stderr, maxSpoken)
	for {
		line, isPrefix, err := in.ReadLine()
		if len(line) > 0 {
			text := r.Command.Name + ": " + string(line)
			if isPrefix {
				text += "…"
			}
			r.speech.say(r.Say, s, text)
		}
		for isPrefix && err == nil {
			_, isPrefix, err = in.ReadLine()
		}
		if err != nil {
			return
		}
	}
}
