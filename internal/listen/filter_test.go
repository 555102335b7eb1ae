package listen

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDenyGoesBeforeAllow(t *testing.T) {
	for _, row := range []struct {
		allow, deny []string
		lets        string
		keepsOut    string
	}{
		{nil, nil, "10.0.0.5 2001:db8::1 0.0.0.0 ::", ""},
		{nil, []string{"10.0.0.0/8", "2001:db8::1"}, "11.0.0.1 9.255.255.255 2001:db8::2", "10.0.0.0 10.255.255.255 2001:db8::1 ::ffff:10.1.2.3"},
		{[]string{"10.0.0.0/8"}, nil, "10.0.0.0 10.255.255.255 ::ffff:10.0.0.1", "9.255.255.255 11.0.0.0 2001:db8::1 ::"},
		{[]string{"10.0.0.0/8", "192.0.2.7"}, []string{"10.1.0.0/16"}, "10.0.0.1 192.0.2.7 10.2.0.0", "10.1.0.0 10.1.255.255 192.0.2.8"},
		{[]string{"10.1.2.3"}, []string{"10.0.0.0/8"}, "", "10.1.2.3"}, // however long a prefix is
		{[]string{"2001:db8::/32", "fe80::/10"}, nil, "2001:db8:ffff::1 fe80::1 fe80::1%lo", "2001:db9:: 10.0.0.1"},
		{[]string{"::ffff:10.0.0.0/104", "::ffff:192.0.2.1"}, nil, "10.1.2.3 192.0.2.1", "11.0.0.1 192.0.2.2"},
		{[]string{"0.0.0.0/0"}, nil, "10.0.0.1 ::ffff:10.0.0.1", "2001:db8::1"},
		{nil, []string{"::/0"}, "10.0.0.1", "2001:db8::1 ::"},
	} {
		f, err := NewFilter(row.allow, row.deny)
		if err != nil {
			t.Fatal(err)
		}
		for ip := range strings.FieldsSeq(row.lets) {
			if !f.Allows(netip.MustParseAddr(ip)) {
				t.Errorf("allow %q, deny %q keeps %s out", row.allow, row.deny, ip)
			}
		}
		for ip := range strings.FieldsSeq(row.keepsOut) {
			if f.Allows(netip.MustParseAddr(ip)) {
				t.Errorf("allow %q, deny %q lets %s in", row.allow, row.deny, ip)
			}
		}
	}
}

func TestNoFilterLetsEverybodyIn(t *testing.T) {
	var f *Filter
	if !f.Allows(netip.MustParseAddr("10.0.0.1")) || f.HasFiles() {
		t.Error("a nil filter keeps somebody out, or has files")
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	const what = "this is no address and no prefix, such as 10.0.0.5, 10.0.0.0/8 or 2001:db8::/32"
	for item, why := range map[string]string{
		"10.0.0/8":       what,
		"10.0.0.1:80":    what,
		"example.com":    what,
		"fe80::1%eth0":   what,
		"\x1b[2J":        what,
		"10.0.0.0/33":    "behind the / stands how many bits of the address count, 0 to 32",
		"10.0.0.0/":      "behind the / stands how many bits of the address count, 0 to 32",
		"10.0.0.0/255.0": "behind the / stands how many bits of the address count, 0 to 32",
		"::/129":         "behind the / stands how many bits of the address count, 0 to 128",
		"10.0.0.5/8":     `the address has bits behind its first 8; is it 10.0.0.0/8, or 10.0.0.5 alone`,
		"@":              "behind the @ stands the name of a file with addresses, one a line",
	} {
		if err := CheckAddresses(item); err == nil || err.Error() != why {
			t.Errorf("%q: %v\nwant %s", item, err, why)
		}
	}
	for _, item := range []string{"10.0.0.0/8", "10.0.0.5", "10.0.0.5/32", "::1", "::/0", "0.0.0.0/0", "@file"} {
		if err := CheckAddresses(item); err != nil {
			t.Errorf("%q: %v", item, err)
		}
	}
	if CheckTrust("unix") != nil || CheckTrust("@file") == nil || CheckTrust("10.0.0/8") == nil {
		t.Error("unix is one to trust, a file or half an address are not")
	}
}

func TestFilesAreReadAnewOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	allow, deny := filepath.Join(dir, "allow"), filepath.Join(dir, "deny")
	write := func(file, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(allow, "# the office\r\n10.0.0.0/8 # all of it\r\n\r\n  192.0.2.7\r\n2001:db8::/32")
	write(deny, "")
	f, err := NewFilter([]string{"@" + allow, "127.0.0.1"}, []string{"@" + deny})
	if err != nil {
		t.Fatal(err)
	}
	lets := func(want string) {
		t.Helper()
		var got []string
		for _, ip := range []string{"10.0.0.1", "192.0.2.7", "2001:db8::1", "127.0.0.1", "11.0.0.1"} {
			if f.Allows(netip.MustParseAddr(ip)) {
				got = append(got, ip)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("lets in %q, want %q", got, want)
		}
	}
	lets("10.0.0.1 192.0.2.7 2001:db8::1 127.0.0.1")

	write(deny, "10.0.0.1\n")
	write(allow, "10.0.0.0/8\n11.0.0.1\n")
	if err := f.Reload(); err != nil {
		t.Error(err)
	}
	lets("127.0.0.1 11.0.0.1")

	write(deny, "")
	write(allow, "12.0.0.0/8\n\n12.0.0.1:80\n")
	want := "--allow " + allow + `:3: "12.0.0.1:80": this is no address and no prefix, such as 10.0.0.5, 10.0.0.0/8 or 2001:db8::/32`
	if err := f.Reload(); err == nil || err.Error() != want {
		t.Errorf("the error is %v\nwant %s", err, want)
	}
	lets("127.0.0.1 11.0.0.1")

	os.Remove(allow)
	if err := f.Reload(); err == nil || err.Error() != "--allow @"+allow+": no such file or directory" {
		t.Errorf("the error is %v", err)
	}
	lets("127.0.0.1 11.0.0.1")
	if !f.HasFiles() {
		t.Error("it has no files")
	}
}

// A file that has been emptied neither lets everybody in nor keeps everybody out.
func TestAnEmptyListOfWhomToAllowIsRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("# nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFilter([]string{"@" + empty}, nil); err == nil || err.Error() != "--allow @"+empty+": no address in it, so nobody could connect" {
		t.Errorf("the error is %v", err)
	}
	if _, err := NewFilter(nil, []string{"@" + empty}); err != nil {
		t.Error(err)
	}
}

func TestTrustIsForWhomItNames(t *testing.T) {
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }
	socket := &net.UnixAddr{Net: "unix"}
	for _, row := range []struct {
		items []string
		peer  net.Addr
		want  bool
	}{
		{[]string{"10.0.0.0/8"}, tcp("10.0.0.5"), true},
		{[]string{"10.0.0.0/8"}, tcp("11.0.0.5"), false},
		{[]string{"10.0.0.0/8"}, socket, false},
		{[]string{"unix"}, socket, true},
		{[]string{"unix"}, tcp("10.0.0.5"), false},
		{[]string{"unix", "::1"}, tcp("::1"), true},
		{[]string{"0.0.0.0/0", "::/0", "unix"}, &net.UDPAddr{IP: net.ParseIP("10.0.0.5")}, false},
		{[]string{"0.0.0.0/0", "::/0"}, nil, false},
	} {
		trust, err := NewTrust(row.items)
		if err != nil {
			t.Fatal(err)
		}
		if got := trust.trusts(row.peer); got != row.want {
			t.Errorf("trust in %q of %v is %v", row.items, row.peer, got)
		}
	}
}

// FuzzAddressFile: what is refused is refused with its line, and what is taken is in the set, and
// as one address or prefix a line.
func FuzzAddressFile(f *testing.F) {
	f.Add("10.0.0.0/8\n# no\n\n::1 # yes\r\n")
	f.Add("10.0.0.0/8 11.0.0.0/8")
	f.Add("::ffff:1.2.3.4/100\n")
	f.Fuzz(func(t *testing.T, text string) {
		list := newPrefixes()
		number, err := list.addLines(text)
		if lines := strings.Count(text, "\n") + 1; number > lines || err != nil && number == 0 {
			t.Fatalf("line %d of %d: %v", number, lines, err)
		}
		if len(list.all) > number {
			t.Errorf("%d prefixes in %d lines", len(list.all), number)
		}
		for prefix := range list.all {
			if !list.has(prefix.Addr()) {
				t.Errorf("%v is not in its own set", prefix)
			}
		}
	})
}

// BenchmarkFilter is one look in 100,000 prefixes of 16 lengths.
func BenchmarkFilter(b *testing.B) {
	list := newPrefixes()
	for i := range 100_000 {
		ip := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(i)*42949)))
		prefix, err := ip.Prefix(17 + i%16)
		if err != nil {
			b.Fatal(err)
		}
		list.add(prefix)
	}
	for _, ip := range []string{"255.255.255.255", "0.0.1.2"} {
		ip := netip.MustParseAddr(ip)
		b.Run(fmt.Sprintf("%d found %v", len(list.all), list.has(ip)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				list.has(ip)
			}
		})
	}
}
