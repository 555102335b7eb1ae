package dialect

import (
	"bytes"
	"strings"
)

// Detect names what speaks unmistakably by the first bytes of a side; "" if nothing does.
func Detect(first []byte, fromClient bool) (name string) {
	switch {
	case fromClient && bytes.HasPrefix(first, []byte("*3\r\n$3")):
		return "redis"
	case fromClient && bytes.HasPrefix(first, []byte("GET / HTTP/1.1")):
		return "http"
	case !fromClient && bytes.HasPrefix(first, []byte("220 ")):
		return "smtp"
	case fromClient && strings.HasPrefix(string(first), "\x16\x03\x01"):
		return "tls"
	}
	return ""
}

// Hint says what to do about what Detect has named.
func Hint(name string) string { return "this is " + name + "; --framing " + name + " shows it whole" }
