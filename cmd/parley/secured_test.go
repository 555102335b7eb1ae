package main

import (
	"crypto/tls"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-tcp/parley/internal/journal"
)

// Who connects over TLS is told by what it is called, live and from the journal, escaped whatever
// that is; a handshake that fails is told once, and a probe is only counted.
func TestWhoConnectsOverTLS(t *testing.T) {
	const evil, shown = "\x1b[2J\nevil", `\x1b[2J\nevil`
	dir := t.TempDir()
	pair, ca, kept := filepath.Join(dir, "pair.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "journal")
	_, roots := writePair(t, pair, "parley.example")
	client, _ := writePair(t, ca, evil)
	s := startServer(t, "-v", "--tls-cert", pair, "--tls-key", pair, "--tls-client-ca", ca, "--journal", kept, "--framing", "line/length", "--reply", "{tls_name}")
	dial := func(config *tls.Config) (*tls.Conn, error) {
		conn := tls.Client(connect(t, s.addr), config)
		return conn, conn.Handshake()
	}
	conn, err := dial(&tls.Config{RootCAs: roots, ServerName: "parley.example", Certificates: []tls.Certificate{client}})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "a\n")
	conn.CloseWrite()
	if got, err := io.ReadAll(conn); string(got) != "\x00\x00\x00\x09"+evil || err != nil {
		t.Errorf("it is called %q, %v", got, err)
	}
	if _, err := dial(&tls.Config{ServerName: "parley.example"}); err == nil {
		t.Error("a certificate that nobody vouches for is trusted")
	}
	s.stderr.await(t, " failed: client does not trust our certificate\n")
	connect(t, s.addr).Close()
	connect(t, s.addr).Close()
	if code := s.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d; %s", code, s.stderr)
	}
	const line = "Server: connection from "
	from := conn.LocalAddr().String()
	for name, text := range map[string]string{"the narrative": s.stdout.String(), "the journal": run(t, program(t, "log", kept), "")} {
		if want := line + from + " (TLS 1.3, " + shown + ")\n"; !strings.Contains(text, want) {
			t.Errorf("%s has no %q:\n%s", name, want, text)
		}
	}
	if text := s.stderr.String(); !strings.Contains(text, "parley: 1 session, ") || !strings.Contains(text, ", 1 handshake failed\n") {
		t.Errorf("the sum is in\n%s", text)
	}
	r, err := journal.Open(kept)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	of, _, err := r.Session(t.Context(), 1, 0)
	if err != nil || of.TLSVersion != "TLS 1.3" || of.TLSName != evil || of.Proxied != "" || of.Listener != "tls:"+s.addr {
		t.Errorf("the journal has %+v, %v", of, err)
	}
}
