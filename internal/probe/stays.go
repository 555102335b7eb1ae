package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
)

// longAgo is a deadline that wakes whoever waits.
var longAgo = time.Unix(1, 0)

// stays watches whether the connection is open for as long as it is to be, since then. What the
// server says meanwhile is as it may be.
func (p *Probe) stays(ctx context.Context, conn net.Conn, since time.Time, f *Finding) error {
	err := conn.SetReadDeadline(since.Add(p.Stays))
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(longAgo) })()
	for buf := make([]byte, 4096); err == nil; {
		_, err = conn.Read(buf)
	}
	f.Open = time.Since(since)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	f.ended = true
	return err
}

// whyEnded says how a connection ended that was to stay.
func (p *Probe) whyEnded(place string, f *Finding) string {
	after := "after " + milliseconds(f.Open)
	if p.Request != nil {
		after = milliseconds(f.Open) + " after its reply"
	}
	before := fmt.Sprintf("before the %v of --stays", p.Stays)
	switch dial.KindOf(f.Err) {
	case dial.Closed:
		return fmt.Sprintf("%s closed the connection %s, %s", place, after, before)
	case dial.Reset:
		return fmt.Sprintf("%s reset the connection %s, %s", place, after, before)
	}
	return fmt.Sprintf("%s ended the connection %s, %s: %s", place, after, before, dial.Reason(f.Err))
}
