//go:build linux

package dialogues_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/secure"
)

// Each service is one of the test's own: on a port of the loopback interface, with a directory
// for all that it keeps, and gone with the test.

// patience bounds every wait for an event; only a failing test uses it up.
const patience = 30 * time.Second

// installed is where a program is. Where it may be missing its test is skipped; in CI nothing
// may be missing.
func installed(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		const missing = "%s is not installed; scripts/install-test-tools installs it"
		if os.Getenv("CI") == "true" {
			t.Fatalf(missing, name)
		}
		t.Skipf(missing, name)
	}
	return path
}

// start runs a program until the test ends: it is told to stop then, and killed if it does not.
func start(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, installed(t, name), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = patience
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s has said\n%.4000s", name, said.String())
		}
	})
}

// each starts a program for each connection, which speaks over a socket, as inetd does. That is one
// of a pair: exim given the connection itself would have to be started by root.
func each(t *testing.T, env []string, name string, args ...string) (addr string) {
	t.Helper()
	path := installed(t, name)
	return serve(t, func(conn net.Conn) {
		ours, theirs, err := socketPair()
		if err != nil {
			t.Error(err)
			return
		}
		defer ours.Close()
		ours.SetDeadline(time.Now().Add(patience))
		cmd := exec.Command(path, args...)
		var said bytes.Buffer
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), theirs, theirs, &said
		err = cmd.Start()
		theirs.Close()
		if err != nil {
			t.Error(err)
			return
		}
		var hearing sync.WaitGroup
		hearing.Go(func() {
			io.Copy(ours, conn)
			ours.CloseWrite()
		})
		io.Copy(conn, ours)
		conn.Close()
		hearing.Wait()
		if err := cmd.Wait(); err != nil {
			t.Logf("%s: %v\n%.4000s", name, err, said.String())
		}
	})
}

// socketPair are the two ends of a connection within this machine, one of them for a program.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	end := os.NewFile(uintptr(pair[0]), "ours")
	defer end.Close()
	conn, err := net.FileConn(end)
	if err != nil {
		return nil, nil, errors.Join(err, syscall.Close(pair[1]))
	}
	return conn.(*net.UnixConn), os.NewFile(uintptr(pair[1]), "theirs"), nil
}

// serve has a function speak with each who connects, until the test ends.
func serve(t *testing.T, speak func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(patience))
			serving.Go(func() {
				speak(conn)
				conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// freePort is one that nobody listens at, for a program that cannot pick one: below those that a
// system gives to whoever connects, so that nobody is given it before the program takes it.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(10000 + rand.IntN(10000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// listening waits until somebody accepts.
func listening(t *testing.T, port string) (addr string) {
	t.Helper()
	addr = "127.0.0.1:" + port
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// home is a directory that a server can get into which changes to a user of its own.
func home(t *testing.T) string {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// write writes a file in which names in capitals stand for values: pairs of both.
func write(t *testing.T, file, text string, values ...string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.NewReplacer(values...).Replace(text)), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// servant is the user, with its group, as which a server may do its work.
func servant(t *testing.T) (name, group string) {
	t.Helper()
	if os.Getuid() == 0 {
		return "nobody", "nogroup"
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	mine, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return me.Username, mine.Name
}

const eximConf = `
spool_directory = DIR/spool
log_file_path = DIR/spool/%slog
primary_hostname = mx.test
queue_only
keep_environment =
tls_advertise_hosts = *
tls_certificate = PEM
tls_privatekey = PEM
auth_advertise_hosts = ${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_mail = mail
acl_smtp_rcpt = rcpt
host_lookup =
rfc1413_query_timeout = 0s
begin acl
mail:
  accept authenticated = *
  deny message = log in first
rcpt:
  accept
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{me}}{eq{$auth3}{secret}}}}
  server_set_id = $auth2
`

// startExim starts a mail server that takes mail over TLS alone, and from whom it knows.
func startExim(t *testing.T) (addr, ca string) {
	dir := home(t)
	id, err := secure.Open(secure.ServerOptions{SelfSigned: true, Names: []string{"localhost"}, StateDir: filepath.Join(dir, "tls")})
	if err != nil {
		t.Fatal(err)
	}
	ca, _ = id.CA()
	pair, err := os.ReadFile(filepath.Join(dir, "tls", "server.pem"))
	if err != nil {
		t.Fatal(err)
	}
	conf := eximConf
	if os.Getuid() != 0 {
		conf = fmt.Sprintf("exim_user = %d\nexim_group = %d\n%s", os.Getuid(), os.Getgid(), conf)
	}
	file := write(t, filepath.Join(dir, "conf"), conf, "DIR", dir, "PEM", write(t, filepath.Join(dir, "pem"), string(pair)))
	return each(t, nil, "/usr/sbin/exim4", "-C", file, "-bs"), ca
}

const dovecotConf = `
base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = imap pop3
listen = 127.0.0.1
ssl = no
default_login_user = USER
default_internal_user = USER
default_internal_group = GROUP
first_valid_uid = 1
mail_location = maildir:DIR/mail
service imap-login {
  chroot =
  inet_listener imap {
    port = IMAP
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = POP3
  }
}
service anvil {
  chroot =
}
passdb {
  driver = passwd-file
  args = scheme=plain DIR/passwd
}
userdb {
  driver = static
  args = uid=USER gid=GROUP home=DIR/mail
}
`

// startDovecot starts a server of a mailbox with one mail.
func startDovecot(t *testing.T) (imap, pop3 string) {
	dir := home(t)
	name, group := servant(t)
	write(t, filepath.Join(dir, "passwd"), "ann:secret\n")
	write(t, filepath.Join(dir, "mail", "new", "1.first.mx"), "From: bob@b.test\nTo: ann@a.test\nSubject: hello\n\nThe first.\n")
	if os.Getuid() == 0 {
		if out, err := exec.Command("chown", "-R", name, filepath.Join(dir, "mail")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	imap, pop3 = freePort(t), freePort(t)
	start(t, "/usr/sbin/dovecot", "-F", "-c", write(t, filepath.Join(dir, "conf"), dovecotConf,
		"DIR", dir, "USER", name, "GROUP", group, "IMAP", imap, "POP3", pop3))
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && t.Failed() {
			t.Logf("dovecot has logged\n%.4000s", log)
		}
	})
	return listening(t, imap), listening(t, pop3)
}

func startRedis(t *testing.T) string {
	port := freePort(t)
	start(t, "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir())
	return listening(t, port)
}

func startMemcached(t *testing.T) string {
	port := freePort(t)
	name, _ := servant(t)
	start(t, "memcached", "-l", "127.0.0.1", "-p", port, "-U", "0", "-u", name)
	return listening(t, port)
}

const nginxConf = `
daemon off;
worker_processes 1;
pid DIR/pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  server {
    listen 127.0.0.1:PORT;
    root DIR/www;
  }
}
`

// startNginx starts a web server of one page.
func startNginx(t *testing.T) string {
	dir, port := home(t), freePort(t)
	write(t, filepath.Join(dir, "www", "index.html"), "<h1>hello</h1>\n")
	start(t, "/usr/sbin/nginx", "-e", "stderr", "-p", dir, "-c", write(t, filepath.Join(dir, "conf"), nginxConf, "DIR", dir, "PORT", port))
	return listening(t, port)
}

// startWhois starts gwhois, whose answer to a name that no registry has is its own.
func startWhois(t *testing.T) string { return each(t, nil, "gwhois") }

const ngircdConf = `
[Global]
Name = irc.test
Info = A server for tests
Listen = 127.0.0.1
Ports = PORT
AdminInfo1 = nobody
MotdPhrase = Welcome
ServerUID = USER
ServerGID = GROUP
[Options]
DNS = no
Ident = no
PAM = no
`

func startIRC(t *testing.T) string {
	dir, port := home(t), freePort(t)
	name, group := servant(t)
	start(t, "/usr/sbin/ngircd", "-n", "-f", write(t, filepath.Join(dir, "conf"), ngircdConf, "PORT", port, "USER", name, "GROUP", group))
	return listening(t, port)
}

// startNews starts sn, with a group of one article.
func startNews(t *testing.T) string {
	spool := t.TempDir()
	env := []string{"SNROOT=" + spool}
	for _, step := range []struct{ name, arg, input string }{
		{"/usr/sbin/snnewgroup", "local.test", ""},
		{"/usr/sbin/snstore", "-v", strings.ReplaceAll("From: ann@a.test\nNewsgroups: local.test\nSubject: hello\n"+
			"Message-ID: <1@a.test>\nDate: Thu, 26 Nov 2026 10:00:00 +0000\n\nThe first.\n.\n", "\n", "\r\n")},
	} {
		cmd := exec.Command(installed(t, step.name), step.arg)
		cmd.Env, cmd.Stdin = append(os.Environ(), env...), strings.NewReader(step.input)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", step.name, err, out)
		}
	}
	return each(t, append(env, "POSTING_OK="), "/usr/sbin/snntpd")
}
