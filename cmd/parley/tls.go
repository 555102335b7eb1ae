package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley/internal/secure"
)

// A note writes a line to standard error, with "parley: " before it, and escaped.
type note func(format string, args ...any)

// tlsServerFlags say how clients are spoken to over TLS: those of a server, and of a tap
// towards its clients.
type tlsServerFlags struct {
	cert, key  string
	selfSigned namesFlag
	clientCA   string
	alpn       alpnFlag
	keyLog     string
	upstream   *tlsClientFlags // of a tap, with which --alpn and --keylog are shared
}

func (f *tlsServerFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	defer heading(flags, ofTLS)()
	flags.StringVar(&f.cert, "tls-cert", "", "speak TLS with the certificate in this PEM `FILE`, those that signed it behind it; SIGHUP reads it again")
	flags.StringVar(&f.key, "tls-key", "", "the certificate's key, a PEM `FILE`")
	flags.Var(&f.selfSigned, "tls-self-signed", "speak TLS with a certificate for this host, and for these names, of a CA of your own that is made once and kept")
	flags.Lookup("tls-self-signed").NoOptDefVal = "localhost" // which it is for anyway
	flags.StringVar(&f.clientCA, "tls-client-ca", "", "let in only who has a certificate signed by a CA in this PEM `FILE`")
	addShared(flags, &f.alpn, &f.keyLog)
	flags.SetAnnotation("tls-cert", goesWith, []string{"tls-key"})
	flags.SetAnnotation("tls-key", goesWith, []string{"tls-cert"})
	cmd.MarkFlagsMutuallyExclusive("tls-cert", "tls-self-signed")
	cmd.MarkFlagsMutuallyExclusive("tls-key", "tls-self-signed")
}

// addShared adds what both sides may say of TLS.
func addShared(flags *pflag.FlagSet, alpn *alpnFlag, keyLog *string) {
	flags.Var(alpn, "alpn", "application protocols to agree on over TLS (ALPN), the preferred first, such as h2,http/1.1")
	flags.StringVar(keyLog, "keylog", "", "add the keys of TLS sessions to `FILE` (NSS format), for Wireshark to read what was said")
}

// on says whether there is a certificate to speak TLS with.
func (f *tlsServerFlags) on() bool { return f.cert != "" || f.selfSigned.on }

// strayName says that a word was meant for --tls-self-signed, which can do without one and so does not
// take the next.
func (f *tlsServerFlags) strayName(words []string) error {
	for _, word := range words {
		if f.selfSigned.on && !strings.Contains(word, ":") && !isNumber(word) && new(namesFlag).Set(word) == nil {
			return usageError("address %q has no port; if it is a name for --tls-self-signed, write --tls-self-signed=%s", word, word)
		}
	}
	return nil
}

// check says which flag is missing or says nothing without TLS. A variable may be there for
// other runs.
func (f *tlsServerFlags) check(flags *pflag.FlagSet) error {
	given := func(name string) bool { return isGiven(flags.Lookup(name)) }
	switch {
	case f.cert != "" && f.key == "":
		return usageError("--tls-key is missing: the key of --tls-cert %s", f.cert)
	case f.on():
		return nil
	case given("tls-client-ca"):
		return usageError("--tls-client-ca goes with --tls-cert or --tls-self-signed")
	case f.upstream != nil && f.upstream.on:
		return nil
	}
	for _, name := range []string{"alpn", "keylog"} {
		if given(name) {
			return usageError("--%s goes with --tls-cert or --tls-self-signed%s", name, f.orUpstream())
		}
	}
	return nil
}

func (f *tlsServerFlags) orUpstream() string {
	if f.upstream != nil {
		return " or --upstream-tls"
	}
	return ""
}

// open reads the files, and notes what the user must know; it is nil without TLS.
func (f *tlsServerFlags) open(flags *pflag.FlagSet, note note) (*secure.Identity, error) {
	if err := f.check(flags); err != nil || !f.on() {
		return nil, err
	}
	id, err := secure.Open(secure.ServerOptions{
		Cert: f.cert, Key: f.key, SelfSigned: f.selfSigned.on, Names: f.selfSigned.names,
		ClientCA: f.clientCA, ALPN: f.alpn, KeyLog: f.keyLog,
	})
	if err != nil {
		return nil, usageError("%w", err)
	}
	if path, fingerprint := id.CA(); path != "" {
		note("self-signed %s; for clients: --ca %s", id.About(), path)
		note("fingerprint of that CA: %s", fingerprint)
	}
	noteKeyLog(note, f.keyLog)
	noteAll(note, id.Warnings())
	return id, nil
}

// reloadTLS reads the files of id again, and notes whether they are in use now.
func reloadTLS(id *secure.Identity, note note) {
	if err := id.Reload(); err != nil {
		note("TLS: not reloaded, what was read before stays in use: %v", err)
		return
	}
	note("TLS: reloaded, %s", id.About())
	noteAll(note, id.Warnings())
}

func noteAll(note note, texts []string) {
	for _, text := range texts {
		note("%s", text)
	}
}

func noteKeyLog(note note, file string) {
	if file != "" {
		note("--keylog: the keys of TLS sessions are written to %s; who reads it can read what is said", file)
	}
}

// tlsClientFlags say how a server is spoken to over TLS: those of a client, a check, a
// bench, a replay, and of a tap towards its server.
type tlsClientFlags struct {
	on         bool
	ca         string
	cert, key  string
	serverName string
	insecure   bool
	alpn       alpnFlag
	keyLog     string
	resume     bool            // without a flag: a bench has one of its own
	name       string          // of the flag: tls, or upstream-tls of a tap
	server     *tlsServerFlags // of a tap, with which --alpn and --keylog are shared
}

// add adds the flags of a client.
func (f *tlsClientFlags) add(cmd *cobra.Command) {
	defer heading(cmd.Flags(), ofTLS)()
	f.addNamed(cmd, "tls", "speak TLS")
	addShared(cmd.Flags(), &f.alpn, &f.keyLog)
}

// addUpstream adds those of a tap, whose --alpn and --keylog are for both of its sides.
func (f *tlsClientFlags) addUpstream(cmd *cobra.Command, server *tlsServerFlags) {
	f.addNamed(cmd, "upstream-tls", "speak TLS to the server")
	f.server, server.upstream = server, f
}

func (f *tlsClientFlags) addNamed(cmd *cobra.Command, name, about string) {
	flags := cmd.Flags()
	f.name = name
	flags.BoolVar(&f.on, name, false, about)
	flags.StringVar(&f.ca, "ca", "", "trust servers whose certificate is signed by a CA in this PEM `FILE` (default those of the system)")
	flags.StringVar(&f.cert, "cert", "", "our own certificate, for servers that want one: a PEM `FILE`")
	flags.StringVar(&f.key, "key", "", "its key, a PEM `FILE`")
	flags.StringVar(&f.serverName, "server-name", "", "the `NAME` that the certificate must have (default the host of the address)")
	flags.BoolVar(&f.insecure, "insecure", false, "take any certificate: nothing says then who the server is")
	flags.SetAnnotation("cert", goesWith, []string{"key"})
	flags.SetAnnotation("key", goesWith, []string{"cert"})
}

// check says which flag is missing or says nothing without TLS. A variable may be there for
// other runs.
func (f *tlsClientFlags) check(flags *pflag.FlagSet) error {
	if f.on && f.cert != "" && f.key == "" {
		return usageError("--key is missing: the key of --cert %s", f.cert)
	}
	names := []string{"ca", "cert", "key", "server-name", "insecure"}
	if f.server == nil {
		names = append(names, "alpn", "keylog")
	}
	for _, name := range names {
		if !f.on && isGiven(flags.Lookup(name)) {
			return usageError("--%s goes with --%s", name, f.name)
		}
	}
	return nil
}

// open reads the files, and notes what the user must know; it is nil without TLS. Close it at the
// end.
func (f *tlsClientFlags) open(flags *pflag.FlagSet, note note) (*secure.Client, error) {
	if err := f.check(flags); err != nil || !f.on {
		return nil, err
	}
	if f.server != nil {
		f.alpn, f.keyLog = f.server.alpn, f.server.keyLog
	}
	client, err := secure.ClientOptions{
		CA: f.ca, Cert: f.cert, Key: f.key, ServerName: f.serverName, Insecure: f.insecure,
		ALPN: f.alpn, KeyLog: f.keyLog, Resume: f.resume,
	}.Open()
	if err != nil {
		return nil, usageError("%w", err)
	}
	if f.insecure {
		note("--insecure: the server's certificate is not verified")
	}
	if f.server == nil || !f.server.on() { // which has noted it
		noteKeyLog(note, f.keyLog)
	}
	noteAll(note, client.Warnings)
	return client, nil
}

// A namesFlag is --tls-self-signed: on, and the names that a certificate is to be for.
type namesFlag struct {
	on    bool
	names []string
}

func (f *namesFlag) String() string {
	if f.on && len(f.names) == 0 {
		return "true"
	}
	return strings.Join(f.names, ",")
}

func (f *namesFlag) Type() string { return "NAME,..." }

func (f *namesFlag) Set(s string) error {
	f.names = nil
	if on, err := strconv.ParseBool(s); err == nil { // of a variable
		f.on = on
		return nil
	}
	f.on = true
	for name := range strings.SplitSeq(s, ",") {
		if err := secure.CheckName(name); err != nil {
			return err
		}
		f.names = append(f.names, name)
	}
	return nil
}

// An alpnFlag is --alpn: names of protocols.
type alpnFlag []string

func (f *alpnFlag) String() string { return strings.Join(*f, ",") }
func (f *alpnFlag) Type() string   { return "PROTOCOL,..." }

func (f *alpnFlag) Set(s string) error {
	names := strings.Split(s, ",")
	if slices.ContainsFunc(names, func(name string) bool { return name == "" || len(name) > 255 }) {
		return errors.New("use names of protocols with commas between them, such as h2,http/1.1; each has 1 to 255 bytes")
	}
	*f = names
	return nil
}
