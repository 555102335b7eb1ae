package listen

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/parley-tcp/parley"
)

// v2 is a header of version 2 with what stands behind its signature up to the length, and the rest.
func v2(command, family byte, rest ...byte) []byte {
	h := append(slices.Clone(signature2), command, family)
	return append(binary.BigEndian.AppendUint16(h, uint16(len(rest))), rest...)
}

// tlv is one of a header's extensions.
func tlv(kind proxyproto.PP2Type, value string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{byte(kind)}, uint16(len(value))), value...)
}

const (
	local, proxy = 0x20, 0x21
	tcp4, udp4   = 0x11, 0x12
	tcp6, unix   = 0x21, 0x31
)

var (
	rest4 = []byte{203, 0, 113, 7, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xbb} // 203.0.113.7:4711 to 198.51.100.1:443
	rest6 = slices.Concat(net.ParseIP("2001:db8::7"), net.ParseIP("2001:db8::1"), rest4[8:])
	both4 = []string{"203.0.113.7:4711", "198.51.100.1:443"}
	both6 = []string{"[2001:db8::7]:4711", "[2001:db8::1]:443"}
)

// withTLVs are addresses of IPv4 with extensions.
func withTLVs(tlvs ...[]byte) []byte { return slices.Concat(rest4, slices.Concat(tlvs...)) }

func unixRest(from, to string) []byte {
	rest := make([]byte, 216)
	copy(rest, from)
	copy(rest[108:], to)
	return rest
}

// sslTLV is what a proxy says of its client's TLS.
func sslTLV(client byte, verify byte, subs ...[]byte) []byte {
	return tlv(proxyproto.PP2_TYPE_SSL, string(slices.Concat([]byte{client, 0, 0, 0, verify}, slices.Concat(subs...))))
}

var (
	version13 = tlv(proxyproto.PP2_SUBTYPE_SSL_VERSION, "TLSv1.3")
	nameAlice = tlv(proxyproto.PP2_SUBTYPE_SSL_CN, "alice")
)

// withChecksum has a header of version 2 end with its checksum, off by something.
func withChecksum(off uint32) []byte {
	h := v2(proxy, tcp4, withTLVs(tlv(proxyproto.PP2_TYPE_NOOP, "xx"), tlv(proxyproto.PP2_TYPE_CRC32C, "\x00\x00\x00\x00"))...)
	binary.BigEndian.PutUint32(h[len(h)-4:], crc32.Checksum(h, castagnoli)+off)
	return h
}

var goodHeaders = []struct {
	name      string
	header    []byte
	ends      []string // nil for a connection of the proxy's own
	forwarded parley.Forwarded
}{
	{name: "v1 IPv4", header: []byte("PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"), ends: both4},
	{name: "v1 IPv6", header: []byte("PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"), ends: both6},
	{name: "v1 IPv4 in IPv6", header: []byte("PROXY TCP6 ::ffff:203.0.113.7 ::ffff:198.51.100.1 4711 443\r\n"), ends: both4},
	{name: "v1 both families", header: []byte("PROXY TCP6 2001:db8::7 198.51.100.1 4711 443\r\n"), ends: []string{both6[0], both4[1]}},
	{name: "v1 unknown", header: []byte("PROXY UNKNOWN\r\n")},
	{name: "v1 unknown, and more", header: []byte("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n")},
	{name: "v2 IPv4", header: v2(proxy, tcp4, rest4...), ends: both4},
	{name: "v2 IPv6", header: v2(proxy, tcp6, rest6...), ends: both6},
	{name: "v2 IPv4 in IPv6", header: v2(proxy, tcp6, slices.Concat(net.ParseIP("203.0.113.7"), net.ParseIP("198.51.100.1"), rest4[8:])...), ends: both4},
	{name: "v2 of a datagram", header: v2(proxy, udp4, rest4...), ends: both4},
	{name: "v2 Unix", header: v2(proxy, unix, unixRest("/run/client", "/run/server")...), ends: []string{"/run/client", "/run/server"}},
	{name: "v2 Unix without names", header: v2(proxy, unix, unixRest("", "\x00abstract")...), ends: []string{"", ""}},
	{name: "v2 local", header: v2(local, 0)},
	{name: "v2 local with a family", header: v2(local, tcp4)},
	{name: "v2 local with addresses", header: v2(local, tcp4, rest4...)},
	{name: "v2 local with anything", header: v2(local, 0, 1, 2, 3)},
	{name: "v2 unspecified", header: v2(proxy, 0)},
	{name: "v2 unspecified with anything", header: v2(proxy, 0, 1, 2, 3)},
	{name: "server name", header: v2(proxy, tcp4, withTLVs(tlv(proxyproto.PP2_TYPE_AUTHORITY, "a.example"))...), ends: both4,
		forwarded: parley.Forwarded{ServerName: "a.example"}},
	{name: "TLS with a verified name", header: v2(proxy, tcp4, withTLVs(sslTLV(7, 0, version13, nameAlice))...), ends: both4,
		forwarded: parley.Forwarded{TLSVersion: "TLSv1.3", TLSName: "alice"}},
	{name: "TLS with a name of the session", header: v2(proxy, tcp4, withTLVs(sslTLV(5, 0, version13, nameAlice))...), ends: both4,
		forwarded: parley.Forwarded{TLSVersion: "TLSv1.3", TLSName: "alice"}},
	{name: "TLS with a name that is not verified", header: v2(proxy, tcp4, withTLVs(sslTLV(7, 1, version13, nameAlice))...), ends: both4,
		forwarded: parley.Forwarded{TLSVersion: "TLSv1.3"}},
	{name: "TLS with a name and no certificate", header: v2(proxy, tcp4, withTLVs(sslTLV(1, 0, version13, nameAlice))...), ends: both4,
		forwarded: parley.Forwarded{TLSVersion: "TLSv1.3"}},
	{name: "no TLS", header: v2(proxy, tcp4, withTLVs(sslTLV(0, 1))...), ends: both4},
	{name: "unknown extensions", header: v2(proxy, tcp4, withTLVs(tlv(0xea, "vpce-1"), tlv(0xff, ""))...), ends: both4},
	{name: "checksum", header: withChecksum(0), ends: both4},
}

func TestHeadersSayWhoTheClientIs(t *testing.T) {
	for _, row := range goodHeaders {
		t.Run(row.name, func(t *testing.T) {
			h, err := readHeader(bytes.NewReader(append(slices.Clone(row.header), "behind"...)))
			if err != nil || !bytes.Equal(h, row.header) {
				t.Fatalf("read %q, %v; want %q", h, err, row.header)
			}
			got, err := parseHeader(h)
			if err != nil {
				t.Fatal(err)
			}
			var ends []string
			if !got.isLocal {
				ends = []string{got.from.String(), got.to.String()}
			}
			if tcp, ok := got.from.(*net.TCPAddr); ok && tcp.AddrPort().Addr().Is4In6() {
				t.Errorf("%v is one of IPv4, mapped into IPv6", tcp)
			}
			if !slices.Equal(ends, row.ends) || got.forwarded != row.forwarded {
				t.Errorf("from and to are %q, with %+v; want %q with %+v", ends, got.forwarded, row.ends, row.forwarded)
			}
		})
	}
}

func TestWhatIsNoHeaderIsRefusedWithWhy(t *testing.T) {
	for _, row := range []struct {
		name   string
		header []byte
		why    string
	}{
		{"a request", []byte("GET / HTTP/1.1\r\n\r\n"), `no PROXY header came, but "GET / HTTP/1.1\r"; the proxy must be told to send one`},
		{"control characters", []byte("\x1b]0;\u202e\n"), `no PROXY header came, but "\x1b]0;\u202e\n"; the proxy must be told to send one`},
		{"almost the first word", []byte("PROXYTCP4 1.2.3.4"), `no PROXY header came, but "PROXYTCP4 1.2.3"; the proxy must be told to send one`},
		{"almost the signature", []byte("\r\n\r\n\x00\r\nQUIT\r"), `no PROXY header came, but "\r\n\r\n\x00\r\nQUIT\r"; the proxy must be told to send one`},
		{"v1 without a CR", []byte("PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\n"), "the PROXY header is malformed: its line does not end in CR and LF"},
		{"v1 that ends early", []byte("PROXY TCP4\r\nGET"), "the PROXY header is malformed: its line does not end in CR and LF"},
		{"v1 with a wrong port", []byte("PROXY TCP4 203.0.113.7 198.51.100.1 65536 443\r\n"), `the PROXY header is malformed: invalid port number: strconv.ParseUint: parsing "65536": value out of range`},
		{"v1 with a wrong address", []byte("PROXY TCP4 203.0.113 198.51.100.1 1 443\r\n"), `the PROXY header is malformed: invalid address: ParseAddr("203.0.113"): IPv4 address too short`},
		{"v1 with a name", []byte("PROXY TCP4 \x1b[2J 198.51.100.1 1 443\r\n"), `the PROXY header is malformed: invalid address: ParseAddr("\x1b[2J"): unable to parse IP`},
		{"v1 with too few fields", []byte("PROXY TCP4 203.0.113.7 198.51.100.1 443\r\n"), "the PROXY header is malformed: can't read address family or protocol"},
		{"v1 of another family", []byte("PROXY UDP4 203.0.113.7 198.51.100.1 1 443\r\n"), "the PROXY header is malformed: can't read address family or protocol"},
		{"v2 of another version", v2(0x11, tcp4, rest4...), "the PROXY header is malformed: unsupported proxy protocol version and command"},
		{"v2 of another command", v2(0x22, tcp4, rest4...), "the PROXY header is malformed: unsupported proxy protocol version and command"},
		{"v2 of another family", v2(proxy, 0x13, rest4...), "the PROXY header is malformed: unsupported address family and protocol"},
		{"v2 without room for addresses", v2(proxy, tcp6, rest4...), "the PROXY header is malformed: invalid length"},
		{"v2 with half an extension", v2(proxy, tcp4, withTLVs([]byte{1, 0, 2, 3})...), "the PROXY header is malformed: truncated TLV"},
		{"v2 with TLS of no version", v2(proxy, tcp4, withTLVs(sslTLV(1, 0))...), "the PROXY header is malformed: malformed TLV Value"},
		{"v2 with half of TLS", v2(proxy, tcp4, withTLVs(tlv(proxyproto.PP2_TYPE_SSL, "\x01"))...), "the PROXY header is malformed: incompatible TLV type"},
		{"v2 with another checksum", withChecksum(1), "the PROXY header is malformed: its checksum is wrong"},
		{"v2 with half a checksum", v2(proxy, tcp4, withTLVs(tlv(proxyproto.PP2_TYPE_CRC32C, "\x00\x00"))...), "the PROXY header is malformed: its checksum is wrong"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, err := readHeader(bytes.NewReader(row.header))
			if err == nil {
				_, err = parseHeader(h)
			}
			if err == nil || err.Error() != row.why {
				t.Errorf("the error is %v\nwant %v", err, row.why)
			}
		})
	}
}

func TestAHeaderIsNoLongerThanItMayBe(t *testing.T) {
	const tooLongLine = "the PROXY header is too long: no end of line in 107 bytes"
	line := func(length int) []byte {
		return []byte("PROXY UNKNOWN " + strings.Repeat("f", length-len("PROXY UNKNOWN \r\n")) + "\r\n")
	}
	binary := func(rest int) []byte {
		return v2(proxy, tcp4, append(rest4, tlv(0xea, string(make([]byte, rest-15)))...)...)
	}
	for _, row := range []struct {
		header []byte
		why    string
	}{
		{line(106), ""}, {line(107), ""}, {line(108), tooLongLine}, {line(64 << 10), tooLongLine},
		{binary(4095), ""}, {binary(4096), ""}, {binary(4097), "the PROXY header is too long: 4113 bytes; 4112 are the most"},
		{v2(local, 0, make([]byte, 4096)...), ""}, {v2(local, 0, make([]byte, 4097)...), "the PROXY header is too long: 4113 bytes; 4112 are the most"},
		{v2(proxy, tcp4, make([]byte, 65535)...), "the PROXY header is too long: 65551 bytes; 4112 are the most"},
	} {
		read := bytes.NewReader(row.header)
		h, err := readHeader(read)
		if row.why != "" {
			if err == nil || err.Error() != row.why {
				t.Errorf("of %d bytes: %v, want %s", len(row.header), err, row.why)
			}
			if read := len(row.header) - read.Len(); read > max(longestLine, fixedPart) {
				t.Errorf("%d of %d bytes were read", read, len(row.header))
			}
			continue
		}
		if err == nil {
			_, err = parseHeader(h)
		}
		if err != nil {
			t.Errorf("of %d bytes: %v", len(row.header), err)
		}
	}
}

// FuzzHeader: however the bytes come, the header is the same, not a byte behind it is read, no
// more is kept than a header may have, and what is parsed has its addresses.
func FuzzHeader(f *testing.F) {
	for _, row := range goodHeaders {
		f.Add(append(slices.Clone(row.header), "behind"...), uint8(3))
	}
	f.Add(v2(proxy, tcp4, make([]byte, 4097)...), uint8(1))
	f.Add([]byte("GET / HTTP/1.1\r\n"), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		source := bytes.NewReader(data)
		whole, err := readHeader(source)
		if err == nil && len(data)-source.Len() != len(whole) {
			t.Fatalf("%d bytes were read for a header of %d", len(data)-source.Len(), len(whole))
		}
		if len(whole) > fixedPart+longestRest || cap(whole) > 2*(fixedPart+longestRest) {
			t.Fatalf("%d bytes in room for %d", len(whole), cap(whole))
		}
		for _, pieces := range []io.Reader{iotest.OneByteReader(bytes.NewReader(data)), &inPieces{bytes.NewReader(data), int(piece) + 1}, iotest.DataErrReader(bytes.NewReader(data))} {
			split, splitErr := readHeader(pieces)
			if (err == nil) != (splitErr == nil) || err == nil && !bytes.Equal(whole, split) {
				t.Fatalf("at once %q, %v; in pieces %q, %v", whole, err, split, splitErr)
			}
		}
		if err != nil {
			return
		}
		parsed, err := parseHeader(whole)
		if err == nil && !parsed.isLocal && (parsed.from == nil || parsed.to == nil) {
			t.Errorf("no addresses: %+v", parsed)
		}
	})
}

// inPieces reads a few bytes at a time.
type inPieces struct {
	io.Reader
	size int
}

func (r *inPieces) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), r.size)]) }

// FuzzTLVs: what extensions a header may have, the library's own view of them is the same, and a
// checksum holds if and only if it was made as the specification says.
func FuzzTLVs(f *testing.F) {
	f.Add(sslTLV(7, 0, version13, nameAlice))
	f.Add(tlv(proxyproto.PP2_TYPE_AUTHORITY, "a.example"))
	f.Add(tlv(proxyproto.PP2_TYPE_CRC32C, "\x00\x00\x00\x00"))
	f.Add(slices.Concat(tlv(proxyproto.PP2_TYPE_NOOP, "x"), tlv(proxyproto.PP2_TYPE_CRC32C, "\x00\x00\x00")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > longestRest-len(rest4) {
			return
		}
		h := v2(proxy, tcp4, withTLVs(raw)...)
		got, err := parseHeader(slices.Clone(h))
		tlvs, split := proxyproto.SplitTLVs(raw)
		if split != nil {
			if err == nil {
				t.Fatalf("%v, and the header is taken", split)
			}
			return
		}
		sum := slices.IndexFunc(tlvs, func(v proxyproto.TLV) bool { return v.Type == proxyproto.PP2_TYPE_CRC32C })
		if sum >= 0 && len(tlvs[sum].Value) == crc32.Size && slices.IndexFunc(tlvs, isNoop) < 0 {
			stored := binary.BigEndian.Uint32(tlvs[sum].Value)
			tlvs[sum].Value = make([]byte, crc32.Size)
			zeroed, _ := proxyproto.JoinTLVs(tlvs)
			if holds := crc32.Checksum(v2(proxy, tcp4, withTLVs(zeroed)...), castagnoli) == stored; holds != checksumHolds(h) {
				t.Fatalf("that the checksum holds is %v", !holds)
			}
		}
		if err != nil {
			return
		}
		if client, ok := tlvparse.FindSSL(tlvs); ok && got.forwarded.TLSName != "" && !client.Verified() {
			t.Errorf("a name that nobody verified: %+v", got.forwarded)
		}
		if again, err := parseHeader(h); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("parsed again it is %+v, %v; was %+v", again, err, got)
		}
	})
}

func isNoop(v proxyproto.TLV) bool { return v.Type == proxyproto.PP2_TYPE_NOOP }
