package main

import (
	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/natsconn"
)

// natsFlags say who we are to NATS and whom we trust there. A command may have flags of the same kind for
// the service that it talks to, so these have a prefix.
type natsFlags struct{ creds, ca, cert, key string }

func (f *natsFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	defer heading(flags, ofNATS)()
	flags.StringVar(&f.creds, "nats-creds", "", "what lets us in to NATS: a `FILE` of credentials, as nsc writes it")
	flags.StringVar(&f.ca, "nats-ca", "", "trust NATS servers whose certificate is signed by a CA in this PEM `FILE` (default those of the system)")
	flags.StringVar(&f.cert, "nats-cert", "", "our own certificate, for NATS servers that want one: a PEM `FILE`")
	flags.StringVar(&f.key, "nats-key", "", "its key, a PEM `FILE`")
	flags.SetAnnotation("nats-cert", goesWith, []string{"nats-key"})
	flags.SetAnnotation("nats-key", goesWith, []string{"nats-cert"})
}

// options are those of a connection to the servers; name is how these list it.
func (f *natsFlags) options(urls, name string) natsconn.Options {
	return natsconn.Options{URLs: urls, Creds: f.creds, CA: f.ca, Cert: f.cert, Key: f.key, Name: name}
}
