package probe

import (
	"fmt"
	"io"
	"testing"

	"github.com/parley-tcp/parley"
)

// An end that TLS has not announced is told as that, before the reply and inside it.
func TestWhyThereIsNoReply(t *testing.T) {
	for _, c := range []struct {
		err  error
		came partial
		want string
	}{
		{io.EOF, partial{}, "x:7 closed the connection before it replied"},
		{io.ErrUnexpectedEOF, came("ok", "no newline"), "x:7 closed the connection inside its reply: no newline: ok"},
		{parley.ErrTruncated, partial{}, "x:7 closed the connection before it replied, without TLS's close_notify"},
		{parley.ErrTruncated, came("ok", "no newline"), "x:7 closed the connection inside its reply, without TLS's close_notify: no newline: ok"},
	} {
		got := whyNone("reply", "before it replied", "x:7", 0, fmt.Errorf("parley: receive: %w", c.err), c.came)
		if got != c.want {
			t.Errorf("%v behind %q: %q, want %q", c.err, c.came.bytes, got, c.want)
		}
	}
}
