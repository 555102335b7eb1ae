package dialect

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

// What a connection has once sent and been sent does not take up memory while it is idle: a
// server's bound on what it holds knows nothing of it.
func TestIdleConnectionsKeepNoMessages(t *testing.T) {
	const connections, long, most = 64, 60 << 10, 16 << 10
	text := bytes.Repeat([]byte("x"), long)
	word := string(text)
	for name, request := range map[string]string{
		"redis":     "SET k " + word + "\r\n",
		"http":      "GET /" + word + " HTTP/1.1\r\n\r\n",
		"smtp":      "NOOP " + word + "\r\n",
		"memcached": "get " + word + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			before := heap()
			var open []parley.Framing
			for range connections {
				requests, replies := f.Requests.(parley.Protocol).Open()
				open = append(open, requests, replies)
				if n, _, err := requests.Next([]byte(request[:long]), 0, 1<<20, false); n != 0 || err != nil {
					t.Fatalf("of its beginning: %d, %v", n, err)
				}
				if n, _, err := requests.Next([]byte(request), long, 1<<20, false); n != len(request) || err != nil {
					t.Fatalf("of all: %d, %v", n, err)
				}
				if _, err := replies.End(bytes.Clone(text), 0); err != nil {
					t.Fatal(err)
				}
				clients, _ := f.Requests.(parley.Protocol).Open()
				open = append(open, clients)
				if _, err := clients.End([]byte(strings.TrimSuffix(strings.TrimSuffix(request, "\r\n"), " HTTP/1.1\r\n")), 0); err != nil {
					t.Fatal(err)
				}
			}
			if each := (heap() - before) / connections; each > most {
				t.Errorf("an idle connection takes up %d bytes, more than %d", each, most)
			}
			runtime.KeepAlive(open)
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
