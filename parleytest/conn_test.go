package parleytest_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

var echo = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
	return append(dst, req.Body...), nil
})

func TestWhatIsWrittenIsReadThenTheEndOfFile(t *testing.T) {
	a, b := parleytest.ConnPair()
	io.WriteString(a, "one")
	io.WriteString(a, "two")
	a.CloseWrite()
	if got, err := io.ReadAll(b); string(got) != "onetwo" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	// The other direction goes on: it was a half-close.
	io.WriteString(b, "back")
	b.Close()
	if got, err := io.ReadAll(a); string(got) != "back" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after CloseWrite = %v, want net.ErrClosed", err)
	}
}

func TestWritingToAClosedEndIsABrokenPipe(t *testing.T) {
	a, b := parleytest.ConnPair()
	b.Close()
	if _, err := a.Write([]byte("x")); err != syscall.EPIPE {
		t.Errorf("Write = %v, want EPIPE", err)
	}
	if _, err := b.Read(make([]byte, 1)); err != net.ErrClosed {
		t.Errorf("Read of the closed end = %v, want net.ErrClosed", err)
	}
}

func TestResetLosesWhatWasNotRead(t *testing.T) {
	a, b := parleytest.ConnPair()
	io.WriteString(a, "lost")
	a.Reset()
	if n, err := b.Read(make([]byte, 10)); n != 0 || err != syscall.ECONNRESET {
		t.Errorf("Read = %d, %v, want ECONNRESET", n, err)
	}
	if _, err := b.Write([]byte("x")); err != syscall.ECONNRESET {
		t.Errorf("Write = %v, want ECONNRESET", err)
	}
}

func TestDeadlinesAreMetExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := parleytest.ConnPair()
		start := time.Now()
		a.SetDeadline(start.Add(3 * time.Second))
		if _, err := a.Read(make([]byte, 1)); err != os.ErrDeadlineExceeded || time.Since(start) != 3*time.Second {
			t.Errorf("Read = %v after %v, want the deadline after 3s", err, time.Since(start))
		}
		a.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := a.Write(make([]byte, 100<<10))
		if n != 64<<10 || err != os.ErrDeadlineExceeded || time.Since(start) != 4*time.Second {
			t.Errorf("Write = %d, %v after %v, want what the buffer holds after 4s", n, err, time.Since(start))
		}
		// Moved while somebody waits.
		a.SetReadDeadline(time.Time{})
		go func() {
			time.Sleep(time.Second)
			a.SetReadDeadline(time.Now())
		}()
		if _, err := a.Read(make([]byte, 1)); err != os.ErrDeadlineExceeded || time.Since(start) != 5*time.Second {
			t.Errorf("Read = %v after %v, want the moved deadline after 5s", err, time.Since(start))
		}
	})
}

func TestAFullBufferHoldsTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := parleytest.ConnPair()
		want := strings.Repeat("0123456789", 30000)
		go func() {
			io.WriteString(a, want)
			a.Close()
		}()
		time.Sleep(time.Hour)
		if got, err := io.ReadAll(b); string(got) != want || err != nil {
			t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
		}
	})
}

func TestStartAndPipeServe(t *testing.T) {
	srv := &parley.Server{Handler: echo}
	over, err := net.Dial("tcp", parleytest.Start(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{over, parleytest.Pipe(t, srv)} {
		io.WriteString(c, "hello\n")
		buf := make([]byte, 10)
		if n, err := c.Read(buf); string(buf[:n]) != "hello\n" || err != nil {
			t.Errorf("over %s got %q, %v", c.RemoteAddr().Network(), buf[:n], err)
		}
		c.Close()
	}
}
