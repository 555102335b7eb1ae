package agent

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/parley-tcp/parley/internal/dial"
)

func TestOnlyAllowedTargetsAreLoaded(t *testing.T) {
	var allowed Allowed
	for _, text := range []string{"db.internal:5432", "Cache.internal:*", "10.0.0.0/8:6969", "192.0.2.7:*", "[2001:db8::/32]:80", "[::1]:7"} {
		a, err := ParseAllowed(text)
		if err != nil {
			t.Fatal(err)
		}
		allowed = append(allowed, a...)
	}
	for _, c := range []struct {
		host, address string // as typed, and what it has led to
		allows        bool
	}{
		{"db.internal", "203.0.113.1:5432", true},
		{"DB.internal", "203.0.113.1:5432", true},
		{"db.internal", "203.0.113.1:5433", false},
		{"other.internal", "203.0.113.1:5432", false},
		{"203.0.113.1", "203.0.113.1:5432", false}, // a name is no address
		{"cache.internal", "203.0.113.1:11211", true},
		{"cache.internal", "127.0.0.1:11211", false}, // whoever answers for the name does not open this machine
		{"cache.internal", "169.254.169.254:80", false},
		{"cache.internal", "[::ffff:127.0.0.1]:80", false},
		{"cache.internal", "[fe80::1%eth0]:80", false},
		{"anything", "10.1.2.3:6969", true},
		{"10.1.2.3", "[::ffff:10.1.2.3]:6969", true},
		{"anything", "10.1.2.3:22", false},
		{"anything", "11.1.2.3:6969", false},
		{"192.0.2.7", "192.0.2.7:1", true},
		{"192.0.2.8", "192.0.2.8:1", false},
		{"v6", "[2001:db8::5]:80", true},
		{"v6", "[2001:db9::5]:80", false},
		{"localhost", "[::1]:7", true},
		{"localhost", "127.0.0.1:7", false},
		{"db.internal", "nonsense", false},
	} {
		if err := allowed.check(c.host, c.address); (err == nil) != c.allows {
			t.Errorf("%s at %s: %v, want allowed: %v", c.host, c.address, err, c.allows)
		}
	}
	if got, want := allowed.String(), "db.internal:5432, cache.internal:*, 10.0.0.0/8:6969, 192.0.2.7:*, [2001:db8::/32]:80, [::1]:7"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A name that meant an allowed address when it was asked for, and another when it is connected to, gets no
// connection.
func TestANameThatChangesItsMindIsNotFollowed(t *testing.T) {
	allowed, err := ParseAllowed("192.0.2.0/24:*")
	if err != nil {
		t.Fatal(err)
	}
	answers := []string{"192.0.2.1", "127.0.0.1"}
	dialer := dial.Dialer{Network: "tcp", Host: "trick", Port: "7", Connect: allowed.connects("trick"),
		LookupAddrs: func(context.Context, string, string) ([]netip.Addr, error) {
			ip := netip.MustParseAddr(answers[0])
			answers = answers[1:]
			return []netip.Addr{ip}, nil
		}}
	addresses, _, err := dialer.Addresses(t.Context())
	if err != nil || allowed.check("trick", addresses[0]) != nil {
		t.Fatalf("%v, %v: it was to be allowed at first", addresses, err)
	}
	_, _, err = dialer.Dial(t.Context())
	var refused *notAllowedError
	if !errors.As(err, &refused) || err.Error() != "no --allow-target of it allows trick, which is 127.0.0.1:7 there," {
		t.Errorf("%v, want that it is not allowed", err)
	}
}

func TestWrongTargetsAreTold(t *testing.T) {
	const form = "write host:port, host:* or CIDR:port, such as db.internal:5432, 10.0.0.0/8:6969 or [2001:db8::/32]:*"
	for text, want := range map[string]string{
		"db":             form,
		":80":            form,
		"db:":            form,
		"2001:db8::1:80": form,
		"db:0":           "port 0: use a number from 1 to 65535, or * for any",
		"db:http":        "port http: use a number from 1 to 65535, or * for any",
		"*:80":           "* is no host; a name stands for itself alone",
		"10.0.0.0/33:1":  "10.0.0.0/33 is no range of addresses; write such as 10.0.0.0/8:1 or [2001:db8::/32]:1",
	} {
		if _, err := ParseAllowed(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
