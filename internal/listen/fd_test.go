//go:build unix

package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	sys "golang.org/x/sys/unix"
)

// passed makes a descriptor that looks as if it had been passed to the process, of a copy of
// something's.
func passed(t *testing.T, of interface{ File() (*os.File, error) }) int {
	t.Helper()
	f, err := of.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := sys.FcntlInt(f.Fd(), sys.F_DUPFD, 100) // which is not closed on exec
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Close(fd) })
	return fd
}

func isOpen(fd int) bool {
	_, err := sys.FcntlInt(uintptr(fd), sys.F_GETFD, 0)
	return err == nil
}

// greets says whether what is dialled is accepted by l.
func greets(t *testing.T, l net.Listener) bool {
	t.Helper()
	conn, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Error(err)
		return false
	}
	defer conn.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Error(err)
		return false
	}
	defer accepted.Close()
	io.WriteString(accepted, "a")
	n, _ := conn.Read(make([]byte, 1))
	return n == 1
}

func TestAListenerThatWasPassed(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	path := filepath.Join(t.TempDir(), "s")
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	for _, of := range []net.Listener{tcp, unix} {
		fd := passed(t, of.(interface{ File() (*os.File, error) }))
		l := openOne(t, Way{Network: "fd", FD: fd}, Options{})
		switch l.Net.(type) {
		case *net.TCPListener, *net.UnixListener:
		default:
			t.Errorf("it is a %T, which loops do not serve", l.Net)
		}
		if l.Net.Addr().String() != of.Addr().String() || !greets(t, l.Net) {
			t.Errorf("it listens at %v, not at %v, or greets nobody", l.Net.Addr(), of.Addr())
		}
		if isOpen(fd) {
			t.Error("the descriptor that was passed is still open beside the listener's own")
		}
		l.Net.Close()
		l.Close()
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket's file belongs to whoever made it: %v", err)
	}
}

func TestDescriptorsThatAreNoListeners(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	packets, err := net.Listen("unixpacket", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ours, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	type filer = interface{ File() (*os.File, error) }
	for _, c := range []struct {
		name string
		fd   int
		want error
	}{
		{"none", 9999, errNotPassed},
		{"no number that there can be", 1<<31 - 1, errNotPassed},
		{"one of our own", int(ours.Fd()), errNotPassed},
		{"a file", passed(t, fileOf{file}), errNoSocket},
		{"a connection", passed(t, conn.(filer)), errNotListening},
		{"UDP", passed(t, udp.(filer)), errNotListening},
		{"packets", passed(t, packets.(filer)), errNoStream},
	} {
		_, err := Open(t.Context(), []Way{{Network: "fd", FD: c.fd}}, Options{})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if c.want != errNotPassed && !isOpen(c.fd) {
			t.Errorf("%s: it was closed", c.name)
		}
	}
	if _, err := l.(*net.TCPListener).File(); err != nil {
		t.Errorf("the listener itself: %v", err)
	}
}

// A fileOf has a copy of its descriptor as sockets have.
type fileOf struct{ f *os.File }

func (f fileOf) File() (*os.File, error) {
	fd, err := syscall.Dup(int(f.f.Fd()))
	return os.NewFile(uintptr(fd), ""), err
}

// All that systemd passed by one name is listened on, or nothing is.
func TestSocketsOfAName(t *testing.T) {
	var files []*os.File
	copies := func(ls ...net.Listener) (all []*os.File) {
		for _, l := range ls {
			f, err := l.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		return all
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	files = copies(tcp, unix)
	opt := Options{Activated: func(name string) ([]*os.File, error) {
		if name != "web" {
			return nil, errors.New("no socket of that name")
		}
		return files, nil
	}}
	open, err := Open(t.Context(), []Way{{Network: "systemd", Name: "web"}}, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(open) != 2 || open[0].Net.Addr().String() != tcp.Addr().String() || open[1].Net.Addr().String() != unix.Addr().String() {
		t.Errorf("%d listeners are open; want both, in their order", len(open))
	}
	for _, l := range open {
		if !greets(t, l.Net) {
			t.Errorf("%v greets nobody", l.Net.Addr())
		}
		l.Net.Close()
		l.Close()
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	files = append(copies(tcp), null)
	if _, err := Open(t.Context(), []Way{{Network: "systemd", Name: "web"}}, opt); !errors.Is(err, errNoSocket) {
		t.Errorf("with a socket that is none: %v", err)
	}
	if _, err := Open(t.Context(), []Way{{Network: "systemd", Name: "wen"}}, opt); err == nil || err.Error() != "cannot listen on systemd:wen: no socket of that name" {
		t.Errorf("with another name: %v", err)
	}
}
