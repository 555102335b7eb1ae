package listen

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/parley-tcp/parley"
)

// The PROXY protocol (haproxy.org, doc/proxy-protocol.txt) says how long a line of version 1 may
// be (section 2.1), and lets a header of version 2 announce up to 65,535 bytes behind its first
// 16, but has the sender make all of it fit a TCP segment (section 2.2). What is long in it in
// practice is a client's certificate, of some 2 KiB.
const (
	shortestHeader = len("PROXY UNKNOWN\r\n")
	longestLine    = 107
	fixedPart      = 16 // of version 2: signature, command, family, length
	longestRest    = 4096
)

var (
	signature1 = []byte("PROXY ")
	signature2 = proxyproto.SIGV2
)

func init() {
	// A proxy behind a proxy may have one address of IPv4 and one of IPv6, and nginx writes them
	// down as they are.
	proxyproto.V1AcceptIPv4InTCP6 = true
}

// readHeader reads a PROXY header and not a byte of what is behind it. Without an error that is
// what it returns, and with one what came.
func readHeader(r io.Reader) ([]byte, error) {
	h := make([]byte, 0, longestLine)
	for {
		more, err := missing(h)
		if more == 0 || err != nil {
			return h, err
		}
		h = slices.Grow(h, more)
		n, err := r.Read(h[len(h) : len(h)+more])
		h = h[:len(h)+n]
		if n == 0 && err != nil {
			return h, err
		}
	}
}

// missing is how many bytes a header that begins so lacks at least; 0 if it is whole. The error
// says why nothing can make a header of it any more.
func missing(h []byte) (int, error) {
	switch n := len(h); {
	case !startsAlike(h, signature1) && !startsAlike(h, signature2):
		return 0, fmt.Errorf("no PROXY header came, but %+q; the proxy must be told to send one", h)
	case n < shortestHeader:
		return shortestHeader - n, nil
	case h[0] == signature1[0]:
		return missingOfLine(h)
	case n < fixedPart:
		return fixedPart - n, nil
	default:
		rest := int(binary.BigEndian.Uint16(h[fixedPart-2:]))
		if rest > longestRest {
			return 0, fmt.Errorf("the PROXY header is too long: %d bytes; %d are the most", fixedPart+rest, fixedPart+longestRest)
		}
		return fixedPart + rest - n, nil
	}
}

func missingOfLine(h []byte) (int, error) {
	switch n, end := len(h), bytes.IndexByte(h, '\n'); {
	case end >= 0 && end == n-1 && h[n-2] == '\r':
		return 0, nil
	case end >= 0:
		return 0, errors.New("the PROXY header is malformed: its line does not end in CR and LF")
	case n == longestLine:
		return 0, fmt.Errorf("the PROXY header is too long: no end of line in %d bytes", longestLine)
	case h[n-1] == '\r' || n == longestLine-1:
		return 1, nil
	}
	return len("\r\n"), nil
}

// startsAlike reports whether one of the two begins with the other.
func startsAlike(a, b []byte) bool {
	n := min(len(a), len(b))
	return bytes.Equal(a[:n], b[:n])
}

// A header is what a PROXY header says.
type header struct {
	isLocal   bool // the connection is the proxy's own, or it does not know whose: nothing below is set
	from, to  net.Addr
	forwarded parley.Forwarded // but for Proxy
}

// parseHeader parses what readHeader has read.
func parseHeader(h []byte) (header, error) {
	parsed, err := parse(h)
	if err != nil {
		return header{}, fmt.Errorf("the PROXY header is malformed: %s", strings.TrimPrefix(err.Error(), "proxyproto: "))
	}
	return parsed, nil
}

func parse(h []byte) (header, error) {
	if h[0] == signature2[0] {
		if !checksumHolds(h) {
			return header{}, errors.New("its checksum is wrong")
		}
		if h[12] == byte(proxyproto.PROXY) && h[13] == byte(proxyproto.UNSPEC) {
			h[12] = byte(proxyproto.LOCAL) // we may take it so (section 2.2), and the library does not
		}
	}
	read, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(h), len(h)))
	switch {
	case err != nil:
		return header{}, err
	case read.Command == proxyproto.LOCAL:
		return header{isLocal: true}, nil
	}
	parsed := header{from: addressOf(read.SourceAddr), to: addressOf(read.DestinationAddr)}
	tlvs, err := read.TLVs()
	if err != nil {
		return header{}, err
	}
	for _, tlv := range tlvs {
		switch tlv.Type {
		case proxyproto.PP2_TYPE_AUTHORITY:
			parsed.forwarded.ServerName = string(tlv.Value)
		case proxyproto.PP2_TYPE_SSL:
			if err := readTLS(&parsed.forwarded, tlv); err != nil {
				return header{}, err
			}
		}
	}
	return parsed, nil
}

// addressOf is an address as the sockets of this package have it. A client of the proxy that did
// not come by TCP has one as well, and counts as one of that IP.
func addressOf(end net.Addr) net.Addr {
	switch end := end.(type) {
	case *net.TCPAddr:
		return unmapped(end.AddrPort())
	case *net.UDPAddr:
		return unmapped(end.AddrPort())
	case *net.UnixAddr:
		return &net.UnixAddr{Net: "unix", Name: end.Name}
	}
	return end
}

func unmapped(end netip.AddrPort) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(end.Addr().Unmap(), end.Port()))
}

// readTLS notes what there is about the client's TLS. A name counts only if the proxy has verified
// it: some ask for certificates, and let in whoever shows one.
func readTLS(f *parley.Forwarded, tlv proxyproto.TLV) error {
	client, err := tlvparse.SSL(tlv)
	if err != nil {
		return err
	}
	if client.ClientSSL() {
		f.TLSVersion, _ = client.SSLVersion()
	}
	if client.Verified() && (client.ClientCertConn() || client.ClientCertSess()) {
		f.TLSName, _ = client.ClientCN()
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumHolds reports whether a header of version 2 has the checksum that it says it has
// (section 2.2.3), or says nothing of one. What cannot be read is left to who parses it.
func checksumHolds(h []byte) bool {
	const typeAndLength = 3
	for at := fixedPart + addressBytes(h); at+typeAndLength <= len(h); {
		value := at + typeAndLength
		end := value + int(binary.BigEndian.Uint16(h[at+1:]))
		if end > len(h) {
			return true
		}
		if h[at] == byte(proxyproto.PP2_TYPE_CRC32C) {
			zeroed := slices.Concat(h[:value], make([]byte, end-value), h[end:])
			return end-value == crc32.Size && binary.BigEndian.Uint32(h[value:]) == crc32.Checksum(zeroed, castagnoli)
		}
		at = end
	}
	return true
}

// addressBytes is how many bytes of a header of version 2 are addresses.
func addressBytes(h []byte) int {
	switch family := proxyproto.AddressFamilyAndProtocol(h[13]); {
	case family.IsIPv4():
		return 2*4 + 2*2
	case family.IsIPv6():
		return 2*16 + 2*2
	case family.IsUnix():
		return 2 * 108
	}
	return 0
}
