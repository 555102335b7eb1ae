package dial

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
)

// A Kind says what went wrong, for programs.
type Kind string

// The kinds of failure.
const (
	UnknownHost    Kind = "unknown_host"    // no such name, or none with an address of that family
	LookupFailed   Kind = "lookup_failed"   // whether there is such a name could not be found out
	Refused        Kind = "refused"         // nobody listens there
	Unreachable    Kind = "unreachable"     // no way leads there: no route, no such socket, no permission
	ConnectTimeout Kind = "connect_timeout" // no answer to the attempt to connect
	ReplyTimeout   Kind = "reply_timeout"   // connected, but no reply came
	Closed         Kind = "closed"          // the server closed before its reply, or inside it
	Reset          Kind = "reset"           // the connection was reset
	Mismatch       Kind = "mismatch"        // a reply came, but another than expected
	TooLong        Kind = "too_long"        // the reply is longer than the limit
	NoRoom         Kind = "no_room"         // this machine has no file, port or address left for a connection
	IOError        Kind = "io_error"        // anything else
)

// KindOf classifies an error of a Dialer or of a parley.Client. It is "" for none.
func KindOf(err error) Kind {
	var dns *net.DNSError
	var family *net.AddrError
	var op *net.OpError
	var timeout net.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &dns) && dns.IsNotFound, errors.As(err, &family):
		return UnknownHost
	case errors.As(err, &dns):
		return LookupFailed
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case isAny(err, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.ENOENT, syscall.EACCES, syscall.EPERM):
		return Unreachable
	case isAny(err, syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL):
		return NoRoom
	case errors.As(err, &timeout) && timeout.Timeout():
		if errors.As(err, &op) && op.Op == "dial" {
			return ConnectTimeout
		}
		return ReplyTimeout
	case isAny(err, io.EOF, io.ErrUnexpectedEOF):
		return Closed
	case isAny(err, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE):
		return Reset
	case errors.Is(err, parley.ErrOutOfStep):
		return Mismatch
	case errors.Is(err, parley.ErrTooLong):
		return TooLong
	}
	return IOError
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// WhyNotConnected says in words why no connection to target could be made within timeout.
func WhyNotConnected(target string, timeout time.Duration, err error) string {
	why := ""
	var dns *net.DNSError
	var family *net.AddrError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		why = fmt.Sprintf("unknown host %q", dns.Name)
	case errors.As(err, &dns):
		why = "the name could not be looked up: " + dns.Err
	case errors.As(err, &family):
		why = family.Addr + " has no address of that family"
	case KindOf(err) == ConnectTimeout:
		why = fmt.Sprintf("no answer within %v", timeout)
	default:
		why = Reason(err)
	}
	return fmt.Sprintf("cannot connect to %s: %s", target, why)
}

// Reason says in words what an error of a connection is, without the addresses and the names of
// system calls that it may come with.
func Reason(err error) string {
	for _, known := range []struct {
		errno syscall.Errno
		text  string
	}{
		{syscall.ECONNREFUSED, "connection refused; is a server listening there?"},
		{syscall.EACCES, "permission denied"},
		{syscall.EADDRNOTAVAIL, "this host has no such address, or no free local port"},
		{syscall.ENETUNREACH, "network unreachable"},
		{syscall.EHOSTUNREACH, "host unreachable"},
		{syscall.ENOENT, "no such file"},
		{syscall.ECONNRESET, "connection reset by peer"},
		{syscall.ECONNABORTED, "connection reset by peer"},
		{syscall.EPIPE, "connection reset by peer"},
	} {
		if errors.Is(err, known.errno) {
			return known.text
		}
	}
	var errno syscall.Errno
	var op *net.OpError
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}
