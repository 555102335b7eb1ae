package shape_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/parley-tcp/parley/internal/shape"
)

func TestShape(t *testing.T) {
	for message, want := range map[string]string{
		"":                                            "",
		"hello":                                       "hello",
		"session 1 msg 2":                             "session {n} msg {n}",
		"GET user:17":                                 "GET user:{n}",
		"GET /users/17/orders?page=2":                 "GET /users/{n}/orders?page={n}",
		"user17b":                                     "user{n}b",
		"-5 +5 (-5) :-1 =-1.25e-3":                    "{n} {n} ({n}) :{n} ={n}",
		"10-5 order-17 a--5 f(x)-1":                   "{n}-{n} order-{n} a--{n} f(x)-{n}",
		"3.14 10.0.0.1:6969 v1.2.3 17.":               "{n} {n}:{n} v{n} {n}.",
		"1e6 1E+6 2e 2e+ 0x1f 0X1F 0x 10x1":           "{n} {n} {n}e {n}e+ {n} {n} {n}x {n}x{n}",
		"12345678 123456789012":                       "{n} {n}",
		"1234567a 0123456789abcdef":                   "{id} {id}",
		"123456a deadbeef 1234567g":                   "{n}a deadbeef {n}g",
		"key_1234567a/x-cafe0000":                     "key_{id}/x-{id}",
		"123e4567-e89b-12d3-a456-426614174000":        "{id}",
		"123E4567-E89B-12D3-A456-426614174000x":       "{id}-E{n}B-{n}D{n}-A{n}-{n}x",
		"abcdefab-e89b-12d3-a456-426614174000 ok":     "{id} ok",
		"abcdefab-abcd-abcd-abcd-abcdefabcdef":        "abcdefab-abcd-abcd-abcd-abcdefabcdef",
		"2026-11-24":                                  "{time}",
		"at 2026-11-24T08:15:00Z, 2026-11-24 8":       "at {time}, {time} {n}",
		"2026-11-24T08:15:00.123456+01:00 x":          "{time} x",
		"2026-11-24 08:15:00,250 x":                   "{time} x",
		"2026-11-24T0 2026-11-24x 12026-11-24":        "{n}-{n}-{n}T{n} {n}-{n}-{n}x {n}-{n}-{n}",
		"08:15:00 08:15 8:15:00 08:15:00.5 a08:15:00": "{time} {n}:{n} {n}:{n}:{n} {time} a{n}:{n}:{n}",
		"Date: Tue, 24 Nov 2026 08:15:00 GMT\r\n":     "Date: {time}\r\n",
		"Date: Tue, 24 Nov 2026 08:15:00 +0100 (CET)": "Date: {time} (CET)",
		"Tue, 24 Nov 2026 8:15":                       "Tue, {n} Nov {n} {n}:{n}",
		"*2\r\n$3\r\nGET\r\n$7\r\nuser:17\r\n":        "*{n}\r\n${n}\r\nGET\r\n${n}\r\nuser:{n}\r\n",
		"\x00\xff1\xfe\x80 2 \u00e91":                 "\x00\xff{n}\xfe\x80 {n} \u00e9{n}",
	} {
		if got := string(shape.Append([]byte("> "), []byte(message))); got != "> "+want {
			t.Errorf("the shape of %q is %q, want %q", message, got, "> "+want)
		}
	}
}

func FuzzShape(f *testing.F) {
	for _, seed := range []string{"GET /users/17 HTTP/1.1", "1a1 -1 0x1f 1e5 1.2.3", "123e4567-e89b-12d3-a456-426614174000", "2026-11-24T08:15:00.1Z", "Tue, 24 Nov 2026 08:15:00 GMT", "\xff1\x00", "5abcdefab-abcd-abcd-abcd-abcdefabcdef"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		once := shape.Append(nil, message)
		if twice := shape.Append(nil, once); !bytes.Equal(once, twice) {
			t.Errorf("%q has the shape %q, and that %q", message, once, twice)
		}
		if len(once) > 2*len(message)+1 {
			t.Errorf("%q has %d bytes, its shape %q has %d", message, len(message), once, len(once))
		}
		if bytes.ContainsAny(once, "0123456789") {
			t.Errorf("the shape of %q is %q", message, once)
		}
		if !bytes.ContainsAny(message, "0123456789") && !bytes.Equal(once, message) {
			t.Errorf("%q has no digit, and the shape %q", message, once)
		}
	})
}

func BenchmarkShape(b *testing.B) {
	for name, message := range map[string]string{
		"short": "session 1 msg 2",
		"http":  "GET /users/17/orders/0123456789abcdef HTTP/1.1\r\nHost: example.com\r\nDate: Tue, 24 Nov 2026 08:15:00 GMT\r\nAccept: */*\r\n\r\n",
		"long":  strings.Repeat("no digit here, and ", 200),
	} {
		b.Run(fmt.Sprintf("%s/%d", name, len(message)), func(b *testing.B) {
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = shape.Append(dst[:0], []byte(message))
			}
		})
	}
}
