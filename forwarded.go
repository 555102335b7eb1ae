package parley

import (
	"errors"
	"net"
)

// Forwarded is what a proxy says of a connection that it hands on, by the PROXY protocol. The
// texts are the proxy's, or its client's: they may hold anything.
type Forwarded struct {
	Proxy      net.Addr // the proxy's own address
	TLSVersion string   // as the proxy calls it, such as "TLSv1.3"; "" if it says nothing
	TLSName    string   // the client's, by its certificate; "" if there is none
	ServerName string   // what the client asked for; "" if it is not known
}

// ErrDenied is returned, wrapped, by the handshake of a connection that may not be: it is
// refused as Denied.
var ErrDenied = errors.New("connections from this address are not allowed")
