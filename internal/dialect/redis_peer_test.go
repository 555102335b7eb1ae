package dialect

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// startRedis starts a redis-server and returns the path of its socket.
func startRedis(t testing.TB) (socket string) {
	t.Helper()
	socket = filepath.Join(socketDir(t), "redis")
	cmd := exec.Command(installed(t, "redis-server"), "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no",
		"--enable-debug-command", "yes", "--dir", t.TempDir())
	startPeer(t, cmd)
	return socket
}

// socketDir is a directory whose name is short enough for the path of a socket.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func startPeer(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// dialPeer connects to a server that has just been started.
func dialPeer(t testing.TB, socket string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A peerTalk is a connection to a real peer at which a pairing looks on.
type peerTalk struct {
	*pairing
	t    *testing.T
	conn net.Conn
	sent [2]bytes.Buffer
}

func talkTo(t *testing.T, f Framing, socket string) *peerTalk {
	return &peerTalk{pairing: newPairing(f, 1<<20, 4<<20), t: t, conn: dialPeer(t, socket)}
}

// send sends requests and reads until there are so many messages more.
func (p *peerTalk) send(messages int, text ...string) {
	p.t.Helper()
	request := []byte(strings.Join(text, ""))
	p.sent[requests].Write(request)
	p.feed(requests, request)
	// What is sent may be more than the peer takes before it is read.
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() { p.conn.Write(request) })
	p.read(messages)
}

// read reads until there are so many messages more, or to the end if messages is negative.
func (p *peerTalk) read(messages int) {
	p.t.Helper()
	buf := make([]byte, 64<<10)
	for start := p.answers(); messages < 0 || p.answers() < start+messages; {
		n, err := p.conn.Read(buf)
		p.sent[replies].Write(buf[:n])
		p.feed(replies, buf[:n])
		if err == io.EOF && messages < 0 {
			return
		}
		if err != nil {
			p.t.Fatalf("%v; told so far: %q", err, p.told)
		}
	}
}

func (p *peerTalk) answers() (n int) {
	for _, told := range p.told {
		if strings.Contains(told, "= ") && !strings.HasSuffix(told, " = ?") {
			n++
		}
	}
	return n
}

// check is that of a pairing; the messages have to be all bytes.
func (p *peerTalk) check(want ...string) {
	p.t.Helper()
	p.pairing.check(p.t, want...)
	for of := range p.sent {
		if !bytes.Equal(p.sides[of].whole, p.sent[of].Bytes()) {
			p.t.Errorf("the messages of side %d are not the bytes that it sent", of)
		}
	}
}

func TestRealRedisIsUnderstood(t *testing.T) {
	socket := startRedis(t)
	big := strings.Repeat("x", 1<<20)
	t.Run("commands", func(t *testing.T) {
		p := talkTo(t, redis, socket)
		p.send(3, array("SET", "foo", "bar"), array("GET", "foo"), "GET nope\r\n")
		p.send(1, array("EVAL", "return {1,{2,'a',{}},false,redis.error_reply('ERR x')}", "0"))
		p.send(2, array("SET", "big", big), array("GET", "big"))
		p.send(3, "\r\nPING\r\n*0\r\n", array("RPUSH", "l", "a", "b c"), array("LRANGE", "l", "0", "-1"))
		p.send(4, array("MULTI"), array("INCR", "n"), array("GET", "foo"), array("EXEC"))
		p.send(1, array("CLIENT", "REPLY", "SKIP"), array("SET", "s", "1"), array("GET", "s"))
		p.send(1, array("CLIENT", "REPLY", "OFF"), array("SET", "s", "2"), array("BLAH"), array("CLIENT", "REPLY", "ON"))
		p.send(1, array("CLIENT", "REPLY", "OFF"), array("CLIENT", "REPLY", "SKIP"), array("RESET"))
		p.send(1, array("CLIENT", "REPLY", "SKIP"), array("CLIENT", "REPLY", "ON"))
		p.send(1, array("CONFIG", "SET", "masterauth", "hunter2"))
		p.send(1, array("QUIT"))
		p.read(-1)
		p.check("SET foo bar = OK", "GET foo = bar", "GET nope = (nil)",
			`EVAL "return {1,{2,'a',{}},false,redis.error_reply('ERR x')}" 0 = [1 [2 a []] (nil) (error) ERR x]`,
			"SET big "+big[:256]+"…(1048576 bytes) = OK", "GET big = "+big[:256]+"…(1048576 bytes)",
			`\r\n`, "PING = PONG", `*0\r\n`, `RPUSH l a "b c" = (integer) 2`, `LRANGE l 0 -1 = [a "b c"]`,
			"MULTI = OK", "INCR n = QUEUED", "GET foo = QUEUED", "EXEC = [1 bar]",
			"CLIENT REPLY SKIP", "SET s 1", "GET s = 1",
			"CLIENT REPLY OFF", "SET s 2", "BLAH", "CLIENT REPLY ON = OK",
			"CLIENT REPLY OFF", "CLIENT REPLY SKIP", "RESET = RESET", "CLIENT REPLY SKIP", "CLIENT REPLY ON = OK",
			"CONFIG SET masterauth (secret) = OK", "QUIT = OK")
	})
	for _, version := range []string{"2", "3"} {
		t.Run("subscriptions in RESP"+version, func(t *testing.T) {
			p, other := talkTo(t, redis, socket), talkTo(t, redis, socket)
			if p.send(1, array("HELLO", version)); !strings.HasPrefix(p.told[0], "HELLO "+version+" = ") {
				t.Fatal(p.told)
			}
			p.told, p.open = nil, nil
			p.send(4, array("SUBSCRIBE", "a", "b"), array("SUBSCRIBE", "b"), array("PSUBSCRIBE", "c*"))
			other.send(2, array("PUBLISH", "b", "hello"), array("PUBLISH", "cc", "there"))
			p.read(2)
			p.send(5, array("PING"), array("UNSUBSCRIBE"), array("PUNSUBSCRIBE"), array("UNSUBSCRIBE", "z"))
			// Channels are told in the order of a hash table.
			slices.SortFunc(p.told, func(a, b string) int { return strings.Compare(strings.Trim(a, " ="), strings.Trim(b, " =")) })
			got := strings.Join(p.told, "\n")
			got = strings.NewReplacer("unsubscribe a", "unsubscribe ?", "unsubscribe b", "unsubscribe ?").Replace(got)
			pong := `[pong ""]`
			if version == "3" {
				pong = "PONG"
			}
			want := strings.Join([]string{"PING = " + pong, "PSUBSCRIBE c* = [psubscribe c* 3]", "PUNSUBSCRIBE = [punsubscribe c* 0]", "SUBSCRIBE a b = [subscribe a 1]", "SUBSCRIBE b = [subscribe b 2]",
				"UNSUBSCRIBE = [unsubscribe ? 2]", "UNSUBSCRIBE z = [unsubscribe z 0]",
				"= [message b hello]", "= [pmessage c* cc there]", "= [subscribe b 2]", "= [unsubscribe ? 1]"}, "\n")
			if got != want {
				t.Errorf("told is\n%s\nwant\n%s", got, want)
			}
		})
	}
	t.Run("MONITOR", func(t *testing.T) {
		p, other := talkTo(t, redis, socket), talkTo(t, redis, socket)
		p.send(1, array("MONITOR"))
		other.send(1, array("GET", "foo"))
		p.read(1)
		p.send(3, array("PING"), array("RESET")) // its own PING is shown to it
		for i, want := range []string{"MONITOR = OK", `"GET" "foo"`, "PING = PONG", "RESET = RESET", `"PING"`} {
			if i >= len(p.told) || !strings.Contains(p.told[i], want) {
				t.Errorf("%d of %q, want %s", i, p.told, want)
			}
		}
	})
	t.Run("what RESP3 adds", func(t *testing.T) {
		p := talkTo(t, redis, socket)
		p.send(1, array("HELLO", "3", "AUTH", "default", "x", "SETNAME", "me"))
		p.told, p.open = nil, nil
		kinds := strings.Fields("string integer double null array set map attrib verbatim true false")
		for _, kind := range kinds {
			p.send(1, array("DEBUG", "PROTOCOL", kind))
		}
		p.send(2, array("DEBUG", "PROTOCOL", "push"))
		p.send(1, array("CLIENT", "TRACKING", "ON"))
		p.send(1, array("GET", "foo"))
		p.send(2, array("SET", "foo", "baz")) // and an invalidation of it
		p.check("DEBUG PROTOCOL string = Hello World", "DEBUG PROTOCOL integer = (integer) 12345", "DEBUG PROTOCOL double = (double) 3.141",
			"DEBUG PROTOCOL null = (nil)", "DEBUG PROTOCOL array = [0 1 2]", "DEBUG PROTOCOL set = [0 1 2]",
			"DEBUG PROTOCOL map = {0: (false), 1: (true), 2: (false)}",
			`DEBUG PROTOCOL attrib = {key-popularity: [key:123 90]} Some real reply following the attribute`,
			`DEBUG PROTOCOL verbatim = This is a verbatim\nstring`, "DEBUG PROTOCOL true = (true)", "DEBUG PROTOCOL false = (false)",
			"DEBUG PROTOCOL push = Some real reply following the push reply", "= [server-cpu-usage 42]",
			"CLIENT TRACKING ON = OK", "GET foo = bar", "SET foo baz = OK", "= [invalidate [foo]]")
	})
}

// TestRedisDirectionsAreReadAtTheSameTime has each direction of redis-benchmark's connections read by
// a goroutine of its own, which passes on what it has read.
func TestRedisDirectionsAreReadAtTheSameTime(t *testing.T) {
	server := startRedis(t)
	dialPeer(t, server)
	proxy := filepath.Join(socketDir(t), "proxy")
	listener, err := net.Listen("unix", proxy)
	if err != nil {
		t.Fatal(err)
	}
	var asked, answered, unasked atomic.Int64
	read := func(to, from net.Conn, framing parley.Framing, paired *atomic.Int64) {
		defer to.(*net.UnixConn).CloseWrite()
		held, buf := []byte(nil), make([]byte, 4<<10)
		for {
			n, err := from.Read(buf)
			for held = append(held, buf[:n]...); ; {
				n, _, err := framing.Next(held, 0, 1<<20, false)
				if err != nil {
					t.Error(err)
				}
				if n == 0 {
					break
				}
				if held = held[n:]; framing.(parley.Noter).Note().Alone {
					unasked.Add(1)
				} else {
					paired.Add(1)
				}
			}
			to.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("unix", server)
			if err != nil {
				t.Error(err)
				return
			}
			ofRequests, ofReplies := parley.OpenFraming(redis.Requests, nil)
			passing.Go(func() {
				defer client.Close()
				defer upstream.Close()
				var both sync.WaitGroup
				defer both.Wait()
				both.Go(func() { read(upstream, client, ofRequests, &asked) })
				both.Go(func() { read(client, upstream, ofReplies, &answered) })
			})
		}
	})
	const each = 1000
	out, err := exec.Command(installed(t, "redis-benchmark"), "-s", proxy, "-q", "-c", "5", "-P", "16", "-n", strconv.Itoa(each), "-t", "set,get,lpush,lrange_100,mset").CombinedOutput()
	if err != nil {
		t.Errorf("redis-benchmark: %v\n%s", err, out)
	}
	listener.Close()
	passing.Wait()
	if asked.Load() < 5*each || asked.Load() != answered.Load() || unasked.Load() != 0 {
		t.Errorf("%d commands, %d replies, %d unasked; at least %d were sent", asked.Load(), answered.Load(), unasked.Load(), 5*each)
	}
}

func TestClientTalksToRealRedis(t *testing.T) {
	client := parley.NewClient(dialPeer(t, startRedis(t)), redis.Requests)
	for _, test := range []struct{ request, reply string }{
		{`SET foo "hello world"`, "+OK\r\n"},
		{"GET foo", "$11\r\nhello world\r\n"},
		{"CLIENT REPLY SKIP", ""},
		{"SET foo skipped", ""},
		{"GET foo\r\n", "$7\r\nskipped\r\n"},
		{"CLIENT REPLY OFF", ""},
		{"BLAH", ""},
		{"CLIENT REPLY ON", "+OK\r\n"},
		{"SUBSCRIBE a b", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"},
		{"PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n"},
	} {
		reply, err := client.Do(t.Context(), []byte(test.request))
		if err != nil || string(reply) != test.reply {
			t.Errorf("%s: %q, %v, want %q", test.request, reply, err, test.reply)
		}
	}
}

func TestServerTalksToRedisCLI(t *testing.T) {
	server := &parley.Server{Framing: redis.Requests, MaxRequest: 1 << 10, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		return redis.Words.AppendRequest(append(dst, "got "...), Message{Body: req.Body}), nil
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	defer serving.Wait()
	defer server.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	cmd := exec.Command(installed(t, "redis-cli"), "-p", port)
	cmd.Stdin = strings.NewReader("set foo \"hello world\"\nget foo\nset big " + strings.Repeat("x", 2<<10) + "\n")
	out, err := cmd.CombinedOutput()
	want := "got set foo \"hello world\"\ngot get foo\nERR request longer than 1024 bytes\n\n"
	if string(out) != want {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
}

// TestRedisPrintsAsRedisCLI has each reply printed by redis-cli, and printed here from the bytes
// that redis-cli got.
func TestRedisPrintsAsRedisCLI(t *testing.T) {
	socket, cli := startRedis(t), installed(t, "redis-cli")
	setup := talkTo(t, redis, socket)
	setup.send(4, array("HSET", "h", "f1", "v1", "f2", "v 2"), array("SADD", "s", "one"), array("ZADD", "z", "1.5", "a"), array("RPUSH", "l", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "a\"b\n\\\x00\xffé"))
	proxy := recordReplies(t, socket)
	for _, words := range [][]string{
		{"SET", "k", "hello \"world\"\r\n\a\b\t\x01é"}, {"GET", "k"}, {"GET", "nope"}, {"INCR", "n"}, {"BLAH"}, {"LRANGE", "l", "0", "-1"}, {"LRANGE", "nope", "0", "-1"},
		{"HGETALL", "h"}, {"HGETALL", "nope"}, {"SMEMBERS", "s"}, {"SMEMBERS", "nope"}, {"ZRANGE", "z", "0", "-1", "WITHSCORES"}, {"SET", "e", ""}, {"GET", "e"},
		{"EVAL", "return {1,{2,'a',{},{{'x','y'},3}},false,redis.error_reply('ERR x'),{ok='fine'}}", "0"},
		{"EVAL", "local t = {} for i = 1, 120 do t[i] = {i, {'n' .. i}} end return t", "0"},
		{"EVAL", "redis.setresp(3) return {redis.call('HGETALL','h'), redis.call('SMEMBERS', 's'), {double=1.5}}", "0"},
		{"DEBUG", "PROTOCOL", "double"}, {"DEBUG", "PROTOCOL", "null"}, {"DEBUG", "PROTOCOL", "true"}, {"DEBUG", "PROTOCOL", "verbatim"}, {"DEBUG", "PROTOCOL", "map"}, {"DEBUG", "PROTOCOL", "set"},
		{"COMMAND", "DOCS", "GET"}, {"COMMAND", "INFO", "GET", "nope"},
	} {
		for _, args := range [][]string{{"-2", "--no-raw"}, {"-2", "--raw"}, {"-3", "--no-raw"}, {"-3", "--raw"}} {
			cmd := exec.Command(cli, append(append([]string{"-s", proxy.socket}, args...), words...)...)
			want, err := cmd.Output()
			if err != nil && words[0] != "BLAH" {
				t.Fatalf("%q: %v", words, err)
			}
			p := newPairing(redis, 1<<20, 1<<20)
			p.feed(replies, proxy.last())
			last := p.sides[replies].whole
			if args[0] == "-3" { // the reply to its HELLO
				n, _, _ := newPairing(redis, 1, 0).sides[replies].framing.Next(last, 0, 1<<20, false)
				last = last[n:]
			}
			if got := string(printRedis(nil, last, args[1] == "--no-raw")); got != string(want) {
				t.Errorf("%q %q is printed as\n%s\nand by redis-cli as\n%s", args, words, got, want)
			}
		}
	}
}

// A replyRecorder passes connections to a server and keeps what it said on the last one.
type replyRecorder struct {
	socket string
	said   chan []byte
}

func (r *replyRecorder) last() []byte { return <-r.said }

func recordReplies(t *testing.T, server string) *replyRecorder {
	t.Helper()
	r := &replyRecorder{socket: filepath.Join(socketDir(t), "proxy"), said: make(chan []byte)}
	listener, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	var passing sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		passing.Wait()
	})
	passing.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("unix", server)
			if err != nil {
				t.Error(err)
				return
			}
			passing.Go(func() {
				io.Copy(upstream, client)
				upstream.(*net.UnixConn).CloseWrite()
			})
			var said bytes.Buffer
			io.Copy(client, io.TeeReader(bufio.NewReader(upstream), &said))
			client.Close()
			upstream.Close()
			r.said <- said.Bytes()
		}
	})
	return r
}
