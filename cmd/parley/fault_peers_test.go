//go:build unix

package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Programs that others wrote meet faults of their protocol's messages, through a tap.
func TestFaultsBeforeRealPrograms(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("page " + r.URL.Path + "\n")) }))
	t.Cleanup(web.Close)
	site := strings.TrimPrefix(web.URL, "http://")
	socket := "unix:" + startRedis(t)
	for _, row := range []struct {
		upstream, framing, list string
		program, stdin          string
		want                    string // of what it prints, with its exit code
		told                    string // by the tap
	}{
		{site, "http", "drop=2", "curl -sS -m 1 http://ADDR/a http://ADDR/b", "",
			`^page /a\ncurl: \(28\) Operation timed out after \d+ milliseconds with 0 bytes received\n.*exit 28$`, "reply.drop"},
		{site, "http", "cut=1", "curl -sS -m 5 http://ADDR/a", "", `curl: \((1|18|52)\) .*\nexit (1|18|52)$`, `reply.cut=\d+`},
		{site, "http", "reset-after=1,request.delay=10ms", "curl -sS -m 5 http://ADDR/a", "", `^page /a\nexit 0$`, "reply.reset-after=1"},
		{site, "http", "close-after=1", "curl -sS -m 5 http://ADDR/a http://ADDR/b", "", `^page /a\npage /b\nexit 0$`, "reply.close-after=1"},
		{site, "http", "split=1,request.split=1,delay=10ms", "curl -sS -m 5 http://ADDR/a http://ADDR/b", "", `^page /a\npage /b\nexit 0$`, "reply.split=1"},
		{site, "http", "refuse=1", "curl -sS -m 5 http://ADDR/a", "", `curl: \((7|52|56)\) .*\nexit (7|52|56)$`, "1 refuse"},
		{socket, "redis", "split=1,request.split=2", "redis-cli -p PORT SET k some_value", "", `^OK\nexit 0$`, "reply.split=1"},
		{socket, "redis", "close-after=1", "redis-cli -p PORT", "PING\nPING\n", `(?m)^PONG$`, "reply.close-after=1"},
		{socket, "redis", "cut=1", "redis-cli -p PORT SET k v", "", `Error: Server closed the connection`, `reply.cut=\d`},
		{socket, "redis", "garbage=1,seed=2", "redis-cli -p PORT PING", "", `^Error: Protocol error, got "\\xad" as reply type byte\n`, `reply.garbage=\d`},
	} {
		t.Run(row.list+" "+row.program, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(row.list, "seed=") {
				row.list += ",seed=1"
			}
			tap := startTap(t, row.upstream, "-f", row.framing, "--fault", row.list)
			words := strings.Fields(strings.NewReplacer("ADDR", tap.addr, "PORT", tap.port).Replace(row.program))
			cmd := peer(t, words[0], words[1:]...)
			var out bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(row.stdin), &out, &out
			cmd.Run()
			text := out.String() + "exit " + strings.TrimSpace(strings.TrimPrefix(cmd.ProcessState.String(), "exit status"))
			if !regexp.MustCompile(row.want).MatchString(text) {
				t.Errorf("%s\n%s\nwant %s", cmd, text, row.want)
			}
			tap.stop(t, syscall.SIGINT)
			if told := tap.stdout.String() + tap.stderr.String(); !regexp.MustCompile(row.told).MatchString(told) {
				t.Errorf("the tap tells\n%swant %s", told, row.told)
			}
		})
	}
}
