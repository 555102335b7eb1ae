package listen

import (
	"strings"
	"testing"
)

func TestPrefixesSayWhatStandsBeforeASession(t *testing.T) {
	flags := Way{Proxy: true, TLS: true} // what has no prefix is as the flags have it
	for _, c := range []struct {
		word string
		want Way
		rest string
	}{
		{"6969", flags, "6969"},
		{":6969", flags, ":6969"},
		{"localhost:6969", flags, "localhost:6969"},
		{"[::1]:6969", flags, "[::1]:6969"},
		{"fe80::1", flags, "fe80::1"},
		{"face::1", flags, "face::1"},
		{"unix:/run/s", flags, "unix:/run/s"},
		{"unix:tls:7", flags, "unix:tls:7"}, // a path may have any name
		{"fd://3", flags, "fd://3"},
		{"systemd:web", flags, "systemd:web"},
		{"http://localhost:80", flags, "http://localhost:80"}, // no address, which others say
		{"ssl:7443", flags, "ssl:7443"},                       // may be a host
		{"", flags, ""},
		{"tcp:6969", Way{}, "6969"},
		{"tcp:tls", Way{}, "tls"},
		{"tls", flags, "tls"},             // a host without its port, which others say
		{"tls.:7443", flags, "tls.:7443"}, // a host that is called so
		{"tls:7443", Way{TLS: true}, "7443"},
		{"tls::7443", Way{TLS: true}, ":7443"},
		{"tls:[::]:7443", Way{TLS: true}, "[::]:7443"},
		{"tls:unix:/run/s", Way{TLS: true}, "unix:/run/s"},
		{"proxy:10.0.0.1:6969", Way{Proxy: true}, "10.0.0.1:6969"},
		{"proxy+tls:fd://3", Way{Proxy: true, TLS: true}, "fd://3"},
		{"tls:", Way{TLS: true}, ""},
		{"tls", flags, "tls"}, // a host without a port
	} {
		got, rest, err := Prefix(c.word, flags)
		if got != c.want || rest != c.rest || err != nil {
			t.Errorf("Prefix(%q) = %+v, %q, %v; want %+v, %q", c.word, got, rest, err, c.want, c.rest)
		}
	}
}

func TestUnknownPrefixesAreNamed(t *testing.T) {
	for _, c := range []struct{ word, want string }{
		{"ssl:0.0.0.0:7443", `"ssl:" is no prefix; there are tcp:, tls:, proxy: and proxy+tls:`},
		{"tls+proxy:localhost:7", `"tls+proxy:" is no prefix`},
		{"TLS:unix:/run/s", `"TLS:" is no prefix`},
		{"https:systemd:web", `"https:" is no prefix`},
		{"udp:fd://3", `"udp:" is no prefix`},
		{"tls:proxy:7443", "has two prefixes"},
		{"proxy:tls:unix:/run/s", "has two prefixes"},
		{"tcp:tcp:7443", "has two prefixes"},
	} {
		if w, rest, err := Prefix(c.word, Way{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Prefix(%q) = %+v, %q, %v; want %q", c.word, w, rest, err, c.want)
		}
	}
}

func TestInheritedWays(t *testing.T) {
	for _, c := range []struct {
		word string
		want Way
		ok   bool
		why  string
	}{
		{"fd://3", Way{Network: "fd", FD: 3}, true, ""},
		{"fd://0", Way{Network: "fd"}, true, ""},
		{"fd://2147483647", Way{Network: "fd", FD: 1<<31 - 1}, true, ""},
		{"systemd:web", Way{Network: "systemd", Name: "web"}, true, ""},
		{"systemd:parley.socket", Way{Network: "systemd", Name: "parley.socket"}, true, ""},
		{"fd://2147483648", Way{}, true, "write fd:// and the number of a descriptor, such as fd://3"},
		{"fd://", Way{}, true, "write fd://"},
		{"fd:3", Way{}, true, "write fd://"},
		{"fd://-1", Way{}, true, "write fd://"},
		{"fd://3/", Way{}, true, "write fd://"},
		{"systemd:", Way{}, true, "a name is missing"},
		{"6969", Way{}, false, ""},
		{"unix:fd://3", Way{}, false, ""},
		{"fd", Way{}, false, ""},
	} {
		got, ok, err := Inherited(c.word)
		if got != c.want || ok != c.ok || (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("Inherited(%q) = %+v, %v, %v; want %+v, %v, %q", c.word, got, ok, err, c.want, c.ok, c.why)
		}
	}
}

func TestNoAddressTwice(t *testing.T) {
	tcp := func(host, port string) Way { return Way{Network: "tcp", Host: host, Port: port} }
	bare, secure := tcp("", "7000"), tcp("", "7000")
	bare.Bare, secure.TLS = true, true
	for _, c := range []struct {
		name string
		ways []Way
		want string
	}{
		{"none", nil, ""},
		{"two ports", []Way{tcp("", "7000"), tcp("", "7001")}, ""},
		{"free ports", []Way{tcp("", "0"), tcp("", "0")}, ""},
		{"two hosts", []Way{tcp("a", "7000"), tcp("b", "7000")}, ""},
		{"one", []Way{bare, tcp("", "1"), secure}, "port 7000 is listened on twice; give each way in an address of its own"},
		{"a path", []Way{{Network: "unix", Path: "/s"}, {Network: "unix", Path: "/s", Proxy: true}}, "unix:/s is listened on twice"},
		{"descriptors", []Way{{Network: "fd", FD: 3}, {Network: "fd", FD: 4}}, ""},
		{"a descriptor", []Way{{Network: "fd", FD: 3}, {Network: "fd", FD: 3, TLS: true}}, "fd://3 is listened on twice"},
		{"a name", []Way{{Network: "systemd", Name: "web"}, {Network: "systemd", Name: "web"}}, "systemd:web is listened on twice"},
	} {
		if err := Twice(c.ways); (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Whatever is typed, what is understood can be typed again, and means the same.
func FuzzWay(f *testing.F) {
	for _, word := range []string{"6969", "tls:7443", "proxy+tls:unix:/run/s", "fd://3", "systemd:web", "ssl:a:1", "tls:tls:1", "fd:", ":", "tcp:fd://00003", "tls:tls"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		over, rest, err := Prefix(word, Way{})
		if err != nil {
			return
		}
		if !strings.HasSuffix(word, rest) {
			t.Errorf("Prefix(%q) leaves %q", word, rest)
		}
		if again, whole, err := Prefix(rest, over); rest != word && (err != nil || again != over || whole != rest) {
			t.Errorf("Prefix(%q) = %+v, %q, %v behind %q", rest, again, whole, err, word)
		}
		w, ok, err := Inherited(rest)
		if !ok || err != nil {
			return
		}
		if again, ok, err := Inherited(w.String()); again != w || !ok || err != nil {
			t.Errorf("Inherited(%q) = %+v, and of that %+v, %v, %v", rest, w, again, ok, err)
		}
	})
}
