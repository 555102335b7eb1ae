//go:build unix

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// writeBoth makes a certificate of a name in a file, and its key in another.
func writeBoth(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	writePair(t, certFile, name)
	if err := os.WriteFile(keyFile, must(os.ReadFile(certFile)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// echoes says whether a line comes back.
func echoes(conn io.ReadWriter) bool {
	fmt.Fprintln(conn, "a")
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && line == "a\n"
}

// A hangup has certificates and lists of addresses read again. What cannot be used is said, and
// the old stays; who is there stays too.
func TestAHangupReloads(t *testing.T) {
	dir := t.TempDir()
	cert, key, denied := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "denied")
	writeBoth(t, cert, key, "one")
	os.WriteFile(denied, []byte("192.0.2.1\n"), 0o600)
	s := startServer(t, "--echo", "-q", "--tls-cert", cert, "--tls-key", key, "--deny", "@"+denied)
	first, name := connectTLS(t, s.addr)
	if name != "one" || !echoes(first) {
		t.Errorf("it is %q, or does not echo", name)
	}

	writeBoth(t, cert, key, "two")
	s.Process.Signal(syscall.SIGHUP)
	s.stderr.await(t, "reloaded who may connect, by --allow and --deny\n")
	if _, name := connectTLS(t, s.addr); name != "two" {
		t.Errorf("after the reload it is %q", name)
	}
	if !echoes(first) {
		t.Error("the connection before does not echo any more")
	}

	writePair(t, cert, "three") // whose key is not in place yet
	os.WriteFile(denied, []byte("nonsense\n"), 0o600)
	s.Process.Signal(syscall.SIGHUP)
	s.stderr.await(t, "parley: not reloaded, who may connect stays as it was: --deny "+denied+":1: ")
	if _, name := connectTLS(t, s.addr); name != "two" {
		t.Errorf("after a reload that failed it is %q", name)
	}
	if !echoes(first) {
		t.Error("the connection before does not echo any more")
	}

	os.WriteFile(denied, []byte("127.0.0.0/8\n"), 0o600)
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "nobody may connect any more", func() bool {
		conn := connect(t, s.addr)
		defer conn.Close()
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake() != nil
	})
	if !echoes(first) {
		t.Error("the connection before does not echo any more")
	}
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	got := s.stderr.String()
	for _, want := range []string{"TLS: reloaded, ", "TLS: not reloaded, "} {
		if !strings.Contains(got, want) {
			t.Errorf("stderr has no %q:\n%s", want, got)
		}
	}
}

// Where there is nothing to reload a hangup is a stop, also with a certificate of our own making:
// whoever closes the terminal wants an end.
func TestAHangupWithNothingToReloadStops(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s := startServer(t, "--tls-self-signed", "--deny", "192.0.2.1")
	if code := s.stop(t, syscall.SIGHUP); code != 0 {
		t.Errorf("exit code %d; %s", code, s.stderr)
	}
}
