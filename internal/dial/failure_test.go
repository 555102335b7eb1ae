package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// Why there is no connection is said in words, without what a person knows already.
func TestFailuresInWords(t *testing.T) {
	dialling := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	system := func(number syscall.Errno) error { return dialling(os.NewSyscallError("connect", number)) }
	for _, c := range []struct {
		err  error
		want string
	}{
		{&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}, `unknown host "x"`},
		{&net.DNSError{Err: "server misbehaving", Name: "x"}, "the name could not be looked up: server misbehaving"},
		{&net.AddrError{Err: "no suitable address", Addr: "10.0.0.1"}, "10.0.0.1 has no address of that family"},
		{dialling(context.DeadlineExceeded), "no answer within 2s"},
		{system(syscall.ECONNREFUSED), "connection refused; is a server listening there?"},
		{system(syscall.EHOSTUNREACH), "host unreachable"},
		{system(syscall.ENOENT), "no such file"},
		{system(syscall.EACCES), "permission denied"},
		{system(syscall.ECONNRESET), "connection reset by peer"},
		{system(syscall.EINVAL), "invalid argument"},
		{dialling(errors.New("something else")), "something else"},
		{fmt.Errorf("parley: receive: %w", fmt.Errorf("%w: byte 0x52", parley.ErrMalformed)), "malformed message: byte 0x52"},
	} {
		if got, want := WhyNotConnected("x:7", 2*time.Second, c.err), "cannot connect to x:7: "+c.want; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
