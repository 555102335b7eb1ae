package dialect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	netsmtp "net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// Real programs at both ends: exim, and swaks, Python and Go before it.

const patience = 30 * time.Second

const eximConf = `
spool_directory = DIR/spool
log_file_path = DIR/spool/%slog
primary_hostname = mx.test
queue_only
keep_environment =
tls_advertise_hosts =
chunking_advertise_hosts = *
pipelining_connect_advertise_hosts =
smtp_enforce_sync = false
acl_smtp_rcpt = rcpt
host_lookup =
rfc1413_query_timeout = 0s
begin acl
rcpt:
  deny local_parts = refused
  accept
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{me}}{eq{$auth3}{secret}}}}
  server_advertise_condition = yes
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${if and{{eq{$auth1}{me}}{eq{$auth2}{secret}}}}
  server_advertise_condition = yes
`

// exim returns a way to connect to one, which is started for the connection. It is not given
// the socket itself: then it would have to be started by root.
func exim(t *testing.T) (dial func(t *testing.T) net.Conn) {
	installed(t, "/usr/sbin/exim4")
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // root's changes to a user of its own
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(dir, "exim.conf")
	text := strings.ReplaceAll(eximConf, "DIR", dir)
	if os.Getuid() != 0 {
		text = fmt.Sprintf("exim_user = %d\nexim_group = %d\n%s", os.Getuid(), os.Getgid(), text)
	}
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) net.Conn {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(installed(t, "/usr/sbin/exim4"), "-C", conf, "-bs")
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stderr = server, &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := make(chan struct{})
		go func() {
			io.Copy(server, stdout)
			server.(*net.TCPConn).CloseWrite()
			close(said)
		}()
		t.Cleanup(func() {
			client.Close()
			defer server.Close()
			defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()
			<-said
			if err := cmd.Wait(); err != nil {
				t.Errorf("exim: %v\n%s", err, stderr.String())
			}
		})
		return client
	}
}

// lookOn passes bytes between the first client of the address that it returns and a server, and
// reads what is said.
func lookOn(t *testing.T, server net.Conn) (addr string, await func() *pairing) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	o := newPairing(smtpFraming, 32<<10, 1<<20)
	var sent [2]bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		client, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		defer server.Close()
		var mu sync.Mutex
		var passing sync.WaitGroup
		pass := func(of side, from, to net.Conn) {
			defer to.(*net.TCPConn).CloseWrite()
			from.SetDeadline(time.Now().Add(patience))
			buf := make([]byte, 32<<10)
			for {
				n, err := from.Read(buf)
				mu.Lock()
				o.feed(of, buf[:n])
				sent[of].Write(buf[:n])
				mu.Unlock()
				to.Write(buf[:n])
				if err != nil {
					if err != io.EOF {
						t.Errorf("read: %v", err)
					}
					return
				}
			}
		}
		passing.Go(func() { pass(requests, client, server) })
		pass(replies, server, client)
		passing.Wait()
	}()
	return l.Addr().String(), func() *pairing {
		t.Helper()
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("the client has not closed")
		}
		for of, s := range o.sides {
			if !bytes.Equal(s.whole, sent[of].Bytes()) || s.err != nil {
				t.Errorf("%d of %d bytes are in messages, %v:\n%s", len(s.whole), sent[of].Len(), s.err, sent[of].String())
			}
		}
		return o
	}
}

var (
	sizeOfMessage = regexp.MustCompile(`\(\d+ bytes\)`)
	textOfReply   = regexp.MustCompile(`((?:^|.* )= \d\d\d).*`)
)

// wantSeen checks exchanges by request and code.
func wantSeen(t *testing.T, o *pairing, want ...string) {
	t.Helper()
	var got []string
	for _, s := range o.told {
		got = append(got, textOfReply.ReplaceAllString(sizeOfMessage.ReplaceAllString(s, "(N bytes)"), "$1"))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s\nof\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), strings.Join(o.told, "\n"))
	}
}

func TestSwaksAndExim(t *testing.T) {
	dial := exim(t)
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"plain", []string{"--to", "c@d.test", "--body", "one\n.two\n..three\n.\nfour"}, []string{
			"= 220", "EHLO me.test = 250", "MAIL FROM:<a@b.test> = 250", "RCPT TO:<c@d.test> = 250",
			"DATA = 354", "message (N bytes) = 250", "QUIT = 221",
		}},
		{"pipelined, one refused", []string{"--pipeline", "--to", "c@d.test,refused@d.test"}, []string{
			"= 220", "EHLO me.test = 250", "MAIL FROM:<a@b.test> = 250", "RCPT TO:<c@d.test> = 250", "RCPT TO:<refused@d.test> = 550",
			"DATA = 354", "message (N bytes) = 250", "QUIT = 221",
		}},
		{"pipelined, all refused", []string{"--pipeline", "--to", "refused@d.test"}, []string{
			"= 220", "EHLO me.test = 250", "MAIL FROM:<a@b.test> = 250", "RCPT TO:<refused@d.test> = 550",
			"DATA = 503", "QUIT = 221",
		}},
		{"PLAIN", []string{"--to", "c@d.test", "-a", "PLAIN", "-au", "me", "-ap", "secret"}, []string{
			"= 220", "EHLO me.test = 250", "AUTH PLAIN (secret) = 235", "MAIL FROM:<a@b.test> = 250", "RCPT TO:<c@d.test> = 250",
			"DATA = 354", "message (N bytes) = 250", "QUIT = 221",
		}},
		{"LOGIN", []string{"--to", "c@d.test", "-a", "LOGIN", "-au", "me", "-ap", "secret"}, []string{
			"= 220", "EHLO me.test = 250", "AUTH LOGIN = 334", "(secret) = 334", "(secret) = 235", "MAIL FROM:<a@b.test> = 250", "RCPT TO:<c@d.test> = 250",
			"DATA = 354", "message (N bytes) = 250", "QUIT = 221",
		}},
		{"wrong password", []string{"--to", "c@d.test", "-a", "LOGIN", "-au", "me", "-ap", "QUIT"}, []string{
			"= 220", "EHLO me.test = 250", "AUTH LOGIN = 334", "(secret) = 334", "(secret) = 535", "QUIT = 221",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, await := lookOn(t, dial(t))
			swaks := exec.Command(installed(t, "swaks"), append([]string{"--server", addr, "--helo", "me.test", "--from", "a@b.test"}, c.args...)...)
			out, err := swaks.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) { // it says with its status that it was refused
				t.Fatalf("swaks: %v", err)
			}
			wantSeen(t, await(), c.want...)
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}

const smtplibDelivery = `
import smtplib, sys
host, port = sys.argv[1].split(":")
s = smtplib.SMTP(host, int(port), local_hostname="me.test")
s.login("me", "secret")
for n in range(2):
    print(s.sendmail("a@b.test", ["c@d.test", "refused@d.test"], "Subject: x\n\n.hi\n" + "x" * 900 + "\n" * n + "." * n))
try:
    s.sendmail("a@b.test", ["refused@d.test"], "Subject: x\n\n.hi\n")
except smtplib.SMTPRecipientsRefused:
    pass
s.quit()
`

func TestPythonAndExim(t *testing.T) {
	addr, await := lookOn(t, exim(t)(t))
	if out, err := exec.Command(installed(t, "python3"), "-c", smtplibDelivery, addr).CombinedOutput(); err != nil {
		t.Fatalf("python3: %v\n%s", err, out)
	}
	delivery := []string{
		"mail FROM:<a@b.test> size=N = 250", "rcpt TO:<c@d.test> = 250", "rcpt TO:<refused@d.test> = 550", "data = 354", "message (N bytes) = 250",
	}
	o := await()
	for i, s := range o.told {
		o.told[i] = regexp.MustCompile(`size=\d+`).ReplaceAllString(s, "size=N")
	}
	wantSeen(t, o, slices.Concat([]string{"= 220", "ehlo me.test = 250", "AUTH PLAIN (secret) = 235"}, delivery, delivery,
		[]string{"mail FROM:<a@b.test> size=N = 250", "rcpt TO:<refused@d.test> = 550", "rset = 250", "quit = 221"})...)
}

func TestGoAndExim(t *testing.T) {
	addr, await := lookOn(t, exim(t)(t))
	if err := netsmtp.SendMail(addr, netsmtp.PlainAuth("", "me", "secret", "127.0.0.1"), "a@b.test", []string{"c@d.test"}, []byte(".\r\n")); err != nil {
		t.Fatal(err)
	}
	wantSeen(t, await(), "= 220", "EHLO localhost = 250", "AUTH PLAIN (secret) = 235", "MAIL FROM:<a@b.test> BODY=8BITMIME SMTPUTF8 = 250",
		"RCPT TO:<c@d.test> = 250", "DATA = 354", "message (N bytes) = 250", "QUIT = 221")
}

// What clients do that do not wait, or end their lines in LF.
func TestRudeClientsAndExim(t *testing.T) {
	dial := exim(t)
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"BDAT", "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 14\r\nSubject: x\r\n\r\nBDAT 7 LAST\r\n.\r\nhi\r\nQUIT\r\n", []string{
			"= 220", "EHLO a = 250", "MAIL FROM:<a@b> = 250", "RCPT TO:<c@d> = 250", "BDAT 14 = 250", "BDAT 7 LAST = 250", "QUIT = 221",
		}},
		{"BDAT refused", "EHLO a\r\nBDAT 7 LAST\r\nNOOP\r\n\nQUIT\r\n", []string{
			"= 220", "EHLO a = 250", "BDAT 7 LAST = 503", "QUIT = 221",
		}},
		{"at once", "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n", []string{
			"= 220", "EHLO a = 250", "MAIL FROM:<a@b> = 250", "RCPT TO:<c@d> = 250", "DATA = 354", "message (N bytes) = 250", "QUIT = 221",
		}},
		{"at once, and refused", "EHLO a\r\nDATA\r\nNOOP\r\nhelp\r\n.\r\nNOOP\r\nQUIT\r\n", []string{
			"= 220", "EHLO a = 250", "DATA = 503", "message (N bytes) = 250", "NOOP = 250", "QUIT = 221", "= 214", "= 500",
		}},
		{"with credentials", "EHLO a\r\nAUTH LOGIN\r\nbWU=\r\nc2VjcmV0\r\nNOOP\r\nQUIT\r\n", []string{
			"= 220", "EHLO a = 250", "AUTH LOGIN = 334", "(secret) = 334", "(secret) = 235", "NOOP = 250", "QUIT = 221",
		}},
		{"bare LF", "EHLO a\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\nSubject: x\n\nhi\n.\nQUIT\n", []string{
			"= 220", "EHLO a = 250", "MAIL FROM:<a@b> = 250", "RCPT TO:<c@d> = 250", "DATA = 354", "message (N bytes) = 250", "QUIT = 221",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, await := lookOn(t, dial(t))
			client, err := net.Dial("tcp4", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			client.SetDeadline(time.Now().Add(patience))
			in := bufio.NewReader(client)
			in.ReadString('\n') // the greeting
			fmt.Fprint(client, c.text)
			if _, err := io.ReadAll(in); err != nil { // it closes behind QUIT
				t.Error(err)
			}
			client.Close()
			wantSeen(t, await(), c.want...)
		})
	}
}

func TestSwaksDeliversToParley(t *testing.T) {
	handler, err := parley.ParseTemplate(parley.DefaultReply, smtpFraming.Requests)
	if err != nil {
		t.Fatal(err)
	}
	server := parleytest.Start(t, &parley.Server{Handler: handler, Framing: smtpFraming.Requests})
	conn, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	addr, await := lookOn(t, conn)
	swaks := exec.Command(installed(t, "swaks"), "--server", addr, "--helo", "me.test", "--from", "a@b.test", "--to", "c@d.test", "--body", ".")
	if out, err := swaks.CombinedOutput(); err != nil {
		t.Errorf("swaks: %v\n%s", err, out)
	}
	wantSeen(t, await(), "= 220", "EHLO me.test = 250", "MAIL FROM:<a@b.test> = 250", "RCPT TO:<c@d.test> = 250",
		"DATA = 354", "message (N bytes) = 250", "QUIT = 221")
}
