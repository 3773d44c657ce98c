package download

import (
	"bytes"
	"crypto/sha1" // the check value of a CA public key is SHA-1 by EMV's definition
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// Limits of a file.
const (
	// FileSizeMax bounds what Load reads.
	FileSizeMax = 4 << 20
	modulusMax  = 248
)

// document is the file. The keys are explained in testdata/downloads.yaml.
type document struct {
	Version     yamlfile.Scalar  `yaml:"version"`
	Parameters  *parametersYAML  `yaml:"parameters"`
	CAPKs       []capkYAML       `yaml:"capks"`
	AIDs        []aidYAML        `yaml:"aids"`
	TMS         yamlfile.Scalar  `yaml:"tms"`
	BlackList   []binYAML        `yaml:"black_list"`
	Contactless *contactlessYAML `yaml:"contactless"`
	NoPINNew    []binYAML        `yaml:"no_pin_new"`
	NoPINBlack  []binYAML        `yaml:"no_pin_black"`
	Status      yamlfile.Scalar  `yaml:"status"`
	Gray        grayYAML         `yaml:"gray"`
}

type parametersYAML struct {
	Default   *setYAML       `yaml:"default"`
	Overrides []overrideYAML `yaml:"overrides"`
}

type overrideYAML struct {
	Models    []yamlfile.Scalar `yaml:"models"`
	Merchants []yamlfile.Scalar `yaml:"merchants"`
	Terminals []yamlfile.Scalar `yaml:"terminals"`
	Set       setYAML           `yaml:"set"`
}

type setYAML struct {
	Application     yamlfile.Scalar `yaml:"application"`
	Timeout         yamlfile.Scalar `yaml:"timeout"`
	Retries         yamlfile.Scalar `yaml:"retries"`
	Phone1          yamlfile.Scalar `yaml:"phone_1"`
	Phone2          yamlfile.Scalar `yaml:"phone_2"`
	Phone3          yamlfile.Scalar `yaml:"phone_3"`
	ManagerPhone    yamlfile.Scalar `yaml:"manager_phone"`
	Tip             yamlfile.Scalar `yaml:"tip"`
	TipPercent      yamlfile.Scalar `yaml:"tip_percent"`
	ManualEntry     yamlfile.Scalar `yaml:"manual_entry"`
	AutoSignOff     yamlfile.Scalar `yaml:"auto_sign_off"`
	MerchantName    yamlfile.Scalar `yaml:"merchant_name"`
	ReversalRepeats yamlfile.Scalar `yaml:"reversal_repeats"`
	OfflineUpload   yamlfile.Scalar `yaml:"offline_upload"`
	MasterKey       yamlfile.Scalar `yaml:"master_key"`
	Transactions    yamlfile.Scalar `yaml:"transactions"`
}

// scalars are the set's values in the order of tags.
func (y *setYAML) scalars() [len(tags)]yamlfile.Scalar {
	return [...]yamlfile.Scalar{y.Application, y.Timeout, y.Retries, y.Phone1, y.Phone2, y.Phone3, y.ManagerPhone, y.Tip,
		y.TipPercent, y.ManualEntry, y.AutoSignOff, y.MerchantName, y.ReversalRepeats, y.OfflineUpload, y.MasterKey, y.Transactions}
}

type capkYAML struct {
	RID      yamlfile.Scalar `yaml:"rid"`
	Index    yamlfile.Scalar `yaml:"index"`
	Modulus  yamlfile.Scalar `yaml:"modulus"`
	Exponent yamlfile.Scalar `yaml:"exponent"`
	Hash     yamlfile.Scalar `yaml:"hash"`
	Expiry   yamlfile.Scalar `yaml:"expiry"`
}

type aidYAML struct {
	AID              yamlfile.Scalar `yaml:"aid"`
	ASI              yamlfile.Scalar `yaml:"asi"`
	Version          yamlfile.Scalar `yaml:"version"`
	TACDefault       yamlfile.Scalar `yaml:"tac_default"`
	TACOnline        yamlfile.Scalar `yaml:"tac_online"`
	TACDenial        yamlfile.Scalar `yaml:"tac_denial"`
	FloorLimit       yamlfile.Scalar `yaml:"floor_limit"`
	Threshold        yamlfile.Scalar `yaml:"threshold"`
	TargetMax        yamlfile.Scalar `yaml:"target_percent_max"`
	Target           yamlfile.Scalar `yaml:"target_percent"`
	DDOL             yamlfile.Scalar `yaml:"ddol"`
	OnlinePIN        yamlfile.Scalar `yaml:"online_pin"`
	CashLimit        yamlfile.Scalar `yaml:"cash_limit"`
	ContactlessFloor yamlfile.Scalar `yaml:"contactless_floor"`
	ContactlessLimit yamlfile.Scalar `yaml:"contactless_limit"`
	CVMLimit         yamlfile.Scalar `yaml:"cvm_limit"`
}

type binYAML struct {
	Length yamlfile.Scalar `yaml:"length"`
	BIN    yamlfile.Scalar `yaml:"bin"`
}

type contactlessYAML struct {
	CashFirst        yamlfile.Scalar `yaml:"cash_first"`
	RetapWithin      yamlfile.Scalar `yaml:"retap_within"`
	RecordWithin     yamlfile.Scalar `yaml:"record_within"`
	NoPINLimit       yamlfile.Scalar `yaml:"no_pin_limit"`
	NoPIN            yamlfile.Scalar `yaml:"no_pin"`
	TableA           yamlfile.Scalar `yaml:"table_a"`
	TableB           yamlfile.Scalar `yaml:"table_b"`
	CDCVM            yamlfile.Scalar `yaml:"cdcvm"`
	NoSignatureLimit yamlfile.Scalar `yaml:"no_signature_limit"`
	NoSignature      yamlfile.Scalar `yaml:"no_signature"`
}

type grayYAML struct {
	CAPKs       []yamlfile.Scalar `yaml:"capks"`
	AIDs        []yamlfile.Scalar `yaml:"aids"`
	Parameters  []yamlfile.Scalar `yaml:"parameters"`
	TMS         []yamlfile.Scalar `yaml:"tms"`
	BlackList   []yamlfile.Scalar `yaml:"black_list"`
	Contactless []yamlfile.Scalar `yaml:"contactless"`
	NoPINNew    []yamlfile.Scalar `yaml:"no_pin_new"`
	NoPINBlack  []yamlfile.Scalar `yaml:"no_pin_black"`
	Status      []yamlfile.Scalar `yaml:"status"`
}

// Load reads a file of contents; name is what errors call it. It returns a
// snapshot, or as joined *Problem errors the first problems of the file.
func Load(r io.Reader, name string) (*Snapshot, error) {
	b, err := io.ReadAll(io.LimitReader(r, FileSizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > FileSizeMax {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", name, FileSizeMax)
	}
	doc, err := yamlfile.Decode[document](b, name, `one with nothing to take says "version: 1"`)
	if err != nil {
		return nil, err
	}
	l := loader{Problems: yamlfile.Problems{File: name}, s: &Snapshot{}, seen: map[string]int{}}
	l.document(doc)
	if err := l.Err(); err != nil {
		return nil, err
	}
	return l.s, nil
}

// loader turns the document into a snapshot and collects what is wrong.
type loader struct {
	yamlfile.Problems
	s    *Snapshot
	seen map[string]int // key and name -> line
}

// once refuses a second use of a name.
func (l *loader) once(s yamlfile.Scalar, key, name string) {
	if line, twice := l.seen[key+" "+name]; twice {
		l.Add(s, key, "%s is already there on line %d", name, line)
		return
	}
	l.seen[key+" "+name] = s.Line
}

func (l *loader) document(d *document) {
	l.Version(d.Version)
	l.parameters(d.Parameters)
	l.items(capks, d.CAPKs != nil, len(d.CAPKs), func(i int) (item, yamlfile.Scalar) { return l.capk(&d.CAPKs[i]) })
	l.items(aids, d.AIDs != nil, len(d.AIDs), func(i int) (item, yamlfile.Scalar) { return l.aid(&d.AIDs[i]) })
	l.bins(blackList, d.BlackList)
	l.bins(noPINNew, d.NoPINNew)
	l.bins(noPINBlack, d.NoPINBlack)
	l.contactless(d.Contactless)
	l.notice(d.TMS)
	if d.Status.Line > 0 {
		l.s.versions[status] = hashOf([]byte(d.Status.Text))
	}
	g := &d.Gray
	for c, ids := range [contents][]yamlfile.Scalar{capks: g.CAPKs, aids: g.AIDs, parameters: g.Parameters, tms: g.TMS, blackList: g.BlackList,
		contactless: g.Contactless, noPINNew: g.NoPINNew, noPINBlack: g.NoPINBlack, status: g.Status} {
		if ids == nil {
			continue
		}
		l.s.gray[c] = map[txn.TerminalID]bool{}
		for _, id := range ids {
			l.s.gray[c][l.terminal(id, "gray."+shelf[c].name+"[]")] = true
		}
	}
}

func (l *loader) terminal(s yamlfile.Scalar, key string) txn.TerminalID {
	if len(s.Text) == 0 || len(s.Text) > len(txn.TerminalID{}) {
		l.Add(s, key, "%q must be 1 to %d characters", s.Text, len(txn.TerminalID{}))
	}
	return txn.MakeTerminalID(s.Text)
}

func (l *loader) parameters(y *parametersYAML) {
	if y == nil {
		return
	}
	ls := &l.s.layers
	ls.merchants, ls.terminals = map[txn.MerchantID]*set{}, map[txn.TerminalID]*set{}
	if y.Default != nil {
		ls.base = l.set(y.Default, "parameters.default")
	}
	const key = "parameters.overrides[]"
	for i := range y.Overrides {
		o := &y.Overrides[i]
		s := l.set(&o.Set, key+".set")
		if len(o.Models)+len(o.Merchants)+len(o.Terminals) == 0 {
			l.Add(yamlfile.Scalar{}, key, "number %d is for nobody: list models, merchants or terminals", i+1)
		}
		for _, m := range o.Models {
			if len(m.Text) == 0 || len(m.Text) > 50 {
				l.Add(m, key+".models[]", "%q must be the first 1 to 50 characters of serial numbers", m.Text)
			}
			l.once(m, key+".models[]", m.Text)
			ls.models = append(ls.models, model{m.Text, s})
		}
		for _, m := range o.Merchants {
			if len(m.Text) == 0 || len(m.Text) > len(txn.MerchantID{}) {
				l.Add(m, key+".merchants[]", "%q must be 1 to %d characters", m.Text, len(txn.MerchantID{}))
			}
			l.once(m, key+".merchants[]", m.Text)
			ls.merchants[txn.MakeMerchantID(m.Text)] = s
		}
		for _, t := range o.Terminals {
			l.once(t, key+".terminals[]", t.Text)
			ls.terminals[l.terminal(t, key+".terminals[]")] = s
		}
	}
	slices.SortStableFunc(ls.models, func(a, b model) int { return len(b.prefix) - len(a.prefix) })
}

func (l *loader) set(y *setYAML, key string) *set {
	s := &set{}
	var parts [][]byte
	for i, v := range y.scalars() {
		if v.Line > 0 {
			var err error
			if s.values[i], err = tags[i].sort.encode(v.Text, tags[i].width); err != nil {
				l.Add(v, key+"."+tags[i].name, "%v", err)
			}
		}
		parts = append(parts, []byte(s.values[i]))
	}
	s.hash = hashOf(parts...)
	return s
}

// items loads a list whose entries a terminal takes one by one.
func (l *loader) items(c content, there bool, n int, load func(int) (item, yamlfile.Scalar)) {
	if !there {
		return
	}
	var parts [][]byte
	for i := range n {
		it, at := load(i)
		l.once(at, shelf[c].name+"[]", fmt.Sprintf("%X", it.key))
		if i == listMax {
			l.Add(at, shelf[c].name, "are %d, a query reaches %d", n, listMax)
		}
		if len(it.body) > payloadMax-1 {
			l.Add(at, shelf[c].name+"[]", "takes %d bytes, a message holds %d", len(it.body), payloadMax-1)
		}
		l.s.items[c] = append(l.s.items[c], it)
		parts = append(parts, it.body)
	}
	l.s.versions[c] = hashOf(parts...)
}

// bytes reads low to high bytes of hexadecimal digits.
func (l *loader) bytes(s yamlfile.Scalar, key string, low, high int) []byte {
	b, err := hex.DecodeString(s.Text)
	if err != nil || len(b) < low || len(b) > high {
		what := fmt.Sprint(2 * low)
		if high > low {
			what += fmt.Sprintf(" to %d", 2*high)
		}
		l.Add(s, key, "%q must be %s hexadecimal digits", s.Text, what)
		return make([]byte, low)
	}
	return b
}

// appendTLV writes an element with a BER length.
func appendTLV(dst []byte, tag uint16, v []byte) []byte {
	dst = append(dst, byte(tag>>8), byte(tag))
	if len(v) > 127 {
		dst = append(dst, 0x81)
	}
	return append(append(dst, byte(len(v))), v...)
}

func (l *loader) capk(y *capkYAML) (item, yamlfile.Scalar) {
	at := yamlfile.First(y.RID, y.Index, y.Modulus, y.Exponent, y.Hash, y.Expiry)
	rid := l.bytes(at.Or(y.RID), "capks[].rid", ridSize, ridSize)
	index := l.bytes(at.Or(y.Index), "capks[].index", 1, 1)
	modulus := l.bytes(at.Or(y.Modulus), "capks[].modulus", 1, modulusMax)
	exponent := l.bytes(at.Or(y.Exponent), "capks[].exponent", 1, 3)
	hash := l.bytes(at.Or(y.Hash), "capks[].hash", sha1.Size, sha1.Size)
	if sum := sha1.Sum(slices.Concat(rid, index, modulus, exponent)); !bytes.Equal(sum[:], hash) {
		l.Add(at.Or(y.Hash), "capks[].hash", "is not that of the key: SHA-1 of RID, index, modulus and exponent is %X", sum)
	}
	if _, err := time.Parse("20060102", y.Expiry.Text); err != nil {
		l.Add(at.Or(y.Expiry), "capks[].expiry", "%q must be a day as 20301231", y.Expiry.Text)
	}
	expiry, _ := hex.DecodeString(y.Expiry.Text)
	key := appendTLV(appendTLV(nil, 0x9F06, rid), 0x9F22, index)
	name := appendTLV(slices.Clone(key), 0xDF05, expiry)
	body := slices.Clone(name)
	for _, e := range [...]struct {
		tag uint16
		v   []byte
	}{{0xDF06, []byte{1}}, {0xDF07, []byte{1}}, {0xDF02, modulus}, {0xDF04, exponent}, {0xDF03, hash}} { // SHA-1, RSA
		body = appendTLV(body, e.tag, e.v)
	}
	return item{string(key), name, body}, at
}

func (l *loader) aid(y *aidYAML) (item, yamlfile.Scalar) {
	fields := [...]struct {
		tag       uint16
		key       string
		v         yamlfile.Scalar
		low, high int
		optional  bool
	}{
		{0x9F06, "aid", y.AID, aidSizeMin, aidSizeMax, false},
		{0xDF01, "asi", y.ASI, 1, 1, false},
		{0x9F08, "version", y.Version, 2, 2, false},
		{0xDF11, "tac_default", y.TACDefault, 5, 5, false},
		{0xDF12, "tac_online", y.TACOnline, 5, 5, false},
		{0xDF13, "tac_denial", y.TACDenial, 5, 5, false},
		{0x9F1B, "floor_limit", y.FloorLimit, 4, 4, false},
		{0xDF15, "threshold", y.Threshold, 4, 4, false},
		{0xDF16, "target_percent_max", y.TargetMax, 1, 1, false},
		{0xDF17, "target_percent", y.Target, 1, 1, false},
		{0xDF14, "ddol", y.DDOL, 1, 252, false},
		{0xDF18, "online_pin", y.OnlinePIN, 1, 1, false},
		{0x9F7B, "cash_limit", y.CashLimit, 6, 6, true},
		{0xDF19, "contactless_floor", y.ContactlessFloor, 6, 6, true},
		{0xDF20, "contactless_limit", y.ContactlessLimit, 6, 6, true},
		{0xDF21, "cvm_limit", y.CVMLimit, 6, 6, true},
	}
	var there []yamlfile.Scalar
	for i := range fields {
		there = append(there, fields[i].v)
	}
	at := yamlfile.First(there...)
	var it item
	for i := range fields {
		f := &fields[i]
		if f.optional && f.v.Line == 0 {
			continue
		}
		it.body = appendTLV(it.body, f.tag, l.bytes(at.Or(f.v), "aids[]."+f.key, f.low, f.high))
		if i == 0 {
			it.name = slices.Clone(it.body)
			it.key = string(it.name)
		}
	}
	return it, at
}

// bins loads a list of BINs: the length of the card number, and how it begins.
func (l *loader) bins(c content, ys []binYAML) {
	if ys == nil {
		return
	}
	var all []byte
	key := shelf[c].name + "[]"
	for i := range ys {
		y := &ys[i]
		at := yamlfile.First(y.Length, y.BIN)
		length, bin := at.Or(y.Length), at.Or(y.BIN)
		if !txn.Digits(length.Text) || len(length.Text) != 2 || length.Text < "12" || length.Text > "19" {
			l.Add(length, key+".length", "%q must be the digits of a card number, 12 to 19", length.Text)
		}
		if len(bin.Text) > binSize-2 || !txn.Digits(bin.Text) {
			l.Add(bin, key+".bin", "%q must be 1 to %d digits", bin.Text, binSize-2)
		}
		if i == binsMax {
			l.Add(at, shelf[c].name, "has %d entries, terminals can ask for %d", len(ys), binsMax)
		}
		l.once(at, key, length.Text+" "+bin.Text)
		entry := [binSize]byte([]byte("            "))
		copy(entry[copy(entry[:2], length.Text):], bin.Text)
		l.s.bins[c] = append(l.s.bins[c], entry)
		all = append(all, entry[:]...)
	}
	l.s.versions[c] = hashOf(all)
}

// contactless loads the quick payment parameters: a tag of six characters, a
// length of three digits and the value, all text.
func (l *loader) contactless(y *contactlessYAML) {
	if y == nil {
		return
	}
	var body []byte
	for _, f := range [...]struct {
		tag, key string
		v        yamlfile.Scalar
		width    int
		sort     sort
	}{
		{"FF805D", "cash_first", y.CashFirst, 1, flag},
		{"FF803A", "retap_within", y.RetapWithin, 3, digitsFull},
		{"FF803C", "record_within", y.RecordWithin, 3, digitsFull},
		{"FF8058", "no_pin_limit", y.NoPINLimit, 12, digitsFull},
		{"FF8054", "no_pin", y.NoPIN, 1, flag},
		{"FF8055", "table_a", y.TableA, 1, flag},
		{"FF8056", "table_b", y.TableB, 1, flag},
		{"FF8057", "cdcvm", y.CDCVM, 1, flag},
		{"FF8059", "no_signature_limit", y.NoSignatureLimit, 12, digitsFull},
		{"FF805A", "no_signature", y.NoSignature, 1, flag},
	} {
		if f.v.Line == 0 {
			continue
		}
		v, err := f.sort.encode(f.v.Text, f.width)
		if err != nil {
			l.Add(f.v, "contactless."+f.key, "%v", err)
		}
		body = fmt.Appendf(body, "%s%03d%s", f.tag, f.width, v)
	}
	if len(body) == 0 {
		l.Add(yamlfile.Scalar{}, "contactless", "has no parameter: give one or leave it out")
	}
	l.s.bodies[contactless], l.s.versions[contactless] = body, hashOf(body)
}

// notice loads what terminals are told before they fetch software elsewhere.
func (l *loader) notice(s yamlfile.Scalar) {
	if s.Line == 0 {
		return
	}
	body, err := chinese(s.Text)
	if err != nil || len(body) == 0 || len(body) > payloadMax {
		l.Add(s, "tms", "must be a line of text that GBK has, 1 to %d bytes in it", payloadMax)
	}
	l.s.bodies[tms], l.s.versions[tms] = []byte(body), hashOf([]byte(body))
}
