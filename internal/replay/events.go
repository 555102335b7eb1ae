package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"
)

// A Recording is what was read of a file.
type Recording struct {
	Sessions []Session // by opening
	Skipped  int64     // events that the recording itself says are missing
	Torn     bool      // the last line is not whole: it was being written
	Damages  []string  // what of it cannot be read, in words
	Twice    int       // sessions that were left out, since another end of the same connection is there
}

// All returns the sessions one by one.
func (r *Recording) All() iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		for _, s := range r.Sessions {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// Framings are the names of its sessions' framings, each once; among them the empty one if some
// do not say.
func (r *Recording) Framings() (names []string) {
	for _, s := range r.Sessions {
		if !slices.Contains(names, s.Framing.Name) {
			names = append(names, s.Framing.Name)
		}
	}
	return names
}

// Nodes are the names of the machines on which its sessions were recorded, each once.
func (r *Recording) Nodes() (names []string) {
	for _, s := range r.Sessions {
		if s.Node != "" && !slices.Contains(names, s.Node) {
			names = append(names, s.Node)
		}
	}
	return names
}

// Keep leaves the sessions of these nodes.
func (r *Recording) Keep(nodes []string) {
	r.Sessions = slices.DeleteFunc(r.Sessions, func(s Session) bool { return !slices.Contains(nodes, s.Node) })
}

// OverTLS is how many of its sessions were over TLS.
func (r *Recording) OverTLS() (n int) {
	for _, s := range r.Sessions {
		if s.TLS {
			n++
		}
	}
	return n
}

// HasReplies reports whether anything can be compared.
func (r *Recording) HasReplies() bool {
	return slices.ContainsFunc(r.Sessions, func(s Session) bool {
		return slices.ContainsFunc(s.Exchanges, func(x Exchange) bool { return x.Reply != nil })
	})
}

// maxLine is the longest line that is read: more than any that a server or a tap writes.
const maxLine = 256 << 20

// An event is a line of docs/events.md, as far as it matters here.
type event struct {
	Event   string
	Time    time.Time
	Side    string
	Node    string
	Session uint64
	Seq     uint64
	Bytes   *uint64
	Text    *string `json:"payload"`
	Binary  []byte  `json:"payload_base64"`
	Cut     uint64
	Whole   uint64 `json:"whole_bytes"`
	Count   int64
	TLS     string `json:"tls_version"`
}

// ReadEvents reads the events that a server or a tap wrote with --json. Several runs may
// stand behind each other in one file. An error names the line.
func ReadEvents(in io.Reader) (*Recording, error) {
	b := builder{open: make(map[origin]*building)}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	lines.Split(wholeLines)
	for number := 1; lines.Scan(); number++ {
		line := lines.Bytes()
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if bytes.TrimSpace(line)[0] != '{' {
			return nil, fmt.Errorf("line %d: it is no event in JSON, and the file no journal; record one with --journal or --json", number)
		}
		var e event
		err := json.Unmarshal(line, &e)
		if err != nil && line[len(line)-1] != '\n' {
			b.Torn = true
			break
		}
		if err == nil {
			err = b.add(&e)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return b.recording(), nil
}

// wholeLines is bufio.ScanLines that leaves the newline there.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// A builder puts sessions together of their events.
type builder struct {
	Recording
	all  []*building
	open map[origin]*building
}

// An origin is whose session of a number an event is of.
type origin struct {
	node, side string
	number     uint64
}

func (e *event) origin() origin { return origin{e.Node, e.Side, e.Session} }

// A building is a session of which more may come.
type building struct {
	Session
	place map[uint64]int // of a request that has no reply, by its number
}

func (b *builder) add(e *event) error {
	if e.Side != "server" && e.Side != "tap" && e.Side != "client" {
		return fmt.Errorf("an event of side %q; only what a server, a tap or a client recorded can be replayed", e.Side)
	}
	switch e.Event {
	case "opened":
		b.begin(e)
	case "closed":
		b.session(e).Closed = e.Time
		delete(b.open, e.origin())
	case "received", "sent", "replied", "message":
		return b.message(e)
	case "skipped":
		b.Skipped += e.Count
	}
	return nil
}

func (b *builder) begin(e *event) *building {
	s := &building{Session{Number: e.Session, Node: e.Node, Opened: e.Time, TLS: e.TLS != ""}, make(map[uint64]int)}
	b.all = append(b.all, s)
	b.open[e.origin()] = s
	return s
}

// session is the one that the event is of. If the recording does not have its beginning
// it begins here.
func (b *builder) session(e *event) *building {
	if s := b.open[e.origin()]; s != nil {
		return s
	}
	return b.begin(e)
}

func (b *builder) message(e *event) error {
	body, err := e.body()
	if err != nil {
		return err
	}
	cut := e.Cut
	if e.Whole > 0 { // of what was concealed only the length is known
		body, cut = body[:0], e.Whole
	}
	s := b.session(e)
	i, waits := s.place[e.Seq]
	switch {
	case e.Event == "received" || e.Event == "sent":
		s.place[e.Seq] = len(s.Exchanges)
		s.Exchanges = append(s.Exchanges, Exchange{Seq: e.Seq, Received: e.Time, Request: body, RequestCut: cut})
	case e.Event == "replied" && waits:
		x := &s.Exchanges[i]
		x.Took, x.Reply, x.ReplyCut = e.Time.Sub(x.Received), body, cut
		delete(s.place, e.Seq)
	default:
		s.Exchanges = append(s.Exchanges, Exchange{Received: e.Time, Reply: body, ReplyCut: cut})
	}
	return nil
}

// body is the message. It is never nil: nil is no message.
func (e *event) body() ([]byte, error) {
	body := e.Binary
	switch {
	case e.Text != nil && e.Binary != nil:
		return nil, errors.New("a message with both payload and payload_base64")
	case e.Text != nil:
		body = []byte(*e.Text)
	case e.Binary == nil:
		return nil, errors.New("a message without payload or payload_base64")
	}
	if e.Bytes != nil && *e.Bytes != uint64(len(body))+e.Cut {
		return nil, fmt.Errorf("bytes is %d for a message of %d", *e.Bytes, uint64(len(body))+e.Cut)
	}
	return body, nil
}

func (b *builder) recording() *Recording {
	slices.SortStableFunc(b.all, func(x, y *building) int { return x.Opened.Compare(y.Opened) })
	for _, s := range b.all {
		b.Sessions = append(b.Sessions, s.Session)
	}
	return &b.Recording
}
