package download

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Snapshot is one file of contents. It is never changed.
type Snapshot struct {
	versions [contents]uint64 // 0: not in the file. That of parameters is their layers'
	gray     [contents]map[txn.TerminalID]bool
	items    [contents][]item // of lists with names
	bins     [contents][][binSize]byte
	bodies   [contents][]byte // of what is one message, but parameters
	layers   layers
}

// item is an entry of a list of items.
type item struct {
	key  string // what a download names it by, as on the wire
	name []byte // what a query tells of it
	body []byte
}

// layers are the parameter sets, each over the ones before: the default, the
// machine's model, the merchant, the terminal.
type layers struct {
	base      *set
	models    []model
	merchants map[txn.MerchantID]*set
	terminals map[txn.TerminalID]*set
}

// model is known by how serial numbers begin.
type model struct {
	prefix string
	set    *set
}

// set is values by tag, empty where it has none.
type set struct {
	values [len(tags)]string
	hash   uint64
}

// sort of a parameter's value.
type sort uint8

const (
	digitsFull  sort = iota // exactly so many digits
	digitsLeft              // up to so many, spaces behind
	flag                    // 0 or 1
	bitmap                  // so many of 0 and 1
	textChinese             // GBK, spaces behind, cut between two characters
)

// tags are the parameters of a terminal (cup-pos A5, DE62 use 3): a tag of two
// digits with a value of fixed width.
var tags = [...]struct {
	tag   string
	name  string
	width int
	sort  sort
}{
	{"11", "application", 2, digitsFull},
	{"12", "timeout", 2, digitsFull},
	{"13", "retries", 1, digitsFull},
	{"14", "phone_1", 14, digitsLeft},
	{"15", "phone_2", 14, digitsLeft},
	{"16", "phone_3", 14, digitsLeft},
	{"17", "manager_phone", 14, digitsLeft},
	{"18", "tip", 1, flag},
	{"19", "tip_percent", 2, digitsFull},
	{"20", "manual_entry", 1, flag},
	{"21", "auto_sign_off", 1, flag},
	{"22", "merchant_name", 40, textChinese},
	{"23", "reversal_repeats", 1, digitsFull},
	{"24", "offline_upload", 1, flag},
	{"25", "master_key", 1, digitsFull},
	{"26", "transactions", 32, bitmap},
}

const merchantName = 11 // of tags

// encode is a value as it is on the wire.
func (s sort) encode(v string, width int) (string, error) {
	only := func(set string) bool { return v != "" && strings.Trim(v, set) == "" }
	const decimal = "0123456789"
	switch s {
	case digitsFull:
		if len(v) != width || !only(decimal) {
			return "", fmt.Errorf("%q must be %d digits", v, width)
		}
	case digitsLeft:
		if len(v) > width || !only(decimal) {
			return "", fmt.Errorf("%q must be 1 to %d digits", v, width)
		}
	case flag:
		if v != "0" && v != "1" {
			return "", fmt.Errorf("%q must be 0 or 1", v)
		}
	case bitmap:
		if len(v) != width || !only("01") {
			return "", fmt.Errorf("%q must be %d of 0 and 1", v, width)
		}
	case textChinese:
		b, err := chinese(v)
		if err != nil || v == "" {
			return "", fmt.Errorf("%q must be text that GBK has", v)
		}
		v = cut(b, width)
	}
	return v + strings.Repeat(" ", max(0, width-len(v))), nil
}

// chinese is v in GBK.
func chinese(v string) (string, error) {
	if !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' }) {
		return "", fmt.Errorf("%q has characters that cannot be printed", v)
	}
	return simplifiedchinese.GBK.NewEncoder().String(v)
}

// cut is as many whole characters of a GBK text as width bytes hold.
func cut(gbk string, width int) string {
	at := 0
	for at < len(gbk) {
		n := 1
		if gbk[at] >= 0x81 { // the first of two bytes
			n = 2
		}
		if at+n > width {
			break
		}
		at += n
	}
	return gbk[:at]
}

// registered is a merchant's name of the registry as a parameter: what GBK has
// of it.
func registered(m *txn.Merchant) string {
	name, _, _ := bytes.Cut(m.Name[:], []byte{0})
	var b strings.Builder
	for _, r := range string(name) {
		if c, err := chinese(string(r)); err == nil && r != utf8.RuneError {
			b.WriteString(c)
		}
	}
	v := cut(b.String(), tags[merchantName].width)
	return v + strings.Repeat(" ", tags[merchantName].width-len(v))
}

// of are the layers of one terminal, nil where there is none.
func (l *layers) of(id txn.TerminalID, serial func(txn.TerminalID) [50]byte, m *txn.Merchant) (of [4]*set) {
	of[0], of[2], of[3] = l.base, nil, l.terminals[id]
	if m != nil {
		of[2] = l.merchants[m.ID]
	}
	if len(l.models) == 0 {
		return of
	}
	machine := serial(id)
	for i := range l.models { // the longest prefix first
		if p := l.models[i].prefix; string(machine[:len(p)]) == p {
			of[1] = l.models[i].set
			break
		}
	}
	return of
}

// version is that of a content for one terminal, 0 where there is nothing to
// take. Parameters are a merchant's own where no layer names the merchant: then
// the registry's name is part of them.
func (s *Snapshot) version(c content, id txn.TerminalID, serial func(txn.TerminalID) [50]byte, m *txn.Merchant) uint64 {
	if c != parameters {
		return s.versions[c]
	}
	var v uint64
	named, any := false, false
	for _, set := range s.layers.of(id, serial, m) {
		if set == nil {
			v = mix(v, 0)
			continue
		}
		v, any = mix(v, set.hash), true
		named = named || set.values[merchantName] != ""
	}
	if !any {
		return 0
	}
	if !named && m != nil {
		for i := 0; i < len(m.Name); i += 8 {
			v = mix(v, binary.BigEndian.Uint64(m.Name[i:]))
		}
	}
	return max(v, 1)
}

// mix is stable: versions are in logs.
func mix(h, v uint64) uint64 {
	return bits.RotateLeft64((h^v)*0x9E3779B97F4A7C15, 29)
}

// hashOf is a version of bytes, never 0.
func hashOf(parts ...[]byte) uint64 {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		h.Write(p)
	}
	return max(binary.BigEndian.Uint64(h.Sum(nil)), 1)
}

// asked says that terminals are asked for a content by the header: all of them,
// or those of its gray list.
func (s *Snapshot) asked(c content, id txn.TerminalID) bool {
	return s.gray[c] == nil || s.gray[c][id]
}

// serve appends what a request asks for.
func (s *Snapshot) serve(dst []byte, r *request, id txn.TerminalID, serial func(txn.TerminalID) [50]byte, m *txn.Merchant) ([]byte, pageState) {
	switch {
	case r.content == parameters:
		return s.layers.append(dst, id, serial, m)
	case r.step == stepItem:
		for i := range s.items[r.content] {
			if it := &s.items[r.content][i]; it.key == string(r.name) {
				return append(append(dst, complete), it.body...), pageLast
			}
		}
		return dst, pageUnknown
	case shelf[r.content].form == items:
		names := make([][]byte, len(s.items[r.content]))
		for i := range names {
			names[i] = s.items[r.content][i].name
		}
		return appendNames(dst, names, r.start)
	case shelf[r.content].form == blocks:
		return appendBINs(dst, s.bins[r.content], r.start)
	case s.versions[r.content] == 0:
		return dst, pageUnknown
	}
	return append(dst, s.bodies[r.content]...), pageLast
}

// append writes a terminal's parameters, in the order of their tags.
func (l *layers) append(dst []byte, id txn.TerminalID, serial func(txn.TerminalID) [50]byte, m *txn.Merchant) ([]byte, pageState) {
	of, any := l.of(id, serial, m), false
	for i := range tags {
		v := ""
		for _, set := range of {
			if set == nil {
				continue
			}
			if any = true; set.values[i] != "" {
				v = set.values[i]
			}
		}
		if v == "" && i == merchantName && any && m != nil {
			v = registered(m)
		}
		if v != "" {
			dst = append(append(dst, tags[i].tag...), v...)
		}
	}
	if !any {
		return dst, pageUnknown
	}
	return dst, pageLast
}
