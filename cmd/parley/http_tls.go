package main

import (
	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/secure"
)

// httpTLSFlags say with which certificate a page, or the operators' address, speaks TLS. It is not that of
// the server: browsers and Prometheus may have to trust it.
type httpTLSFlags struct {
	of         string // the flag of the address, such as web: what the names of these begin with
	cert, key  string
	selfSigned namesFlag
	clientCA   string           // whoever asks must have a certificate of it; not asked for if empty
	identity   *secure.Identity // once it is open; nil in plain
}

// add adds them; who says whom they have speak TLS, such as "the page".
func (f *httpTLSFlags) add(cmd *cobra.Command, of, who string) {
	f.of = of
	flags := cmd.Flags()
	name := func(flag string) string { return of + "-tls-" + flag }
	flags.StringVar(&f.cert, name("cert"), "", "have "+who+" speak TLS (https) with the certificate in this PEM `FILE`, those that signed it behind it; SIGHUP reads it again")
	flags.StringVar(&f.key, name("key"), "", "the certificate's key, a PEM `FILE`")
	flags.Var(&f.selfSigned, name("self-signed"), "have "+who+" speak TLS with a certificate for this host, and for these names, of a CA of your own that is made once and kept")
	flags.Lookup(name("self-signed")).NoOptDefVal = "localhost" // which it is for anyway
	flags.SetAnnotation(name("cert"), goesWith, []string{of})
	flags.SetAnnotation(name("key"), goesWith, []string{name("cert")})
	flags.SetAnnotation(name("self-signed"), goesWith, []string{of})
	cmd.MarkFlagsMutuallyExclusive(name("cert"), name("self-signed"))
	cmd.MarkFlagsMutuallyExclusive(name("key"), name("self-signed"))
}

// addClientCA adds the flag that has clients show a certificate, which no browser's user has.
func (f *httpTLSFlags) addClientCA(cmd *cobra.Command) {
	name := f.of + "-tls-client-ca"
	cmd.Flags().StringVar(&f.clientCA, name, "", "answer only who has a certificate signed by a CA in this PEM `FILE`")
	cmd.Flags().SetAnnotation(name, goesWith, []string{f.of + "-tls-cert", f.of + "-tls-self-signed"})
}

// open reads the files, and notes what whoever opens the page must know.
func (f *httpTLSFlags) open(note note) (err error) {
	switch {
	case f.cert != "" && f.key == "":
		return usageError("--%s-tls-key is missing: the key of --%[1]s-tls-cert %s", f.of, f.cert)
	case f.cert == "" && !f.selfSigned.on:
		return nil
	}
	f.identity, err = secure.Open(secure.ServerOptions{Cert: f.cert, Key: f.key, SelfSigned: f.selfSigned.on, Names: f.selfSigned.names, ClientCA: f.clientCA})
	if err != nil {
		return usageError("--%s: %w", f.of, err)
	}
	if path, _ := f.identity.CA(); path != "" {
		note("self-signed %s; for clients to trust: %s", f.identity.About(), path)
		note("fingerprint of that certificate, as browsers show it (SHA-256): %s", f.identity.Fingerprint())
	}
	noteAll(note, f.identity.Warnings())
	return nil
}

// reloader is what reads the files again, and notes whether they are in use now; nil if there is
// nothing to read.
func (f *httpTLSFlags) reloader(note note) func() {
	if f.cert == "" {
		return nil
	}
	return func() { reloadTLS(f.identity, note) }
}

// covers reports whether the certificate is for a host.
func (f *httpTLSFlags) covers(host string) bool { return f.identity != nil && f.identity.IsFor(host) }
