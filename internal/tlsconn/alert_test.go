package tlsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
)

// However an alert that is not encrypted comes in, it is what the client has said.
func TestAlertThatIsNotEncrypted(t *testing.T) {
	badMAC := &net.OpError{Op: "local error", Err: tls.AlertError(20)}
	const before = "\x14\x03\x03\x00\x01\x01"
	for text, want := range map[string]string{
		"\x15\x03\x03\x00\x02\x02\x30":          "remote error: tls: unknown certificate authority",
		"\x15\x03\x01\x00\x02\x02\x2a":          "remote error: tls: bad certificate",
		"\x15\x03\x03\x00\x02\x01\x5a":          "local error: tls: bad record MAC", // a warning
		"\x15\x03\x03\x00\x13\x02\x30":          "local error: tls: bad record MAC", // an encrypted one
		"\x17\x03\x03\x00\x02\x02\x30":          "local error: tls: bad record MAC",
		"\x15\x03\x03\x00\x02\x02\x30\x00":      "local error: tls: bad record MAC",
		"\x15\x03\x03\x00\x02\x02":              "local error: tls: bad record MAC",
		"\x15\x03\x03\x00\x02\x02\x30" + before: "local error: tls: bad record MAC",
	} {
		text = before + text
		for cut := range text {
			var alert plainAlert
			alert.saw([]byte(text[:cut]))
			alert.saw([]byte(text[cut:]))
			if got := alert.explain(badMAC); got.Error() != want {
				t.Errorf("%q, cut at %d: %v, want %s", text, cut, got, want)
			}
		}
	}
	var alert plainAlert
	for _, b := range []byte("\x15\x03\x03\x00\x02\x02\x30") {
		alert.saw([]byte{b})
	}
	for _, other := range []error{nil, io.EOF, errors.New("tls: x"), &net.OpError{Op: "remote error", Err: tls.AlertError(40)}} {
		if got := alert.explain(other); got != other {
			t.Errorf("%v has become %v", other, got)
		}
	}
	if got := alert.explain(badMAC); got.Error() != "remote error: tls: unknown certificate authority" {
		t.Errorf("byte by byte: %v", got)
	}
}
