package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley/internal/listen"
)

// A listFlag is a list: of items with commas between them, of several flags, or both.
type listFlag struct {
	items []string
	check func(item string) error
	kind  string
}

func (f *listFlag) String() string { return strings.Join(f.items, ",") }
func (f *listFlag) Type() string   { return f.kind }

func (f *listFlag) Set(s string) error {
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			return errors.New("an item of the list is empty")
		}
		switch err := f.check(item); {
		case err != nil && item != s: // else it is named
			return fmt.Errorf("%q: %w", item, err)
		case err != nil:
			return err
		}
		f.items = append(f.items, item)
	}
	return nil
}

// proxyFlags are those of a server behind proxies.
type proxyFlags struct {
	on    bool // the flags' own listeners are behind proxies
	trust listFlag
	flags *pflag.FlagSet
}

func (f *proxyFlags) add(cmd *cobra.Command) {
	f.flags = cmd.Flags()
	f.trust = listFlag{check: listen.CheckTrust, kind: "CIDRS"}
	f.flags.BoolVar(&f.on, "proxy-protocol", false, "connections begin with a PROXY header, version 1 or 2, which names the client; goes with --proxy-trust")
	f.flags.Var(&f.trust, "proxy-trust", "whose PROXY header is believed: addresses, prefixes, or unix for the peers of Unix sockets; from others nobody is served")
}

// resolve is whom to trust. It is wanted if some listener is behind proxies, whether by the flag or
// by the prefix of its address.
func (f *proxyFlags) resolve(wanted bool) (*listen.Trust, error) {
	switch {
	case wanted && len(f.trust.items) == 0:
		return nil, usageError("the PROXY protocol needs --proxy-trust, such as --proxy-trust 10.0.0.0/8: only a header that your own proxies send can be believed")
	case !wanted && isGiven(f.flags.Lookup("proxy-trust")):
		return nil, usageError("--proxy-trust goes with --proxy-protocol, or with an address such as proxy:0.0.0.0:6969")
	case !wanted:
		return nil, nil
	}
	return listen.NewTrust(f.trust.items)
}

// filterFlags are who may connect.
type filterFlags struct {
	allow, deny listFlag
}

func (f *filterFlags) add(cmd *cobra.Command) {
	f.allow = listFlag{check: listen.CheckAddresses, kind: "CIDRS"}
	f.deny = f.allow
	cmd.Flags().Var(&f.allow, "allow", "let in these addresses and prefixes only, or those in @FILE, one a line")
	cmd.Flags().Var(&f.deny, "deny", "do not let in these addresses and prefixes, or those in @FILE, whatever --allow says")
}

// resolve is nil if everybody may connect.
func (f *filterFlags) resolve() (*listen.Filter, error) {
	if len(f.allow.items)+len(f.deny.items) == 0 {
		return nil, nil
	}
	filter, err := listen.NewFilter(f.allow.items, f.deny.items)
	if err != nil {
		return nil, usageError("%w", err)
	}
	return filter, nil
}
