package dialect

import "testing"

func TestLacks(t *testing.T) {
	for _, c := range []struct{ name, came, lacks, advice string }{
		{"line", "Test\r", "5 bytes came and no line's end", "--framing delim:0d would end it"},
		{"line", "a\rb\r", "4 bytes came and no line's end", "--framing delim:0d would end it"},
		{"line", "x", "1 byte came and no line's end", "--framing chunk needs none"},
		{"crlf", "PONG\x00", "5 bytes came and no line's end", "--framing delim:00 would end it"},
		{"line", "\x02ok\x03", "4 bytes came and no line's end", "--framing stx would end it"},
		{"line", "ok\x03", "3 bytes came and no line's end", "--framing delim:03 would end it"},
		{"line", "\x0bMSH\x1c\r", "6 bytes came and no line's end", "--framing mllp would end it"},
		{"line", "2:ok,", "5 bytes came and no line's end", "--framing netstring would end it"},
		{"line", "2 ok", "4 bytes came and no line's end", "--framing octets would end it"},
		{"line", "\x00\x00\x00\x02ok", "6 bytes came and no line's end", "--framing length would end it"},
		{"line", "\x00\x02ok", "4 bytes came and no line's end", "--framing length:2 would end it"},
		{"line/crlf", "Test\r", "5 bytes came and no line's end", "--framing line/delim:0d would end it"},
		{"delim:00", "ok\r\n", "4 bytes came and no delimiter 0x00", "--framing line would end it"},
		{"delim:0D0A", "ok", "2 bytes came and no delimiter 0x0d0a", "--framing chunk needs none"},
		{"length", "\x00\x00\x00", "3 of the 4 bytes of its length came", "--framing chunk needs none"},
		{"length", "\x00\x00\x00\x05abc", "3 of its 5 bytes came", "--framing chunk needs none"},
		{"length", "+OK\n", "0 of its 726616842 bytes came", "--framing line would end it"},
		{"length:2le", "\x05\x00abc", "3 of its 5 bytes came", "--framing chunk needs none"},
		{"length:2incl", "\x00\x05a", "1 of its 3 bytes came", "--framing chunk needs none"},
		{"length:8", "\xff\xff\xff\xff\xff\xff\xff\xff", "0 of its 18446744073709551615 bytes came", "--framing chunk needs none"},
		{"frame:02:0304", "\x02ok", "3 bytes came and not the 0x0304 that ends it", "--framing chunk needs none"},
		{"mllp", "\x0bMSH\r\x1c", "6 bytes came and not the 0x1c0d that ends it", "--framing chunk needs none"},
		{"stx", "\x02ok\n", "4 bytes came and not the 0x03 that ends it", "--framing line would end it"},
		{"octets", "12", `its length came as far as "12", and no space`, "--framing chunk needs none"},
		{"octets", "12 abc", "3 of its 12 bytes came", "--framing chunk needs none"},
		{"octets", "OK it is\n", `"OK" came for its length`, "--framing line would end it"},
		{"netstring", "12", `its length came as far as "12", and no colon`, "--framing chunk needs none"},
		{"netstring", "3:abc", "its comma did not come", "--framing chunk needs none"},
		{"netstring", "5:abc", "3 of its 5 bytes came", "--framing chunk needs none"},
		{"line/close", "ok\n", "3 bytes came and no end of file", "--framing line would end it"},
		{"http", "HTTP/1.1 200 OK\r\n", "17 bytes came and no blank line behind the header", ""},
		{"http", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "40 bytes came, with 2 of the 5 bytes of its body", ""},
		{"http", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "54 bytes came and not the last chunk", ""},
		{"http", "HTTP/1.1 200 OK\r\n\r\nab", "21 bytes came and no end of file", ""},
		{"http", "hello", "5 bytes came, which is no http reply: malformed message: a reply begins with HTTP/1.1 or HTTP/1.0", ""},
		{"close", "ok", "2 bytes came and no end of file", "--framing chunk needs none"},
	} {
		f, err := Parse(c.name)
		if err != nil {
			t.Fatal(err)
		}
		if lacks, advice := f.Lacks([]byte(c.came)); lacks != c.lacks || advice != c.advice {
			t.Errorf("%s, %q: %q and %q, want %q and %q", c.name, c.came, lacks, advice, c.lacks, c.advice)
		}
	}
}
