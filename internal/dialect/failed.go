package dialect

import (
	"bytes"

	"github.com/parley-tcp/parley"
)

// Failed says whether a reply says that what was asked was not done: a status from 400 on, an error
// of redis or memcached, and in what is no protocol a line that begins with Error: as Parley's own.
func (f Framing) Failed(reply []byte) bool {
	switch {
	case f.failed != nil:
		return f.failed(reply)
	case f.Status != nil:
		code, ok := f.Status(reply)
		return ok && code >= "400"
	}
	return bytes.HasPrefix(reply, []byte(errorText))
}

// redisFailed knows a simple error and a bulk one.
func redisFailed(reply []byte) bool {
	return len(reply) > 0 && (reply[0] == '-' || reply[0] == '!')
}

func memcachedFailed(reply []byte) bool {
	word, _, _ := bytes.Cut(bytes.TrimRight(reply, "\r\n"), []byte(" "))
	switch string(word) {
	case "ERROR", "CLIENT_ERROR", "SERVER_ERROR":
		return true
	}
	return false
}

// WantsReply says whether a server is to reply to a request, as far as that is in it alone.
func (f Framing) WantsReply(request []byte) bool {
	if f.Replies == parley.NoReplies {
		return false
	}
	if !f.IsProtocol() {
		return true
	}
	requests, _ := parley.OpenFraming(f.Requests, f.Replies)
	n, _, err := requests.Next(request, 0, len(request), true)
	noter, is := requests.(parley.Noter)
	return err != nil || n == 0 || !is || !noter.Note().Alone
}
