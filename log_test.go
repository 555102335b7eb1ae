package parley_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/parley-tcp/parley"
)

// A handler's error or panic that no Observer is told of is logged, once, on one line, with
// whatever a peer had in it escaped.
func TestFailuresThatNobodyObservesAreLogged(t *testing.T) {
	handler := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		switch body := string(req.Body); {
		case strings.HasPrefix(body, "panic"):
			panic(body)
		case strings.HasPrefix(body, "fail"):
			return dst, errors.New(body)
		case body == "two lines":
			return append(dst, "a\nb"...), nil
		}
		return append(dst, req.Body...), nil
	})
	const forged = " \x1b[2J\x00\u202e\r level=INFO"
	onlyRequests := wanting{parley.Received}
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		for _, c := range []struct {
			say      string
			observer parley.Observer
			want     []string // in the line that is logged; none if nil
		}{
			{"panic" + forged, nil, []string{"level=ERROR", "session=1", "remote=", "request=2", `panic \x1b[2J`, "stack=", "TestFailuresThatNobodyObserves"}},
			{"fail" + forged, nil, []string{"level=ERROR", `error="fail \x1b[2J\x00\u202e`}},
			{"fail", onlyRequests, []string{"error=fail"}},
			{"two lines", nil, []string{"a newline at byte 1 would end the message early"}},
			{"fail", wanting{parley.Closed}, nil},
			{"panic", new(witness), nil},
			{"hello", nil, nil},
		} {
			var text bytes.Buffer
			srv := &parley.Server{Handler: handler, Observer: c.observer, Log: slog.New(slog.NewTextHandler(&text, nil))}
			say(t, serve(srv)(), "hello\n"+c.say+"\n")
			srv.Close()
			lines := strings.Count(text.String(), "\n")
			if c.want == nil && lines > 0 || c.want != nil && lines != 1 || strings.ContainsAny(text.String(), "\x1b\x00\r\u202e") {
				t.Errorf("after %q with the observer %T %d lines are logged: %q", c.say, c.observer, lines, text.String())
			}
			for _, want := range c.want {
				if !strings.Contains(text.String(), want) {
					t.Errorf("after %q the log lacks %q: %s", c.say, want, text.String())
				}
			}
		}
	})
}

// wanting observes one kind of event, and does nothing with it.
type wanting struct{ kind parley.EventKind }

func (o wanting) Wants(kind parley.EventKind) bool { return kind == o.kind }

func (wanting) Observe(*parley.Event) {}

// The final one is what Serve returns.
func TestAcceptErrorsThatNobodyObservesAreLogged(t *testing.T) {
	for observer, want := range map[parley.Observer]int{nil: 2, wanting{parley.Closed}: 2, wanting{parley.AcceptFailed}: 0} {
		synctest.Test(t, func(t *testing.T) {
			var text bytes.Buffer
			l := &badListener{closed: make(chan struct{}), errs: []error{syscall.EMFILE, syscall.EPROTO, net.ErrClosed}}
			(&parley.Server{Handler: echo, Observer: observer, Log: slog.New(slog.NewTextHandler(&text, nil))}).Serve(l)
			if got := strings.Count(text.String(), "cannot accept"); got != want {
				t.Errorf("with the observer %T %d errors are logged, want %d: %s", observer, got, want, text.String())
			}
		})
	}
}

// Without a Log it is slog's default one.
func TestDefaultLog(t *testing.T) {
	defer log.SetOutput(log.Writer()) // which slog takes over
	defer log.SetFlags(log.Flags())
	defer slog.SetDefault(slog.Default())
	var text bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&text, nil)))
	l := &badListener{closed: make(chan struct{}), errs: []error{io.ErrUnexpectedEOF, net.ErrClosed}}
	(&parley.Server{Handler: echo}).Serve(l)
	if !strings.Contains(text.String(), io.ErrUnexpectedEOF.Error()) {
		t.Errorf("the log is %q", text.String())
	}
}
