package secure

import (
	"bytes"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// made is a self-signed certificate and the CA that has signed it.
func made(t *testing.T, dir string, names []string, now time.Time) (leaf, ca *x509.Certificate) {
	t.Helper()
	pair, authority, err := selfSigned(dir, names, now)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf, authority.cert
}

// stateOf is a directory that is not there yet.
func stateOf(t *testing.T) string { return filepath.Join(t.TempDir(), "tls") }

func TestTheSelfSignedCertificateIsKept(t *testing.T) {
	dir := stateOf(t)
	now := time.Now()
	leaf, ca := made(t, dir, []string{"db.internal"}, now)
	for _, test := range []struct {
		about        string
		names        []string
		after        time.Duration
		leafIs, caIs bool // the same as before
	}{
		{"at once", []string{"db.internal"}, 0, true, true},
		{"in other letters, and one of the host's own", []string{"DB.internal", "localhost"}, 0, true, true},
		{"just in time", []string{"db.internal"}, 367*day - skew - time.Second, true, true},
		{"with 30 days left", []string{"db.internal"}, 367*day - skew, false, true},
		{"with another name", []string{"web.internal"}, 0, false, true},
		{"with an address", []string{"10.0.0.1"}, 0, false, true},
		{"with none", nil, 0, false, true},
		{"as late as the CA can sign", nil, caLifetime - renewBefore - time.Second, false, true},
		{"when the CA has 30 days left", nil, caLifetime - renewBefore, false, false},
	} {
		l, c := made(t, dir, test.names, now.Add(test.after))
		if l.Equal(leaf) != test.leafIs || c.Equal(ca) != test.caIs {
			t.Errorf("%s: the certificate is the same: %v, the CA is: %v", test.about, l.Equal(leaf), c.Equal(ca))
		}
		if l.NotAfter.After(c.NotAfter) || l.NotAfter.Sub(l.NotBefore) > 397*day || l.NotAfter.Before(now.Add(test.after+30*day)) {
			t.Errorf("%s: valid from %v to %v, the CA to %v", test.about, l.NotBefore, l.NotAfter, c.NotAfter)
		}
		if len(l.SubjectKeyId) == 0 || !bytes.Equal(l.AuthorityKeyId, c.SubjectKeyId) || len(c.SubjectKeyId) == 0 {
			t.Errorf("%s: the key %x was signed by %x, and that of the CA is %x", test.about, l.SubjectKeyId, l.AuthorityKeyId, c.SubjectKeyId)
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		for _, name := range append([]string{"localhost", "127.0.0.1", "::1"}, test.names...) {
			if _, err := l.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now.Add(test.after)}); err != nil {
				t.Errorf("%s: %v", test.about, err)
			}
		}
		leaf, ca = l, c
	}
}

func TestTheFilesOfTheCAAreForTheUserOnly(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	id := open(t, ServerOptions{SelfSigned: true})
	path, fingerprint := id.CA()
	if want := filepath.Join(state, "parley", "tls", "ca.pem"); path != want || len(fingerprint) != 95 {
		t.Errorf("the CA is %s, %s; want %s and 32 bytes", path, fingerprint, want)
	}
	var names []string
	err := filepath.WalkDir(filepath.Join(state, "parley"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		names = append(names, d.Name())
		info, err := d.Info()
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return err
	})
	if want := []string{"parley", "tls", "ca-key.pem", "ca.pem", "lock", "server.pem"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("there are %q, %v; want %q", names, err, want)
	}
	if bytes.Contains(read(t, path), []byte("KEY")) {
		t.Error("the file for clients has a key")
	}
	t.Setenv("XDG_STATE_HOME", "relative") // which is to be ignored
	t.Setenv("HOME", state)
	path, _ = open(t, ServerOptions{SelfSigned: true}).CA()
	if want := filepath.Join(state, ".local", "state", "parley", "tls", "ca.pem"); path != want {
		t.Errorf("the CA is %s, want %s", path, want)
	}
	t.Setenv("HOME", "")
	if _, err := Open(ServerOptions{SelfSigned: true}); err == nil || !strings.HasSuffix(err.Error(), "set XDG_STATE_HOME to a directory") {
		t.Errorf("without a home: %v", err)
	}
	if path, fingerprint := open(t, pairOptions(t)).CA(); path != "" || fingerprint != "" {
		t.Errorf("a certificate that is not ours has the CA %q, %q", path, fingerprint)
	}
}

func pairOptions(t *testing.T) (o ServerOptions) {
	t.Helper()
	o.Cert, o.Key = newSigner(t, "our CA").pair(t)
	return o
}

// Many that start for the first time at once have one CA between them.
func TestManyMakeOneCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	var starting sync.WaitGroup
	cas := make(chan string, 20)
	for i := range cap(cas) {
		starting.Go(func() {
			id, err := Open(ServerOptions{SelfSigned: true, StateDir: dir, Names: []string{string(rune('a' + i))}})
			if err != nil {
				t.Error(err)
				return
			}
			_, fingerprint := id.CA()
			cas <- fingerprint
		})
	}
	starting.Wait()
	close(cas)
	first := <-cas
	for ca := range cas {
		if ca != first {
			t.Errorf("there are the CAs %s and %s", first, ca)
		}
	}
}

// What a crash, a full disk or a hand has left there is made good, or said.
func TestWhatIsWrongInTheStateDirectory(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(dir string) error
		want string // the error; made good if empty
	}{
		"no certificate":     {func(dir string) error { return os.Remove(dir + "/server.pem") }, ""},
		"half a certificate": {func(dir string) error { return os.Truncate(dir+"/server.pem", 100) }, ""},
		"a key without a CA": {func(dir string) error { return os.Remove(dir + "/ca.pem") }, ""},
		"a CA without a key": {func(dir string) error { return os.Remove(dir + "/ca-key.pem") }, "self-signed certificate: key DIR/ca-key.pem: no such file or directory; remove DIR/ca.pem to have a new CA made"},
		"half a CA":          {func(dir string) error { return os.Truncate(dir+"/ca.pem", 100) }, "self-signed certificate: certificate DIR/ca.pem: it is not PEM: there is no whole part from -----BEGIN to -----END; remove DIR/ca.pem to have a new CA made"},
		"a key that others can read": {func(dir string) error { return os.Chmod(dir+"/ca-key.pem", 0o640) },
			"self-signed certificate: key DIR/ca-key.pem: it is not for its owner only (mode 0640); chmod 600 DIR/ca-key.pem"},
		"a directory that others can read": {func(dir string) error { return os.Chmod(dir, 0o755) },
			"self-signed certificate: directory DIR: it is not for its owner only (mode 0755); chmod 700 DIR"},
		"no lock": {func(dir string) error { return os.Rename(dir+"/lock", dir+"/x") }, ""},
		"no directory": {func(dir string) error { return os.WriteFile(dir+".new", nil, 0o600) },
			"self-signed certificate: directory DIR.new/tls: not a directory; set XDG_STATE_HOME to one that can be written"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tls")
			made(t, dir, nil, time.Now())
			if err := test.do(dir); err != nil {
				t.Fatal(err)
			}
			if name == "no directory" {
				dir = dir + ".new/tls"
			}
			_, _, err := selfSigned(dir, nil, time.Now())
			got := ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), strings.TrimSuffix(dir, ".new/tls"), "DIR")
			}
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if left, _ := filepath.Glob(dir + "/*.pem.*"); len(left) > 0 {
				t.Errorf("%q is left there", left)
			}
		})
	}
}

func TestNamesOfCertificates(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, ok := range map[string]bool{
		"a": true, "db.internal": true, "*.internal": true, "10.0.0.1": true, "2001:db8::1": true, "my_host": true, "xn--bcher-kva.example": true,
		long + "." + long + "." + long + "." + long[:61]: true, long + "." + long + "." + long + "." + long[:62]: false, long + "a": false,
		"": false, ".": false, "a..b": false, "a.": false, "-a": false, "a b": false, "a:1": false, "bücher": false, "*": false, "a.*": false, "[::1]": false, "a\n": false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A host with the longest name has a certificate as well.
func TestLongNamesOfCertificates(t *testing.T) {
	long := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63)
	leaf, _ := made(t, stateOf(t), []string{long}, time.Now())
	if leaf.VerifyHostname(long) != nil || len(leaf.Subject.CommonName) != 64 {
		t.Errorf("the certificate is for %q, its subject %s", leaf.DNSNames, leaf.Subject)
	}
}
