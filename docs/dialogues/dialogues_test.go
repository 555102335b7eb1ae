//go:build linux

// Package dialogues_test plays the dialogues of this directory with the services that they are for.
package dialogues_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/leaks"
	"github.com/parley-tcp/parley/internal/probe"
	"github.com/parley-tcp/parley/internal/secure"
)

func TestMain(m *testing.M) { os.Exit(leaks.Run(m)) }

// A service is started by serve, which returns its address and a file with the CA that has signed its
// certificate, if it has one.
var services = []struct {
	file  string
	serve func(t *testing.T) (addr, ca string)
}{
	{"smtp.talk", startExim},
	{"pop3.talk", func(t *testing.T) (string, string) { _, pop3 := startDovecot(t); return pop3, "" }},
	{"imap.talk", func(t *testing.T) (string, string) { imap, _ := startDovecot(t); return imap, "" }},
	{"redis.talk", plain(startRedis)},
	{"memcached.talk", plain(startMemcached)},
	{"http.talk", plain(startNginx)},
	{"whois.talk", plain(startWhois)},
	{"irc.talk", plain(startIRC)},
	{"ami.talk", plain(startManager)},
	{"nntp.talk", plain(startNews)},
}

func plain(serve func(t *testing.T) string) func(t *testing.T) (addr, ca string) {
	return func(t *testing.T) (string, string) { return serve(t), "" }
}

func TestExamplesHoldWithTheirServices(t *testing.T) {
	for _, s := range services {
		t.Run(s.file, func(t *testing.T) {
			t.Parallel()
			addr, ca := s.serve(t)
			if verdict, holds := check(t, s.file, addr, ca); !holds {
				t.Errorf("%s", verdict)
			}
		})
	}
}

// check plays a dialogue as `parley check --script FILE --ca CA ADDR` does.
func check(t *testing.T, file, addr, ca string) (verdict string, holds bool) {
	t.Helper()
	d := read(t, file)
	framing, err := dialect.Parse(d.Framing)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(addr)
	script := &probe.Script{Dialogue: d, Framing: framing, TLS: trusting(t, ca)}
	var out bytes.Buffer
	c := probe.Check{Target: addr, Out: &out, Probe: probe.Probe{
		Dialer: dial.Dialer{Network: "tcp", Host: host, Port: port, Timeout: patience}, Timeout: patience, Script: script}}
	summary, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), summary.Held == summary.Probes
}

func trusting(t *testing.T, ca string) *tls.Config {
	t.Helper()
	if ca == "" {
		return nil
	}
	client, err := secure.ClientOptions{CA: ca}.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client.Config
}

func read(t *testing.T, file string) *dialogue.Dialogue {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d, err := dialogue.Parse(file, text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// No file is here without a service to play it with, and each is as `parley check --print` prints it.
func TestExamplesAreAllPlayedAndTidy(t *testing.T) {
	files, err := filepath.Glob("*.talk")
	if err != nil {
		t.Fatal(err)
	}
	var played []string
	for _, s := range services {
		played = append(played, s.file)
	}
	if slices.Sort(played); !slices.Equal(files, played) {
		t.Errorf("the files are %v, of which %v are played", files, played)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := read(t, file)
		if tidy := d.Append(nil); !bytes.Equal(text, tidy) {
			t.Errorf("%s is printed as\n%s", file, tidy)
		}
		if first, _, _ := strings.Cut(string(text), "framing "); !strings.Contains(first, "#   parley check --script "+file+" ") || d.Framing == "" {
			t.Errorf("%s does not begin with how to play it, and its framing", file)
		}
	}
}
