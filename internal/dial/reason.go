package dial

import (
	"crypto/tls"
	"errors"
)

// tlsReason is in words what is wrong with TLS, "" if it is something else.
func tlsReason(err error) string {
	var plain tls.RecordHeaderError
	var alert tls.AlertError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &plain):
		return "the server does not speak TLS there"
	case errors.As(err, &alert), errors.As(err, &certificate):
		return err.Error()
	}
	return ""
}
