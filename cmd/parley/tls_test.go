package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/secure"
)

// A tlsCommand has all that a command can say of TLS, and opens it.
type tlsCommand struct {
	server   tlsServerFlags
	client   tlsClientFlags
	identity *secure.Identity
	peer     *secure.Client
	notes    []string
}

// run runs a server, a client or a tap of which nothing but its flags is there.
func (c *tlsCommand) run(t *testing.T, args ...string) error {
	t.Helper()
	root := rootCommand()
	cmd := &cobra.Command{Use: args[0] + "-tls", RunE: func(cmd *cobra.Command, _ []string) (err error) {
		note := func(format string, args ...any) { c.notes = append(c.notes, fmt.Sprintf(format, args...)) }
		if args[0] != "client" {
			if c.identity, err = c.server.open(cmd.Flags(), note); err != nil {
				return err
			}
		}
		if args[0] != "server" {
			c.peer, err = c.client.open(cmd.Flags(), note)
		}
		return err
	}}
	switch args[0] {
	case "server":
		c.server.add(cmd)
	case "client":
		c.client.add(cmd)
	case "tap":
		c.server.add(cmd)
		c.client.addUpstream(cmd, &c.server)
	}
	root.AddCommand(cmd)
	root.SetArgs(append([]string{cmd.Use}, args[1:]...))
	err := root.Execute()
	t.Cleanup(func() {
		if c.identity != nil {
			c.identity.Close()
		}
		if c.peer != nil {
			c.peer.Close()
		}
	})
	return err
}

func TestWhatFlagsOfTLSAreRefused(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	wide := filepath.Join(dir, "wide")
	if err := os.WriteFile(wide, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const lonely = " goes with --tls-cert or --tls-self-signed"
	for _, test := range []struct{ args, env, want string }{
		{"server --tls-cert x", "", "--tls-cert goes with --tls-key"},
		{"server --tls-key x", "", "--tls-key goes with --tls-cert"},
		{"server", "PARLEY_TLS_CERT=x", "--tls-key is missing: the key of --tls-cert x"},
		{"server --tls-cert x --tls-key y --tls-self-signed", "", "--tls-cert and --tls-self-signed exclude each other; use one of them"},
		{"server --tls-cert nowhere --tls-key y", "", "certificate nowhere: no such file or directory"},
		{"server --tls-client-ca x", "", "--tls-client-ca" + lonely},
		{"server --alpn x", "", "--alpn" + lonely},
		{"server --keylog x", "", "--keylog" + lonely},
		{"tap --keylog x", "", "--keylog" + lonely + " or --upstream-tls"},
		{"tap --upstream-tls --tls-client-ca x", "", "--tls-client-ca" + lonely},
		{"server --tls-self-signed --keylog=", "", "--keylog: its value is empty; leave the flag out if you do not want it"},
		{"server --tls-self-signed --keylog=" + wide, "", "key log " + wide + ": it is not for its owner only (mode 0644); chmod 600 " + wide},
		{"server --tls-self-signed=a,", "", `--tls-self-signed "a,": "" is neither a host name such as db.example.com or *.example.com, nor an IP address`},
		{"server --tls-self-signed=", "", `--tls-self-signed "": "" is neither a host name such as db.example.com or *.example.com, nor an IP address`},
		{"server --tls-self-signed --alpn=h2,", "", `--alpn "h2,": use names of protocols with commas between them, such as h2,http/1.1; each has 1 to 255 bytes`},
		{"client --ca x", "", "--ca goes with --tls"},
		{"client --server-name x", "", "--server-name goes with --tls"},
		{"client --insecure", "", "--insecure goes with --tls"},
		{"client --alpn x", "", "--alpn goes with --tls"},
		{"client --keylog x", "", "--keylog goes with --tls"},
		{"client --cert x --key y", "", "--cert goes with --tls"},
		{"client --tls --cert x", "", "--cert goes with --key"},
		{"client --tls --key x", "", "--key goes with --cert"},
		{"client --tls", "PARLEY_CERT=x", "--key is missing: the key of --cert x"},
		{"client --tls --ca nowhere", "", "CA nowhere: no such file or directory"},
		{"tap --tls-self-signed --ca x", "", "--ca goes with --upstream-tls"},
	} {
		t.Run(test.args, func(t *testing.T) {
			if name, value, ok := strings.Cut(test.env, "="); ok {
				t.Setenv(name, value)
			}
			err := new(tlsCommand).run(t, strings.Fields(test.args)...)
			var exit *exitError
			if !errors.As(err, &exit) || exit.code != exitUsage || err.Error() != test.want {
				t.Errorf("%s parley %s\nended with %v\nwant       %v", test.env, test.args, err, test.want)
			}
		})
	}
}

// What is set for other runs is no error in one without TLS, and what a flag excludes gives way.
func TestVariablesOfTLS(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for name, value := range map[string]string{
		"PARLEY_TLS_KEY": "x", "PARLEY_TLS_CLIENT_CA": "x", "PARLEY_CA": "x", "PARLEY_KEYLOG": "x", "PARLEY_ALPN": "x",
	} {
		t.Setenv(name, value)
	}
	for _, command := range []string{"server", "client", "tap"} {
		plain := &tlsCommand{}
		if err := plain.run(t, command); err != nil || plain.identity != nil || plain.peer != nil || plain.notes != nil {
			t.Errorf("%s in plain: %v, %v, %v, %q", command, err, plain.identity, plain.peer, plain.notes)
		}
	}
	t.Setenv("PARLEY_TLS_CERT", "x")
	t.Setenv("PARLEY_TLS_CLIENT_CA", "")
	t.Setenv("PARLEY_KEYLOG", "")
	if err := new(tlsCommand).run(t, "server", "--tls-self-signed"); err != nil {
		t.Error(err)
	}
	t.Setenv("PARLEY_TLS_CERT", "")
	t.Setenv("PARLEY_TLS_KEY", "")
	for value, on := range map[string]bool{"true": true, "1": true, "db.internal": true, "false": false, "": false} {
		t.Setenv("PARLEY_TLS_SELF_SIGNED", value)
		c := &tlsCommand{}
		if err := c.run(t, "server"); err != nil || (c.identity != nil) != on {
			t.Errorf("PARLEY_TLS_SELF_SIGNED=%s: %v, %v", value, c.identity, err)
		}
	}
}

func TestWhatFlagsOfTLSNote(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	keys := filepath.Join(dir, "keys")
	keyNote := "--keylog: the keys of TLS sessions are written to " + keys + "; who reads it can read what is said"
	const insecure = "--insecure: the server's certificate is not verified"
	server := &tlsCommand{}
	if err := server.run(t, "server", "--tls-self-signed=db.internal,10.0.0.1", "--keylog", keys); err != nil {
		t.Fatal(err)
	}
	path, fingerprint := server.identity.CA()
	for i, want := range []string{"self-signed certificate for db.internal, localhost, ", "fingerprint of that CA: " + fingerprint, keyNote} {
		if len(server.notes) != 3 || !strings.HasPrefix(server.notes[i], want) {
			t.Errorf("notes %q, want the one at %d to begin with %q", server.notes, i, want)
		}
	}
	if end := "; for clients: --ca " + path; !strings.HasSuffix(server.notes[0], end) {
		t.Errorf("noted %q, want it to end with %q", server.notes[0], end)
	}
	client := &tlsCommand{}
	err := client.run(t, "client", "--tls", "--insecure", "--keylog", keys, "--ca", path, "--alpn", "a,b", "--server-name", "db.internal")
	if want := []string{insecure, keyNote}; err != nil || !slices.Equal(client.notes, want) {
		t.Errorf("noted %q, %v; want %q", client.notes, err, want)
	}
	config := client.peer.Config
	if !config.InsecureSkipVerify || config.ServerName != "db.internal" || !slices.Equal(config.NextProtos, []string{"a", "b"}) || client.peer.Roots == nil || config.KeyLogWriter == nil {
		t.Errorf("configured %+v", config)
	}
	// Of a tap one --alpn and one --keylog are for both sides, or for the one there is.
	for _, sides := range [][]string{{"--upstream-tls"}, {"--tls-self-signed"}, {"--upstream-tls", "--tls-self-signed"}} {
		tap := &tlsCommand{}
		if err := tap.run(t, append(append([]string{"tap"}, sides...), "--alpn", "a", "--keylog", keys)...); err != nil {
			t.Errorf("tap %q: %v", sides, err)
			continue
		}
		if noted := strings.Count(strings.Join(tap.notes, "\n"), keyNote); noted != 1 {
			t.Errorf("tap %q noted %q, want the key log once", sides, tap.notes)
		}
		if tap.peer != nil && (tap.peer.Config.KeyLogWriter == nil || !slices.Equal(tap.peer.Config.NextProtos, []string{"a"})) {
			t.Errorf("tap %q has %+v to its server", sides, tap.peer.Config)
		}
		if tap.identity != nil && !slices.Equal(tap.identity.Config().NextProtos, []string{"a"}) {
			t.Errorf("tap %q has %+v to its clients", sides, tap.identity.Config())
		}
	}
}

// connectTLS connects to whatever certificate there is, and returns its name too.
func connectTLS(t *testing.T, addr string) (conn *tls.Conn, name string) {
	t.Helper()
	conn = tls.Client(connect(t, addr), &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn, conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}
