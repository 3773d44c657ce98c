package capture

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// packetReader is what pcap and pcapng readers share.
type packetReader interface {
	ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

// Unpacked is r, or what is in it where it is gzipped.
func Unpacked(r io.Reader) (*bufio.Reader, error) {
	br := bufio.NewReaderSize(r, 1<<18)
	if magic, _ := br.Peek(2); string(magic) != "\x1F\x8B" {
		return br, nil
	}
	z, err := gzip.NewReader(br)
	if err != nil {
		return nil, fmt.Errorf("no gzipped file: %w", err)
	}
	return bufio.NewReaderSize(z, 1<<18), nil
}

func openPcap(r io.Reader) (packetReader, error) {
	br, err := Unpacked(r)
	if err != nil {
		return nil, err
	}
	magic, err := br.Peek(4)
	if err != nil {
		return nil, errors.New("the file is empty, or cut off")
	}
	if string(magic) == "\x0A\x0D\x0D\x0A" {
		options := pcapgo.DefaultNgReaderOptions
		options.WantMixedLinkType = true
		ng, err := pcapgo.NewNgReader(br, options)
		if err != nil {
			return nil, fmt.Errorf("no pcapng file: %w", err)
		}
		return ng, nil
	}
	pcap, err := pcapgo.NewReader(br)
	if err != nil {
		return nil, errors.New("neither a pcap nor a pcapng file")
	}
	return pcap, nil
}

// Switches of some makers tag the outer VLAN so.
func init() {
	layers.EthernetTypeMetadata[0x9100] = layers.EthernetTypeMetadata[layers.EthernetTypeQinQ]
}

// offloaded is IPv6, also of segments that the network card cuts: their length is 0,
// and is that of what was recorded.
type offloaded struct{ layers.IPv6 }

func (ip *offloaded) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	if len(data) > 40 && data[4] == 0 && data[5] == 0 && data[6] == byte(layers.IPProtocolTCP) {
		binary.BigEndian.PutUint16(data[4:], uint16(min(len(data)-40, math.MaxUint16)))
	}
	return ip.IPv6.DecodeFromBytes(data, df)
}

// decoded is the layers that are looked at.
type decoded struct {
	ether    layers.Ethernet
	vlan     layers.Dot1Q
	sll      layers.LinuxSLL
	sll2     layers.LinuxSLL2
	loopback layers.Loopback
	ip4      layers.IPv4
	ip6      offloaded
	skip     layers.IPv6ExtensionSkipper
	tcp      layers.TCP
}

func newParsers(d *decoded) map[gopacket.LayerType]*gopacket.DecodingLayerParser {
	parsers := map[gopacket.LayerType]*gopacket.DecodingLayerParser{}
	for _, first := range [...]gopacket.LayerType{layers.LayerTypeEthernet, layers.LayerTypeLinuxSLL, layers.LayerTypeLinuxSLL2, layers.LayerTypeLoopback, layers.LayerTypeIPv4, layers.LayerTypeIPv6} {
		p := gopacket.NewDecodingLayerParser(first)
		p.SetDecodingLayerContainer(gopacket.DecodingLayerSparse(nil)) // no map, which costs a tenth
		for _, layer := range [...]gopacket.DecodingLayer{&d.ether, &d.vlan, &d.sll, &d.sll2, &d.loopback, &d.ip4, &d.ip6, &d.skip, &d.tcp} {
			p.AddDecodingLayer(layer)
		}
		p.IgnoreUnsupported = true
		parsers[first] = p
	}
	return parsers
}

// firstLayer is what a packet of a link type begins with.
func firstLayer(link layers.LinkType, data []byte) gopacket.LayerType {
	switch link {
	case layers.LinkTypeEthernet:
		return layers.LayerTypeEthernet
	case layers.LinkTypeLinuxSLL:
		return layers.LayerTypeLinuxSLL
	case layers.LinkTypeLinuxSLL2:
		return layers.LayerTypeLinuxSLL2
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		return layers.LayerTypeLoopback
	}
	if len(data) > 0 && data[0]>>4 == 6 {
		return layers.LayerTypeIPv6
	}
	return layers.LayerTypeIPv4
}

// packet reads one packet. Its error is io.EOF at the end of the file.
func (f *Follower) packet(r packetReader) error {
	data, info, err := r.ZeroCopyReadPacketData()
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	f.stats.Packets++
	f.stats.Bytes += int64(info.CaptureLength)
	if err == nil && info.CaptureLength < info.Length {
		f.stats.Partial++
		if f.o.Whole {
			err = errors.New("was captured in part only; capture whole packets (snaplen 0)")
		}
	}
	if err == nil {
		link := r.LinkType()
		if ng, ok := r.(*pcapgo.NgReader); ok {
			if i, unknown := ng.Interface(info.InterfaceIndex); unknown == nil {
				link = i.LinkType
				info.Timestamp, err = scaled(info.Timestamp, i.TimestampResolution)
			}
		}
		if f.at = cmp.Or(info.Timestamp, f.at); f.at.IsZero() { // a simple packet of pcapng has none
			f.at = time.Now()
		}
		if err == nil {
			err = f.take(firstLayer(link, data), data, f.at)
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("is cut off")
	}
	if err != nil {
		return fmt.Errorf("packet %d: %w", f.stats.Packets, err)
	}
	return nil
}

// scaled is the time of a packet whose interface counts in units of a negative power of
// two: the reader takes each for a whole number of nanoseconds.
func scaled(at time.Time, unit pcapgo.NgResolution) (time.Time, error) {
	n := unit.Exponent()
	if !unit.Binary() || at.IsZero() {
		return at, nil
	}
	if n >= 30 { // of less than a nanosecond: what the reader makes of them goes beyond a second
		return at, fmt.Errorf("has its time in units of 2^-%d seconds, which cannot be read: convert the file", n)
	}
	fraction := int64(at.Nanosecond()) / (1e9 >> n)
	return at.Truncate(time.Second).Add(time.Duration(fraction * 1e9 >> n)), nil
}

// take decodes a packet and gives it to its session. What is no TCP over IP is
// left out, as is what cannot be decoded.
func (f *Follower) take(first gopacket.LayerType, data []byte, at time.Time) error {
	f.parsers[first].DecodeLayers(data, &f.types)
	var src, dst netip.Addr
	isTCP := false
	for _, t := range f.types {
		switch t {
		case layers.LayerTypeIPv4:
			src, _ = netip.AddrFromSlice(f.layers.ip4.SrcIP)
			dst, _ = netip.AddrFromSlice(f.layers.ip4.DstIP)
		case layers.LayerTypeIPv6:
			src, _ = netip.AddrFromSlice(f.layers.ip6.SrcIP)
			dst, _ = netip.AddrFromSlice(f.layers.ip6.DstIP)
		case layers.LayerTypeTCP:
			isTCP = true
		}
	}
	if !isTCP || !src.IsValid() || !dst.IsValid() {
		f.stats.Other++
		if ip := &f.layers.ip4; len(f.types) > 0 && f.types[len(f.types)-1] == layers.LayerTypeIPv4 && (ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0) {
			f.stats.Fragments++
		}
		return nil
	}
	tcp := &f.layers.tcp
	from := netip.AddrPortFrom(src, uint16(tcp.SrcPort))
	to := netip.AddrPortFrom(dst, uint16(tcp.DstPort))
	key, side := flow{from, to}, 0
	if to.Compare(from) < 0 {
		key, side = flow{to, from}, 1
	}
	s, err := f.session(key, side, tcp, at)
	if s == nil || err != nil {
		return err
	}
	f.silent.MoveToBack(s.place)
	return f.segment(s, side, tcp, at)
}
