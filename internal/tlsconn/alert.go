package tlsconn

import (
	"crypto/tls"
	"errors"
	"net"
)

// A plainAlert watches for an alert that is not encrypted. A client of OpenSSL that does not trust
// a certificate says so that way under TLS 1.3, where crypto/tls expects an encrypted record, and
// calls it a bad MAC.
type plainAlert struct {
	last [7]byte // that were read: a record of an alert has as many
}

func (a *plainAlert) saw(p []byte) {
	if len(p) >= len(a.last) {
		copy(a.last[:], p[len(p)-len(a.last):])
		return
	}
	copy(a.last[:], a.last[len(p):])
	copy(a.last[len(a.last)-len(p):], p)
}

// explain returns what the client has said in place of the error that came of it. It could be
// somebody else's word, but the handshake has failed in any case.
func (a *plainAlert) explain(err error) error {
	var op *net.OpError
	isRecord := a.last[0] == 0x15 && a.last[1] == 3 && a.last[3] == 0 && a.last[4] == 2
	const fatal = 2
	if isRecord && a.last[5] == fatal && errors.As(err, &op) && op.Op == "local error" {
		return &net.OpError{Op: "remote error", Err: tls.AlertError(a.last[6])}
	}
	return err
}
