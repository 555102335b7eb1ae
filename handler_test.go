package parley

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unique"
)

func fill(t testing.TB, pattern, message string) string {
	t.Helper()
	tm, err := ParseTemplate(pattern, Chunks)
	if err != nil {
		t.Fatal(err)
	}
	session := &Session{number: 7,
		remote: endpoint{ip: netip.MustParseAddrPort("127.0.0.1:49662")},
		local:  unique.Make(endpoint{ip: netip.MustParseAddrPort("[::1]:6969")})}
	got, err := tm.Reply(nil, &Request{Session: session, Seq: 3, Body: []byte(message), Time: time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600))})
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestTemplateFillsIn(t *testing.T) {
	host, _ := os.Hostname()
	for pattern, want := range map[string]string{
		DefaultReply:          "Request #7 - \x00é{conn}\xff ...",
		"{seq}/{bytes}":       "3/10",
		"{local} {remote}":    "[::1]:6969 127.0.0.1:49662",
		"{time}":              "2026-01-02T02:04:05.0000006Z",
		"{host}":              host,
		"[{tls_name}]":        "[]",
		"{{conn}} {{{conn}}}": "{conn} {7}",
		"":                    "",
		"}}{{":                "}{",
	} {
		if got := fill(t, pattern, "\x00é{conn}\xff"); got != want {
			t.Errorf("%q gave %q, want %q", pattern, got, want)
		}
	}
}

func TestTemplateKnowsItsNode(t *testing.T) {
	host, _ := os.Hostname()
	tm, err := ParseTemplate("{node} {host}", nil)
	if err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]string{"": host + " " + host, "web-2": "web-2 " + host} {
		tm.Node = node
		if got, err := tm.Reply(nil, &Request{Session: &Session{}}); string(got) != want || err != nil {
			t.Errorf("on node %q: %q, %v, want %q", node, got, err, want)
		}
	}
}

func TestTemplateRefuses(t *testing.T) {
	for _, c := range []struct {
		pattern string
		framing Framing
		want    string
	}{
		{"{nope}", nil, `no name "{nope}"; there are {bytes} {conn} {host} {local} {message} {node} {remote} {seq} {time} {tls_name}`},
		{"{", nil, `a lone "{"; write "{{"`},
		{"a{conn", nil, `a lone "{"`},
		{"a}", nil, `a lone "}"; write "}}"`},
		{"{}", nil, `no name "{}"`},
		{"a\nb", nil, "a newline at byte 1"},
		{"a{conn}\n", nil, "a newline"},
		{"a;", Delimited(';'), "the delimiter 0x3b"},
	} {
		_, err := ParseTemplate(c.pattern, c.framing)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.pattern, err, c.want)
		}
	}
	for _, framing := range []Framing{LengthPrefixed, OctetCounted, Netstring, UntilClose, NoReplies} {
		for _, pattern := range []string{"a\nb;", "{message}"} { // of which a reply may be empty, or not
			if _, err := ParseTemplate(pattern, framing); err != nil {
				t.Errorf("%T: a framing that can carry %q refuses it: %v", framing, pattern, err)
			}
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("Request #{conn} - {message} ...", "hello")
	f.Add("{{{message}}}", "}")
	f.Fuzz(func(t *testing.T, pattern, message string) {
		// Whatever is escaped comes back as it was.
		escaped := strings.NewReplacer("{", "{{", "}", "}}").Replace(pattern)
		if got := fill(t, escaped, message); got != pattern {
			t.Errorf("%q escaped gave %q", pattern, got)
		}
		// What is accepted for lines never breaks a line.
		tm, err := ParseTemplate(pattern, nil)
		if err != nil || strings.Contains(message, "\n") {
			return
		}
		reply, err := tm.Reply(nil, &Request{Session: &Session{}, Body: []byte(message)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Lines.End(reply, 0); err != nil {
			t.Errorf("%q with %q: %v", pattern, message, err)
		}
	})
}

// picky wants to be told of ends only.
type picky struct{ Observer }

func (picky) Wants(kind EventKind) bool { return kind == Closed }

func TestObserversTellEachInTurn(t *testing.T) {
	var told []int
	tell := func(i int) Observer { return ObserverFunc(func(*Event) { told = append(told, i) }) }
	both := Observers(tell(1), nil, picky{tell(2)}, tell(3))
	both.Observe(&Event{Kind: Received})
	both.Observe(&Event{Kind: Closed})
	if fmt.Sprint(told) != "[1 3 1 2 3]" {
		t.Errorf("told %v, want [1 3 1 2 3]: the second does not want requests", told)
	}
	if Observers(nil, nil) != nil {
		t.Error("of nobody there is something left")
	}
}

func TestUnknownKindsAndReasonsHaveAName(t *testing.T) {
	if got := EventKind(200).String() + CloseReason(200).String() + EventKind(0).String(); got != "unknownunknownunknown" {
		t.Errorf("got %s", got)
	}
	for k := Opened; k <= ListenerLost; k++ {
		if k.String() == "unknown" {
			t.Errorf("kind %d has no name", k)
		}
	}
	for r := EndOfFile; r <= PerIP; r++ {
		if r.String() == "unknown" {
			t.Errorf("reason %d has no name", r)
		}
	}
}

func TestSessionContext(t *testing.T) {
	why := errors.New("why")
	before, after := new(Session), new(Session)
	ctx := before.Context()
	if ctx.Err() != nil {
		t.Error("the context of a session that goes on has ended")
	}
	before.end(why)
	before.end(errors.New("too late"))
	after.end(why)
	for _, ctx := range []context.Context{ctx, before.Context(), after.Context()} {
		if context.Cause(ctx) != why {
			t.Errorf("cause %v, want %v", context.Cause(ctx), why)
		}
	}
}

func TestAddressesOfASession(t *testing.T) {
	for _, c := range []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 7}, "192.0.2.1:7"}, // unmapped
		{&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 7}, "[2001:db8::1]:7"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 7}, "[fe80::1%eth0]:7"},
		{&net.UnixAddr{Name: "/run/s", Net: "unix"}, "unix:/run/s"},
		{&net.UnixAddr{Name: "@", Net: "unix"}, "unix"},
		{&net.UnixAddr{Net: "unix"}, "unix"},
		{&net.IPAddr{IP: net.IPv4(192, 0, 2, 1)}, "192.0.2.1"},
		{nil, "unknown"},
	} {
		s := &Session{remote: *endpointOf(c.addr)}
		if got := string(s.AppendRemote(nil)); got != c.want {
			t.Errorf("%v is shown as %s, want %s", c.addr, got, c.want)
		}
		if c.addr != nil && s.RemoteAddr().Network() != c.addr.Network() {
			t.Errorf("RemoteAddr = %#v, want the network %s", s.RemoteAddr(), c.addr.Network())
		}
	}
}

func TestOneAddressIsAnIPv4OrAnIPv6Slash64(t *testing.T) {
	same := [][2]string{{"192.0.2.1", "192.0.2.1"}, {"2001:db8::1", "2001:db8::ffff:1"}, {"fe80::1%eth0", "fe80::2%eth1"}}
	for _, p := range same {
		if a, b := prefixOf(netip.MustParseAddr(p[0])), prefixOf(netip.MustParseAddr(p[1])); a != b || !a.IsValid() {
			t.Errorf("%v and %v count apart: %v, %v", p[0], p[1], a, b)
		}
	}
	for _, p := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8:0:1::1"}} {
		if a, b := prefixOf(netip.MustParseAddr(p[0])), prefixOf(netip.MustParseAddr(p[1])); a == b {
			t.Errorf("%v and %v count as one: %v", p[0], p[1], a)
		}
	}
	if prefixOf(netip.Addr{}).IsValid() {
		t.Error("no address counts as one")
	}
}
