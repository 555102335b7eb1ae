// Package fleet joins machines over NATS: it ships the journals of many nodes into one.
//
// A Shipper follows the journal of its node and publishes blocks of records to a stream of JetStream; a
// Collection reads them from there into one journal. Both know how far they are by positions in their own
// files, so that each can be killed, and NATS too: what the stream has lost is asked for again, from the
// journals, which are the truth. See docs/adr/0015-blocks-and-positions.md.
package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/journal"
)

// A Gauge is a number about shipping or collecting that can be asked for at any time.
type Gauge struct {
	Name  string // as Prometheus has it
	Help  string
	Value func() float64
}

// Subjects, of which recordsOf and askOf have the node.
const (
	allRecords = "parley.*.records"
	census     = "parley.census" // asks every shipper which journal it has
)

func recordsOf(node string) string { return "parley." + token(node) + ".records" }
func askOf(node string) string     { return "parley." + token(node) + ".ask" }

// token is a node's name as a part of a subject: each byte but letters, digits, _ and - is =XX.
func token(node string) string {
	if node == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(node) {
		switch c := node[i]; {
		case c == '-', c == '_', '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// tokenOf is the token of a node in the subject of its records, empty if it is none of those.
func tokenOf(subject string) string {
	rest, ok := strings.CutPrefix(subject, "parley.")
	name, last, _ := strings.Cut(rest, ".")
	if !ok || last != "records" {
		return ""
	}
	return name
}

// A claim is what a shipper answers to a census: how far it has shipped which journal.
type claim struct {
	Node    string           `json:"node"`
	Journal string           `json:"journal"`
	Shipped journal.Position `json:"shipped"`
}

// A question asks the shipper of a journal for the block of records behind a position.
type question struct {
	Journal string           `json:"journal"`
	From    journal.Position `json:"from"`
}

// maxLetter is the length of the longest claim or question that is looked at, in bytes.
const maxLetter = 4 << 10

// isLetter reads what may be anybody's.
func isLetter(data []byte, v any) bool {
	return len(data) <= maxLetter && json.Unmarshal(data, v) == nil
}

// further is the position that has come as far as both.
func further(p, q journal.Position) journal.Position {
	return journal.Position{
		Exchange: max(p.Exchange, q.Exchange),
		Ended:    max(p.Ended, q.Ended),
		Opened:   max(p.Opened, q.Opened),
		Refused:  max(p.Refused, q.Refused),
		Fault:    max(p.Fault, q.Fault),
		Gap:      max(p.Gap, q.Gap),
	}
}

// between is how many numbers there are of the kinds that are counted as records, from p to q: exchanges,
// ends of sessions, refusals and faults.
func between(p, q journal.Position) int64 {
	return max(0, q.Exchange-p.Exchange) + max(0, q.Ended-p.Ended) + max(0, q.Refused-p.Refused) + max(0, q.Fault-p.Fault)
}

// sleep waits, no longer than ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A JournalError is that a journal cannot be read, or written: no other try helps.
type JournalError struct{ Err error }

func (e *JournalError) Error() string { return e.Err.Error() }
func (e *JournalError) Unwrap() error { return e.Err }

// A backoff doubles from one try to the next.
type backoff struct{ next time.Duration }

const (
	firstWait   = 250 * time.Millisecond
	longestWait = 15 * time.Second
)

func (b *backoff) wait() time.Duration {
	d := max(b.next, firstWait)
	b.next = min(2*d, longestWait)
	return d
}

func (b *backoff) reset() { b.next = 0 }

var errAway = errors.New("there is no connection; is nats-server running there?")
