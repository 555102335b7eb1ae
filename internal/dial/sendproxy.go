package dial

import (
	"cmp"
	"context"
	"fmt"
	"net"

	"github.com/pires/go-proxyproto"
)

// sendProxy sends the header of the PROXY protocol. Where an end has no IP address that is its
// own, as that of a Unix socket or of the way through a proxy, the header has none: UNKNOWN, or LOCAL.
func (d *Dialer) sendProxy(ctx context.Context, conn net.Conn) error {
	source, destination := d.Source, d.Destination
	if d.Via == nil || d.Network == "unix" {
		source, destination = cmp.Or(source, conn.LocalAddr()), cmp.Or(destination, conn.RemoteAddr())
	}
	if _, isUnix := source.(*net.UnixAddr); isUnix {
		source = nil
	}
	header, err := proxyproto.HeaderProxyFromAddrs(byte(d.SendProxy), source, destination).Format()
	if err != nil {
		return fmt.Errorf("the header of the PROXY protocol: %w", err)
	}
	err = within(ctx, conn, func() error {
		_, err := conn.Write(header)
		return err
	})
	if err != nil {
		return &stepError{KindOf(err), "PROXY protocol", err}
	}
	return nil
}
