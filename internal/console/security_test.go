package console

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

// A securedConn is what is known of a connection before it is a session.
type securedConn struct {
	net.Conn
	tls       tls.ConnectionState
	forwarded *parley.Forwarded
}

func (c *securedConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 99}
}
func (c *securedConn) LocalAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
}
func (c *securedConn) ConnectionState() tls.ConnectionState { return c.tls }
func (c *securedConn) Forwarded() *parley.Forwarded         { return c.forwarded }

// overTLS is a client that shows a certificate of a name, if it is not empty.
func overTLS(name, asked string) *securedConn {
	state := tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: asked}
	if name != "" {
		state.PeerCertificates = []*x509.Certificate{{Subject: pkix.Name{CommonName: name}}}
	}
	return &securedConn{tls: state}
}

// proxied is one that a proxy says something of.
func proxied(conn *securedConn, version, name, asked string) *securedConn {
	conn.forwarded = &parley.Forwarded{Proxy: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}, TLSVersion: version, TLSName: name, ServerName: asked}
	return conn
}

// With -v who connects is told with TLS, proxy and name, of a server, of a tap, and of a journal;
// without it the lines are as ever. JSON has all of it in any case.
func TestWhoConnects(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, c := range []struct {
		conn         *securedConn
		told, fields string
	}{
		{new(securedConn), "", ""},
		{overTLS("", ""), " (TLS 1.3)", `,"tls_version":"TLS 1.3"`},
		{overTLS("alice", "a.example"), " (TLS 1.3, alice)", `,"tls_version":"TLS 1.3","tls_name":"alice","server_name":"a.example"`},
		{proxied(new(securedConn), "", "", ""), " (by proxy 10.0.0.1:80)", `,"proxy":"10.0.0.1:80"`},
		{proxied(new(securedConn), "TLSv1.2", "bob", "b.example"), " (TLSv1.2, by proxy 10.0.0.1:80, bob)",
			`,"tls_version":"TLSv1.2","tls_name":"bob","server_name":"b.example","proxy":"10.0.0.1:80"`},
		{proxied(overTLS("alice", ""), "TLSv1.2", "bob", "b.example"), " (TLS 1.3, by proxy 10.0.0.1:80, alice)",
			`,"tls_version":"TLS 1.3","tls_name":"alice","server_name":"b.example","proxy":"10.0.0.1:80"`},
		{overTLS(strings.Repeat("x", 64), ""), " (TLS 1.3, " + strings.Repeat("x", 64) + ")", `,"tls_version":"TLS 1.3","tls_name":"` + strings.Repeat("x", 64) + `"`},
		{overTLS(strings.Repeat("x", 65), ""), " (TLS 1.3, " + strings.Repeat("x", 63) + "…)", `,"tls_version":"TLS 1.3","tls_name":"` + strings.Repeat("x", 65) + `"`},
		{overTLS("\x1b[2J\n", ""), ` (TLS 1.3, \x1b[2J\n)`, `,"tls_version":"TLS 1.3","tls_name":"\u001b[2J\u000a"`},
	} {
		s := parley.SessionOf(3, c.conn, at)
		e := &parley.Event{Kind: parley.Opened, Time: at, Session: s}
		recorded := &journal.Session{ID: 3, Number: 3, Remote: "192.0.2.7:99", Local: "192.0.2.1:443", Opened: at, TLSVersion: s.TLSVersion(), TLSName: s.TLSName()}
		if c.conn.forwarded != nil {
			recorded.Proxied = "10.0.0.1:80"
		}
		entry := entryOf(journal.Event{Kind: parley.Opened, Time: at, Session: recorded})
		const stamp = "2026-01-02T03:04:05.000006Z #3 192.0.2.7:99 "
		for got, want := range map[string]string{
			string((&Narrative{}).appendEvent(nil, e)):                                       "Server: connection from 192.0.2.7:99",
			string((&Narrative{verbose: true}).appendEvent(nil, e)):                          stamp + "Server: connection from 192.0.2.7:99" + c.told,
			string((&TapNarrative{target: "redis:6379"}).appendEvent(nil, e)):                "Tap: connection from 192.0.2.7:99 to redis:6379",
			string((&TapNarrative{target: "redis:6379", verbose: true}).appendEvent(nil, e)): stamp + "Tap: connection from 192.0.2.7:99 to redis:6379" + c.told,
			string(AppendEntry(nil, entry, false)):                                           "Server: connection from 192.0.2.7:99",
			string(AppendEntry([]byte(" "), entry, true)):                                    " " + stamp + "Server: connection from 192.0.2.7:99" + c.told,
			string(NewJSON(nil, "").appendEvent(nil, e)): `{"event":"opened","time":"2026-01-02T03:04:05.000006Z","side":"server","session":3,"remote":"192.0.2.7:99","local":"192.0.2.1:443"` +
				c.fields + "}",
		} {
			if got != want+"\n" {
				t.Errorf("told\n%swant\n%s", got, want)
			}
		}
	}
}

// What a client calls itself, and what a proxy says of it, reaches no terminal as it is and
// makes no second line, however much there is of it.
func TestHostileNames(t *testing.T) {
	const most = 1000 // bytes of a line of the narrative
	for _, name := range []string{string(strange(1)[:4<<10]), strings.Repeat("\x1b[2J", 16<<10), strings.Repeat("\u202e", 100), "x\n2026 Server: connection from admin", "\xff\xfe"} {
		s := parley.SessionOf(1, proxied(overTLS(name, name), name, name, name), time.Now())
		by := parley.SessionOf(1, proxied(new(securedConn), name, name, name), time.Now())
		recorded := &journal.Session{ID: 1, Number: 1, TLSVersion: name, TLSName: name, Proxied: name}
		entry := entryOf(journal.Event{Kind: parley.Opened, Session: recorded})
		list := new(bytes.Buffer)
		if err := (sessionJSON{list}).Show(recorded); err != nil {
			t.Fatal(err)
		}
		for _, line := range [][]byte{
			(&Narrative{verbose: true}).appendEvent(nil, &parley.Event{Kind: parley.Opened, Session: s}),
			(&TapNarrative{verbose: true}).appendEvent(nil, &parley.Event{Kind: parley.Opened, Session: by}),
			AppendEntry(nil, entry, true),
			[]byte(secured(0, recorded) + "\n"),
			NewJSON(nil, "").appendEvent(nil, &parley.Event{Kind: parley.Opened, Session: s}),
			NewJSON(nil, "").appendEvent(nil, &parley.Event{Kind: parley.HandshakeFailed, Session: by, Err: errors.New(name)}),
			AppendEntryJSON(nil, entry), list.Bytes(),
		} {
			if line[len(line)-1] != '\n' {
				t.Fatalf("no line: %.80q", line)
			}
			checkHarmless(t, line[:len(line)-1])
			if line[0] == '{' && !json.Valid(line) {
				t.Errorf("no JSON: %.80q", line)
			}
			if line[0] != '{' && len(line) > most {
				t.Errorf("a line of %d bytes: %.80q", len(line), line)
			}
		}
	}
}

// A handshake that fails is told once, with why in words, and others that fail for the same reason are
// counted, whoever it is that they name. Probes are not told.
func TestHandshakesThatFailAreNoted(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	from := parley.SessionOf(0, new(securedConn), at)
	out := new(collector)
	w := NewWriter(out, QueueLimit, SkippedNotes, nil)
	n := NewNotes(w, Limits{}, true)
	tell := func(ms int, reason parley.CloseReason, err error) {
		n.Observe(&parley.Event{Kind: parley.HandshakeFailed, Time: at.Add(time.Duration(ms) * time.Millisecond), Session: from, Reason: reason, Err: err})
	}
	if !n.Wants(parley.HandshakeFailed) {
		t.Error("they are not wanted")
	}
	for ms := range 1000 {
		tell(ms, parley.NoRequest, errors.New("EOF"))
		tell(ms, parley.Handshake, errors.New("client does not trust our certificate\x1b"))
	}
	tell(999, parley.Handshake, errors.New(`no common protocol: client speaks only "a"`))
	tell(999, parley.Handshake, errors.New(`no common protocol: client speaks only "b"`))
	tell(1000, parley.Handshake, errors.New("client does not trust our certificate"))
	tell(1000, parley.HandshakeTimeout, context.DeadlineExceeded)
	tell(1000, parley.Full, errors.New("x"))
	tell(2000, parley.HandshakeTimeout, fmt.Errorf("no PROXY header: %w", context.DeadlineExceeded))
	w.Close(time.Minute)
	want := `parley: handshake with 192.0.2.7:99 failed: client does not trust our certificate\x1b
parley: handshake with 192.0.2.7:99 failed: no common protocol: client speaks only "a"
parley: handshake with 192.0.2.7:99 failed: client does not trust our certificate (and 999 more before)
parley: handshake with 192.0.2.7:99 failed: no handshake within 5s
parley: handshake with 192.0.2.7:99 failed: too many handshakes at once
parley: handshake with 192.0.2.7:99 failed: no PROXY header: context deadline exceeded
`
	if got := out.String(); got != want {
		t.Errorf("notes\n%swant\n%s", got, want)
	}
}

// Peers that have a say in why they fail cannot have more told than a few lines.
func TestWhyHandshakesFailIsNoFlood(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	from := parley.SessionOf(0, new(securedConn), at)
	out := new(collector)
	w := NewWriter(out, QueueLimit, SkippedNotes, nil)
	n := NewNotes(w, Limits{}, true)
	for i := range 10000 {
		name := strings.Repeat("x", 1+i)
		n.Observe(&parley.Event{Kind: parley.HandshakeFailed, Time: at, Session: from, Reason: parley.Handshake, Err: errors.New("of " + name)})
	}
	w.Close(time.Minute)
	if got := strings.Count(out.String(), "\n"); got > maxNoteKinds+1 {
		t.Errorf("%d lines, want %d at most", got, maxNoteKinds+1)
	}
}

// Who goes without having read the replies is told of, with how many requests have none.
func TestPeersThatGoBeforeTheirRepliesAreNoted(t *testing.T) {
	gone := fmt.Errorf("%w: connection reset", parley.ErrRepliesUnread)
	for _, c := range []struct {
		seq, replied uint64
		err          error
		want         string
	}{
		{10, 7, gone, "parley: session 0 with unknown: the peer closed without reading its replies (3 requests were not answered)\n"},
		{8, 7, gone, "parley: session 0 with unknown: the peer closed without reading its replies (1 request was not answered)\n"},
		{7, 7, gone, "parley: session 0 with unknown: the peer closed without reading its replies\n"},
		{10, 7, errors.New("connection reset"), ""},
	} {
		out := new(collector)
		w := NewWriter(out, QueueLimit, SkippedNotes, nil)
		NewNotes(w, Limits{}, true).Observe(&parley.Event{Kind: parley.Closed, Session: new(parley.Session), Reason: parley.Reset, Seq: c.seq, Replied: c.replied, Err: c.err})
		w.Close(time.Minute)
		if got := out.String(); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.replied, c.seq, got, c.want)
		}
	}
}

// The end of file that TLS has not announced is told as what it is. A journal does not keep which
// of the two it was.
func TestTruncatedEnds(t *testing.T) {
	for got, want := range map[string]string{
		string((&Narrative{}).appendEvent(nil, &parley.Event{Kind: parley.Closed, Reason: parley.Truncated})):                                               "end of file inside a request",
		string((&Narrative{}).appendEvent(nil, &parley.Event{Kind: parley.Closed, Reason: parley.Truncated, Err: parley.ErrTruncated})):                     "end of file without TLS's close_notify",
		string(AppendEntry(nil, entryOf(journal.Event{Kind: parley.Closed, Session: &journal.Session{Reason: "truncated"}}), false)):                        "end of file inside a request",
		string(AppendEntry(nil, entryOf(journal.Event{Kind: parley.Closed, Session: &journal.Session{Reason: "truncated", TLSVersion: "TLS 1.3"}}), false)): "end of file inside a request, or without TLS's close_notify",
	} {
		if want = "Server: Connection closed! (" + want + ")\n"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}

// Who is refused without a word is told of with why.
func TestRefusedWithoutAWord(t *testing.T) {
	e := &parley.Event{Kind: parley.Refused, Session: new(parley.Session), Reason: parley.PerIP}
	if got, want := string((&Narrative{}).appendEvent(nil, e)), "Server: refused (per ip)\n"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

// The page about events has all kinds of them and all reasons.
func TestThePageAboutEventsIsComplete(t *testing.T) {
	page, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for kind := parley.Opened; kind.String() != "unknown"; kind++ {
		names = append(names, kind.String())
	}
	for reason := parley.EndOfFile; reason.String() != "unknown"; reason++ {
		names = append(names, reason.String())
	}
	for _, name := range append(names, "tls_version", "tls_name", "server_name", "proxy", noCloseNotify) {
		if !bytes.Contains(page, []byte("`"+name+"`")) && !bytes.Contains(page, []byte("("+name+")")) {
			t.Errorf("docs/events.md has no %s", name)
		}
	}
}

// What is told once of many messages is for who only counts.
func TestJSONTellsOfEachMessageAlone(t *testing.T) {
	for kind := parley.Opened; kind.String() != "unknown"; kind++ {
		if got, want := new(JSON).Wants(kind), kind != parley.Answered; got != want {
			t.Errorf("%v is wanted: %t, want %t", kind, got, want)
		}
	}
}
