package dialect

import "testing"

// What a service says anew each time is not compared, and all else is.
func TestSteady(t *testing.T) {
	for _, c := range []struct{ framing, request, reply, want string }{
		{"http", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: Thu, 26 Nov\r\nServer: a\r\n\r\nDate: x", "HTTP/1.1 200 OK\r\nDate:\nServer: a\r\n\r\nDate: x"},
		{"http", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\ndate: cut sho", "HTTP/1.1 200 OK\r\ndate:"},
		{"http", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n\nDate: x", "HTTP/1.1 200 OK\r\n\r\n\nDate: x"},
		{"smtp", "", "220 mx ESMTP Thu, 26 Nov\r\n", "220"},
		{"smtp", "a\r\n.\r\n", "250 OK id=1vO\r\n", "250"},
		{"smtp", ".\r\n", "250 OK id=1vO\r\n", "250"},
		{"smtp", "BDAT 2 LAST\r\na\n", "250 OK id=1vO\r\n", "250"},
		{"smtp", "NOOP\r\n", "250 OK\r\n", "250 OK\r\n"},
		{"smtp", "a\r\n.\r\n", "25", "25"},
	} {
		f, err := Parse(c.framing)
		if err != nil {
			t.Fatal(err)
		}
		var request []byte
		if c.request != "" {
			request = []byte(c.request)
		}
		if got := string(f.Steady(request, []byte(c.reply))); got != c.want {
			t.Errorf("%s: of %q to %q there is %q, want %q", c.framing, c.reply, c.request, got, c.want)
		}
	}
}
