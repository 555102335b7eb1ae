package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/tap"
)

// An ownRecord is what a client keeps of its conversations with --journal.
type ownRecord struct {
	journal journalOptions
	redact  redactFlag

	kept        *journal.Writer // nil if nothing is kept
	note        func(format string, args ...any)
	framing     dialect.Framing
	connections uint64
}

func (r *ownRecord) add(cmd *cobra.Command) {
	r.redact.add(cmd, "before it is kept in --journal; what is sent and shown is not changed")
	r.journal.addFlags(cmd)
}

// open opens the journal, if there is to be one, for what is said on a node to a server.
func (r *ownRecord) open(cmd *cobra.Command, node, server string, framing dialect.Framing) (err error) {
	if len(r.redact.Rules) > 0 && r.journal.file == "" {
		return usageError("--redact goes with --journal")
	}
	r.framing = framing.Onlooker()
	r.journal.of(node, "client", framing.Name, server)
	r.note = notesOn(cmd)
	r.kept, err = r.journal.open(r.note, "")
	return err
}

// over has what is said over a connection be kept, until ctx ends.
func (r *ownRecord) over(ctx context.Context, conn net.Conn) net.Conn {
	if r.kept == nil {
		return conn
	}
	r.connections++
	session := parley.SessionOf(r.connections, conn, time.Now())
	return tap.NewOwn(ctx, conn, session, r.framing.Requests, r.framing.Replies, r.redact.Observer(r.kept), r.redact.Gate(r.kept))
}

// refuseReframing says why the framing stays as it is.
func (r *ownRecord) refuseReframing() error {
	if r.kept == nil {
		return nil
	}
	return errors.New("--journal says one framing of all that it keeps; another one needs another client")
}

// close lets the journal take what is queued, and is err unless that is nil and something is not kept.
func (r *ownRecord) close(err error) error {
	if unkept := r.journal.close(context.Background(), r.kept, r.note); err == nil {
		return unkept
	}
	return err
}
