package natsconn

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func startNATS(t *testing.T, options *server.Options) string {
	t.Helper()
	options.Host, options.Port, options.NoLog, options.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("nats-server does not listen")
	}
	return s.Addr().String()
}

func TestConnects(t *testing.T) {
	at := startNATS(t, &server.Options{Username: "parley", Password: "hunter2"})
	for _, urls := range []string{"nats://parley:hunter2@" + at, "parley:hunter2@" + at, "nats://parley:hunter2@127.0.0.1:1,parley:hunter2@" + at} {
		conn, err := Options{URLs: urls}.Connect(t.Context())
		if err != nil {
			t.Errorf("%s: %v", urls, err)
			continue
		}
		if err := conn.Flush(); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
}

// What is wrong is said in words, and no password is among them.
func TestWhyThereIsNoConnection(t *testing.T) {
	at := startNATS(t, &server.Options{Username: "parley", Password: "hunter2"})
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{URLs: "nats://u:hunter3@127.0.0.1:1"}, "cannot connect to NATS at 127.0.0.1:1: connection refused; is nats-server running there?"},
		{Options{URLs: "nats://u:hunter3@" + at}, "cannot connect to NATS at " + at + ": it does not let us in (authorization violation); are the credentials right?"},
		{Options{URLs: "nats://u:hunter3@[::1"}, "server 1 of the list is no address of NATS; write such as nats://host:4222,other:4222"},
		{Options{URLs: "nats://u:hunter3@a:99999"}, "server 1 of the list has no port that can be: use a number from 1 to 65535"},
		{Options{URLs: "nats://a,"}, "server 2 of the list is no address of NATS; write such as nats://host:4222,other:4222"},
		{Options{URLs: "http://u:hunter3@a:80"}, "http:// is not for NATS; write such as nats://a:80"},
		{Options{URLs: "nats://" + at, Creds: "/nowhere"}, "credentials /nowhere: no such file or directory"},
		{Options{URLs: "nats://parley:hunter2@" + at, CA: junk}, "CA " + junk},
	} {
		conn, err := c.options.Connect(t.Context())
		if err == nil {
			conn.Close()
			t.Errorf("%+v: connected", c.options)
			continue
		}
		if !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%+v:\n%v\nwant\n%s", c.options, err, c.want)
		}
	}
}

func TestServersAsShown(t *testing.T) {
	for urls, want := range map[string]string{
		"nats://a":                     "a:4222",
		"nats://u:hunter2@a:1, b ,c:3": "a:1, b:4222, c:3",
		"tls://token@[::1]":            "[::1]:4222",
		"nats://%zz":                   "the servers given",
	} {
		if got := Shown(urls); got != want {
			t.Errorf("%s is shown as %q, want %q", urls, got, want)
		}
	}
}

// Servers that accept and say nothing hold nobody up who is to stop.
func TestTheFirstTryEndsWithItsContext(t *testing.T) {
	var urls []string
	accepted := make(chan net.Conn, 20)
	for range cap(accepted) { // each would be waited for 5 seconds
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		urls = append(urls, l.Addr().String())
		go func() {
			if conn, err := l.Accept(); err == nil {
				accepted <- conn
			}
		}()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Options{URLs: strings.Join(urls, ","), Wait: true}.Connect(ctx)
		ended <- err
	}()
	conn := <-accepted
	defer conn.Close()
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Connect = %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}
}
