package secure

import (
	"crypto/tls"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// replace puts new text in a file in one step.
func replace(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestABadPairIsRefusedAndTheOldStays(t *testing.T) {
	ca, clients := newSigner(t, "our CA"), newSigner(t, "clients' CA")
	cert, key := ca.pair(t)
	newCert, newKey := ca.pair(t, named("localhost", "new"))
	id := open(t, ServerOptions{Cert: cert, Key: key, ClientCA: clients.file})
	s := serve(t, id.Config())
	client := ClientOptions{CA: ca.file}
	client.Cert, client.Key = clients.pair(t)
	config := openClient(t, client)
	before := id.About()
	is := func(name string) bool {
		t.Helper()
		state, err := converse(s.addr, config)
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].VerifyHostname(name) == nil
	}
	oldCert, oldKey, oldCA := read(t, cert), read(t, key), read(t, clients.file)
	for _, bad := range []struct {
		file string
		text []byte
	}{{cert, read(t, newCert)}, {key, read(t, newKey)}, {cert, []byte("x")}, {key, nil}, {clients.file, []byte("x")}} {
		replace(t, bad.file, bad.text)
		if err := id.Reload(); err == nil || !strings.Contains(err.Error(), bad.file) {
			t.Errorf("with a bad %s: %v", bad.file, err)
		}
		if is("new") || id.About() != before {
			t.Errorf("with a bad %s there is another certificate", bad.file)
		}
		replace(t, cert, oldCert)
		replace(t, key, oldKey)
		replace(t, clients.file, oldCA)
	}
	replace(t, cert, read(t, newCert))
	replace(t, key, read(t, newKey))
	if err := id.Reload(); err != nil || !is("new") {
		t.Errorf("after a good reload, %v, the certificate is the old", err)
	}
	if want := "certificate for localhost, new, valid until "; !strings.HasPrefix(id.About(), want) {
		t.Errorf("it is a %s, want a %s", id.About(), want)
	}
}

// Whom a reload has shut out does not come in by a session of before.
func TestAReloadOfTheClientsCAShutsOut(t *testing.T) {
	ca, clients, others := newSigner(t, "our CA"), newSigner(t, "clients' CA"), newSigner(t, "others' CA")
	cert, key := ca.pair(t)
	id := open(t, ServerOptions{Cert: cert, Key: key, ClientCA: clients.file})
	s := serve(t, id.Config())
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := ClientOptions{CA: ca.file, Resume: true}
		client.Cert, client.Key = clients.pair(t)
		config := openClient(t, client)
		config.MaxVersion = version
		for i := range 2 {
			state, err := converse(s.addr, config)
			if err != nil || state.DidResume != (i == 1) {
				t.Fatalf("%s, connection %d: resumed %v, %v", tls.VersionName(version), i, state.DidResume, err)
			}
			s.why(t)
		}
		text := read(t, clients.file)
		replace(t, clients.file, read(t, others.file))
		if err := id.Reload(); err != nil {
			t.Fatal(err)
		}
		_, err := converse(s.addr, config)
		want := "client's certificate is not signed by our --tls-client-ca, but by CN=clients' CA"
		if got := ServerReason(s.why(t)); got != want || err == nil {
			t.Errorf("%s: the server says %q and the client %v; want %q", tls.VersionName(version), got, err, want)
		}
		replace(t, clients.file, text)
		if err := id.Reload(); err != nil {
			t.Fatal(err)
		}
	}
}

// Each of many handshakes while files change sees the old or the new, and none an error.
func TestReloadsUnderLoad(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t, named("localhost", "old"))
	newCert, newKey := ca.pair(t, named("localhost", "new"))
	id := open(t, ServerOptions{Cert: cert, Key: key})
	s := serve(t, id.Config())
	pairs := [][2][]byte{{read(t, newCert), read(t, newKey)}, {read(t, cert), read(t, key)}}
	begun := make(chan struct{}) // receives as a handshake begins, unless files are just changing
	var reloading, shaking sync.WaitGroup
	reloads := 0
	reloading.Go(func() {
		for range begun {
			pair := pairs[reloads%2]
			replace(t, cert, pair[0])
			if err := id.Reload(); err == nil {
				t.Error("half a pair was taken")
			}
			replace(t, key, pair[1])
			if err := id.Reload(); err != nil {
				t.Error(err)
			}
			reloads++
		}
	})
	seen := make(chan string, 200)
	config := openClient(t, ClientOptions{CA: ca.file})
	for range 4 {
		shaking.Go(func() {
			for range cap(seen) / 4 {
				select {
				case begun <- struct{}{}:
				default:
				}
				state, err := converse(s.addr, config)
				if err != nil {
					t.Error(err)
					return
				}
				seen <- state.PeerCertificates[0].DNSNames[1]
			}
		})
	}
	shaking.Wait()
	close(begun)
	reloading.Wait()
	close(seen)
	counts := map[string]int{}
	for name := range seen {
		counts[name]++
	}
	if counts["old"]+counts["new"] != cap(seen) || reloads < 2 {
		t.Errorf("with %d reloads these were seen: %v", reloads, counts)
	}
}

// A connection that is open when files are read again goes on.
func TestAReloadLeavesOpenConnectionsAlone(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t)
	id := open(t, ServerOptions{Cert: cert, Key: key})
	s := serve(t, id.Config())
	conn, err := tls.Dial("tcp", s.addr, openClient(t, ClientOptions{CA: ca.file}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	newCert, newKey := ca.pair(t)
	replace(t, cert, read(t, newCert))
	replace(t, key, read(t, newKey))
	if err := id.Reload(); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 6)
	conn.Write([]byte("hello\n"))
	if n, err := conn.Read(reply); string(reply[:n]) != "HELLO\n" {
		t.Errorf("after a reload: %q, %v", reply[:n], err)
	}
}

// A reload of a self-signed certificate has that of its own names, whatever another server has
// made since.
func TestTwoServersWithNamesOfTheirOwn(t *testing.T) {
	dir := stateOf(t)
	one := open(t, ServerOptions{SelfSigned: true, StateDir: dir, Names: []string{"one"}})
	open(t, ServerOptions{SelfSigned: true, StateDir: dir, Names: []string{"two"}})
	if err := one.Reload(); err != nil || !strings.HasPrefix(one.About(), "certificate for one, ") {
		t.Errorf("%s, %v", one.About(), err)
	}
}
