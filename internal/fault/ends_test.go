package fault_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/fault"
	"github.com/parley-tcp/parley/parleytest"
)

// joined is a connection with faults over it that has a session, and its peer.
func joined(t *testing.T, list string) (peer *parleytest.Conn, conn net.Conn) {
	t.Helper()
	plan, err := fault.Parse(list)
	if err != nil {
		t.Fatal(err)
	}
	layer := &fault.Layer{Plan: plan}
	layer.Observer(nil)
	peer, ours := parleytest.ConnPair()
	conn = layer.Client(ours)
	parley.NewSession(1, conn.RemoteAddr(), nil, time.Now()).Join(conn)
	return peer, conn
}

// Whatever waits on purpose ends with the connection, and at its deadlines; what is not written is
// not counted, and to write it again goes on there.
func TestWaitsEndAtDeadlinesAndAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer, conn := joined(t, "delay=10s,request.delay=10s")
		defer conn.Close()
		begun := time.Now()
		conn.SetWriteDeadline(begun.Add(4 * time.Second))
		if n, err := conn.Write([]byte("hello\n")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != 4*time.Second {
			t.Errorf("wrote %d after %v, %v", n, time.Since(begun), err)
		}
		conn.SetWriteDeadline(time.Time{})
		if n, err := conn.Write([]byte("hello\n")); n != 6 || err != nil || time.Since(begun) != 10*time.Second {
			t.Errorf("again, wrote %d after %v, %v", n, time.Since(begun), err)
		}

		io.WriteString(peer, "hello\n")
		begun = time.Now()
		time.AfterFunc(time.Second, func() { conn.SetReadDeadline(time.Unix(1, 0)) }) // a wake-up
		if n, err := conn.Read(make([]byte, 10)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("read %d after %v, %v", n, time.Since(begun), err)
		}
		conn.SetReadDeadline(time.Time{})
		if n, err := conn.Read(make([]byte, 10)); n != 6 || err != nil || time.Since(begun) != 10*time.Second {
			t.Errorf("again, read %d after %v, %v", n, time.Since(begun), err)
		}

		begun = time.Now()
		time.AfterFunc(time.Second, func() { conn.Close() })
		if n, err := conn.Write([]byte("hello\n")); n != 0 || !errors.Is(err, net.ErrClosed) || time.Since(begun) != time.Second {
			t.Errorf("closed, wrote %d after %v, %v", n, time.Since(begun), err)
		}
	})
}

// At a rate, a deadline finds what was written so far.
func TestDeadlineAtARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer, conn := joined(t, "rate=1B/s")
		defer conn.Close()
		text := "hello\n"
		conn.SetWriteDeadline(time.Now().Add(2500 * time.Millisecond))
		n, err := conn.Write([]byte(text))
		if n != 2 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, %v", n, err)
		}
		conn.SetWriteDeadline(time.Time{})
		if n, err := conn.Write([]byte(text[n:])); n != 4 || err != nil {
			t.Errorf("again, wrote %d, %v", n, err)
		}
		got := make([]byte, 6)
		if _, err := io.ReadFull(peer, got); string(got) != text || err != nil {
			t.Errorf("%q came, %v", got, err)
		}
	})
}

// A drain does not wait for a stall: what the session has not taken yet it has not read.
func TestDrainDuringAStall(t *testing.T) {
	for _, kind := range []string{"server", "tap"} {
		bubble(t, kind, func(t *testing.T) {
			r := newRig(t, kind, "stall=1m/2m,seed=1", parley.Lines)
			client := r.in.dial()
			defer client.Close()
			time.Sleep(2*time.Minute + time.Second)
			io.WriteString(client, "a\n")
			synctest.Wait()
			if told := r.told.of(1); told != "0 stall=1m0s" {
				t.Errorf("told %q before the drain", told)
			}
			begun := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			r.server.Shutdown(ctx)
			if took, most := time.Since(begun), map[string]time.Duration{"server": time.Second, "tap": 6 * time.Second}[kind]; took > most {
				t.Errorf("the drain took %v", took)
			}
		})
	}
}

// A session that is cut while a reply waits ends at once.
func TestCloseDuringADelay(t *testing.T) {
	for _, kind := range []string{"server", "tap"} {
		bubble(t, kind, func(t *testing.T) {
			r := newRig(t, kind, "delay=1h,seed=1", parley.Lines)
			client := r.in.dial()
			defer client.Close()
			io.WriteString(client, "a\n")
			synctest.Wait()
			begun := time.Now()
			r.server.Close()
			if n, err := client.Read(make([]byte, 10)); n > 0 || err == nil || time.Since(begun) > 2*time.Second {
				t.Errorf("read %d after %v, %v", n, time.Since(begun), err)
			}
		})
	}
}

// A half-close passes, and what is owed comes behind it.
func TestHalfCloseWithFaults(t *testing.T) {
	for _, kind := range []string{"server", "tap"} {
		bubble(t, kind, func(t *testing.T) {
			r := newRig(t, kind, "delay=50ms,request.delay=50ms,request.split=1,split=1,rate=1KiB/s,seed=1", parley.Lines)
			client := r.in.dial()
			defer client.Close()
			io.WriteString(client, "one\ntwo\nunfinished")
			client.CloseWrite()
			if got, err := io.ReadAll(client); string(got) != "ONE\nTWO\nUNFINISHED\n" || err != nil {
				t.Errorf("%q came, %v", got, err)
			}
		})
	}
}

// What a service says in its protocol is whole messages: the third of them is dropped, and no other
// byte.
func TestFaultsOfProtocols(t *testing.T) {
	for name, messages := range map[string][]string{
		"redis":     {"+OK\r\n", "$5\r\na\nb\nc\r\n", "*2\r\n:1\r\n:2\r\n", ":7\r\n"},
		"http":      {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"},
		"smtp":      {"220 ready\r\n", "250-one\r\n250 two\r\n", "250 ok\r\n", "354 go on\r\n"},
		"memcached": {"STORED\r\n", "VALUE k 0 5\r\na\r\nbc\r\nEND\r\n", "DELETED\r\n", "NOT_FOUND\r\n"},
		"length":    {"\x00\x00\x00\x02hi", "\x00\x00\x00\x00", "\x00\x00\x00\x03a\nb", "\x00\x00\x00\x01x"},
		"mllp":      {"\x0bone\x1c\r", "\x0btwo\x1c\r", "\x0bthree\x1c\r", "\x0bfour\x1c\r"},
	} {
		t.Run(name, func(t *testing.T) {
			framing, err := dialect.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			requests := map[string]string{
				"redis": "SET k v\r\nGET k\r\nHGETALL h\r\nINCR n\r\n",
				"http":  strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 4),
				"smtp":  "EHLO a\r\nMAIL FROM:<a>\r\nDATA\r\n", "memcached": "set k 0 0 1\r\na\r\nget k\r\ndelete k\r\ndelete k\r\n",
			}[name]
			plan, _ := fault.Parse("drop=3")
			layer := &fault.Layer{Plan: plan, Framing: framing.Requests}
			var told []string
			layer.Observer(parley.ObserverFunc(func(e *parley.Event) { told = append(told, e.Fault+" "+string(e.Body)) }))
			peer, ours := parleytest.ConnPair()
			conn := layer.Client(ours)
			parley.NewSession(1, conn.RemoteAddr(), nil, time.Now()).Join(conn)
			if requests != "" {
				io.WriteString(peer, requests)
				if _, err := io.ReadFull(conn, make([]byte, len(requests))); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.WriteString(conn, strings.Join(messages, "")); err != nil {
				t.Fatal(err)
			}
			conn.Close()
			got, _ := io.ReadAll(peer)
			if want := messages[0] + messages[1] + messages[3]; string(got) != want {
				t.Errorf("came %q, want %q", got, want)
			}
			if len(told) != 1 || !strings.HasPrefix(told[0], "reply.drop ") {
				t.Errorf("told %q", told)
			}
		})
	}
}

// What can be no message of the framing passes, and so do messages over the limit.
func TestWhatIsNoMessagePasses(t *testing.T) {
	for name, stream := range map[string]string{
		"redis":  "!not redis at all\r\nand so on\r\n",
		"length": "\xff\xff\xff\xff" + strings.Repeat("long ", 1000),
		"stx":    "strays \x02in\x03 and more",
		"close":  "all of it\nto the end",
	} {
		framing, _ := dialect.Parse(name)
		plan, _ := fault.Parse("drop=2,request.cut=2,garbage=2")
		layer := &fault.Layer{Plan: plan, Framing: framing.Requests, MaxMessage: 100}
		layer.Observer(nil)
		peer, ours := parleytest.ConnPair()
		conn := layer.Client(ours)
		parley.NewSession(1, conn.RemoteAddr(), nil, time.Now()).Join(conn)
		for i := range len(stream) {
			if _, err := io.WriteString(conn, stream[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
		if got, _ := io.ReadAll(peer); string(got) != stream {
			t.Errorf("%s: %.100q came, want %.100q", name, got, stream)
		}
	}
}

// Faults are of what is said inside TLS; who is closed in good order sees TLS's end too.
func TestFaultsInsideTLS(t *testing.T) {
	web := httptest.NewUnstartedServer(nil) // has a certificate
	web.StartTLS()
	web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	for list, want := range map[string]string{
		"drop=2,seed=1":                               "A1\nA3\n, <nil>",
		"close-after=2,seed=1":                        "A1\nA2\n, <nil>",
		"split=1,request.split=1,garbage=1000,seed=1": "A1\nA2\nA3\n, <nil>",
	} {
		t.Run(list, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			plan, _ := fault.Parse(list)
			layer := &fault.Layer{Plan: plan}
			version := make(chan string, 1)
			srv := &parley.Server{Handler: upper, Observer: layer.Observer(parley.ObserverFunc(func(e *parley.Event) {
				if e.Kind == parley.Opened {
					version <- e.Session.TLSVersion()
				}
			}))}
			served := make(chan error, 1)
			go func() {
				served <- srv.Serve(layer.Listener(parley.NewTLSListener(l, &tls.Config{Certificates: web.TLS.Certificates})))
			}()
			defer func() { srv.Close(); <-served }()
			client, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "example.com"})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			io.WriteString(client, "a1\na2\na3\n")
			client.CloseWrite()
			got, err := io.ReadAll(client)
			if got := string(got) + ", " + errorText(err); got != want {
				t.Errorf("came %q, want %q", got, want)
			}
			if v := <-version; v != "TLS 1.3" {
				t.Errorf("the session speaks %q", v)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return "<nil>"
	}
	return err.Error()
}
