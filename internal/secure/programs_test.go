package secure

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// program is a real peer, killed if it outlives the test. In CI none may be missing.
func program(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed; scripts/install-test-tools installs it", name)
		}
		t.Skipf("%s is not installed; scripts/install-test-tools installs it", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, args...)
}

const nodeClient = `
const [, , port, name, ca, cert, key] = process.argv, fs = require('fs');
const read = file => file ? fs.readFileSync(file) : undefined;
const c = require('tls').connect({ port, host: '127.0.0.1', servername: name, ca: read(ca), cert: read(cert), key: read(key) });
c.on('secureConnect', () => c.write('hello\n\n'));
c.on('data', d => process.stdout.write(d));
c.on('error', e => { console.error(e.message); process.exit(1); });
`

// As strict as OpenSSL can be: Python 3.13 is so by itself.
const pythonClient = `
import socket, ssl, sys
port, name, ca, cert, key = (sys.argv[1:] + [None] * 5)[:5]
context = ssl.create_default_context(cafile=ca or None)
context.verify_flags |= ssl.VERIFY_X509_STRICT
if cert:
    context.load_cert_chain(cert, key)
with context.wrap_socket(socket.create_connection(('127.0.0.1', port)), server_hostname=name) as c:
    c.sendall(b'hello\n\n')
    while data := c.recv(1000):
        sys.stdout.write(data.decode())
`

// A tlsClient is a program that sends hello over TLS and prints the reply.
type tlsClient struct {
	name string
	// command calls the server of a name that is on a port here, trusts the CA, the system's if
	// it is empty, and shows a certificate if there is one.
	command func(t *testing.T, port, name, ca, cert, key string) *exec.Cmd
	// Whether it tells the server with an alert that it does not trust it, or that its name is
	// wrong. Who looks only once the handshake is done just goes away.
	tellsTrust, tellsName bool
}

var tlsClients = []tlsClient{
	{"openssl", func(t *testing.T, port, name, ca, cert, key string) *exec.Cmd {
		args := []string{"s_client", "-connect", "127.0.0.1:" + port, "-servername", name, "-verify_hostname", name, "-verify_return_error", "-x509_strict", "-quiet"}
		return program(t, "openssl", withFlags(args, "-CAfile", ca, "-cert", cert, "-key", key)...)
	}, true, true},
	{"curl", func(t *testing.T, port, name, ca, cert, key string) *exec.Cmd {
		args := []string{"-sS", "--http0.9", "--connect-to", "::127.0.0.1:" + port, "https://" + name + ":" + port + "/hello"}
		return program(t, "curl", withFlags(args, "--cacert", ca, "--cert", cert, "--key", key)...)
	}, true, false},
	{"ncat", func(t *testing.T, port, name, ca, cert, key string) *exec.Cmd {
		args := []string{"--ssl", "--ssl-verify", "--ssl-servername", name, "127.0.0.1", port}
		return program(t, "ncat", withFlags(args, "--ssl-trustfile", ca, "--ssl-cert", cert, "--ssl-key", key)...)
	}, true, false},
	{"socat", func(t *testing.T, port, name, ca, cert, key string) *exec.Cmd {
		to := "OPENSSL:127.0.0.1:" + port + ",commonname=" + name + ",snihost=" + name
		for option, file := range map[string]string{"cafile": ca, "certificate": cert, "key": key} {
			if file != "" {
				to += "," + option + "=" + file
			}
		}
		return program(t, "socat", "-,ignoreeof", to)
	}, true, false},
	{"node", func(t *testing.T, port, name, ca, cert, key string) *exec.Cmd {
		return program(t, "node", "-e", nodeClient, "-", port, name, ca, cert, key)
	}, false, false},
	{"python3", func(t *testing.T, port, name, ca, cert, key string) *exec.Cmd {
		return program(t, "python3", "-c", pythonClient, port, name, ca, cert, key)
	}, true, true},
}

// withFlags adds the flags that have a value.
func withFlags(args []string, flags ...string) []string {
	for i := 0; i < len(flags); i += 2 {
		if flags[i+1] != "" {
			args = append(args, flags[i], flags[i+1])
		}
	}
	return args
}

// Programs trust the self-signed certificate by its CA, for each of its names, and by nothing
// else; they are let in with a certificate of the clients' CA, and with no other.
func TestRealClients(t *testing.T) {
	clients, others := newSigner(t, "clients' CA"), newSigner(t, "others' CA")
	options := ServerOptions{SelfSigned: true, Names: []string{"db.internal"}, StateDir: stateOf(t)}
	plain := open(t, options)
	options.ClientCA = clients.file
	mutual := open(t, options)
	ca, _ := plain.CA()
	cert, key := clients.pair(t)
	otherCert, otherKey := others.pair(t)
	const distrust = "client does not trust our certificate"
	for _, client := range tlsClients {
		for _, test := range []struct {
			name      string
			identity  *Identity
			as, ca    string
			cert, key string
			works     bool
			told      bool   // whether the server is; if not the case is left out
			here      string // what the server says
		}{
			{"trusted", plain, "localhost", ca, "", "", true, true, ""},
			{"not trusted", plain, "localhost", others.file, "", "", false, client.tellsTrust, distrust},
			{"wrong name", plain, "web.internal", ca, "", "", false, client.tellsName, distrust},
			{"mutual, by its other name", mutual, "db.internal", ca, cert, key, true, true, ""},
			{"without a certificate", mutual, "localhost", ca, "", "", false, true, "client sent no certificate"},
			{"with one of another CA", mutual, "localhost", ca, otherCert, otherKey, false, true, "client's certificate is not signed by our --tls-client-ca, but by CN=others' CA"},
		} {
			if !test.told {
				continue
			}
			t.Run(client.name+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				s := serve(t, test.identity.Config())
				cmd := client.command(t, s.port, test.as, test.ca, test.cert, test.key)
				cmd.Stdin = strings.NewReader("hello\n\n")
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				out, _ := cmd.Output()
				end := s.why(t)
				if works := strings.Contains(string(out), "HELLO"); works != test.works {
					t.Errorf("it printed %q\n%s", out, &stderr)
				}
				if got := ServerReason(end); got != test.here {
					t.Errorf("the server says %q, want %q, of %v\n%s", got, test.here, end, &stderr)
				}
			})
		}
	}
}

// opensslServer starts one, which writes each line back to front.
func opensslServer(t *testing.T, args ...string) (addr string, stdin io.Writer) {
	t.Helper()
	cmd := program(t, "openssl", append([]string{"s_server", "-accept", "127.0.0.1:0"}, args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-read
		cmd.Wait()
	})
	listening := make(chan string, 1)
	go func() {
		defer close(read)
		accept := regexp.MustCompile(`^ACCEPT (\S+:\d+)`)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if found := accept.FindStringSubmatch(lines.Text()); found != nil && len(listening) == 0 {
				listening <- found[1]
			}
		}
		close(listening)
	}()
	addr, ok := <-listening
	if !ok {
		t.Fatalf("%s does not listen", cmd)
	}
	return addr, stdin
}

func TestRealServers(t *testing.T) {
	ca, clients := newSigner(t, "our CA"), newSigner(t, "clients' CA")
	cert, key := ca.pair(t)
	expiredCert, expiredKey := ca.pair(t, expired)
	const weak = "DEFAULT:@SECLEVEL=0" // what old versions need
	pair := func(o *ClientOptions) { o.Cert, o.Key = clients.pair(t) }
	for _, test := range []struct {
		name   string
		args   []string
		client func(*ClientOptions)
		want   string
	}{
		{"TLS 1.3", []string{"-cert", cert, "-key", key}, nil, ""},
		{"TLS 1.2", []string{"-cert", cert, "-key", key, "-tls1_2"}, nil, ""},
		{"TLS 1.1", []string{"-cert", cert, "-key", key, "-tls1_1", "-cipher", weak}, nil, "no common version: the server speaks neither TLS 1.2 nor 1.3"},
		{"expired", []string{"-cert", expiredCert, "-key", expiredKey}, nil, "its certificate expired on 2020-01-02 03:04 UTC"},
		{"expired, which nobody minds", []string{"-cert", expiredCert, "-key", expiredKey}, func(o *ClientOptions) { o.Insecure = true }, ""},
		{"no protocol in common", []string{"-cert", cert, "-key", key, "-alpn", "h2"}, func(o *ClientOptions) { o.ALPN = []string{"imap"} }, "no common protocol: the server speaks none of those of --alpn"},
		{"protocol in common", []string{"-cert", cert, "-key", key, "-alpn", "h2,imap"}, func(o *ClientOptions) { o.ALPN = []string{"imap"} }, ""},
		{"wants a certificate", []string{"-cert", cert, "-key", key, "-Verify", "1", "-verify_return_error", "-CAfile", clients.file}, nil, "the server wants a client certificate; --cert and --key name one"},
		{"gets a certificate", []string{"-cert", cert, "-key", key, "-Verify", "1", "-verify_return_error", "-CAfile", clients.file}, pair, ""},
		{"wants another certificate", []string{"-cert", cert, "-key", key, "-Verify", "1", "-verify_return_error", "-CAfile", ca.file}, pair, "the server rejects our client certificate: it does not trust who signed it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			addr, _ := opensslServer(t, append(test.args, "-rev")...)
			client := ClientOptions{CA: ca.file}
			if test.client != nil {
				test.client(&client)
			}
			reply, err := ask(addr, openClient(t, client), "olleh\n")
			if got := Reason(err); got != test.want || (reply == "hello\n") != (test.want == "") {
				t.Errorf("%q, %q, want %q, of %v", reply, got, test.want, err)
			}
		})
	}
}

func ask(addr string, config *tls.Config, request string) (reply string, err error) {
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	io.WriteString(conn, request) // if that fails, what was read says why
	return bufio.NewReader(conn).ReadString('\n')
}

// Neither side renegotiates (RFC 9325, section 3.5).
func TestRenegotiationIsRefused(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t)
	t.Run("asked for by a client", func(t *testing.T) {
		s := serve(t, open(t, ServerOptions{Cert: cert, Key: key}).Config())
		client := program(t, "openssl", "s_client", "-connect", s.addr, "-tls1_2")
		stdin, err := client.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := client.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Start(); err != nil {
			t.Fatal(err)
		}
		io.WriteString(stdin, "hello\n")
		for lines := bufio.NewScanner(stdout); lines.Scan() && lines.Text() != "HELLO"; {
		}
		io.WriteString(stdin, "R\n")
		end := s.why(t)
		stdin.Close()
		io.Copy(io.Discard, stdout)
		client.Wait()
		if got := ServerReason(end); got != "client asked for a renegotiation, which is refused" {
			t.Errorf("the server says %q of %v", got, end)
		}
	})
	t.Run("asked for by a server", func(t *testing.T) {
		addr, stdin := opensslServer(t, "-cert", cert, "-key", key, "-tls1_2")
		conn, err := tls.Dial("tcp", addr, openClient(t, ClientOptions{CA: ca.file}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(stdin, "r\n")
		_, err = conn.Read(make([]byte, 1))
		if got := Reason(err); got != "the server asked for a renegotiation, which is refused" {
			t.Errorf("the client says %q of %v", got, err)
		}
	})
}

// What openssl prints of the CA is what Parley prints, and what it finds in order it is.
func TestOpenSSLReadsWhatWasMade(t *testing.T) {
	id := open(t, ServerOptions{SelfSigned: true, StateDir: stateOf(t)})
	path, fingerprint := id.CA()
	out, err := program(t, "openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256").Output()
	if want := "sha256 Fingerprint=" + fingerprint + "\n"; err != nil || string(out) != want {
		t.Errorf("openssl prints %q, %v; want %q", out, err, want)
	}
	server := strings.Replace(path, "ca.pem", "server.pem", 1)
	out, err = program(t, "openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip", "::1", "-CAfile", path, server).Output()
	if want := server + ": OK\n"; err != nil || string(out) != want {
		t.Errorf("openssl prints %q, %v; want %q", out, err, want)
	}
}

func TestDescriptionOfAConnection(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t, func(c *x509.Certificate) { c.EmailAddresses = []string{"ops@db.internal"} })
	s := serve(t, open(t, ServerOptions{Cert: cert, Key: key, ALPN: []string{"h2", "imap"}}).Config())
	config := openClient(t, ClientOptions{CA: ca.file, ALPN: []string{"imap"}})
	config.MaxVersion = tls.VersionTLS12
	state, err := converse(s.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	leaf := state.PeerCertificates[0]
	for left, days := range map[time.Duration]int{0: 0, day: 1, day - 1: 0, -1: -1, -day: -1, -day - 1: -2, 14*day + time.Hour: 14} {
		if got := Describe(state, leaf.NotAfter.Add(-left)).DaysLeft; got != days {
			t.Errorf("with %v left there are %d days left, want %d", left, got, days)
		}
	}
	r := Describe(state, leaf.NotBefore)
	want := Report{Version: "TLS 1.2", Cipher: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", ALPN: "imap",
		Names: []string{"localhost", "127.0.0.1", "ops@db.internal"}, Subject: "CN=a leaf", Issuer: "CN=our CA",
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Chain: 1, Key: "ECDSA P-256", Fingerprint: fingerprintOf(leaf)}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	if r := Describe(tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}, leaf.NotAfter); !reflect.DeepEqual(r, Report{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256"}) {
		t.Errorf("without a certificate: %+v", r)
	}
}
