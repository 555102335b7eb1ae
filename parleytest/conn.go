package parleytest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// buffered is how many bytes each direction holds before a write blocks.
const buffered = 64 << 10

// A Conn is one end of a connection in memory. Unlike that of net.Pipe it has a
// buffer, can be half-closed and can be reset.
type Conn struct {
	in, out *direction
	local   Addr
	remote  Addr
}

// An Addr is the address of one end: client or server.
type Addr string

// Network returns "pipe".
func (Addr) Network() string { return "pipe" }

// String returns the end's name.
func (a Addr) String() string { return string(a) }

// ConnPair makes a connection in memory and returns its ends.
func ConnPair() (client, server *Conn) {
	up, down := newDirection(), newDirection()
	return &Conn{down, up, "client", "server"}, &Conn{up, down, "server", "client"}
}

// Read reads what is there, or waits. At the end of file it returns io.EOF.
func (c *Conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write writes all of p, waiting while the buffer is full. To an end that is closed
// it fails with EPIPE.
func (c *Conn) Write(p []byte) (int, error) { return c.out.write(p) }

// CloseWrite is a half-close: the peer reads the end of file behind what was written.
func (c *Conn) CloseWrite() error { return c.out.finish() }

// Close closes this end both ways. Bytes the peer has not read stay readable.
func (c *Conn) Close() error {
	c.out.finish()
	c.in.abandon()
	return nil
}

// Reset ends the connection as a TCP reset does: both ends fail, and what was not read
// is lost.
func (c *Conn) Reset() {
	c.in.reset()
	c.out.reset()
}

// LocalAddr is this end's name.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the other end's name.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline has reads fail with os.ErrDeadlineExceeded from t on; zero is never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.readers.set(t, c.in.wake)
	return nil
}

// SetWriteDeadline has writes fail with os.ErrDeadlineExceeded from t on; zero is never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.writers.set(t, c.out.wake)
	return nil
}

// A direction is one of a connection's two streams.
type direction struct {
	mu      sync.Mutex
	changed *sync.Cond // also counts as waiting inside a synctest bubble

	buf      []byte
	finished bool // the writer is done: end of file behind buf
	gone     bool // the reader is closed
	broken   bool // reset
	readers  deadline
	writers  deadline
}

func newDirection() *direction {
	d := new(direction)
	d.changed = sync.NewCond(&d.mu)
	return d
}

func (d *direction) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed.Broadcast()
}

func (d *direction) read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.gone:
			return 0, net.ErrClosed
		case d.broken:
			return 0, syscall.ECONNRESET
		case d.readers.passed():
			return 0, os.ErrDeadlineExceeded
		case len(d.buf) > 0:
			n := copy(p, d.buf)
			d.buf = append(d.buf[:0], d.buf[n:]...)
			d.changed.Broadcast()
			return n, nil
		case d.finished:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		d.changed.Wait()
	}
}

func (d *direction) write(p []byte) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.finished:
			return n, net.ErrClosed
		case d.broken:
			return n, syscall.ECONNRESET
		case d.gone:
			return n, syscall.EPIPE
		case d.writers.passed():
			return n, os.ErrDeadlineExceeded
		}
		k := min(len(p)-n, buffered-len(d.buf))
		if k > 0 {
			d.buf = append(d.buf, p[n:n+k]...)
			n += k
			d.changed.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		d.changed.Wait()
	}
}

func (d *direction) finish() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.finished {
		return net.ErrClosed
	}
	d.finished = true
	d.changed.Broadcast()
	return nil
}

func (d *direction) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	d.readers.set(time.Time{}, nil)
	d.changed.Broadcast()
}

func (d *direction) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken, d.buf = true, nil
	d.changed.Broadcast()
}

// A deadline wakes those who wait when it passes.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(t time.Time, wake func()) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if t.IsZero() {
		return
	}
	d.timer = time.AfterFunc(time.Until(t), wake)
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }
