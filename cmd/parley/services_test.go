package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A realService is one, or the stand-in of one, that a tap is put before.
type realService struct {
	name    string
	framing string
	serve   func(t *testing.T) (addr string)      // a new one, with nothing in it
	use     func(t *testing.T, host, port string) // what its clients do
	shows   []string                              // lines of the tap's narrative
	replays string                                // what the replay says, where that is known
	silent  bool                                  // it replies to nothing, so that there is nothing to compare
}

// What each kind of service and its clients say is recorded by a tap. The recording shows it in
// words; each stream of its capture is what went over the wire, byte for byte; and the same
// service says the same again when it is replayed. No view needs to be told the framing.
func TestRecordingsOfRealServices(t *testing.T) {
	t.Parallel() // it waits most of the time
	for _, s := range realServices {
		t.Run(s.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "recording")
			tap := startTap(t, s.serve(t), "--framing", s.framing, "--max-message", "4MiB", "--journal", file)
			wire := startWire(t, tap.addr)
			host, port, _ := net.SplitHostPort(wire.addr)
			s.use(t, host, port)
			streams := wire.end()
			if code := tap.stop(t, syscall.SIGTERM); code != 0 {
				t.Fatalf("the tap's exit code is %d; %s", code, tap.stderr)
			}
			for _, line := range s.shows {
				if !strings.Contains(tap.stdout.String(), line+"\n") {
					t.Errorf("the tap does not show %q", line)
				}
			}
			if t.Failed() {
				t.Logf("it shows\n%.4000s\n%.1000s", tap.stdout, tap.stderr)
			}
			checkCapture(t, file, streams)
			checkReplay(t, file, s)
		})
	}
}

// checkCapture compares the streams of a recording's capture with what went over the wire.
func checkCapture(t *testing.T, file string, want []*exchanged) {
	t.Helper()
	capture := file + ".pcap"
	if err := os.WriteFile(capture, []byte(run(t, program(t, "log", file, "--export", "pcap"), "")), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, got := range follow(t, capture, len(want)) {
		if want := want[i].requests.Bytes(); !bytes.Equal(got.requests.Bytes(), want) {
			t.Errorf("stream %d of the client: %s", i, whereDiffer(got.requests.Bytes(), want))
		}
		if want := want[i].replies.Bytes(); !bytes.Equal(got.replies.Bytes(), want) {
			t.Errorf("stream %d of the server: %s", i, whereDiffer(got.replies.Bytes(), want))
		}
	}
}

// follow is what tshark finds in each of n streams of TCP.
func follow(t *testing.T, capture string, n int) []*exchanged { return followAs(t, "tcp", capture, n) }

// followAs is what `tshark -z follow,PROTOCOL,raw` finds, with more options: what is indented is of
// the side that did not open the stream.
func followAs(t *testing.T, protocol, capture string, n int, options ...string) []*exchanged {
	t.Helper()
	args := append([]string{"-r", capture, "-n", "-q"}, options...)
	for i := range n {
		args = append(args, "-z", fmt.Sprintf("follow,%s,raw,%d", protocol, i))
	}
	cmd := peer(t, "tshark", args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	streams := make([]*exchanged, n)
	for i := range streams {
		streams[i] = new(exchanged)
	}
	current := new(exchanged)
	for line := range strings.Lines(run(t, cmd, "")) {
		text := strings.TrimRight(line, "\n")
		if number, is := strings.CutPrefix(text, "Filter: tcp.stream eq "); is {
			current = streams[must(strconv.Atoi(number))]
			continue
		}
		data, err := hex.DecodeString(strings.TrimPrefix(text, "\t"))
		switch {
		case err != nil:
		case strings.HasPrefix(text, "\t"):
			current.replies.Write(data)
		default:
			current.requests.Write(data)
		}
	}
	return streams
}

func whereDiffer(a, b []byte) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	around := func(p []byte) []byte { return p[max(0, i-20):min(len(p), i+20)] }
	return fmt.Sprintf("%d bytes, want %d; at byte %d %q, want %q", len(a), len(b), i, around(a), around(b))
}

// checkReplay plays the recording to a new service, without a flag that says how.
func checkReplay(t *testing.T, file string, s realService) {
	t.Helper()
	out, code := replayed(t, file, s.serve(t), "--speed", "max")
	switch {
	case s.silent:
		if code != 1 || !strings.Contains(out, "nothing") {
			t.Errorf("the replay's exit code is %d, want 1 and that nothing was compared; %s", code, out)
		}
	case s.replays != "":
		checkSummary(t, out, code, s.replays)
	case code != 0:
		t.Errorf("the replay's exit code is %d; %.4000s", code, out)
	}
}

// A wire passes connections on to a tap and notes what goes over each, in the order of accepting.
type wire struct {
	addr     string
	listener net.Listener
	serving  sync.WaitGroup
	streams  []*exchanged
}

// exchanged is what went over one connection.
type exchanged struct{ requests, replies bytes.Buffer }

func startWire(t *testing.T, target string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String(), listener: l}
	w.serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				t.Error(err)
				client.Close()
				return
			}
			stream := new(exchanged)
			w.streams = append(w.streams, stream)
			w.serving.Go(func() { pass(server, client, &stream.requests) })
			w.serving.Go(func() { pass(client, server, &stream.replies) })
		}
	})
	t.Cleanup(func() { w.end() })
	return w
}

func pass(to, from net.Conn, note io.Writer) {
	io.Copy(io.MultiWriter(note, to), from)
	to.(*net.TCPConn).CloseWrite()
}

// end waits for the end of all connections.
func (w *wire) end() []*exchanged {
	w.listener.Close()
	w.serving.Wait()
	return w.streams
}

// startService starts a program that prints its port, or answers at one.
func startService(t *testing.T, name string, args ...string) (addr string) {
	t.Helper()
	return "127.0.0.1:" + awaitPort(t, start(t, peer(t, name, args...)))
}

func awaitListening(t *testing.T, network, addr string) {
	t.Helper()
	eventually(t, addr+" is listened at", func() bool {
		conn, err := net.Dial(network, addr)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

const stdinClient = "nc.openbsd" // sends its input, half-closes with -N, prints what comes

var realServices = []realService{
	{
		name: "redis", framing: "redis",
		serve: func(t *testing.T) string { return "unix:" + startRedis(t) },
		use: func(t *testing.T, host, port string) {
			for _, words := range [][]string{
				{"SET", "foo", "bar"}, {"GET", "foo"}, {"GET", "none"}, {"LPUSH", "list", "a", "b b", ""}, {"LRANGE", "list", "0", "-1"},
				{"EVAL", "return {1,{2,{3,'x'}},redis.error_reply('no')}", "0"}, {"-3", "HSET", "h", "k", "v"}, {"-3", "HGETALL", "h"}, {"NOT", "a command"},
				{"SETRANGE", "big", "3000000", "x"}, {"GET", "big"},
			} {
				run(t, peer(t, "redis-cli", append([]string{"-h", host, "-p", port}, words...)...), "")
			}
			run(t, peer(t, stdinClient, "-N", host, port), "MULTI\r\nINCR n\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\nEXEC\r\nSUBSCRIBE a b\r\nQUIT\r\n")
			// Its connections overlap, and a replay at full speed keeps no order among those: their replies must not depend on it.
			run(t, peer(t, "redis-benchmark", "-h", host, "-p", port, "-t", "ping,set,mset", "-n", "500", "-c", "5", "-P", "8", "-q"), "")
		},
		shows: []string{"Tap: client [31]: SET foo bar", "Tap: server [5]: OK"},
	},
	{
		name: "memcached", framing: "memcached",
		serve: func(t *testing.T) string {
			socket := filepath.Join(t.TempDir(), "memcached")
			start(t, peer(t, "memcached", "-s", socket, "-u", "root", "-U", "0"))
			awaitListening(t, "unix", socket)
			return "unix:" + socket
		},
		use: func(t *testing.T, host, port string) {
			run(t, peer(t, stdinClient, "-N", host, port), "set a 1 0 5\r\nhello\r\nadd a 0 0 1\r\nx\r\nset b 0 0 4 noreply\r\n\r\n\r\n\r\n"+
				"get a b c\r\ngets a\r\nincr a 1\r\nset n 0 0 1\r\n1\r\nincr n 41\r\nnonsense\r\ndelete a\r\nget a\r\nset a 0 0 3\r\ntoo long\r\nversion\r\nverbosity 0\r\nverbosity 0 noreply\r\nquit\r\n")
		},
		shows:   []string{"Tap: server [8]: STORED", "Tap: server [7]: ERROR"},
		replays: "1 session, 17 requests (3 with no reply in the recording), 14 replies compared, 0 differences",
	},
	{
		name: "a web server of Python", framing: "http",
		serve: func(t *testing.T) string { return startService(t, "python3", "testdata/services/web.py") },
		use: func(t *testing.T, host, port string) {
			url := "http://" + host + ":" + port
			big := filepath.Join(t.TempDir(), "big")
			if err := os.WriteFile(big, must(io.ReadAll(randomBytes(1, 3<<20))), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, peer(t, "curl", "-sS", url+"/a", url+"/none", url+"/chunked", url+"/b"), "")
			run(t, peer(t, "curl", "-sS", "--head", url+"/head"), "")
			run(t, peer(t, "curl", "-sS", "--http1.0", url+"/close"), "")
			run(t, peer(t, "curl", "-sS", "-T", big, url+"/put"), "") // it asks whether to go on
			run(t, peer(t, "curl", "-sS", "-d", "a=1", url+"/post"), "")
			run(t, peer(t, stdinClient, "-N", host, port), "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		},
		shows: []string{},
	},
	{
		name: "a web server of Node", framing: "http",
		serve: func(t *testing.T) string { return startService(t, "node", "testdata/services/web.js") },
		use: func(t *testing.T, host, port string) {
			url := "http://" + host + ":" + port
			run(t, peer(t, "curl", "-sS", url+"/a", url+"/b"), "")
			run(t, peer(t, "curl", "-sS", "-H", "Transfer-Encoding: chunked", "-d", "@testdata/services/web.js", url+"/post"), "")
			run(t, peer(t, stdinClient, "-N", host, port), "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		},
	},
	{
		name: "finger", framing: "line/close",
		serve: func(t *testing.T) string {
			return startService(t, "python3", "testdata/services/stand_in.py", "finger")
		},
		use: func(t *testing.T, host, port string) {
			run(t, peer(t, "python3", "testdata/services/stand_in.py", "finger", host, port), "")
		},
		shows: []string{"Tap: client [3]: ann", `Tap: server [28]: Login: ann\r\nPlan:\r\n  None.\r\n`},
	},
	{
		name: "whois", framing: "line/close",
		serve: func(t *testing.T) string { return startService(t, "python3", "testdata/services/stand_in.py", "whois") },
		use: func(t *testing.T, host, port string) {
			run(t, peer(t, "whois", "-h", host, "-p", port, "example.test"), "")
		},
		shows: []string{"Tap: client [12]: example.test"},
	},
	{
		name: "a manager of Asterisk", framing: "delim:0d0a0d0a",
		serve: func(t *testing.T) string { return startService(t, "python3", "testdata/services/stand_in.py", "ami") },
		use: func(t *testing.T, host, port string) {
			run(t, peer(t, "python3", "testdata/services/stand_in.py", "ami", host, port), "")
		},
		shows: []string{"Tap: client [12]: Action: Ping", `Tap: server [26]: Event: Heard\r\nAction: Ping`},
	},
	{
		name: "MLLP", framing: "mllp",
		serve: func(t *testing.T) string { return startService(t, "python3", "testdata/services/stand_in.py", "mllp") },
		use: func(t *testing.T, host, port string) {
			run(t, peer(t, "python3", "testdata/services/stand_in.py", "mllp", host, port), "")
		},
		shows: []string{`Tap: server [21]: MSH|^~\&|ADT\rMSA|AA|2`},
	},
	{
		name: "syslog", framing: "octets/none", silent: true,
		serve: startRsyslogd,
		use: func(t *testing.T, host, port string) {
			for n := range 3 {
				run(t, peer(t, "logger", "-n", host, "-P", port, "-T", "--octet-count", "-t", "test", "message "+strconv.Itoa(n)), "")
			}
		},
	},
	{
		name: "exim", framing: "smtp",
		serve: startExim,
		use: func(t *testing.T, host, port string) {
			common := []string{"--server", host + ":" + port, "--helo", "me.test", "--from", "ann@a.test"}
			for _, args := range [][]string{
				{"--to", "bob@b.test", "--auth", "PLAIN", "--auth-user", "me", "--auth-password", "secret", "--body", ".\n..\nand more"},
				{"--to", "bob@b.test,refused@b.test", "--auth", "LOGIN", "--auth-user", "me", "--auth-password", "secret", "--pipeline"},
			} {
				run(t, peer(t, "swaks", append(args, common...)...), "")
			}
			run(t, peer(t, stdinClient, "-N", host, port), "EHLO me\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<refused@b.test>\r\nRCPT TO:<b@b.test>\r\nBDAT 9\r\nSubject: BDAT 8 LAST\r\n\r\nhello\nQUIT\r\n")
		},
		shows: []string{"Tap: client [29]: AUTH PLAIN (secret)", "Tap: client [10]: (secret)", "Tap: client [6]: DATA"},
	},
	{
		name: "an FTP server", framing: "smtp", // whose replies are formed alike
		serve: func(t *testing.T) string { return startVsftpd(t, "") },
		use: func(t *testing.T, host, port string) {
			run(t, program(t, "client", "--banner", "--crlf", "--until", `^\d\d\d `, host+":"+port), "USER anonymous\nPASS nobody\nFEAT\nPWD\nQUIT\n")
		},
		shows: []string{"Tap: client [16]: USER anonymous"},
	},
	packets("1"), packets("2"), packets("4"),
}

// packets are Erlang's, with so many bytes of length before each.
func packets(size string) realService {
	return realService{
		name: "Erlang with {packet," + size + "}", framing: "length:" + size,
		serve: func(t *testing.T) string { return startService(t, "escript", "testdata/services/packet.erl", size) },
		use: func(t *testing.T, _, port string) {
			run(t, peer(t, "escript", "testdata/services/packet.erl", size, port), "")
		},
		shows: []string{"Tap: client [1]: x", "Tap: server [5]: got x"},
	}
}

// startVsftpd starts a server of files, with more lines of its configuration.
func startVsftpd(t *testing.T, more string) string {
	if os.Getuid() != 0 {
		skipOutsideCI(t, "only root can start vsftpd")
	}
	port, config := freePort(t), filepath.Join(t.TempDir(), "conf")
	text := "background=NO\nlisten=YES\nlisten_ipv6=NO\nlisten_address=127.0.0.1\nlisten_port=" + port + "\nanonymous_enable=YES\n" +
		"secure_chroot_dir=" + t.TempDir() + "\nxferlog_enable=NO\nseccomp_sandbox=NO\n" + more
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, peer(t, "/usr/sbin/vsftpd", config))
	awaitListening(t, "tcp", "127.0.0.1:"+port)
	return "127.0.0.1:" + port
}

// startExim starts a mail server, a process for each connection.
func startExim(t *testing.T) string { return startEximWith(t) }

// startEximWith is startExim with changes of its configuration: pairs of a text and what is in its place.
func startEximWith(t *testing.T, changes ...string) string {
	dir, port := t.TempDir(), freePort(t)
	for d := range 2 { // root's changes to a user of its own
		if err := os.Chmod(filepath.Join(dir, strings.Repeat("../", d)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	changes = append(changes, "DIR", dir)
	text := strings.NewReplacer(changes...).Replace(string(must(os.ReadFile("testdata/services/exim.conf"))))
	if os.Getuid() != 0 {
		text = fmt.Sprintf("exim_user = %d\nexim_group = %d\n%s", os.Getuid(), os.Getgid(), text)
	}
	config := filepath.Join(dir, "conf")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, peer(t, "socat", "TCP-LISTEN:"+port+",bind=127.0.0.1,reuseaddr,fork", "EXEC:/usr/sbin/exim4 -C "+config+" -bs"))
	awaitListening(t, "tcp", "127.0.0.1:"+port)
	return "127.0.0.1:" + port
}

// freePort is a port that nobody listens at, for a program that cannot pick one: below those that
// a system gives to whoever connects, so that nobody is given it before the program takes it.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(20000 + rand.IntN(10000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// startRedis starts a redis with nothing in it.
func startRedis(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "redis")
	// redis-cli asks for the documentation of all commands first, which comes in another order at times.
	start(t, peer(t, "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", t.TempDir(), "--rename-command", "COMMAND", ""))
	awaitListening(t, "unix", socket)
	return socket
}

// startRsyslogd starts a collector of syslog, which writes what comes into a file.
func startRsyslogd(t *testing.T) string {
	dir, port := t.TempDir(), freePort(t)
	config := filepath.Join(dir, "conf")
	text := fmt.Sprintf("module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"%s\")\n*.* action(type=\"omfile\" file=\"%s/log\")\n", port, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, peer(t, "/usr/sbin/rsyslogd", "-n", "-f", config, "-i", filepath.Join(dir, "pid")))
	awaitListening(t, "tcp", "127.0.0.1:"+port)
	return "127.0.0.1:" + port
}
