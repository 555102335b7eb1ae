package answer

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/parleytest"
)

// A log is what a mock told of.
type failures struct {
	mu   sync.Mutex
	told []string
}

func (f *failures) add(s *parley.Session, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, fmt.Sprintf("%d: %s", s.Number(), why))
}

func (f *failures) all() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.told, "\n")
}

// mockOf makes the mock of a dialogue in t.talk.
func mockOf(t testing.TB, text string, anyOrder bool) (*dialogue.Dialogue, *Dialogue, dialect.Framing, *failures) {
	t.Helper()
	d, err := dialogue.Parse("t.talk", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	name := d.Framing
	if name == "" {
		name = "line"
	}
	f, told := named(t, name), new(failures)
	f = f.WithTLSBelow()
	mock, err := NewDialogue(d, DialogueOptions{Framing: f, AnyOrder: anyOrder, Failed: told.add})
	if err != nil {
		t.Fatal(err)
	}
	return d, mock, f, told
}

const plainTalk = `< = hello
< * 
eg and welcome
> LOGIN me{n}
< ~ ^token (?P<token>\w+)$
eg token abc
> NICK
> AUTH {token}
< = ok {token}
wait 1ms
< !~ ^ERR
eg news
< = more
> QUIT
< = bye
< eof
`

// Who plays the client's side of a dialogue is content with who plays the server's.
func TestBothSidesOfADialogue(t *testing.T) {
	for name, text := range map[string]string{
		"line":      plainTalk,
		"redis":     "framing redis\n> PING\n< = +PONG\\r\\n\n> SET k{n} {{x}}\n< ~ ^\\+OK\neg OK\n> GET k{n}\n< = $1\\r\\nx\\r\\n\n",
		"memcached": "framing memcached\n> set k 0 0 5\\r\\nhello\n< ~ ^STORED\neg STORED\n> get k\n< = VALUE k 0 5\\r\\nhello\\r\\nEND\\r\\n\n> quit\n< eof\n",
		"http":      "framing http\n> GET /a\n< ~ ^HTTP/1.1 200\neg hi\n> POST /b some text\n< ~ 404\neg HTTP/1.1 404 Not Found\\r\\nContent-Length: 0\\r\\n\\r\\n\n",
		"smtp":      "framing smtp\n< ~ ^220\neg 220 mx\n> EHLO me\n< ~ ^250\neg 250-mx\\n250 DSN\n> DATA\n< ~ ^354\neg 354 go\n> Subject: x\\r\\n\\r\\n.hi\\r\\n.\n< ~ ^250\neg 250 kept\n> QUIT\n< ~ ^221\neg 221 bye\n< eof\n",
		"whois":     "framing line/close\n> parley.test\neof\n< ~ (?s)no match.*again\neg no match\\nask again\n< eof\n",
	} {
		t.Run(name, func(t *testing.T) {
			overEngines(t, func(t *testing.T, engine parley.Engine) {
				d, mock, f, told := mockOf(t, text, false)
				dial := serve(t, engine, f, mock)
				for n := range 3 {
					p := dialogue.Player{Framing: f, Timeout: patience}
					play := p.Open(dial())
					if err := play.Run(context.Background(), d, dialogue.Values{"n": fmt.Append(nil, n)}); err != nil {
						t.Error(err)
					}
					play.Close()
				}
				if mock.Failures() > 0 {
					t.Errorf("told %s", told.all())
				}
			})
		})
	}
}

// A client that says something else is told what was expected, where, and hung up on.
func TestMismatch(t *testing.T) {
	const text = "> HELO\n< = hi\n> SEND {conn}\n< ~ ^(ok|no)$\neg ok\n"
	for _, c := range []struct{ in, want, told string }{
		{"HELO\nSEND 1\n", "hi\nok\n", ""},
		{"NOOP\nHELO\n", "Error: not what t.talk:1 expects: > HELO\n", "1: not what t.talk:1 expects: > HELO"},
		{"HELO\nSEND x\n", "hi\nError: not what t.talk:3 expects: > SEND {conn}\n", "1: not what t.talk:3 expects: > SEND {conn}"},
		{"HELO\nSEND 1\nSEND 1\n", "hi\nok\nError: not what t.talk expects: nothing more\n", "1: not what t.talk expects: nothing more"},
	} {
		overEngines(t, func(t *testing.T, engine parley.Engine) {
			_, mock, f, told := mockOf(t, text, false)
			if got := say(t, serve(t, engine, f, mock)(), c.in); got != c.want {
				t.Errorf("%q is answered %q, want %q", c.in, got, c.want)
			}
			if told.all() != c.told || (mock.Failures() > 0) != (c.told != "") {
				t.Errorf("%q: told %q, want %q", c.in, told.all(), c.told)
			}
		})
	}
}

// The password that a dialogue expects is told neither to who does not know it, nor to who reads along.
func TestMismatchKeepsCredentials(t *testing.T) {
	const text = "framing smtp\n< = 220 hi\n> AUTH LOGIN\n< = 334 \n> dXNlcg==\n< = 334 \n> c2VjcmV0\n< = 235 ok\n> AUTH PLAIN c2VjcmV0\n< = 235 ok\n> QUIT\n< = 221 bye\n"
	for in, want := range map[string]string{
		"AUTH LOGIN\r\ndXNlcg==\r\nbad\r\n":                      "t.talk:7 expects: > (secret)",
		"AUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0\r\nAUTH PLAIN x\r\n": "t.talk:9 expects: > AUTH PLAIN (secret)",
		"AUTH LOGIN\r\ndXNlcg==\r\n":                             "it ended (eof) before t.talk:7: > (secret)",
	} {
		_, mock, f, told := mockOf(t, text, false)
		heard := say(t, serve(t, parley.Goroutines, f, mock)(), in)
		if all := heard + told.all(); strings.Contains(all, "c2VjcmV0") || !strings.Contains(all, want) {
			t.Errorf("%q: heard %q, told %q, want %q", in, heard, told.all(), want)
		}
	}
}

// What a client says of what the server has told it has to be that.
func TestNamesAreWhatTheServerSaid(t *testing.T) {
	const text = "> HI\n< ~ ^token (?P<token>\\w+)\neg token abc\n> AUTH {token}\n< = welcome\n"
	for in, want := range map[string]string{"HI\nAUTH abc\n": "token abc\nwelcome\n", "HI\nAUTH abd\n": "token abc\nError: not what t.talk:4 expects: > AUTH {token}\n"} {
		_, mock, f, _ := mockOf(t, text, false)
		if got := say(t, serve(t, parley.Goroutines, f, mock)(), in); got != want {
			t.Errorf("%q is answered %q, want %q", in, got, want)
		}
	}
}

// With AnyOrder each message may come at any time, and again; what stands twice is answered in turn.
func TestAnyOrder(t *testing.T) {
	const text = "< = hello\n> A\n< = 1\n> B {n}\n< = b {n}\n< = and more\n> A\n< = 2\n> C\n> QUIT\n< = bye\n< eof\n"
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		_, mock, f, told := mockOf(t, text, true)
		dial := serve(t, engine, f, mock)
		if got, want := say(t, dial(), "B 7\nA\nC\nA\nA\nB 8\nQUIT\nA\n"), "hello\nb 7\nand more\n1\n2\n2\nb 8\nand more\nbye\n"; got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
		if got := say(t, dial(), "A\n"); got != "hello\n1\n" {
			t.Errorf("the next hears %q", got)
		}
		if told.all() != "" {
			t.Errorf("told %q", told.all())
		}
		if got, want := say(t, dial(), "D\nA\n"), "hello\nError: not what t.talk expects\n"; got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	})
}

// A client cannot have more wait to be said to it than so much.
func TestMostThatWaitsToBeSaid(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		_, mock, f, _ := mockOf(t, "> A\n< = a\nwait 1h\n< = later\n", true)
		dial := serve(t, engine, f, mock)
		for asked, want := range map[int]int{mostWaiting - 1: mostWaiting - 1, mostWaiting: mostWaiting, mostWaiting + 1: mostWaiting} {
			c := dial()
			go io.WriteString(c, strings.Repeat("A\n", asked)+"A")
			in := bufio.NewReader(c)
			n := 0
			for ; n < want; n++ {
				if line, err := in.ReadString('\n'); line != "a\n" {
					t.Fatalf("reply %d of %d is %q, %v", n+1, asked, line, err)
				}
			}
			if asked > want {
				if line, err := in.ReadString('\n'); err != io.EOF {
					t.Errorf("behind %d replies comes %q, %v; want the end", n, line, err)
				}
			}
			c.Close()
		}
	})
}

// A session that ends before the dialogue does is no success; one that never begins is nothing.
func TestDialogueThatIsLeft(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		_, mock, f, told := mockOf(t, "> A\n< = a\n> B\n< = b\n", false)
		dial := serve(t, engine, f, mock)
		say(t, dial(), "")
		say(t, dial(), "A\nB\n")
		say(t, dial(), "A\n")
		if want := "3: it ended (eof) before t.talk:3: > B"; told.all() != want || mock.Failures() != 1 {
			t.Errorf("told %q, want %q", told.all(), want)
		}
	})
}

// A mock pauses where the dialogue does, before what it says: before a reply only in a goroutine.
func TestDialogueThatWaits(t *testing.T) {
	for text, blocks := range map[string]bool{
		"wait 1m\n< = hello\n> A\n< = a\nwait 1m\n< = later\n": false,
		"> A\nwait 1m\n< = a\n":                                true,
		"> A\n< = a\nwait 1h\n> B\n< = b\n":                    false,
	} {
		_, mock, _, _ := mockOf(t, text, false)
		if got := mock.Blocks() != ""; got != blocks {
			t.Errorf("%q blocks: %v", text, got)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		_, mock, f, _ := mockOf(t, "wait 1m\n< = hello\n> A\nwait 2m\n< = a\nwait 3m\n< = later\nwait 1h\n> B\n< = b\nwait 4m\n< eof\n", false)
		c := parleytest.Pipe(t, &parley.Server{Handler: mock, Framing: f.Requests, IdleTimeout: time.Hour})
		in := bufio.NewReader(c)
		for _, want := range []struct {
			send, line string
			after      time.Duration
		}{{"", "hello\n", time.Minute}, {"A\n", "a\n", 2 * time.Minute}, {"", "later\n", 3 * time.Minute}, {"B\n", "b\n", 0}, {"", "", 4 * time.Minute}} {
			begun := time.Now()
			io.WriteString(c, want.send)
			line, err := in.ReadString('\n')
			if took := time.Since(begun).Round(100 * time.Millisecond); line != want.line || took != want.after || (err == io.EOF) != (want.line == "") {
				t.Errorf("%q after %v, %v; want %q after %v", line, took, err, want.line, want.after)
			}
		}
	})
}

func TestDialogueThatCannotBePlayed(t *testing.T) {
	for text, want := range map[string]string{
		"> A\n< ~ ^a\n":            "t.talk:2: what is to be said for < ~ ^a? write eg TEXT on the line below it",
		"> A\n< *\n":               "t.talk:2: what is to be said for < *? write eg TEXT on the line below it",
		"> A\n< ~ ^a\neg b\n":      "t.talk:2: eg b is not as < ~ ^a wants it",
		"> A\n< !~ b\neg ab\n":     "t.talk:2: eg ab is not as < !~ b wants it",
		"> A\n< = a\ntls\n< = b\n": "t.talk:4: a mock cannot speak first behind tls; put a > before it",
	} {
		d, err := dialogue.Parse("t.talk", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewDialogue(d, DialogueOptions{Framing: named(t, "line")}); fmt.Sprint(err) != want {
			t.Errorf("%q gives %v, want %s", text, err, want)
		}
	}
}

// serveTLS has a dialogue that goes over to TLS played.
func serveTLS(t *testing.T, mock *Dialogue, f dialect.Framing) (dial func() net.Conn) {
	https := httptest.NewUnstartedServer(nil) // for its certificate
	https.StartTLS()
	t.Cleanup(https.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	parleytest.Serve(t, &parley.Server{Handler: mock, Framing: f.Requests, Replies: f.Replies, Observer: mock},
		mock.Listener(l, &tls.Config{Certificates: https.TLS.Certificates}))
	return func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { c.Close() })
		return c
	}
}

const (
	smtpTLS = "framing smtp\n< ~ ^220\neg 220 mx\n> EHLO me\n< ~ ^250\neg 250 STARTTLS\n> STARTTLS\n< ~ ^220\neg 220 go\ntls\n> EHLO me\n< ~ ^250\neg 250 mx\n> MAIL FROM:<a@b>\n< ~ ^250\neg 250 OK\n> QUIT\n< ~ ^221\neg 221 bye\n< eof\n"
	pop3TLS = "framing crlf\n< = +OK hi\n> STLS\n< = +OK go\ntls\n> QUIT\n< = +OK bye\n< eof\n"
)

// Behind tls the dialogue goes on in TLS, and in smtp with the protocol.
func TestDialogueGoesOverToTLS(t *testing.T) {
	for name, text := range map[string]string{"smtp": smtpTLS, "pop3": pop3TLS} {
		t.Run(name, func(t *testing.T) {
			d, mock, f, told := mockOf(t, text, false)
			if !mock.GoesOverToTLS() || mock.Blocks() == "" {
				t.Error("it does not say that it goes over to TLS")
			}
			dial := serveTLS(t, mock, f)
			p := dialogue.Player{Framing: named(t, d.Framing), Timeout: patience, StartTLS: func(ctx context.Context, conn net.Conn) (net.Conn, error) {
				secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				return secure, secure.HandshakeContext(ctx)
			}}
			for range 2 {
				play := p.Open(dial())
				if err := play.Run(context.Background(), d, nil); err != nil {
					t.Error(err)
				}
				play.Close()
			}
			if mock.Failures() > 0 {
				t.Errorf("told %s", told.all())
			}
		})
	}
}

// What is sent in plain behind the wish for TLS is never taken for what came over TLS.
func TestPlainTextBehindTheWishForTLS(t *testing.T) {
	for _, behind := range []string{"RSET\r\n", "QUIT\r\n", "x"} {
		_, mock, f, told := mockOf(t, pop3TLS, false)
		c := serveTLS(t, mock, f)()
		fmt.Fprintf(c, "STLS\r\n%s", behind)
		got, _ := io.ReadAll(c) // ends with the handshake that fails
		if !strings.HasPrefix(string(got), "+OK hi\r\n+OK go\r\n") || strings.Contains(string(got), "bye") || strings.Contains(string(got), "Error") {
			t.Errorf("%q behind it: heard %q", behind, got)
		}
		if behind == "x" {
			continue
		}
		deadline := time.Now().Add(patience)
		for mock.Failures() == 0 && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if !strings.Contains(told.all(), "before t.talk:6: > QUIT") {
			t.Errorf("%q behind it: told %q", behind, told.all())
		}
	}
}

// A client that does not begin TLS is not waited for in vain, and a stop does not cut a handshake.
func TestNobodyBeginsTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, mock, f, _ := mockOf(t, pop3TLS, false)
		client, server := parleytest.ConnPair()
		wrapped, err := mock.Listener(&oneConn{conn: server}, new(tls.Config)).Accept()
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		srv := &parley.Server{Handler: mock, Framing: f.Requests, IdleTimeout: -1} // no deadline but that of the handshake
		go func() { served <- srv.ServeConn(wrapped) }()
		io.WriteString(client, "STLS\r\n")
		begun := time.Now()
		if got, err := io.ReadAll(client); string(got) != "+OK hi\r\n+OK go\r\n" {
			t.Errorf("heard %q, %v", got, err)
		}
		if took := time.Since(begun); took < handshakeTimeout || took > 2*handshakeTimeout {
			t.Errorf("ended after %v, want %v", took, handshakeTimeout)
		}
		client.Close()
		<-served
	})
}

// A stop of the server leaves a handshake its time.
func TestStopDuringTheHandshake(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	synctest.Test(t, func(t *testing.T) {
		_, mock, f, _ := mockOf(t, pop3TLS, false)
		client, server := parleytest.ConnPair()
		wrapped, err := mock.Listener(&oneConn{conn: server}, &tls.Config{Certificates: cert.TLS.Certificates}).Accept()
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		srv := &parley.Server{Handler: mock, Framing: f.Requests}
		go func() { served <- srv.ServeConn(wrapped) }()
		io.WriteString(client, "STLS\r\n")
		io.ReadFull(client, make([]byte, len("+OK hi\r\n+OK go\r\n")))
		synctest.Wait() // it waits for the handshake
		drained := make(chan error, 1)
		go func() { drained <- srv.Shutdown(t.Context()) }()
		synctest.Wait()
		secure := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
		if err := secure.Handshake(); err != nil {
			t.Errorf("handshake: %v", err)
		}
		io.Copy(io.Discard, secure)
		secure.Close()
		if err := <-drained; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		<-served
	})
}

type oneConn struct {
	net.Listener
	conn net.Conn
}

func (l *oneConn) Accept() (net.Conn, error) { return l.conn, nil }

// Each dialogue of the manual can be played by both sides.
func TestExamplesHaveBothSides(t *testing.T) {
	files, err := filepath.Glob("../../docs/dialogues/*.talk")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d, mock, f, told := mockOf(t, string(text), false)
			dial := serveTLS(t, mock, f)
			p := dialogue.Player{Framing: named(t, f.Name), Timeout: patience, StartTLS: func(ctx context.Context, conn net.Conn) (net.Conn, error) {
				secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				return secure, secure.HandshakeContext(ctx)
			}}
			for n := range 2 {
				play := p.Open(dial())
				if err := play.Run(context.Background(), d, dialogue.Values{"n": fmt.Append(nil, n+1)}); err != nil {
					t.Error(err)
				}
				play.Close()
			}
			if mock.Failures() > 0 {
				t.Errorf("told %s", told.all())
			}
		})
	}
}
