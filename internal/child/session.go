package child

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
)

// Dial starts the program for a session. What is written to the connection is its standard input,
// and what it writes on its standard output is read; CloseWrite is an end of file to it. While it
// is alive and reads nothing, a Write waits; what it will never read is discarded. To read is at its end
// behind the end of its output; if the program has ended and another process has the output,
// after the grace. ctx bounds the wait for room under Max.
func (r *Runner) Dial(ctx context.Context, session *parley.Session) (net.Conn, error) {
	r.init()
	if err := r.room(ctx); err != nil {
		return nil, err
	}
	c := &conn{runner: r, session: session, closed: make(chan struct{})}
	if err := c.open(); err != nil {
		r.leave()
		return nil, err
	}
	r.running.Go(c.supervise)
	return c, nil
}

// A conn is a program as a connection.
type conn struct {
	runner  *Runner
	session *parley.Session
	pipes   *pipes
	process *process
	deaf    atomic.Bool // it reads no more
	left    atomic.Bool // another process has the output, and had its time
	silent  atomic.Bool // its output was read to the end
	closing sync.Once
	closed  chan struct{} // closed by Close
}

func (c *conn) open() (err error) {
	if c.pipes, err = newPipes(c.runner.Terminal); err != nil {
		return err
	}
	if c.process, err = c.runner.start(c.session, c.pipes); err != nil {
		c.pipes.close()
	}
	return err
}

// supervise sees to it that the program ends with the session, and nothing of it outlives that.
func (c *conn) supervise() {
	defer c.runner.leave()
	var hearing sync.WaitGroup
	hearing.Go(func() { c.runner.hear(c.session, c.pipes.stderr) })
	ended := c.awaitEnd() // by itself
	c.process.end(c.runner.Grace, c.runner.hurry)
	c.pipes.stderr.SetReadDeadline(soon())
	hearing.Wait()
	c.pipes.stderr.Close()
	if ended {
		c.runner.tell(c.session, c.process)
	}
}

// awaitEnd waits until the session is over, and reports whether the program had ended before.
func (c *conn) awaitEnd() bool {
	select {
	case <-c.closed:
		return c.hasEnded()
	case <-c.process.exited:
	}
	select {
	case <-c.closed:
		return true
	case <-time.After(c.runner.Grace):
	case <-c.runner.hurry:
	}
	c.left.Store(true)
	c.pipes.stdout.SetReadDeadline(longAgo)
	<-c.closed
	return true
}

// hasEnded reports whether the program has ended by itself. Its output ends before the system says that it has,
// by as long as a core dump takes.
func (c *conn) hasEnded() bool {
	if !c.silent.Load() {
		return c.process.hasEnded()
	}
	select {
	case <-c.process.exited:
		return true
	case <-time.After(moment):
	case <-c.runner.hurry:
	}
	return false
}

// longAgo is a deadline that ends all waiting.
var longAgo = time.Unix(1, 0)

// moment is enough for what is there already.
const moment = 100 * time.Millisecond

// soon is a deadline that is a moment away.
func soon() time.Time { return time.Now().Add(moment) }

// Ended is closed when the program has ended.
func (c *conn) Ended() <-chan struct{} { return c.process.exited }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.pipes.stdout.Read(p)
	switch {
	case errors.Is(err, syscall.EIO): // of a terminal that nobody has open
		err = io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded) && c.left.Load():
		err = io.EOF
	}
	if err == io.EOF {
		c.silent.Store(true)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if c.deaf.Load() {
		return len(p), nil
	}
	n, err := c.pipes.stdin.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		c.deaf.Store(true)
		return len(p), nil
	}
	return n, err
}

func (c *conn) CloseWrite() error { return c.pipes.stdin.Close() }

// Close ends the program, and does not wait for that.
func (c *conn) Close() error {
	c.closing.Do(func() {
		c.pipes.stdin.Close()
		c.pipes.stdout.Close()
		close(c.closed)
	})
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error  { return c.pipes.stdout.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.pipes.stdin.SetWriteDeadline(t) }

func (c *conn) LocalAddr() net.Addr  { return addr{} }
func (c *conn) RemoteAddr() net.Addr { return addr{c.runner.Command.Name} }

// An addr is that of a program: its name.
type addr struct{ name string }

func (addr) Network() string  { return "exec" }
func (a addr) String() string { return a.name }
