package dialect

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Detect is the name of the framing that the first bytes of a connection's side are of beyond
// doubt: the client's, or the server's. It is "" where there is doubt, as in any text, "tls" for a
// client that speaks TLS, and "proxy" for a proxy that says first who its client is.
func Detect(first []byte, fromClient bool) (name string) {
	for _, s := range signatures() {
		if s.fromClient == fromClient && s.of.Match(first) && (s.confirms == nil || s.confirms(first)) {
			return s.name
		}
	}
	return ""
}

// Hint is a sentence on what Detect has found, for a server or for who passes on what is said; ""
// if there is nothing to say.
func Hint(name string, passesOn bool) string {
	switch {
	case name == "tls" && passesOn:
		return "the client speaks TLS; --tls-cert or --tls-self-signed, with --upstream-tls, shows what it says"
	case name == "tls":
		return "the client speaks TLS, and this port does not; --tls-cert or --tls-self-signed has it do so"
	case name == "proxy" && passesOn:
		return "this is a PROXY header, which names the client; --proxy-protocol takes it, and --send-proxy sends one on"
	case name == "proxy":
		return "this is a PROXY header, which names the client; --proxy-protocol takes it, and here it is data"
	}
	for _, s := range signatures() {
		if s.name == name {
			return "this is " + s.what + "; --framing " + name + " shows its messages"
		}
	}
	return ""
}

// Undecided reports whether nothing can be said yet of a side that begins so: the empty lines of a
// PROXY header of version 2 are as good as nothing.
func Undecided(first []byte) bool { return strings.HasPrefix("\r\n\r\n\x00\r\n", string(first)) }

// A signature is what a protocol begins with and nothing else does.
type signature struct {
	name       string
	what       string
	fromClient bool
	of         *regexp.Regexp
	confirms   func(first []byte) bool // what a pattern cannot say; nil if there is nothing
}

// signatures are compiled when the first connection needs them: most programs that start need none.
var signatures = sync.OnceValue(func() []signature {
	return []signature{
		// A ClientHello in a record of TLS 1.x (RFC 8446, sections 4 and 5.1).
		{"tls", "", true, regexp.MustCompile(`(?s)^\x16\x03[\x00-\x04]..\x01`), nil},

		// A header of the PROXY protocol (haproxy.org, doc/proxy-protocol.txt, sections 2.1 and 2.2).
		{"proxy", "", true, regexp.MustCompile(`^PROXY (TCP[46] [0-9A-Fa-f.:]{2,39} [0-9A-Fa-f.:]{2,39} [0-9]{1,5} [0-9]{1,5}|UNKNOWN[^\r\n]*)\r\n`), nil},
		{"proxy", "", true, regexp.MustCompile(`^\r\n\r\n\x00\r\nQUIT\r?\n`), nil},

		// A command of RESP: an array, of bulk strings.
		{"redis", "redis", true, regexp.MustCompile(`^\*[1-9][0-9]{0,6}\r\n\$[0-9]{1,9}\r\n`), nil},

		// A request line, whose method is in capitals by custom, and a status line (RFC 9112, sections 3 and 4).
		{"http", "HTTP", true, regexp.MustCompile(`^[A-Z-]{3,20} [!-~]+ HTTP/1\.[01]\r?\n`), nil},
		{"http", "HTTP", false, regexp.MustCompile(`^HTTP/1\.[01] [1-5][0-9][0-9]( [^\r\n]*)?\r?\n`), nil},

		// A greeting, also of FTP, and the first command of a client that has not waited for it
		// (RFC 5321, sections 4.2 and 4.1.1.1).
		{"smtp", "SMTP, or like it", false, regexp.MustCompile(`^220[ -][^\r\n]*\r\n`), nil},
		{"smtp", "SMTP, or like it", false, regexp.MustCompile(`^220[ -][^\r\n]*SMTP[^\r\n]*\n`), nil},
		{"smtp", "SMTP, or like it", true, regexp.MustCompile(`^(EHLO|HELO) ([0-9A-Za-z-]+(\.[0-9A-Za-z-]+)+|localhost|\[[0-9A-Za-z.:]+\])\r\n`), nil},

		// A storage command with its block: the line alone could be of anything.
		{"memcached", "memcached", true, storage(), hasBlock},

		// A segment of HL7 behind a start block.
		{"mllp", "MLLP", true, regexp.MustCompile(`^\x0b(MSH|FHS|BHS)[^0-9A-Za-z\s]`), nil},
		{"mllp", "MLLP", false, regexp.MustCompile(`^\x0bMSH[^0-9A-Za-z\s]`), nil},

		// Octets of syslog (RFC 6587, section 3.4.1) with a header of RFC 5424 (section 6) or RFC
		// 3164 (section 4.1). Nobody replies to it.
		{"octets/none", "syslog", true, regexp.MustCompile(`^[1-9][0-9]{0,5} <1?[0-9]{1,2}>(1 (- |[0-9]{4}-[0-9]{2}-[0-9]{2}T)|[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} )`), nil},
	}
})

var storage = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:set|add|replace|append|prepend|cas) [!-~]{1,250} [0-9]{1,10} -?[0-9]{1,19} ([0-9]{1,9})(?: [0-9]{1,20})?(?: noreply)?\r\n`)
})

// hasBlock reports whether the block of a storage command stands behind it.
func hasBlock(first []byte) bool {
	m := storage().FindSubmatchIndex(first)
	size, err := strconv.Atoi(string(first[m[2]:m[3]]))
	block := first[m[1]:]
	return err == nil && len(block) >= size+2 && bytes.HasPrefix(block[size:], []byte("\r\n"))
}
