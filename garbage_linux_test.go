//go:build !386

package parley_test

import (
	"math"
	"net/netip"
	"runtime"
	"syscall"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// What is told of a session leaves no garbage with a loop: made for thousands that come at once, it would stay
// resident while they are silent.
func TestASilentSessionMakesNoGarbage(t *testing.T) {
	const sessions, most = 100, 600
	srv := &parley.Server{Handler: echo, Engine: parley.Loops, Observer: parley.ObserverFunc(func(*parley.Event) {})}
	at, err := netip.ParseAddrPort(parleytest.Start(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	// By hand, since a connection of package net's is made of much that is garbage.
	to, buf := &syscall.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}, []byte("x\n")
	fds := make([]int, 0, 4*sessions)
	t.Cleanup(func() {
		for _, fd := range fds {
			syscall.Close(fd)
		}
	})
	exchange := func() {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
		if err := syscall.Connect(fd, to); err != nil {
			t.Fatal(err)
		}
		if _, err := syscall.Write(fd, buf); err != nil {
			t.Fatal(err)
		}
		if n, err := syscall.Read(fd, buf); n != len(buf) || err != nil {
			t.Fatalf("read %d bytes, %v", n, err)
		}
	}
	made := func() int {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.TotalAlloc)
	}
	exchange()
	least := math.MaxInt
	for range 3 { // other tests may leave something to do
		before := made()
		for range sessions {
			exchange()
		}
		least = min(least, (made()-before)/sessions)
	}
	if least > most {
		t.Errorf("a session makes %d bytes, want %d at most", least, most)
	}
	t.Logf("a session makes %d bytes", least)
}
