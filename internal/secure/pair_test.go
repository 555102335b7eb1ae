package secure

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatCannotBeUsedIsSaidInWords(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t)
	_, otherKey := ca.pair(t)
	certText, keyText := read(t, cert), read(t, key)
	block, _ := pem.Decode(keyText)
	//lint:ignore SA1019 it is what old files have
	encrypted, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", block.Bytes, []byte("secret"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := pem.Decode(certText)
	caFirst := write(t, "chain.pem", slices.Concat(certPEM(ca.cert), certText))
	dir := t.TempDir()
	empty := write(t, "empty", nil)
	text := write(t, "text", []byte("hello\n"))
	half := write(t, "half", certText[:len(certText)/2])
	binary := write(t, "binary", der.Bytes)
	damaged := write(t, "damaged", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der.Bytes[:100]}))
	request := write(t, "request", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der.Bytes}))
	badKey := write(t, "bad-key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: block.Bytes[:20]}))
	sshKey := write(t, "ssh-key", pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: block.Bytes}))
	pkcs8 := write(t, "pkcs8", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: block.Bytes}))
	old := write(t, "old", pem.EncodeToMemory(encrypted))
	const passphrase = ": the key is encrypted with a passphrase; 'openssl pkey -in FILE -out PLAINFILE' takes that away"
	for _, test := range []struct{ cert, key, want string }{
		{"nowhere", key, "certificate nowhere: no such file or directory"},
		{cert, "nowhere", "key nowhere: no such file or directory"},
		{dir, key, "certificate " + dir + ": is a directory"},
		{empty, key, "certificate " + empty + ": the file is empty"},
		{text, key, "certificate " + text + ": it is not PEM: there is no whole part from -----BEGIN to -----END"},
		{half, key, "certificate " + half + ": it is not PEM: there is no whole part from -----BEGIN to -----END"},
		{binary, key, "certificate " + binary + ": it is binary and not PEM; 'openssl x509 -inform der', 'openssl pkey -inform der' or, for .p12 and .pfx, 'openssl pkcs12 -nodes' make PEM of it"},
		{damaged, key, "certificate " + damaged + ": certificate 1 in it is damaged: "},
		{request, key, "certificate " + request + ": it has no certificate, but CERTIFICATE REQUEST"},
		{key, cert, "certificate " + key + ": it has a private key and no certificate; are the two files swapped?"},
		{cert, cert, "key " + cert + ": it has a certificate and no private key; are the two files swapped?"},
		{cert, request, "key " + request + ": it has no private key, but CERTIFICATE REQUEST"},
		{cert, badKey, "certificate " + cert + " and key " + badKey + ": tls: failed to parse private key"},
		{cert, sshKey, "key " + sshKey + ": it is a key of ssh, which certificates are not made with"},
		{cert, pkcs8, "key " + pkcs8 + passphrase},
		{cert, old, "key " + old + passphrase},
		{cert, otherKey, "certificate " + cert + " and key " + otherKey + ": it is not the key of this certificate; take the one that the certificate was asked for with"},
		{caFirst, key, "key " + key + " is that of certificate 2 of 2 in " + caFirst + "; it must be the first there, and those that signed it follow"},
	} {
		_, err := Open(ServerOptions{Cert: test.cert, Key: test.key})
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
		if _, err := (ClientOptions{Cert: test.cert, Key: test.key}).Open(); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("of a client: got %v\nwant %s", err, test.want)
		}
	}
	for file, want := range map[string]string{
		"nowhere": "nowhere: no such file or directory",
		key:       key + ": it has a private key and no certificate; are the two files swapped?",
		damaged:   damaged + ": certificate 1 in it is damaged: ",
		empty:     empty + ": the file is empty",
	} {
		if _, err := Open(ServerOptions{Cert: cert, Key: key, ClientCA: file}); err == nil || !strings.HasPrefix(err.Error(), "client CA "+want) {
			t.Errorf("client CA: got %v\nwant %s", err, want)
		}
		if _, err := (ClientOptions{CA: file}).Open(); err == nil || !strings.HasPrefix(err.Error(), "CA "+want) {
			t.Errorf("CA: got %v\nwant %s", err, want)
		}
	}
	if os.Getuid() != 0 { // who may read everything
		os.Chmod(key, 0)
		if _, err := Open(ServerOptions{Cert: cert, Key: key}); err == nil || err.Error() != "key "+key+": permission denied" {
			t.Errorf("got %v, want the permission", err)
		}
	}
}

// A pair may be one file, and have words between its parts.
func TestWhatCanBeUsed(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t)
	both := write(t, "both.pem", slices.Concat(read(t, key), []byte("the certificate:\n"), read(t, cert), certPEM(ca.cert)))
	s := serve(t, open(t, ServerOptions{Cert: both, Key: both}).Config())
	state, err := converse(s.addr, openClient(t, ClientOptions{CA: ca.file}))
	if err != nil || len(state.PeerCertificates) != 2 {
		t.Errorf("%d certificates, %v; want 2", len(state.PeerCertificates), err)
	}
}

// What has expired is used: there may be clients that do not look.
func TestACertificateThatHasExpiredIsWarnedAbout(t *testing.T) {
	ca := newSigner(t, "our CA")
	for change, want := range map[string]string{
		"expired": " expired on 2020-01-02 03:04 UTC; peers that verify it will refuse it",
		"notYet":  " is not valid before 2100-01-02 03:04 UTC; peers that verify it will refuse it until then",
		"":        "",
	} {
		cert, key := ca.pair(t, map[string]func(*x509.Certificate){"expired": expired, "notYet": notYet, "": func(*x509.Certificate) {}}[change])
		var wanted []string
		if want != "" {
			wanted = []string{"certificate " + cert + want}
		}
		if got := open(t, ServerOptions{Cert: cert, Key: key}).Warnings(); !slices.Equal(got, wanted) {
			t.Errorf("warned of %q, want %q", got, wanted)
		}
		c, err := ClientOptions{Cert: cert, Key: key}.Open()
		if err != nil || !slices.Equal(c.Warnings, wanted) {
			t.Errorf("of a client: warned of %q, %v, want %q", c.Warnings, err, wanted)
		}
	}
}

func TestTheKeyLogIsForItsOwnerOnly(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t)
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o200: false, 0o640: true, 0o644: true, 0o604: true, 0o700: true, 0o602: true} {
		file := write(t, "keys", []byte("# kept\n"))
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if mode == 0o400 && os.Getuid() != 0 {
			continue
		}
		_, err := ClientOptions{KeyLog: file}.openAndClose()
		if (err != nil) != refused || refused && !strings.HasSuffix(err.Error(), "; chmod 600 "+file) {
			t.Errorf("mode %o: %v", mode, err)
		}
		id, err := Open(ServerOptions{Cert: cert, Key: key, KeyLog: file})
		if (err != nil) != refused {
			t.Errorf("mode %o: %v", mode, err)
		}
		if err == nil {
			id.Close()
		}
	}
	if _, err := (ClientOptions{KeyLog: "nowhere/keys"}).Open(); err == nil || err.Error() != "key log nowhere/keys: no such file or directory" {
		t.Errorf("in a directory that is not there: %v", err)
	}
}

// In a directory that all can write, another user may have made the file.
func TestTheKeyLogIsNobodyElses(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a file of another user")
	}
	file := write(t, "keys", nil)
	if err := os.Chown(file, 1234, -1); err != nil {
		t.Fatal(err)
	}
	const want = "it belongs to another user (uid 1234), who can read it; choose another file"
	if _, err := (ClientOptions{KeyLog: file}).openAndClose(); err == nil || err.Error() != "key log "+file+": "+want {
		t.Errorf("opened with %v", err)
	}
}

func (o ClientOptions) openAndClose() (*Client, error) {
	c, err := o.Open()
	if err == nil {
		err = c.Close()
	}
	return c, err
}

// Both ends add the same keys to what was there.
func TestTheKeyLogHasTheKeysOfBothSides(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t)
	here, there := t.TempDir()+"/keys", write(t, "keys", []byte("# kept\n"))
	s := serve(t, open(t, ServerOptions{Cert: cert, Key: key, KeyLog: here}).Config())
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := openClient(t, ClientOptions{CA: ca.file, KeyLog: there})
		config.MaxVersion = version
		if _, err := converse(s.addr, config); err != nil {
			t.Fatal(err)
		}
		if err := s.why(t); err != nil {
			t.Error(err)
		}
	}
	text, ok := bytes.CutPrefix(read(t, there), []byte("# kept\n"))
	sorted := func(text []byte) string {
		lines := strings.Split(string(text), "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if got := read(t, here); !ok || sorted(got) != sorted(text) || bytes.Count(got, []byte("\n")) != 5 || !bytes.Contains(got, []byte("CLIENT_RANDOM ")) {
		t.Errorf("the server has\n%sand the client\n%swant the same five lines", got, text)
	}
	if info, err := os.Stat(here); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new key log has mode %v, %v", info.Mode(), err)
	}
}

func TestAClientResumesOnlyIfItIsToldTo(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t)
	s := serve(t, open(t, ServerOptions{Cert: cert, Key: key}).Config())
	for _, resume := range []bool{false, true} {
		config := openClient(t, ClientOptions{CA: ca.file, Resume: resume})
		for i := range 2 {
			state, err := converse(s.addr, config)
			if want := resume && i == 1; err != nil || state.DidResume != want {
				t.Errorf("Resume %v, connection %d: resumed %v, %v", resume, i, state.DidResume, err)
			}
			if r := Describe(state, time.Now()); r.Resumed != state.DidResume || len(r.Names) != 2 {
				t.Errorf("described as %+v", r)
			}
		}
	}
}
