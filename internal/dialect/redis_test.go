package dialect

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

// array is a command as clients send it.
func array(words ...string) string { return string(composeRedis(words)) }

// call is array as a step of the client.
func call(words string) string { return ">" + array(strings.Fields(words)...) }

func TestRedisRepliesArePairedWithTheirCommands(t *testing.T) {
	for name, test := range map[string]struct{ dialogue, want []string }{
		"one by one": {
			[]string{call("SET foo bar"), "<+OK\r\n", call("GET foo"), "<$3\r\nbar\r\n", call("INCR n"), "<:3\r\n", call("GET nope"), "<$-1\r\n"},
			[]string{"SET foo bar = OK", "GET foo = bar", "INCR n = (integer) 3", "GET nope = (nil)"},
		},
		"pipelined": {
			[]string{call("GET a") + array("GET", "b") + array("PING"), "<$1\r\nx\r\n*-1\r\n+PONG\r\n"},
			[]string{"GET a = x", "GET b = (nil)", "PING = PONG"},
		},
		"inline": {
			[]string{">PING\r\nSET foo \"hello world\"\n\r\n  \n", "<+PONG\r\n+OK\r\n"},
			[]string{"PING = PONG", `SET foo "hello world" = OK`, `\r\n`, `  \n`},
		},
		"no command at all": {[]string{">*0\r\n*-1\r\n", call("PING"), "<+PONG\r\n"}, []string{`*0\r\n`, `*-1\r\n`, "PING = PONG"}},
		"an inline command that redis refuses": {
			[]string{">GET \"a\r\n", "<-ERR Protocol error: unbalanced quotes in request\r\n"},
			[]string{`GET "a\r\n = (error) ERR Protocol error: unbalanced quotes in request`},
		},
		"every kind of reply": {
			[]string{call("A") + strings.Repeat(array("B"), 13),
				"<_\r\n#t\r\n#f\r\n,3.14\r\n,inf\r\n(3492890328409238509324850943850943825024385\r\n!5\r\nERR x\r\n=7\r\ntxt:foo\r\n",
				"<%2\r\n+a\r\n:1\r\n$1\r\nb\r\n*2\r\n:2\r\n:3\r\n~2\r\n+a\r\n+b\r\n*0\r\n%0\r\n$0\r\n\r\n-ERR x y\r\n"},
			[]string{"A = (nil)", "B = (true)", "B = (false)", "B = (double) 3.14", "B = (double) inf",
				"B = (integer) 3492890328409238509324850943850943825024385", "B = (error) ERR x", "B = foo",
				"B = {a: 1, b: [2 3]}", "B = [a b]", "B = []", "B = {}", `B = ""`, "B = (error) ERR x y"},
		},
		"streamed": {
			[]string{call("A") + array("B") + array("C"), "<$?\r\n;4\r\nHell\r\n;6\r\no worl\r\n;1\r\nd\r\n;0\r\n",
				"<*?\r\n:1\r\n%?\r\n+k\r\n+v\r\n.\r\n.\r\n~?\r\n.\r\n"},
			[]string{"A = Hello world", "B = [1 {k: v}]", "C = []"},
		},
		"attributes are part of the reply behind them": {
			[]string{call("A") + array("B"), "<|1\r\n+ttl\r\n:3600\r\n|?\r\n+a\r\n+b\r\n.\r\n*2\r\n|1\r\n+x\r\n+y\r\n:1\r\n:2\r\n|0\r\n+OK\r\n"},
			[]string{"A = {ttl: 3600} {a: b} [{x: y} 1 2]", "B = {} OK"},
		},
		"pushes are no replies": {
			[]string{call("GET a"), "<>2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n$1\r\nx\r\n"},
			[]string{"GET a = x", "= [invalidate [a]]"},
		},
		"RESP2 subscriptions": {
			[]string{call("LRANGE l 0 -1") + array("SUBSCRIBE", "a", "b") + array("PSUBSCRIBE", "c*") + array("PING"),
				"<*3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1\r\n",
				"<*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n",
				"<*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n",
				"<*3\r\n$10\r\npsubscribe\r\n$2\r\nc*\r\n:3\r\n*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\ncc\r\n$2\r\nho\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n",
				call("UNSUBSCRIBE") + array("PUNSUBSCRIBE") + array("UNSUBSCRIBE") + array("LRANGE", "l", "0", "-1"),
				"<*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:2\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n",
				"<*3\r\n$12\r\npunsubscribe\r\n$2\r\nc*\r\n:0\r\n*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1\r\n"},
			[]string{"LRANGE l 0 -1 = [message a 1]", "SUBSCRIBE a b = [subscribe a 1]", "PSUBSCRIBE c* = [psubscribe c* 3]", `PING = [pong ""]`,
				"= [subscribe b 2]", "= [message a hi]", "= [pmessage c* cc ho]",
				"UNSUBSCRIBE = [unsubscribe b 2]", "PUNSUBSCRIBE = [punsubscribe c* 0]", "UNSUBSCRIBE = [unsubscribe (nil) 0]", "LRANGE l 0 -1 = [message a 1]",
				"= [unsubscribe a 1]"},
		},
		"RESP3 subscriptions": {
			[]string{call("HELLO 3"), "<%1\r\n+proto\r\n:3\r\n", call("subscribe a b") + array("LRANGE", "l", "0", "-1"),
				"<>3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1\r\n",
				call("SSUBSCRIBE s"), "<>3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n>3\r\n$12\r\nsunsubscribe\r\n$1\r\ns\r\n:0\r\n"},
			[]string{"HELLO 3 = {proto: 3}", "subscribe a b = [subscribe a 1]", "LRANGE l 0 -1 = [message a 1]",
				"= [subscribe b 2]", "= [message a hi]", "SSUBSCRIBE s = [ssubscribe s 1]", "= [sunsubscribe s 0]"},
		},
		"subscriptions behind each other": {
			[]string{call("SUBSCRIBE a b") + array("SUBSCRIBE", "c") + array("UNSUBSCRIBE") + array("UNSUBSCRIBE", "z"),
				"<*3\r\n+subscribe\r\n+a\r\n:1\r\n*3\r\n+subscribe\r\n+b\r\n:2\r\n*3\r\n+subscribe\r\n+c\r\n:3\r\n",
				"<*3\r\n+unsubscribe\r\n+c\r\n:2\r\n*3\r\n+unsubscribe\r\n+b\r\n:1\r\n*3\r\n+unsubscribe\r\n+a\r\n:0\r\n*3\r\n+unsubscribe\r\n+z\r\n:0\r\n"},
			[]string{"SUBSCRIBE a b = [subscribe a 1]", "SUBSCRIBE c = [subscribe c 3]", "UNSUBSCRIBE = [unsubscribe c 2]", "UNSUBSCRIBE z = [unsubscribe z 0]",
				"= [subscribe b 2]", "= [unsubscribe b 1]", "= [unsubscribe a 0]"},
		},
		"a SUBSCRIBE that is refused": {
			[]string{call("SUBSCRIBE a b") + array("GET", "a"), "<-NOPERM no\r\n$1\r\nx\r\n"},
			[]string{"SUBSCRIBE a b = (error) NOPERM no", "GET a = x"},
		},
		"MONITOR": {
			[]string{call("MONITOR"), "<+OK\r\n+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"\r\n", call("PING"),
				"<+1339518084.107412 [0 127.0.0.1:60866] \"PING\"\r\n+PONG\r\n", call("RESET"), "<+RESET\r\n", call("ECHO"), "<+1339518083.107412 [0 x]\r\n"},
			[]string{"MONITOR = OK", `= 1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`, "PING = PONG", `= 1339518084.107412 [0 127.0.0.1:60866] "PING"`,
				"RESET = RESET", "ECHO = 1339518083.107412 [0 x]"},
		},
		"MULTI and EXEC": {
			[]string{call("MULTI") + array("INCR", "a") + array("CLIENT", "REPLY", "OFF") + array("EXEC"), "<+OK\r\n+QUEUED\r\n+QUEUED\r\n*1\r\n:1\r\n"},
			[]string{"MULTI = OK", "INCR a = QUEUED", "CLIENT REPLY OFF = QUEUED", "EXEC = [1]"},
		},
		"CLIENT REPLY": {
			[]string{call("CLIENT REPLY SKIP") + array("GET", "a") + array("GET", "b"), "<$1\r\nb\r\n",
				call("client reply off") + array("SET", "a", "1") + array("CLIENT", "REPLY", "SKIP") + array("CLIENT", "REPLY", "ON") + array("GET", "a"), "<+OK\r\n$1\r\n1\r\n",
				call("CLIENT REPLY OFF") + array("CLIENT", "REPLY", "SKIP") + array("RESET"), "<+RESET\r\n",
				call("CLIENT REPLY SKIP") + array("CLIENT", "REPLY", "ON"), "<+OK\r\n", call("CLIENT REPLY MAYBE"), "<-ERR syntax error\r\n"},
			[]string{"CLIENT REPLY SKIP", "GET a", "GET b = b", "client reply off", "SET a 1", "CLIENT REPLY SKIP", "CLIENT REPLY ON = OK", "GET a = 1",
				"CLIENT REPLY OFF", "CLIENT REPLY SKIP", "RESET = RESET", "CLIENT REPLY SKIP", "CLIENT REPLY ON = OK", "CLIENT REPLY MAYBE = (error) ERR syntax error"},
		},
		"unasked": {
			[]string{"<-DENIED Redis is running in protected mode\r\n", call("QUIT"), "<+OK\r\n"},
			[]string{"= (error) DENIED Redis is running in protected mode", "QUIT = OK"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, redis, test.dialogue, test.want...)
		})
	}
}

func TestRedisReplicationIsPassedInChunks(t *testing.T) {
	p := newPairing(redis, 1<<20, 1<<20)
	for _, step := range []string{call("PSYNC ? -1"), "<+FULLRESYNC 0123 0\r\n", "<$9\r\nREDIS0011", call("REPLCONF ACK 0"), "<*1\r\n$4\r\nPING\r\n"} {
		p.feed(map[byte]side{'>': requests, '<': replies}[step[0]], []byte(step[1:]))
	}
	p.check(t, "PSYNC ? -1 = FULLRESYNC 0123 0", "= REDIS0011", "REPLCONF ACK 0", "= [PING]")
}

func TestOwedIsAQueue(t *testing.T) {
	var o owed[int]
	var want []int
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		if what := r.IntN(3); len(want) < 300 && r.IntN(200) < 100+i/1000%2*40-20 {
			o.push(what)
			want = append(want, what)
		} else if len(want) > 0 {
			o.pop()
			want = want[1:]
		}
		what, ok := o.first()
		if ok != (len(want) > 0) || ok && what != want[0] {
			t.Fatalf("after %d steps %d is first, %t, want %d", i, what, ok, want[:min(1, len(want))])
		}
		other, ok := o.second()
		if j := slices.IndexFunc(want, func(w int) bool { return w != want[0] }); ok != (j >= 0) || ok && other != want[j] {
			t.Fatalf("after %d steps %d is second, %t", i, other, ok)
		}
	}
}

func TestRedisRemembersLittleOfWhatIsNotAnswered(t *testing.T) {
	g := new(redisGrammar)
	f, _ := (&protocol{func() grammar { return g }}).Open()
	stream := []byte(array("SUBSCRIBE", "a") + array("PING") + array("MONITOR"))
	const rounds = 100_000
	for range rounds {
		for rest := stream; len(rest) > 0; {
			n, _, err := f.Next(rest, 0, 1<<20, false)
			if n == 0 {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
	}
	if got := cap(g.owed.runs); got > 2*maxRuns {
		t.Errorf("%d commands without a reply take up %d runs", 3*rounds, got)
	}
	owed := uint64(0)
	for _, r := range g.owed.runs[g.owed.head:] {
		owed += r.count
	}
	if owed != 3*rounds {
		t.Errorf("%d replies are owed, want %d", owed, 3*rounds)
	}
}

func TestRedisBreaches(t *testing.T) {
	deep := strings.Repeat("*2\r\n", maxRedisDepth)
	for _, test := range []struct {
		of     side
		stream string
		broken bool
	}{
		{requests, "*1\r\n+PING\r\n", true},
		{requests, "*1\r\n$-1\r\n", true},
		{requests, "*?\r\n", true},
		{requests, "*a\r\n", true},
		{requests, "*1\n", true},
		{requests, "*1\r\n$4\r\nPINGS\r\n", true},
		{requests, "*1\r\n$4\r\nPING\rx", true},
		{requests, "*-2\r\n", true},
		{requests, "*99999999999999999999\r\n", true},
		{requests, "*1\r\n$4\rxPING\r\n", true},
		{requests, "*1\r\n$4\r\nPINGx\n", true},
		{requests, "*1\r\n$4\r\nPING\rx", true},
		{requests, "*1\r\n$\r\n\r\n", true},
		{requests, "*1\r\n$18446744073709551618\r\nab\r\n", true}, // 2 and what does not fit
		{requests, "*1\r\n$-1\r\nx\r\n", true},
		{requests, "*1\r\n$?\r\n\r\n", true},
		{requests, "*1\rx", true},
		{requests, "*1-\r\n", true},
		{requests, "*1?\r\n", true},
		{requests, "*1\r\n$1\r\n\nx", true},
		{replies, "*-\r\n", true},
		{replies, "*--1\r\n", true},
		{replies, "*?1\r\n", true},
		{replies, "*1234567890123456789", true},
		{replies, "*123456789012345678", false},
		{replies, "HTTP/1.1 400 Bad Request\r\n", true},
		{replies, "+OK\n", true},
		{replies, "+O\rK\r\n", true},
		{replies, "$4\r\nPINGS\r\n", true},
		{replies, "%-1\r\n", true},
		{replies, "$-2\r\n", true},
		{replies, "=?\r\n", true},
		{replies, ".\r\n", true},
		{replies, "*1\r\n.\r\n", true},
		{replies, "*?\r\n.x\r\n", true},
		{replies, "$?\r\n:1\r\n", true},
		{replies, "$?\r\n;?\r\n", true},
		{replies, "*\r\n", true},
		{replies, deep + "*1\r\n", true},
		{replies, deep + ":1\r\n", false},
	} {
		for _, piece := range []int{1, 1 << 20} {
			p := newPairing(redis, piece, 1<<20)
			p.feed(test.of, []byte(test.stream))
			if err := p.sides[test.of].err; errors.Is(err, parley.ErrMalformed) != test.broken || (err != nil) != test.broken {
				t.Errorf("%.40q in pieces of %d: %v", test.stream, piece, err)
			}
		}
	}
}

func TestRedisLimits(t *testing.T) {
	for _, test := range []struct {
		name  string
		of    side
		whole string
		early string // as much of it as it takes to know that it is too long by one byte
	}{
		{"command", requests, array("SET", "foo", strings.Repeat("x", 100)), "*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n$100\r\n"},
		{"first word", requests, "*2\r\n$100\r\n" + strings.Repeat("x", 100) + "\r\n$0\r\n\r\n", "*2\r\n$100\r\n"},
		{"words to come", requests, "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$0\r\n\r\n", "*3\r\n"},
		{"bulk string", replies, "$100\r\n" + strings.Repeat("x", 100) + "\r\n", "$100\r\n"},
		{"array", replies, "*10\r\n" + strings.Repeat("_\r\n", 10), "*10\r\n"},
		{"bulk error in an array", replies, "*1\r\n!100\r\n" + strings.Repeat("x", 100) + "\r\n", "*1\r\n!100\r\n"},
		{"line", replies, "+" + strings.Repeat("x", 100) + "\r\n", ""},
		{"inline", requests, strings.Repeat("x", 100) + "\r\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, spare := range []int{-1, 0, 1} {
				limit := len(test.whole) + spare
				p := newPairing(redis, 1<<20, limit)
				framing := p.sides[test.of].framing
				n, body, err := framing.Next([]byte(test.whole), 0, limit, false)
				if spare < 0 {
					if err != parley.ErrTooLong {
						t.Errorf("a limit below its size by %d: %d, %v", -spare, n, err)
					}
				} else if err != nil || n != len(test.whole) || string(body) != test.whole {
					t.Errorf("a limit of its size and %d: %d, %v", spare, n, err)
				}
			}
			if test.early == "" {
				return
			}
			last := len(test.whole) - 1
			if _, _, err := newPairing(redis, 1, 0).sides[test.of].framing.Next([]byte(test.early), 0, last+1, false); err != nil {
				t.Errorf("%q under a limit that it keeps: %v", test.early, err)
			}
			if test.name == "array" || test.name == "words to come" {
				last -= 6 // it is not known what is being read
			}
			if _, _, err := newPairing(redis, 1, 0).sides[test.of].framing.Next([]byte(test.early), 0, last, false); err != parley.ErrTooLong {
				t.Errorf("%q under a limit that it cannot keep: %v", test.early, err)
			}
		})
	}
}

func TestRedisAnnouncementsTakeUpNoMemory(t *testing.T) {
	for of, announcements := range []map[string]string{ // and what comes behind
		requests: {"*4294967296\r\n": "$0\r\n\r\n", "*3\r\n$4294967296\r\n": "x"},
		replies: {"*4294967296\r\n": "_\r\n", "%4294967296\r\n": "_\r\n", "$4294967296\r\n": "x",
			"*1\r\n*4294967296\r\n": "_\r\n", "~999999999999999999\r\n": "_\r\n"},
	} {
		for announced, behind := range announcements {
			framings := [2]parley.Framing{}
			framings[requests], framings[replies] = parley.OpenFraming(redis.Requests, nil)
			framing := framings[of]
			head := []byte(announced)
			if _, _, err := framing.Next(head, 0, 1<<20, false); err != parley.ErrTooLong {
				t.Errorf("%q: %v", announced, err)
			}
			skip := framing.(parley.Skipper).Skip()
			skip(head, false)
			p := bytes.Repeat([]byte(behind), 1<<10)
			if allocs := testing.AllocsPerRun(10, func() {
				framing.Next(head, 0, 1<<20, false)
				if _, _, _, done, err := skip(p, false); done || err != nil {
					t.Fatal(announced, done, err)
				}
			}); allocs > 0 {
				t.Errorf("%q takes %v allocations", announced, allocs)
			}
		}
	}
}

func TestRedisSecrets(t *testing.T) {
	for _, test := range []struct{ command, shown string }{
		{"AUTH hunter2", "AUTH (secret)"},
		{"auth alice hunter2", "auth (secret)"},
		{"AUTH", ""},
		{"HELLO 3 AUTH alice hunter2 SETNAME x", "HELLO 3 AUTH (secret) SETNAME x"},
		{"HELLO 3 SETNAME x AUTH alice hunter2", "HELLO 3 SETNAME x AUTH (secret)"},
		{"HELLO 3", ""},
		{"ACL SETUSER alice on >hunter2 #abcdef ~* <old !123 +@all", "ACL SETUSER alice on (secret) ~* (secret) +@all"},
		{"ACL SETUSER alice on", ""},
		{"ACL SETUSER >alice on", ""},
		{"ACL GETUSER >alice", ""},
		{"CONFIG SET requirepass hunter2", "CONFIG SET requirepass (secret)"},
		{"CONFIG SET maxmemory 1 MasterAuth hunter2 timeout 3", "CONFIG SET maxmemory 1 MasterAuth (secret) timeout 3"},
		{"CONFIG SET tls-key-file-pass hunter2", "CONFIG SET tls-key-file-pass (secret)"},
		{"CONFIG GET requirepass", ""},
		{"SENTINEL SET mymaster auth-pass hunter2", "SENTINEL SET mymaster auth-pass (secret)"},
		{"MIGRATE h 6379 k 0 1000 COPY AUTH hunter2 KEYS a", "MIGRATE h 6379 k 0 1000 COPY AUTH (secret) KEYS a"},
		{"MIGRATE h 6379 k 0 1000 AUTH2 alice hunter2", "MIGRATE h 6379 k 0 1000 AUTH2 (secret)"},
		{"SET AUTH hunter2", ""},
	} {
		for _, body := range []string{array(strings.Fields(test.command)...), test.command + "\r\n"} {
			p := newPairing(redis, 3, 1<<20)
			p.feed(requests, []byte(body))
			if len(p.told) != 1 || p.notes[0].Secret != (test.shown != "") {
				t.Fatalf("%q: %q %+v", body, p.told, p.notes)
			}
			want := test.shown
			if want == "" {
				want = test.command
			}
			if got := strings.TrimSuffix(p.told[0], " = ?"); got != want {
				t.Errorf("%q is shown as %q, want %q", body, got, want)
			}
			if got := string(redis.Words.AppendRequest(nil, Message{Body: []byte(body)})); got != test.command {
				t.Errorf("%q with its secrets is shown as %q", body, got)
			}
			for n := range body { // whatever is left of it
				got := string(redis.Words.AppendRequest(nil, Message{Body: []byte(body[:n]), Cut: uint64(len(body) - n), Secret: true}))
				if test.shown != "" && strings.Contains(got, "unter2") {
					t.Errorf("%q of %q is shown as %q", body[:n], body, got)
				}
			}
		}
	}
}

func TestRedisWords(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	many := strings.Repeat("$3\r\nabc\r\n", 100_000)
	for _, test := range []struct {
		of         side
		body, want string
		cut        uint64
	}{
		{requests, array("SET", "foo", "hello world"), `SET foo "hello world"`, 0},
		{requests, array("SET", "", `"'\`, "a\nb\x00\xffé"), `SET "" "\"'\\" "a\nb\x00\xffé"`, 0},
		{requests, array("SET", "key", "naïve☃"), `SET key naïve☃`, 0},
		{requests, array("SET", "foo", big), "SET foo " + big[:256] + "…(1048576 bytes)", 0},
		{requests, array("SET", "foo", big[:255]+"é"), "SET foo " + big[:255] + "…(257 bytes)", 0},
		{requests, array("SET", "foo", "a "+big), `SET foo "a ` + big[:254] + `"…(1048578 bytes)`, 0},
		{requests, array("SET", "foo", big)[:100], "SET foo " + big[:68] + "…(1048576 bytes)", 1 << 20},
		{requests, "*3\r\n$3\r\nSET\r\n$3\r", "SET …", 30},
		{requests, "*3\r\n$3\r\nSET\r\n", "SET …", 30},
		{requests, "*3\r\n$3\r\nSE", "SE…(3 bytes) …", 30},
		{requests, "*3\r\nfoo", "foo", 0},
		{requests, "GET fo", "GET fo…", 3},
		{requests, "\x16\x03\x01\x02\x00\x01", `\x16\x03\x01\x02\x00\x01`, 0},
		{requests, "GET a\r\nGET b\r\n", `GET a\r\nGET b\r\n`, 0},
		{requests, fmt.Sprintf("*%d\r\n", 100_000) + many, strings.TrimSuffix(strings.Repeat("abc ", 257), " ") + " …(100000 words)", 0},
		{requests, "", "", 0},
		{replies, "$11\r\nhello\nworld\r\n", `hello\nworld`, 0},
		{replies, "*3\r\n$5\r\na b c\r\n$-1\r\n$0\r\n\r\n", `["a b c" (nil) ""]`, 0},
		{replies, "*2\r\n*2\r\n:1\r\n*-1\r\n-ERR a b\r\n", `[[1 (nil)] (error) ERR a b]`, 0},
		{replies, "$1048576\r\n" + big + "\r\n", big[:256] + "…(1048576 bytes)", 0},
		{replies, "*100000\r\n" + many, "[" + strings.Repeat("abc ", 256) + "…(100000)]", 0},
		{replies, strings.Repeat("*1\r\n", 20) + ":1\r\n", strings.Repeat("[", 17) + "…(1)" + strings.Repeat("]", 17), 0},
		{replies, "*3\r\n$3\r\nabc\r\n$30\r\nab", "[abc ab…(30 bytes) …]", 30},
		{replies, "+OK", "OK…", 2},
		{replies, "*?\r\n:1\r\n", "[1 …]", 10},
		{replies, "$?\r\n;3\r\nabc\r\n;", "abc", 10},
		{replies, "HTTP/1.1 200 OK\r\n", `HTTP/1.1 200 OK\r\n`, 0},
		{replies, "*1\r\nx", "[x]", 0},
		{replies, "*x\r\n", `*x\r\n`, 0},
		{replies, "*999999999999999999\r\n", "[…]", 1},
		{replies, "", "…", 0},
		// What was replaced is shown whole, whatever the length before it says.
		{requests, "*3\r\n$3\r\nSET\r\n$3\r\n[redacted]\r\n$2\r\nab\r\n", "SET [redacted] ab", 0},
		{requests, "*3\r\n$3\r\nSET\r\n$30\r\n[redacted]\r\n$2\r\nab\r\n", "SET [redacted] ab", 0},
		{requests, "*2\r\n$4\r\nAUTH\r\n$9\r\nx\r\n", "AUTH x", 0},
		{replies, "$5\r\n[redacted]\r\n", "[redacted]", 0},
		{replies, "$50\r\n[redacted]\r\n", "[redacted]", 0},
	} {
		words := redis.Words.AppendRequest
		if test.of == replies {
			words = redis.Words.AppendReply
		}
		if got := string(words([]byte("before "), Message{Body: []byte(test.body), Cut: test.cut})); got != "before "+test.want {
			t.Errorf("%.60q is shown as\n%s, want\n%s", test.body, got, test.want)
		}
	}
}

func TestRedisMakesCommandsOfLines(t *testing.T) {
	for _, test := range []struct{ line, want, err string }{
		{"SET foo bar", array("SET", "foo", "bar"), ""},
		{`  SET 	foo "hello world" `, array("SET", "foo", "hello world"), ""},
		{`SET "\x00\xfF\n\r\t\a\b\q\"" 'a\'b\n' x"y z"`, array("SET", "\x00\xff\n\r\t\a\bq\"", `a'b\n`, "xy z"), ""},
		{`SET "\xz0" ""`, array("SET", "xz0", ""), ""},
		{`SET a\nb`, array("SET", `a\nb`), ""},
		{"*3 foo", array("*3", "foo"), ""},
		{"PING\r\n", "PING\r\n", ""},
		{array("SET", "foo", "a b"), array("SET", "foo", "a b"), ""},
		{`SET "foo`, "", "a quote is not closed"},
		{`SET "foo"bar`, "", "a closing quote has to be followed by a space"},
		{`SET '`, "", "a quote is not closed"},
		{"", "", "it has no words"},
		{"  ", "", "it has no words"},
	} {
		framing, _ := parley.OpenFraming(redis.Requests, nil)
		got, err := framing.End([]byte("before"+test.line), len("before"))
		if fmt.Sprint(err) != cmp.Or(test.err, "<nil>") {
			t.Errorf("%q: %v, want %s", test.line, err, test.err)
		}
		if err == nil && string(got) != "before"+test.want {
			t.Errorf("%q becomes %q, want %q", test.line, got, test.want)
		}
	}
	if got, want := string(redis.Compose([]string{"SET", "foo", "a b"})), "*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n$3\r\na b\r\n"; got != want {
		t.Errorf("composed %q, want %q", got, want)
	}
}

func TestRedisMakesRepliesOfTexts(t *testing.T) {
	long := strings.Repeat("x", maxRedisSimple)
	for _, test := range []struct{ text, want string }{
		{"Request #1 - SET foo bar ...", "+Request #1 - SET foo bar ...\r\n"},
		{"", "+\r\n"},
		{"a\r\nb", "$4\r\na\r\nb\r\n"},
		{long, "+" + long + "\r\n"},
		{long + "x", "$513\r\n" + long + "x\r\n"},
		{"Error: request longer than 65536 bytes", "-ERR request longer than 65536 bytes\r\n"},
		{"Error: a\r\nb", "-ERR a  b\r\n"},
		{":1\r\n", ":1\r\n"},
		{"*1\r\n$1\r\na\r\n", "*1\r\n$1\r\na\r\n"},
		{"+a\r\n+b\r\n", "$8\r\n+a\r\n+b\r\n\r\n"},
	} {
		_, framing := parley.OpenFraming(redis.Requests, nil)
		got, err := framing.End([]byte("before"+test.text), len("before"))
		if err != nil || string(got) != "before"+test.want {
			t.Errorf("%q becomes %q, %v, want %q", test.text, got, err, test.want)
		}
	}
}

// A reply that was made of a text leaves its connection as one that was read.
func TestRedisKnowsWhatItHasMade(t *testing.T) {
	for _, text := range []string{"OK", "", "Error: no", strings.Repeat("x", 100), strings.Repeat("x", 1000), "1.5 [0 x]"} {
		var left [2]redisGrammar
		var message []byte
		for i := range left {
			asked, answered := (&protocol{func() grammar { return &left[i] }}).Open()
			command := []byte(array("MONITOR"))
			if n, _, err := asked.Next(command, 0, 1<<20, false); n != len(command) {
				t.Fatal(n, err)
			}
			if i == 0 {
				message, _ = answered.End([]byte(text), 0)
			} else if n, _, err := answered.Next(message, 0, 1<<20, false); n != len(message) {
				t.Fatalf("%.40q: %d, %v", message, n, err)
			}
			if note := answered.(parley.Noter).Note(); note != (parley.Note{}) {
				t.Errorf("%.40q: %+v", message, note)
			}
		}
		made, read := &left[0], &left[1]
		if made.monitoring != (text == "OK") || made.monitoring != read.monitoring || made.reply.kind != read.reply.kind || string(made.reply.first) != string(read.reply.first) {
			t.Errorf("%.40q is %c %q and monitors: %t; it is read as %c %q, %t", message,
				made.reply.kind, made.reply.first, made.monitoring, read.reply.kind, read.reply.first, read.monitoring)
		}
	}
}

// redisStream makes valid messages of a side, and tells each.
func redisStream(r *rand.Rand, of side) (stream []byte, messages []string) {
	for range r.IntN(8) {
		start := len(stream)
		if of == requests {
			stream = redisCommandOf(r, stream)
		} else {
			stream = redisValueOf(r, stream, 0)
		}
		messages = append(messages, string(stream[start:]))
	}
	return stream, messages
}

func redisCommandOf(r *rand.Rand, dst []byte) []byte {
	words := []string{"SET", "SUBSCRIBE", "UNSUBSCRIBE", "AUTH", "CLIENT", "REPLY", "OFF", "ON", "SKIP", "MULTI", "EXEC", "", "a b", "\r\n", "HELLO", "x\xff"}
	some := make([]string, r.IntN(5))
	for i := range some {
		some[i] = words[r.IntN(len(words))]
	}
	if r.IntN(4) > 0 {
		return append(dst, composeRedis(some)...)
	}
	return append(dst, "x"+strings.ReplaceAll(strings.Join(some, " "), "\n", "")+"\r\n"...)
}

func redisValueOf(r *rand.Rand, dst []byte, depth int) []byte {
	kinds := "+-:_,#($!=*%~|>"
	kind := kinds[r.IntN(len(kinds))]
	if depth > 3 {
		kind = kinds[r.IntN(10)]
	}
	n := r.IntN(4)
	switch kind {
	case '+', '-', ':', '_', ',', '#', '(':
		return append(append(append(dst, kind), "12 abc\xff"[:r.IntN(7)]...), "\r\n"...)
	case '$', '!', '=':
		switch mode := r.IntN(5); {
		case mode == 0 && kind == '$':
			return append(dst, "$-1\r\n"...)
		case mode == 1 && kind == '$':
			dst = append(dst, "$?\r\n"...)
			for range n {
				dst = append(dst, ";3\r\n\r\n.\r\n"...)
			}
			return append(dst, ";0\r\n"...)
		}
		return append(append(appendRedisHead(dst, kind, 2*n), "\r\n.;*$"[:2*n]...), "\r\n"...)
	}
	streamed := r.IntN(3) == 0
	switch {
	case streamed:
		dst = append(dst, kind, '?', '\r', '\n')
	case kind == '*' && r.IntN(6) == 0:
		return append(dst, "*-1\r\n"...)
	default:
		dst = appendRedisHead(dst, kind, n)
	}
	if kind == '%' || kind == '|' {
		n *= 2
	}
	for range n {
		dst = redisValueOf(r, dst, depth+1)
	}
	if streamed {
		dst = append(dst, ".\r\n"...)
	}
	if kind == '|' {
		return redisValueOf(r, dst, depth)
	}
	return dst
}

func FuzzRedisGrammar(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, piece uint8) {
		for _, of := range []side{requests, replies} {
			stream, want := redisStream(rand.New(rand.NewPCG(seed, 0)), of)
			for _, message := range want {
				if len(message) > 1<<10 {
					return
				}
			}
			got, err := testGrammar(t, redis, of, stream, int(piece)+1)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%q is %q, %v, want %q", stream, got, err, want)
			}
		}
	})
}

func FuzzRedisBytes(f *testing.F) {
	for _, seed := range []string{"*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n$3\r\nbar\r\n", "PING\r\n", "*?\r\n+a\r\n.\r\n", "$?\r\n;1\r\na\r\n;0\r\n", "|1\r\n+a\r\n:1\r\n%1\r\n_\r\n#t\r\n",
		">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", "AUTH \"a b", "*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n", "=5\r\ntxt:a\r\n", "*999999999999999999\r\n"} {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(2))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		for _, of := range []side{requests, replies} {
			testGrammar(t, redis, of, stream, int(piece)+1)
		}
		for _, m := range []Message{{Body: stream}, {Body: stream, Cut: 1}, {Body: stream, Secret: true}} {
			for _, text := range [][]byte{redis.Words.AppendRequest(nil, m), redis.Words.AppendReply(nil, m)} {
				if len(text) > 4*(maxText+2*maxTextWord) || bytes.ContainsAny(text, "\r\n\x00\x1b") {
					t.Fatalf("%q is shown as %q", stream, text)
				}
			}
		}
		redis.Print(nil, stream, true)
		redis.Print(nil, stream, false)
		asked, answered := parley.OpenFraming(redis.Requests, nil)
		for _, framing := range []parley.Framing{asked, answered} {
			message, err := framing.End(bytes.Clone(stream), 0)
			if err != nil {
				continue
			}
			n, body, err := framing.Next(message, 0, len(message), false)
			if err != nil || n != len(message) || !bytes.Equal(body, message) {
				t.Fatalf("%q is sent as %q, which is read as %q, %v", stream, message, body, err)
			}
		}
	})
}

// FuzzRedisWordsCanBeTyped: a command that is shown whole makes the same command again.
func FuzzRedisWordsCanBeTyped(f *testing.F) {
	f.Add("SET", "foo", "hello world")
	f.Add("", "\"'\\\n\r\t\a\b\x00\xff", "é\u2028")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if len(a) > maxTextWord || len(b) > maxTextWord || len(c) > maxTextWord {
			return
		}
		command := array(a, b, c)
		text := redis.Words.AppendRequest(nil, Message{Body: []byte(command)})
		framing, _ := parley.OpenFraming(redis.Requests, nil)
		if got, err := framing.End(bytes.Clone(text), 0); err != nil || string(got) != command {
			t.Fatalf("%q is shown as %s, which makes %q, %v", command, text, got, err)
		}
	})
}

func BenchmarkRedisPipelinedSets(b *testing.B) {
	commands := bytes.Repeat([]byte(array("SET", "key:000000001234", "value of some length")), 64)
	answers := bytes.Repeat([]byte("+OK\r\n"), 64)
	requests, replies := parley.OpenFraming(redis.Requests, nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(commands) + len(answers)))
	for b.Loop() {
		for _, s := range []struct {
			framing parley.Framing
			rest    []byte
		}{{requests, commands}, {replies, answers}} {
			for len(s.rest) > 0 {
				n, _, err := s.framing.Next(s.rest, 0, 1<<20, false)
				if n == 0 || err != nil {
					b.Fatal(n, err)
				}
				s.rest = s.rest[n:]
			}
		}
	}
}
