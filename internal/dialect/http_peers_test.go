package dialect

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// Real clients and servers of http, with an onlooker between them.

const httpPatience = 30 * time.Second // only a failing test uses it up

// An httpRelay passes bytes between two programs and looks on.
type httpRelay struct {
	addr    string
	max     int
	looking sync.WaitGroup // one for each direction of a connection

	mu        sync.Mutex
	onlookers []*httpOnlooker
}

func newHTTPRelay(t *testing.T, upstream string) *httpRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &httpRelay{addr: l.Addr().String(), max: 64 << 10}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", upstream)
			if err != nil {
				t.Error(err)
				client.Close()
				continue
			}
			r.relay(client.(*net.TCPConn), server.(*net.TCPConn))
		}
	})
	t.Cleanup(func() {
		l.Close()
		accepting.Wait()
		r.looking.Wait()
	})
	return r
}

func (r *httpRelay) relay(client, server *net.TCPConn) {
	o := newHTTPOnlooker(r.max)
	r.mu.Lock()
	r.onlookers = append(r.onlookers, o)
	r.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range []struct {
		from, to *net.TCPConn
		s        *httpStream
	}{{client, server, &o.requests}, {server, client, &o.replies}} {
		both.Add(1)
		r.looking.Go(func() {
			defer both.Done()
			buf := make([]byte, 32<<10)
			for {
				n, err := way.from.Read(buf)
				r.mu.Lock()
				way.s.fed += uint64(n)
				way.s.feed(buf[:n], err != nil)
				r.mu.Unlock()
				if _, failed := way.to.Write(buf[:n]); err != nil || failed != nil {
					way.to.CloseWrite()
					return
				}
			}
		})
	}
	r.looking.Go(func() {
		both.Wait()
		client.Close()
		server.Close()
	})
}

// check waits until all is said. Each connection is the lines that one string has.
func (r *httpRelay) check(t *testing.T, want ...string) {
	t.Helper()
	r.looking.Wait()
	if len(r.onlookers) != len(want) {
		t.Errorf("%d connections, want %d", len(r.onlookers), len(want))
	}
	for i, o := range r.onlookers {
		if i < len(want) && o.String() != want[i] {
			t.Errorf("connection %d:\n%s\nwant\n%s", i+1, o, want[i])
		}
		for _, s := range []*httpStream{&o.requests, &o.replies} {
			if s.told != s.fed || s.err != nil {
				t.Errorf("connection %d: %d of %d bytes are in messages, %v; %.100q is left", i+1, s.told, s.fed, s.err, s.buf)
			}
			if s.held > r.max+32<<10 {
				t.Errorf("connection %d: %d bytes were held", i+1, s.held)
			}
		}
	}
}

// httpCommand is a real peer.
func httpCommand(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path := installed(t, name)
	ctx, cancel := context.WithTimeout(context.Background(), 2*httpPatience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, args...)
}

// httpServer is the address of a server that prints its port.
func httpServer(t *testing.T, name string, args ...string) (addr string) {
	t.Helper()
	cmd := httpCommand(t, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s has printed no port: %v", name, err)
	}
	return "127.0.0.1:" + strings.TrimSpace(port)
}

// curl returns what it prints.
func curl(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	cmd := httpCommand(t, "curl", append([]string{"--disable", "--silent", "--show-error", "--noproxy", "*", "--http1.1"}, args...)...)
	cmd.Env = []string{}
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, stderr.String())
	}
	return string(out)
}

func TestCurlWithNode(t *testing.T) {
	r := newHTTPRelay(t, httpServer(t, "node", "testdata/http/server.js"))
	at := "http://" + r.addr
	got := curl(t, strings.NewReader("abc"), at+"/hello", at+"/chunked", at+"/204", at+"/304", at+"/hints",
		"--next", "--head", "--output", "/dev/null", at+"/hello",
		"--next", "--head", "--output", "/dev/null", at+"/chunked",
		"--next", "--data", "0123456789", at+"/count",
		"--next", "--expect100-timeout", "60", "--header", "Expect: 100-continue", "--data", "0123456789", at+"/count",
		"--next", "--expect100-timeout", "60", "--header", "Expect: 100-continue", "--upload-file", "-", at+"/count",
		"--next", at+"/close")
	if want := "hellohellohello10103hello"; got != want {
		t.Errorf("curl got %q, want %q", got, want)
	}
	r.check(t, `1 > GET /hello
1 < 200 OK (5 bytes)
2 > GET /chunked
2 < 200 OK (5 bytes)
3 > GET /204
3 < 204 No Content
4 > GET /304
4 < 304 Not Modified
5 > GET /hints
- < 103 Early Hints
5 < 200 OK (5 bytes)
6 > HEAD /hello
6 < 200 OK
7 > HEAD /chunked
7 < 200 OK
8 > POST /count (10 bytes)
8 < 200 OK (2 bytes)
- < 100 Continue
9 > POST /count (10 bytes)
9 < 200 OK (2 bytes)
- < 100 Continue
10 > PUT /count (3 bytes)
10 < 200 OK (1 byte)
11 > GET /close
11 < 200 OK (5 bytes)`)
}

func TestCurlWithPython(t *testing.T) {
	for version, want := range map[string][]string{
		"1.0": {"1 > GET /hello\n1 < 200 OK (5 bytes)", "1 > GET /close\n1 < 200 OK (5 bytes)", "1 > HEAD /hello\n1 < 200 OK", "1 > PUT /hello (3 bytes)\n1 < 201 Created (1 byte)"},
		"1.1": {"1 > GET /hello\n1 < 200 OK (5 bytes)\n2 > GET /close\n2 < 200 OK (5 bytes)", "1 > HEAD /hello\n1 < 200 OK\n- < 100 Continue\n2 > PUT /hello (3 bytes)\n2 < 201 Created (1 byte)"},
	} {
		t.Run(version, func(t *testing.T) {
			r := newHTTPRelay(t, httpServer(t, "python3", "testdata/http/server.py", version))
			at := "http://" + r.addr
			put := []string{"--next", "--expect100-timeout", "60", "--header", "Expect: 100-continue", "--header", "Content-Length: 3", "--request", "PUT", "--data", "abc", at + "/hello"}
			if version == "1.0" {
				put = []string{"--next", "--http1.0", "--request", "PUT", "--data", "abc", at + "/hello"}
			}
			got := curl(t, nil, append([]string{at + "/hello", at + "/close", "--next", "--head", "--output", "/dev/null", at + "/hello"}, put...)...)
			if want := "hellohello3"; got != want {
				t.Errorf("curl got %q, want %q", got, want)
			}
			r.check(t, want...)
		})
	}
}

// Requests in one write, also behind one that is asked to be the last.
func TestPipelineWithNode(t *testing.T) {
	r := newHTTPRelay(t, httpServer(t, "node", "testdata/http/server.js"))
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(httpPatience))
	var out []byte
	for _, path := range []string{"GET /hello", "HEAD /hello", "GET /204", "GET /chunked", "HEAD /chunked", "GET /304", "GET /nowhere"} {
		out = append(out, path+" HTTP/1.1\r\nHost: x\r\n\r\n"...)
	}
	conn.Write(append(out, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"...))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Error(err)
	}
	conn.Close()
	r.looking.Wait()
	for _, o := range r.onlookers { // which of the two is told first does not matter
		o.lines = append(httpLinesOf(o, '>'), httpLinesOf(o, '<')...)
	}
	r.check(t, "1 > GET /hello\n2 > HEAD /hello\n3 > GET /204\n4 > GET /chunked\n5 > HEAD /chunked\n6 > GET /304\n7 > GET /nowhere\n8 > GET /hello\n"+
		"1 < 200 OK (5 bytes)\n2 < 200 OK\n3 < 204 No Content\n4 < 200 OK (5 bytes)\n5 < 200 OK\n6 < 304 Not Modified\n7 < 404 Not Found\n8 < 200 OK (5 bytes)")
}

func httpLinesOf(o *httpOnlooker, by byte) (lines []string) {
	for _, line := range o.lines {
		if strings.Contains(line, " "+string(by)+" ") {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestUpgradeWithNode(t *testing.T) {
	r := newHTTPRelay(t, httpServer(t, "node", "testdata/http/server.js"))
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(httpPatience))
	in := bufio.NewReader(conn)
	fmt.Fprint(conn, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
	reply, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, reply.Body)
	fmt.Fprint(conn, "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if _, err = http.ReadResponse(in, nil); err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{"\x81\x05hello", "GET / HTTP/1.1\r\n\r\n"} {
		io.WriteString(conn, said)
		heard := make([]byte, len(said))
		if _, err := io.ReadFull(in, heard); err != nil || string(heard) != said {
			t.Fatalf("%q came back as %q, %v", said, heard, err)
		}
	}
	conn.Close()
	r.check(t, "1 > GET /hello\n1 < 200 OK (5 bytes)\n2 > GET /echo\n2 < 101 Switching Protocols\n- > \x81\x05hello\n- < \x81\x05hello\n- > GET /\n- < GET / HTTP/1.1\r\n\r\n")
}

// A proxy that refuses the first CONNECT: curl asks again, on the same connection, and talks
// through the tunnel.
func TestConnectThroughAProxy(t *testing.T) {
	origin := httpServer(t, "node", "testdata/http/server.js")
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") == "" {
			w.Header().Set("Proxy-Authenticate", "Digest realm=\"x\", nonce=\"y\"")
			w.WriteHeader(http.StatusProxyAuthRequired)
			io.WriteString(w, "who are you?")
			return
		}
		server, err := net.Dial("tcp", r.Host)
		if err != nil {
			t.Error(err)
			return
		}
		client, _, _ := http.NewResponseController(w).Hijack()
		io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
		var both sync.WaitGroup
		both.Go(func() { io.Copy(server, client); server.(*net.TCPConn).CloseWrite() })
		both.Go(func() { io.Copy(client, server); client.(*net.TCPConn).CloseWrite() })
		both.Wait()
		client.Close()
		server.Close()
	}))
	defer proxy.Close()
	r := newHTTPRelay(t, proxy.Listener.Addr().String())
	got := curl(t, nil, "--noproxy", "", "--proxytunnel", "--proxy", "http://me:pass@"+r.addr, "--proxy-digest", "http://"+origin+"/hello")
	if got != "hello" {
		t.Errorf("curl got %q", got)
	}
	r.looking.Wait()
	for _, o := range r.onlookers {
		for i, line := range o.lines {
			if number, words, ok := strings.Cut(line, "- < HTTP/1.1 "); ok { // not by words: it is a chunk
				o.lines[i] = number + "- < " + words
			}
		}
	}
	r.check(t, "1 > CONNECT "+origin+"\n1 < 407 Proxy Authentication Required (12 bytes)\n2 > CONNECT "+origin+"\n2 < 200 Connection established\n- > GET /hello\n- < 200 OK (5 bytes)")
}

// 100 MiB pass, and are not held: with a length, in chunks and until the end, both ways.
func TestBigBodiesWithCurl(t *testing.T) {
	const size = 100 << 20
	received := make(chan int64, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		if r.Method == "PUT" {
			received <- n
			return
		}
		switch r.URL.Path {
		case "/length":
			w.Header().Set("Content-Length", strconv.Itoa(size))
		case "/close":
			w.Header().Set("Connection", "close")
			w.Header().Set("Transfer-Encoding", "identity")
		}
		io.Copy(w, io.LimitReader(zeros{}, size))
	}))
	defer server.Close()
	for _, c := range []struct{ path, want string }{
		{"/length", "1 > GET /length\n1 < 200 OK (104857600 bytes)"},
		{"/close", "1 > GET /close\n1 < 200 OK (104857600 bytes)"},
		{"/chunked", "1 > GET /chunked\n1 < 200 OK (up to N bytes)"},
	} {
		r := newHTTPRelay(t, server.Listener.Addr().String())
		if got := curl(t, nil, "--output", "/dev/null", "--write-out", "%{size_download}", "http://"+r.addr+c.path); got != strconv.Itoa(size) {
			t.Errorf("%s: curl got %s bytes", c.path, got)
		}
		r.looking.Wait()
		var most uint64 // chunks and what is between them
		for _, line := range r.onlookers[0].lines {
			fmt.Sscanf(line, "1 < 200 OK (up to %d bytes)", &most)
		}
		if c.path == "/chunked" && (most < size || most > r.onlookers[0].replies.fed) {
			t.Errorf("up to %d bytes, of %d in a stream of %d", most, size, r.onlookers[0].replies.fed)
		}
		r.check(t, strings.ReplaceAll(c.want, "N", fmt.Sprint(most)))
	}
	r := newHTTPRelay(t, server.Listener.Addr().String())
	curl(t, io.LimitReader(zeros{}, size), "--upload-file", "-", "--expect100-timeout", "60", "http://"+r.addr+"/upload")
	if n := <-received; n != size {
		t.Errorf("the server got %d bytes", n)
	}
	r.looking.Wait()
	if ends := r.onlookers[0].ends; len(ends) != 3 || !strings.HasPrefix(ends[0], "- < ") || !strings.HasPrefix(ends[1], "1 > ") || !strings.HasPrefix(ends[2], "1 < ") {
		t.Errorf("told %q", ends)
	}
	r.check(t, r.onlookers[0].String())
}

// zeros is bytes without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Go's client and server, with trailers both ways.
func TestGoClientWithGoServer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Trailer", "Sum")
		w.Write(body)
		w.(http.Flusher).Flush()
		w.Header().Set("Sum", r.Trailer.Get("Sum"))
	}))
	defer server.Close()
	r := newHTTPRelay(t, server.Listener.Addr().String())
	transport := new(http.Transport)
	client := &http.Client{Transport: transport}
	var want []string
	for i := range 50 {
		method := []string{"GET", "HEAD", "POST", "PUT"}[i%4]
		text := strings.Repeat("x", i)
		var body io.Reader
		if i%4 >= 2 {
			body = io.MultiReader(strings.NewReader(text), strings.NewReader(text)) // of unknown length
		}
		request, err := http.NewRequest(method, "http://"+r.addr+"/"+strconv.Itoa(i), body)
		if err != nil {
			t.Fatal(err)
		}
		request.Trailer = http.Header{"Sum": []string{"sum"}}
		reply, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, reply.Body); err != nil {
			t.Error(err)
		}
		reply.Body.Close()
		size := ""
		if body != nil {
			size = fmt.Sprintf(" (%d bytes)", 2*i)
		}
		want = append(want, fmt.Sprintf("%d > %s /%d%s", i+1, method, i, size), fmt.Sprintf("%d < 200 OK%s", i+1, size))
	}
	transport.CloseIdleConnections()
	r.check(t, strings.Join(want, "\n"))
}

// startHTTP is the address of our own server, with the pattern of a plain `parley server`.
func startHTTP(t *testing.T, s *parley.Server, pattern string) (addr string) {
	t.Helper()
	s.Framing = httpFraming.Requests
	template, err := parley.ParseTemplate(pattern, s.Framing)
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = template
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != parley.ErrServerClosed {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestCurlWithOurServer(t *testing.T) {
	addr := startHTTP(t, &parley.Server{MaxRequest: 1000}, "{seq}: {message}")
	at := "http://" + addr
	got := curl(t, nil, "--write-out", "%{http_code} on connection %{num_connects}\n", at+"/a", at+"/b",
		"--next", "--write-out", "%{http_code}\n", "--head", "--output", "/dev/null", at+"/c",
		"--next", "--write-out", "%{http_code}\n", "--data", "0123456789", at+"/d",
		"--next", "--write-out", "%{http_code}\n", "--request", "PUT", "--header", "Transfer-Encoding: chunked", "--data", "012", at+"/e")
	if want := "1: GET /a\n200 on connection 1\n2: GET /b\n200 on connection 0\n200\n4: POST /d (10 bytes)\n200\n5: PUT /e (3 bytes)\n200\n"; got != want {
		t.Errorf("curl got\n%s\nwant\n%s", got, want)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--http1.0", at + "/a"}, "1: GET /a\n200"},
		{[]string{"--data", strings.Repeat("x", 2000), at + "/a"}, "Error: request longer than 1000 bytes\n413"},
		{[]string{"--header", "Content-Length: 1, 2", "--data", "x", at + "/a"}, "Error: malformed message: 1 and 2 as Content-Length\n400"},
		{[]string{"--proxytunnel", "--proxy", at, "--noproxy", "", "--write-out", "%{http_connect}", at}, "501"},
	} {
		cmd := httpCommand(t, "curl", append([]string{"--disable", "--silent", "--noproxy", "*", "--http1.1", "--write-out", "%{http_code}"}, c.args...)...)
		cmd.Env = []string{}
		if out, _ := cmd.Output(); string(out) != c.want {
			t.Errorf("curl %v got %q, want %q", c.args, out, c.want)
		}
	}
}

// A Client does each request in turn, and takes no message for the reply that is none.
func TestOurClientWithNode(t *testing.T) {
	addr := httpServer(t, "node", "testdata/http/server.js")
	d := parley.Dialer{Framing: httpFraming.For(httpFraming, addr).Requests}
	c, err := d.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, e := range []struct{ request, want string }{
		{"GET /hello", "200 OK (5 bytes)"},
		{"HEAD /hello", "200 OK"},
		{"POST /count 0123456789", "200 OK (2 bytes)"},
		{"PUT /count", "200 OK (1 byte)"},
		{"GET /204", "204 No Content"},
		{"GET /hints", "200 OK (5 bytes)"},
		{"GET /chunked", "200 OK (5 bytes)"},
		{"GET /nowhere", "404 Not Found"},
		{"GET /close", "200 OK (5 bytes)"},
	} {
		reply, err := c.Do(t.Context(), []byte(e.request))
		if words := string(httpWords{}.AppendReply(nil, Message{Body: reply})); words != e.want || err != nil {
			t.Errorf("%s: %q, %v; want %s", e.request, words, err, e.want)
		}
	}
	if message, err := c.Receive(t.Context()); err != io.EOF {
		t.Errorf("behind the last reply: %q, %v", message, err)
	}
}

// The server closes behind the reply to a request that asks for it, and behind one that ends so.
func TestOurServerClosesBehindTheLastReply(t *testing.T) {
	for _, engine := range []parley.Engine{parley.Goroutines, parley.LoopsIfPossible} {
		for _, c := range []struct{ request, pattern, want string }{
			{"GET /a HTTP/1.0\r\n\r\n", "{seq}", "200 OK (2 bytes)"},
			{"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n", "{seq}", "200 OK (2 bytes)"},
			{"GET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", "200 OK (1 byte)"},
			{"GET /a HTTP/1.1\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "200 OK (1 byte)"},
			{"GET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nx", "200 OK (1 byte)"},
			{"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "{seq}", ""},
			{"GET /a HTTP/1.1\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx", ""},
		} {
			conn, err := net.Dial("tcp", startHTTP(t, &parley.Server{Engine: engine}, c.pattern))
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(httpPatience))
			in := bufio.NewReader(conn)
			if io.WriteString(conn, c.request+"GET /b HTTP/1.1\r\nConnection: close\r\n\r\n"); c.want == "" {
				reply, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, reply.Body) // and then there is another
				if reply, err = http.ReadResponse(in, nil); err != nil || reply.StatusCode != 200 {
					t.Errorf("%v, %q and %q: %v, %v behind the first reply", engine, c.request, c.pattern, reply, err)
				}
			} else if got, err := io.ReadAll(in); err != nil || string(httpWords{}.AppendReply(nil, Message{Body: got})) != c.want {
				t.Errorf("%v, %q and %q: %q, %v; want %s and the end", engine, c.request, c.pattern, got, err, c.want)
			}
			conn.Close()
		}
	}
}
