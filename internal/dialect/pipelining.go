package dialect

import (
	"bytes"
	"slices"
	"strings"
)

// smtpPipelining reports whether a reply, to EHLO, announces that commands may be sent in groups (RFC
// 2920, section 3).
func smtpPipelining(reply []byte) bool {
	for line := range bytes.Lines(reply) {
		word, _, _ := strings.Cut(strings.TrimRight(string(line[min(4, len(line)):]), "\r\n"), " ")
		if strings.EqualFold(word, "PIPELINING") && bytes.HasPrefix(line, []byte("250")) {
			return true
		}
	}
	return false
}

// smtpWaits reports whether a command has to be the last of its group (RFC 2920, section 3.1). A message
// has not.
func smtpWaits(request []byte) bool {
	line := bytes.TrimRight(request, "\r\n")
	if bytes.Count(request, []byte("\n")) > 1 || string(line) == "." {
		return false // a message
	}
	verb, _, _ := bytes.Cut(line, []byte(" "))
	return !slices.Contains([]string{"MAIL", "RCPT", "RSET"}, strings.ToUpper(string(verb)))
}

// httpWaits reports whether what follows a request turns on its reply: it may be another protocol, or
// the body (RFC 9110, sections 7.8, 9.3.6 and 10.1.1).
func httpWaits(request []byte) bool {
	if bytes.HasPrefix(request, []byte("CONNECT ")) {
		return true
	}
	head, _, _ := bytes.Cut(request, []byte("\r\n\r\n"))
	head = bytes.ToLower(head)
	for _, name := range []string{"\nupgrade:", "\nexpect:"} {
		if bytes.Contains(head, []byte(name)) {
			return true
		}
	}
	return false
}
