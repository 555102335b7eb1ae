package systemd

import (
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	statusEvery = 5 * time.Second // the status is told, if it is another by then
	lastWords   = time.Second     // that a manager who does not listen gets when all is over
	maxQueued   = 16              // words that wait for one who is slow; further ones are dropped
)

// A Service tells the service manager how the process is (sd_notify). A nil *Service tells nobody
// anything; it is what there is where no manager asks. No method waits for the manager.
type Service struct {
	status func() string
	alive  func() bool
	words  chan string
	told   chan struct{} // closed once the last of them is
}

// Supervised says whether a service manager has started the process, and wants to be told how it is.
func Supervised() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Open begins to tell the manager that NOTIFY_SOCKET names; it is nil if that names none. status
// is how it is, in a line. If the manager has a watchdog, alive is asked twice in its time whether
// the process really serves: a manager that hears nothing restarts it.
func Open(status func() string, alive func() bool) (*Service, error) {
	if !Supervised() {
		return nil, nil
	}
	watchdog, err := daemon.SdWatchdogEnabled(true)
	if err != nil {
		return nil, fmt.Errorf("the service manager's watchdog: %w", err)
	}
	s := &Service{status: status, alive: alive, words: make(chan string, maxQueued), told: make(chan struct{})}
	go s.run(watchdog)
	return s, nil
}

// Ready says that whoever depends on the service can begin.
func (s *Service) Ready() { s.say(daemon.SdNotifyReady) }

// Reloading says that it reads its files again, until it is Ready.
func (s *Service) Reloading() {
	s.say(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, monotonic().Microseconds()))
}

// Stopping says that it serves nobody new any more.
func (s *Service) Stopping() { s.say(daemon.SdNotifyStopping) }

// Close ends it once the manager has been told all, or after a second.
func (s *Service) Close() {
	if s == nil {
		return
	}
	close(s.words)
	select {
	case <-s.told:
	case <-time.After(lastWords):
	}
}

func (s *Service) say(words string) {
	if s == nil {
		return
	}
	select {
	case s.words <- words:
	default:
	}
}

// run tells all that is to be told, in a goroutine of its own: a manager may be slow.
func (s *Service) run(watchdog time.Duration) {
	defer close(s.told)
	status := time.NewTicker(statusEvery)
	defer status.Stop()
	var look <-chan time.Time
	if watchdog > 0 {
		ticker := time.NewTicker(watchdog / 2)
		defer ticker.Stop()
		look = ticker.C
	}
	last := ""
	for {
		select {
		case words, more := <-s.words:
			if !more {
				return
			}
			last = s.status()
			tell(words + "\nSTATUS=" + last)
		case <-status.C:
			if now := s.status(); now != last {
				last = now
				tell("STATUS=" + now)
			}
		case <-look:
			if s.alive() {
				tell(daemon.SdNotifyWatchdog)
			}
		}
	}
}

// tell tells the manager. One that cannot be told is none that waits for it.
func tell(state string) { daemon.SdNotify(false, state) }
