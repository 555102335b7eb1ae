package capture

import (
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A segment is one of TCP, as a packet has it.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	syn, fin, rst,
	hasAck bool
	data    []byte
	missing int // bytes behind data that the capture left out of the packet
}

// What a packet is.
type kind int

const (
	isOther kind = iota
	isTCP
	isUDP
	isFragment // of IP
	isDamaged
)

// A decoder takes packets apart.
type decoder struct {
	layers map[gopacket.LayerType]gopacket.DecodingLayer
	ip4    layers.IPv4
	ip6    layers.IPv6
	tcp    layers.TCP
}

func newDecoder() *decoder {
	d := &decoder{layers: make(map[gopacket.LayerType]gopacket.DecodingLayer)}
	for _, l := range []gopacket.DecodingLayer{
		new(layers.Ethernet), new(layers.Dot1Q), new(layers.LinuxSLL), new(layers.LinuxSLL2), new(layers.Loopback),
		&d.ip4, &d.ip6, new(layers.IPv6ExtensionSkipper), new(layers.IPv6Fragment), &d.tcp, // a fragment is not skipped
	} {
		for _, t := range l.CanDecode().LayerTypes() {
			d.layers[t] = l
		}
	}
	return d
}

// first is the layer that a packet of a link begins with.
func first(link layers.LinkType, data []byte) gopacket.LayerType {
	switch link {
	case layers.LinkTypeEthernet:
		return layers.LayerTypeEthernet
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		return layers.LayerTypeLoopback
	case layers.LinkTypeLinuxSLL:
		return layers.LayerTypeLinuxSLL
	case layers.LinkTypeLinuxSLL2:
		return layers.LayerTypeLinuxSLL2
	case layers.LinkTypeIPv4:
		return layers.LayerTypeIPv4
	case layers.LinkTypeIPv6:
		return layers.LayerTypeIPv6
	case layers.LinkTypeRaw, 12, 14: // the last two are what some systems call it by themselves
		if len(data) > 0 && data[0]>>4 == 6 {
			return layers.LayerTypeIPv6
		}
		return layers.LayerTypeIPv4
	}
	return gopacket.LayerTypeZero
}

// decode takes a packet apart. Checksums are not looked at: where the network card makes them, a
// capture on the sender has others.
func (d *decoder) decode(link layers.LinkType, data []byte, info gopacket.CaptureInfo) (s segment, is kind) {
	cut := max(info.Length-info.CaptureLength, 0)
	ip := gopacket.LayerTypeZero
	for t := first(link, data); ; {
		switch t {
		case layers.LayerTypeUDP:
			return s, isUDP
		case gopacket.LayerTypeFragment:
			return s, isFragment
		}
		layer, known := d.layers[t]
		if !known {
			return s, isOther
		}
		if err := layer.DecodeFromBytes(data, gopacket.NilDecodeFeedback); err != nil {
			return s, isDamaged
		}
		switch t {
		case layers.LayerTypeIPv4:
			ip = t
			cut = max(int(d.ip4.Length)-len(d.ip4.Contents)-len(d.ip4.Payload), 0)
		case layers.LayerTypeIPv6:
			if ip = t; d.ip6.Length > 0 {
				cut = max(int(d.ip6.Length)-len(data)+len(d.ip6.Contents), 0)
			}
		case layers.LayerTypeTCP:
			return d.segment(ip, cut)
		}
		t, data = layer.NextLayerType(), layer.LayerPayload()
	}
}

// segment is what the layers say, of a packet whose last bytes are missing.
func (d *decoder) segment(ip gopacket.LayerType, missing int) (s segment, is kind) {
	from, to := []byte(d.ip4.SrcIP), []byte(d.ip4.DstIP)
	if ip == layers.LayerTypeIPv6 {
		from, to = d.ip6.SrcIP, d.ip6.DstIP
	}
	source, isAddr := netip.AddrFromSlice(from)
	target, _ := netip.AddrFromSlice(to)
	if !isAddr {
		return s, isDamaged
	}
	t := &d.tcp
	return segment{
		from: netip.AddrPortFrom(source, uint16(t.SrcPort)), to: netip.AddrPortFrom(target, uint16(t.DstPort)),
		seq: t.Seq, ack: t.Ack, syn: t.SYN, fin: t.FIN, rst: t.RST, hasAck: t.ACK,
		data: t.Payload, missing: missing,
	}, isTCP
}
