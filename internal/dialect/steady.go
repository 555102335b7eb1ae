package dialect

import "bytes"

// httpSteady leaves out when a reply was made (RFC 9110, section 6.6.1).
func httpSteady(_, reply []byte) []byte {
	const name = "\ndate:"
	end := bytes.Index(reply, []byte("\n\r\n"))
	if end < 0 {
		end = len(reply)
	}
	at := bytes.Index(bytes.ToLower(reply[:end]), []byte(name))
	if at < 0 {
		return reply
	}
	from := at + len(name)
	to := len(reply)
	if i := bytes.IndexByte(reply[from:], '\n'); i >= 0 {
		to = from + i
	}
	return append(bytes.Clone(reply[:from]), reply[to:]...)
}

// httpContinues reports whether a message asks for the rest of a request (RFC 9110, section 10.1.1).
func httpContinues(message []byte) bool {
	code, _ := httpStatusCode(message)
	return code == "100"
}

// smtpSteady leaves out all but the code of a greeting, in which servers tell the time, and of the
// reply to a message, in which they tell by what number they keep it: what these mean is in the
// code (RFC 5321, section 4.2).
func smtpSteady(request, reply []byte) []byte {
	const code = 3
	isMessage := string(request) == ".\r\n" || bytes.IndexByte(bytes.TrimSuffix(request, []byte("\n")), '\n') >= 0
	if (request == nil || isMessage) && len(reply) >= code {
		return reply[:code]
	}
	return reply
}
