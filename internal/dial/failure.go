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
	"github.com/parley-tcp/parley/internal/tlsconn"
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
	ProxyFailed    Kind = "proxy"           // the proxy on the way could not be reached, or did not let us through
	TLSFailed      Kind = "tls"             // connected, but TLS was not agreed on
	ReplyTimeout   Kind = "reply_timeout"   // connected, but no reply came
	Closed         Kind = "closed"          // the server closed before its reply, or inside it
	Reset          Kind = "reset"           // the connection was reset
	Mismatch       Kind = "mismatch"        // a reply came, but another than expected
	TooLong        Kind = "too_long"        // the reply is longer than the limit
	Malformed      Kind = "malformed"       // what came is no message of the framing
	NoRoom         Kind = "no_room"         // this machine has no file, port or address left for a connection
	IOError        Kind = "io_error"        // anything else
)

// KindOf classifies an error of a Dialer or of a parley.Client. It is "" for none.
func KindOf(err error) Kind {
	var dns *net.DNSError
	var family *net.AddrError
	var op *net.OpError
	var step *stepError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &step):
		return step.kind
	case isOfTLS(err):
		return TLSFailed
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
	case isTimeout(err):
		if errors.As(err, &op) && op.Op == "dial" {
			return ConnectTimeout
		}
		return ReplyTimeout
	case isAny(err, io.EOF, io.ErrUnexpectedEOF):
		return Closed
	case isAny(err, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ENOTCONN):
		return Reset
	case errors.Is(err, parley.ErrOutOfStep):
		return Mismatch
	case errors.Is(err, parley.ErrTooLong):
		return TooLong
	case errors.Is(err, parley.ErrMalformed):
		return Malformed
	}
	return IOError
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// A stepError is why a connection that was made is of no use: what is to come before the
// conversation failed.
type stepError struct {
	kind Kind
	step string // such as "TLS handshake"
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// WhyNotConnected says in words why no connection to target could be made within timeout.
// WhyNot says in words why a connection is of no use, which was to be within timeout.
func WhyNotConnected(target string, timeout time.Duration, err error) string {
	return fmt.Sprintf("cannot connect to %s: %s", target, WhyNot(timeout, err))
}

// WhyNot says in words why a connection is of no use, which was to be within timeout.
func WhyNot(timeout time.Duration, err error) string {
	var step *stepError
	var dns *net.DNSError
	var family *net.AddrError
	switch {
	case errors.As(err, &step) && step.step == tlsHandshake:
		return whyNoTLS(timeout, step.err)
	case errors.As(err, &step) && step.kind == ProxyFailed && isOfTLS(step.err):
		return step.step + ": " + whyNoProxy(step.err)
	case errors.As(err, &step):
		return step.step + ": " + WhyNot(timeout, step.err)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("unknown host %q", dns.Name)
	case errors.As(err, &dns):
		return "the name could not be looked up: " + dns.Err
	case errors.As(err, &family):
		return family.Addr + " has no address of that family"
	case isTimeout(err):
		return fmt.Sprintf("no answer within %v", timeout)
	case isAny(err, io.EOF, io.ErrUnexpectedEOF):
		return "the connection was closed"
	}
	return Reason(err)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Reason says in words what an error of a connection is, without the addresses and the names of
// system calls that it may come with.
func Reason(err error) string {
	if isOfTLS(err) || errors.Is(err, tlsconn.ErrTruncated) {
		return reasonOfTLS(err)
	}
	if errors.Is(err, parley.ErrMalformed) {
		return malformation(err)
	}
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
		{syscall.ENOTCONN, "connection reset by peer"}, // so a half-close finds it
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

// malformation says what is wrong with a message, without where it came from.
func malformation(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil || inner == parley.ErrMalformed {
			return err.Error()
		}
		err = inner
	}
}
