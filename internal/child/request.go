package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
)

// MaxReply is how many bytes a program may write to answer a request.
const MaxReply = 1 << 20

// Requests is the Handler that runs a program for each request: what it writes on its standard output is
// the reply. It blocks meanwhile. Set the fields before its first use.
//
// A reply is "Error: busy" if the queue is full, or nobody's turn came within the time;
// "Error: timed out", "Error: reply longer than 1048576 bytes" or, of a program that ended so,
// "Error: exit status 3" or "Error: ended by signal 11 (segmentation fault)". Whatever is left of the group of the
// program is killed with the end of the program.
type Requests struct {
	Runner  *Runner
	Queue   int           // requests that wait for room under the Runner's Max; past it they are not answered
	Timeout time.Duration // of the program, and of the wait for room; required
	InLines bool          // requests are lines: the program gets one, with its end
	Lines   bool          // replies are: a newline at the end of the output is left out, and there may be no other

	waiting atomic.Int64
}

var (
	errBusy    = errors.New("busy")
	errTimeout = errors.New("timed out")
	errTooLong = fmt.Errorf("reply longer than %d bytes", MaxReply)
)

// A failure is how a program ended, not in good order.
type failure string

func (f failure) Error() string { return string(f) }

// Reply runs the program. Its error is that of a program that could not be started, or whose output is no line where it has
// to be, or of the end of the session.
func (h *Requests) Reply(dst []byte, req *parley.Request) ([]byte, error) {
	h.Runner.init()
	ctx := req.Session.Context()
	reply, err := h.answer(ctx, dst, req)
	var failed failure
	switch {
	case ctx.Err() != nil:
		return dst, context.Cause(ctx)
	case errors.Is(err, errBusy), errors.Is(err, errTimeout), errors.Is(err, errTooLong), errors.As(err, &failed):
		return append(append(dst, "Error: "...), err.Error()...), nil
	case err != nil:
		return dst, err
	}
	if !h.Lines {
		return reply, nil
	}
	reply = bytes.TrimSuffix(bytes.TrimSuffix(reply, []byte("\n")), []byte("\r"))
	if more := bytes.Count(reply, []byte("\n")); more > 0 {
		return dst, fmt.Errorf("%s wrote %d lines, and a reply is one", h.Runner.Command.Name, more+1)
	}
	return reply, nil
}

func (h *Requests) answer(ctx context.Context, dst []byte, req *parley.Request) ([]byte, error) {
	if err := h.queue(ctx); err != nil {
		return nil, err
	}
	defer h.Runner.leave()
	pipes, err := newPipes(false)
	if err != nil {
		return nil, err
	}
	defer pipes.close()
	p, err := h.Runner.start(req.Session, pipes)
	if err != nil {
		return nil, err
	}
	return h.converse(ctx, dst, req, p, pipes)
}

// queue waits until there is room for one more process.
func (h *Requests) queue(ctx context.Context) error {
	select {
	case h.Runner.slots <- struct{}{}:
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > int64(h.Queue) {
		return errBusy
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.Timeout, errBusy)
	defer cancel()
	return h.Runner.room(ctx)
}

// converse gives the program its request and appends what it writes, until the program and all of its
// group have ended.
func (h *Requests) converse(ctx context.Context, dst []byte, req *parley.Request, p *process, pipes *pipes) ([]byte, error) {
	var late atomic.Bool
	timer := time.AfterFunc(h.Timeout, func() {
		late.Store(true)
		p.kill()
	})
	defer timer.Stop()
	defer context.AfterFunc(ctx, p.kill)()

	var side sync.WaitGroup
	side.Go(func() {
		pipes.stdin.Write(h.input(req.Body))
		pipes.stdin.Close()
	})
	side.Go(func() { h.Runner.hear(req.Session, pipes.stderr) })
	side.Go(func() {
		<-p.exited
		p.end(0, nil)
		for _, f := range []*os.File{pipes.stdin, pipes.stdout, pipes.stderr} {
			f.SetDeadline(soon()) // another process may have it
		}
	})
	reply, err := appendAll(dst, pipes.stdout)
	if err != nil {
		p.kill()
	}
	side.Wait()
	switch {
	case late.Load():
		return nil, errTimeout
	case err != nil:
		return nil, err
	case p.failure() != "":
		h.Runner.tell(req.Session, p)
		return nil, failure(p.failure())
	}
	return reply, nil
}

// input is what the program reads.
func (h *Requests) input(request []byte) []byte {
	if !h.InLines {
		return request
	}
	return append(request[:len(request):len(request)], '\n')
}

// appendAll appends what there is to read, of which more than MaxReply is an error.
func appendAll(dst []byte, from io.Reader) ([]byte, error) {
	for most := len(dst) + MaxReply; ; {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := from.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > most:
			return nil, errTooLong
		case err != nil: // its end, or that of the time in which another process has held it
			return dst, nil
		}
	}
}
