package dialect

import (
	"cmp"
	"regexp"
	"strings"
	"testing"
)

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		first      string
		fromClient bool
		want       string
	}{
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", true, "tls"},
		{"\x16\x03\x03\x00\x0a\x01", true, "tls"},
		{"\x16\x03\x03\x00\x01", true, ""},
		{"\x16\x03\x03\x00\x0a\x02", true, ""}, // a ServerHello
		{"\x16\x03\x05\x00\x01\x01", true, ""},

		{"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n", true, "proxy"},
		{"PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 4711 443\r\nhello\r\n", true, "proxy"},
		{"PROXY UNKNOWN\r\n", true, "proxy"},
		{"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", true, "proxy"},
		{"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c", true, "proxy"},
		{"\r\n\r\n\x00\r\nQUIT\r\n", true, "proxy"}, // a line as it is put together again
		{"\r\n\r\nQUIT\r\n", true, ""},
		{"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443", true, ""},
		{"PROXY TCP4 is what it sends\r\n", true, ""},
		{"PROXY UNKNOWN\r\n", false, ""},

		{"*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n$3\r\nbar\r\n", true, "redis"},
		{"*3\r\n$3\r\n", true, "redis"},
		{"*3\r\n$3\r\n", false, ""},
		{"*3\r\n$3", true, ""},
		{"*3\r\n", true, ""},
		{"PING\r\n", true, ""},
		{"+PONG\r\n", false, ""},

		{"GET / HTTP/1.1\r\nHost: x\r\n", true, "http"},
		{"GET / HTTP/1.0\n\n", true, "http"},
		{"M-SEARCH * HTTP/1.1\r\n", true, "http"},
		{"POST /a?b=c%20d HTTP/1.1\r\n", true, "http"},
		{"GET / HTTP/1.1", true, ""},
		{"GET / HTTP/2.0\r\n", true, ""},
		{"GET /\r\n", true, ""},
		{"tell me about HTTP/1.1\r\n", true, ""},
		{"GET / HTTP/1.1\r\n", false, ""},
		{"HTTP/1.1 200 OK\r\n", false, "http"},
		{"HTTP/1.1 200 OK", false, ""},
		{"HTTP/1.1 200 OK\r\n", true, ""},

		{"220 mx.example ESMTP\r\n", false, "smtp"},
		{"220-mx.example ESMTP\r\n220 no spam\r\n", false, "smtp"},
		{"220 ftp ready\r\n", false, "smtp"},
		{"220 mx ESMTP\n", false, "smtp"},
		{"220 volts\n", false, ""},
		{"220", false, ""},
		{"220 mx", false, ""},
		{"2200 mx\r\n", false, ""},
		{"220 mx.example ESMTP\r\n", true, ""},
		{"EHLO mx.example\r\n", true, "smtp"},
		{"HELO localhost\r\n", true, "smtp"},
		{"EHLO [127.0.0.1]\r\nMAIL", true, "smtp"},
		{"HELO world\r\n", true, ""},
		{"HELO my friend\r\n", true, ""},

		{"set k 0 0 5\r\nhello\r\n", true, "memcached"},
		{"set k 0 -1 0 noreply\r\n\r\nget k\r\n", true, "memcached"},
		{"cas k 0 0 5 77\r\nhello\r\n", true, "memcached"},
		{"set k 0 0 5\r\n", true, ""},
		{"set led 255 0 9\r\nset led 0 0 0\r\n", true, ""},
		{"set k 0 0 5\r\nhello", true, ""},
		{"set k 0 0 5\r\nhello!\r\n", true, ""},
		{"get k\r\n", true, ""},

		{"\x0bMSH|^~\\&|A|B\r\x1c\r", true, "mllp"},
		{"\x0bMSH|^~\\&|B|A\r\x1c\r", false, "mllp"},
		{"\x0bhello", true, ""},

		{"54 <34>1 2026-11-26T08:00:00Z host app - - - hello\n", true, "octets/none"},
		{"54 <13>Nov 26 08:00:00 host app: hello", true, "octets/none"},
		{"<34>1 2026-11-26T08:00:00Z host app - - - hello\n", true, ""},
		{"54 <34>1 - host app - - - hello", true, "octets/none"},
		{"54 <34>1 way", true, ""},
		{"54 <b>1 2", true, ""},

		{"5:hello,", true, ""},
		{"", true, ""},
		{"", false, ""},
	} {
		if got := Detect([]byte(c.first), c.fromClient); got != c.want {
			t.Errorf("Detect(%q, %v) = %q, want %q", c.first, c.fromClient, got, c.want)
		}
	}
}

func TestHint(t *testing.T) {
	for name, want := range map[string][2]string{
		"tls": {"the client speaks TLS, and this port does not; --tls-cert or --tls-self-signed has it do so",
			"the client speaks TLS; --tls-cert or --tls-self-signed, with --upstream-tls, shows what it says"},
		"proxy": {"this is a PROXY header, which names the client; --proxy-protocol takes it, and here it is data",
			"this is a PROXY header, which names the client; --proxy-protocol takes it, and --send-proxy sends one on"},
		"redis":       {"this is redis; --framing redis shows its messages"},
		"http":        {"this is HTTP; --framing http shows its messages"},
		"smtp":        {"this is SMTP, or like it; --framing smtp shows its messages"},
		"octets/none": {"this is syslog; --framing octets/none shows its messages"},
		"line":        {},
		"":            {},
	} {
		if got := Hint(name, false); got != want[0] {
			t.Errorf("Hint(%q) = %q, want %q", name, got, want[0])
		}
		if got := Hint(name, true); got != cmp.Or(want[1], want[0]) {
			t.Errorf("Hint(%q) where it is passed on = %q, want %q", name, got, want[1])
		}
	}
}

// English lines begin nothing, however they end, but for what the server's begin with 220.
func FuzzDetect(f *testing.F) {
	for _, seed := range []string{
		"session 1 msg 1", "hello world", "get milk and eggs", "set the table for 2 0 0 5", "GET / is what it sends over HTTP/1.1",
		"HELO is how SMTP begins", "220 volts", "*3 stars", "5:30, see you then", "12 <b>1 way</b>", "add k 0 0 0", "quit", "{\"a\":1}", "EHLO.",
	} {
		f.Add(seed, "\n")
		f.Add(seed, "\r\n")
	}
	english := regexp.MustCompile(`^[A-Za-z0-9 ,.;:!?'"()<>&%$*+/-]*$`)
	f.Fuzz(func(t *testing.T, line, end string) {
		if end != "\n" && end != "\r\n" {
			Detect([]byte(line+end), true) // must only return
			Detect([]byte(line+end), false)
			return
		}
		if !english.MatchString(line) {
			return
		}
		text := []byte(line + end + line + end)
		if name := Detect(text, true); name != "" && !strings.Contains(line, " HTTP/1.") && !strings.HasPrefix(line, "EHLO ") && !strings.HasPrefix(line, "HELO ") {
			t.Errorf("%q of a client is taken for %s", text, name)
		}
		if name := Detect(text, false); name != "" && !strings.HasPrefix(line, "220") && !strings.HasPrefix(line, "HTTP/1.") {
			t.Errorf("%q of a server is taken for %s", text, name)
		}
	})
}
