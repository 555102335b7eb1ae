package dialect

import (
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

// asked are requests, by the protocol's name up to a space.
var asked = map[string]string{
	"redis":        array("GET", "session_1_msg_01"),
	"redis quoted": array("SET", "key:000000001234", "a value of some length"),
	"redis inline": "GET session_1_msg_01\r\n",
	"http":         "GET /path HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
	"memcached":    "get key:000000001234\r\n",
	"smtp":         "NOOP something\r\n",
}

// BenchmarkAnswered is what a protocol has to do in a server: it reads a request, and makes a reply of text that has the
// request in words.
func BenchmarkAnswered(b *testing.B) {
	for name, request := range asked {
		protocol, _, _ := strings.Cut(name, " ")
		b.Run(name, func(b *testing.B) {
			answer := answering(b, protocol, request)
			b.ReportAllocs()
			for b.Loop() {
				answer()
			}
		})
	}
}

// answering reads a request of a protocol each time and makes its reply.
func answering(t testing.TB, protocol, request string) (answer func()) {
	f, err := Parse(protocol)
	if err != nil {
		t.Fatal(err)
	}
	requests, replies := parley.OpenFraming(f.Requests, f.Replies)
	in, out := []byte(request), []byte(nil)
	if protocol == "smtp" { // whose server speaks first
		if _, err := replies.End(append(replies.Begin(nil), "220 here"...), 0); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		n, body, err := requests.Next(in, 0, 1<<20, false)
		if n != len(in) || err != nil || requests.(parley.Noter).Note().Alone {
			t.Fatal(n, err)
		}
		out = requests.(parley.Texter).AppendText(append(replies.Begin(out[:0]), "Request #1 - "...), body)
		if out, err = replies.End(append(out, " ..."...), 0); err != nil || replies.(parley.Noter).Note().Alone {
			t.Fatal(err)
		}
	}
}

func TestEachIsAnswered(t *testing.T) {
	for name, request := range asked {
		protocol, _, _ := strings.Cut(name, " ")
		answer := answering(t, protocol, request)
		answer()
		answer()
	}
}

func TestAnsweringAllocatesNothing(t *testing.T) {
	for _, test := range []struct{ protocol, request string }{
		{"redis", array("GET", "session_1_msg_01")},
		{"redis", "GET session_1_msg_01\r\n"},
		{"http", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"memcached", "get key\r\n"},
	} {
		answer := answering(t, test.protocol, test.request)
		if allocs := testing.AllocsPerRun(100, answer); allocs != 0 {
			t.Errorf("%q takes %v allocations, want none", test.request, allocs)
		}
	}
}
