package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test suite of a small program runs green against redis, is recorded through a tap, and runs
// green again with redis stopped; one request more has no answer, which is listed.
func TestSuiteRunsGreenAgainstARecording(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis")
	redis := start(t, peer(t, "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", t.TempDir()))
	awaitListening(t, "unix", socket)
	recording := filepath.Join(t.TempDir(), "redis.journal")
	tap := startTap(t, "unix:"+socket, "--framing", "redis", "--journal", recording, "-q")
	todoSuite(t, tap.addr)
	tap.stop(t, syscall.SIGINT)
	redis.stop(t, syscall.SIGTERM)
	if t.Failed() {
		t.Fatal("against redis itself")
	}

	for _, extra := range []string{"", "--pace"} {
		args := []string{"--answers", recording, "--strict", "-q"}
		if extra != "" {
			args = append(args, extra)
		}
		mock := startServer(t, args...)
		todoSuite(t, mock.addr)
		if code := mock.stop(t, syscall.SIGINT); code != 0 || strings.Contains(mock.stderr.String(), "without a recorded answer") {
			t.Errorf("%s: exit code %d, %s", extra, code, mock.stderr)
		}
	}

	mock := startServer(t, "--answers", recording, "--strict", "-q")
	c := dialTodo(t, mock.addr)
	todoSuite(t, mock.addr)
	if got := c.do("GET", "todo:\x1b[31m"); got != "-ERR no recorded answer" {
		t.Errorf("an unknown request is answered %q", got)
	}
	if code := mock.stop(t, syscall.SIGINT); code != 3 || !strings.Contains(mock.stderr.String(), "requests without a recorded answer: 1\nparley:   GET \"todo:\\x1b[31m\"\n") {
		t.Errorf("exit code %d, %q", code, mock.stderr)
	}
}

// todoSuite tests a todo list that is kept in redis.
func todoSuite(t *testing.T, addr string) {
	t.Run("an entry has a number", func(t *testing.T) {
		c := dialTodo(t, addr)
		c.want("OK", "SET", "todo:last", "0")
		c.want("1", "INCR", "todo:last")
		c.want("(nil)", "GET", "todo:1")
		c.want("OK", "SET", "todo:1", "milk")
		c.want("milk", "GET", "todo:1")
	})
	t.Run("several at once", func(t *testing.T) {
		c := dialTodo(t, addr)
		c.send("INCR", "todo:last")
		c.send("SET", "todo:2", "eggs\r\nand bread")
		c.send("GET", "todo:2")
		c.send("DEL", "todo:1", "todo:2", "todo:3")
		c.send("GET", "todo:1")
		for _, want := range []string{"2", "OK", "eggs\r\nand bread", "2", "(nil)"} {
			if got := c.receive(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
	t.Run("changes are told", func(t *testing.T) {
		watcher, c := dialTodo(t, addr), dialTodo(t, addr)
		watcher.want("[subscribe todo 1]", "SUBSCRIBE", "todo")
		for n, text := range []string{"milk", "eggs"} {
			c.want("1", "PUBLISH", "todo", text)
			if got, want := watcher.receive(), "[message todo "+text+"]"; got != want {
				t.Errorf("told %d: %q, want %q", n, got, want)
			}
		}
	})
	t.Run("a mistake is one", func(t *testing.T) {
		c := dialTodo(t, addr)
		c.want("3", "LPUSH", "todo:list", "a", "b", "c")
		c.want("-WRONGTYPE Operation against a key holding the wrong kind of value", "GET", "todo:list")
		c.want("[c b]", "LRANGE", "todo:list", "0", "1")
		c.want("1", "DEL", "todo:list")
	})
}

// A todoClient is the least of a client of redis.
type todoClient struct {
	t  *testing.T
	c  net.Conn
	in *bufio.Reader
}

func dialTodo(t *testing.T, addr string) *todoClient {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return &todoClient{t, c, bufio.NewReader(c)}
}

func (c *todoClient) send(words ...string) {
	fmt.Fprintf(c.c, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(c.c, "$%d\r\n%s\r\n", len(w), w)
	}
}

func (c *todoClient) do(words ...string) string {
	c.send(words...)
	return c.receive()
}

func (c *todoClient) want(want string, words ...string) {
	c.t.Helper()
	if got := c.do(words...); got != want {
		c.t.Errorf("%s is answered %q, want %q", strings.Join(words, " "), got, want)
	}
}

// receive reads a value, and how it is written in these tests.
func (c *todoClient) receive() string {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return err.Error()
	}
	kind, rest := line[0], strings.TrimSuffix(line[1:], "\r\n")
	n, _ := strconv.Atoi(rest)
	switch {
	case kind == '+' || kind == ':':
		return rest
	case kind == '-':
		return "-" + rest
	case n < 0:
		return "(nil)"
	case kind == '$':
		text := make([]byte, n+2)
		io.ReadFull(c.in, text)
		return string(text[:n])
	}
	var values []string
	for range n {
		values = append(values, c.receive())
	}
	return "[" + strings.Join(values, " ") + "]"
}
