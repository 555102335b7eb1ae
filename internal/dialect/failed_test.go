package dialect

import "testing"

func TestFailed(t *testing.T) {
	for _, c := range []struct {
		framing, reply string
		want           bool
	}{
		{"line", "Error: no", true}, {"line", "all is well", false}, {"line", "", false}, {"line/crlf", "Error: no", true},
		{"redis", "-ERR no\r\n", true}, {"redis", "!5\r\nERR no\r\n", true}, {"redis", "+OK\r\n", false}, {"redis", "$-1\r\n", false}, {"redis", "", false},
		{"http", "HTTP/1.1 404 Not Found\r\n\r\n", true}, {"http", "HTTP/1.1 399 X\r\n\r\n", false}, {"http", "HTTP/1.1 503 X\r\n\r\n", true}, {"http", "nothing", false},
		{"smtp", "250 ok\r\n", false}, {"smtp", "354 go on\r\n", false}, {"smtp", "451 later\r\n", true}, {"smtp", "550-no\r\n550 never\r\n", true},
		{"memcached", "ERROR\r\n", true}, {"memcached", "CLIENT_ERROR bad\r\n", true}, {"memcached", "SERVER_ERROR out\r\n", true}, {"memcached", "END\r\n", false},
		{"memcached", "VALUE ERROR 0 1\r\n1\r\nEND\r\n", false},
	} {
		f, err := Parse(c.framing)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Failed([]byte(c.reply)); got != c.want {
			t.Errorf("%s: %q failed: %v, want %v", c.framing, c.reply, got, c.want)
		}
	}
}

func TestWantsReply(t *testing.T) {
	for _, c := range []struct {
		framing, request string
		want             bool
	}{
		{"line", "x", true}, {"line/none", "x", false}, {"chunk/line", "x", true},
		{"memcached", "set k 0 0 1 noreply\r\n1\r\n", false}, {"memcached", "set k 0 0 1\r\n1\r\n", true},
		{"redis", "*1\r\n$4\r\nPING\r\n", true}, {"http", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", true}, {"http", "GET / HTT", true}, {"smtp", "NOOP\r\n", true},
	} {
		f, err := Parse(c.framing)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.WantsReply([]byte(c.request)); got != c.want {
			t.Errorf("%s: %q wants a reply: %v, want %v", c.framing, c.request, got, c.want)
		}
	}
}
