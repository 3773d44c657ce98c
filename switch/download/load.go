package download

import (
	"bytes"
	"crypto/sha1" // the check value of a CA public key is SHA-1 by EMV's definition
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Limits of a file.
const (
	// FileSizeMax bounds what Load reads.
	FileSizeMax   = 4 << 20
	problemsMax   = 20
	formatVersion = "1"
	modulusMax    = 248
)

// document is the file. The keys are explained in testdata/downloads.yaml.
type document struct {
	Version     scalar           `yaml:"version"`
	Parameters  *parametersYAML  `yaml:"parameters"`
	CAPKs       []capkYAML       `yaml:"capks"`
	AIDs        []aidYAML        `yaml:"aids"`
	TMS         scalar           `yaml:"tms"`
	BlackList   []binYAML        `yaml:"black_list"`
	Contactless *contactlessYAML `yaml:"contactless"`
	NoPINNew    []binYAML        `yaml:"no_pin_new"`
	NoPINBlack  []binYAML        `yaml:"no_pin_black"`
	Status      scalar           `yaml:"status"`
	Gray        grayYAML         `yaml:"gray"`
}

type parametersYAML struct {
	Default   *setYAML       `yaml:"default"`
	Overrides []overrideYAML `yaml:"overrides"`
}

type overrideYAML struct {
	Models    []scalar `yaml:"models"`
	Merchants []scalar `yaml:"merchants"`
	Terminals []scalar `yaml:"terminals"`
	Set       setYAML  `yaml:"set"`
}

type setYAML struct {
	Application     scalar `yaml:"application"`
	Timeout         scalar `yaml:"timeout"`
	Retries         scalar `yaml:"retries"`
	Phone1          scalar `yaml:"phone_1"`
	Phone2          scalar `yaml:"phone_2"`
	Phone3          scalar `yaml:"phone_3"`
	ManagerPhone    scalar `yaml:"manager_phone"`
	Tip             scalar `yaml:"tip"`
	TipPercent      scalar `yaml:"tip_percent"`
	ManualEntry     scalar `yaml:"manual_entry"`
	AutoSignOff     scalar `yaml:"auto_sign_off"`
	MerchantName    scalar `yaml:"merchant_name"`
	ReversalRepeats scalar `yaml:"reversal_repeats"`
	OfflineUpload   scalar `yaml:"offline_upload"`
	MasterKey       scalar `yaml:"master_key"`
	Transactions    scalar `yaml:"transactions"`
}

// scalars are the set's values in the order of tags.
func (y *setYAML) scalars() [len(tags)]scalar {
	return [...]scalar{y.Application, y.Timeout, y.Retries, y.Phone1, y.Phone2, y.Phone3, y.ManagerPhone, y.Tip,
		y.TipPercent, y.ManualEntry, y.AutoSignOff, y.MerchantName, y.ReversalRepeats, y.OfflineUpload, y.MasterKey, y.Transactions}
}

type capkYAML struct {
	RID      scalar `yaml:"rid"`
	Index    scalar `yaml:"index"`
	Modulus  scalar `yaml:"modulus"`
	Exponent scalar `yaml:"exponent"`
	Hash     scalar `yaml:"hash"`
	Expiry   scalar `yaml:"expiry"`
}

type aidYAML struct {
	AID              scalar `yaml:"aid"`
	ASI              scalar `yaml:"asi"`
	Version          scalar `yaml:"version"`
	TACDefault       scalar `yaml:"tac_default"`
	TACOnline        scalar `yaml:"tac_online"`
	TACDenial        scalar `yaml:"tac_denial"`
	FloorLimit       scalar `yaml:"floor_limit"`
	Threshold        scalar `yaml:"threshold"`
	TargetMax        scalar `yaml:"target_percent_max"`
	Target           scalar `yaml:"target_percent"`
	DDOL             scalar `yaml:"ddol"`
	OnlinePIN        scalar `yaml:"online_pin"`
	CashLimit        scalar `yaml:"cash_limit"`
	ContactlessFloor scalar `yaml:"contactless_floor"`
	ContactlessLimit scalar `yaml:"contactless_limit"`
	CVMLimit         scalar `yaml:"cvm_limit"`
}

type binYAML struct {
	Length scalar `yaml:"length"`
	BIN    scalar `yaml:"bin"`
}

type contactlessYAML struct {
	CashFirst        scalar `yaml:"cash_first"`
	RetapWithin      scalar `yaml:"retap_within"`
	RecordWithin     scalar `yaml:"record_within"`
	NoPINLimit       scalar `yaml:"no_pin_limit"`
	NoPIN            scalar `yaml:"no_pin"`
	TableA           scalar `yaml:"table_a"`
	TableB           scalar `yaml:"table_b"`
	CDCVM            scalar `yaml:"cdcvm"`
	NoSignatureLimit scalar `yaml:"no_signature_limit"`
	NoSignature      scalar `yaml:"no_signature"`
}

type grayYAML struct {
	CAPKs       []scalar `yaml:"capks"`
	AIDs        []scalar `yaml:"aids"`
	Parameters  []scalar `yaml:"parameters"`
	TMS         []scalar `yaml:"tms"`
	BlackList   []scalar `yaml:"black_list"`
	Contactless []scalar `yaml:"contactless"`
	NoPINNew    []scalar `yaml:"no_pin_new"`
	NoPINBlack  []scalar `yaml:"no_pin_black"`
	Status      []scalar `yaml:"status"`
}

// scalar is a YAML scalar as it is written, and where: 00 stays 00.
type scalar struct {
	text string
	line int // 0: not there
}

// UnmarshalYAML takes any plain, quoted or block scalar.
func (s *scalar) UnmarshalYAML(n ast.Node) error {
	switch v := n.(type) {
	case *ast.StringNode:
		s.text = v.Value
	case *ast.LiteralNode:
		s.text = v.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		s.text = n.GetToken().Value
	case *ast.NullNode:
		return nil
	default:
		return &yaml.SyntaxError{Message: "a single value is needed here", Token: n.GetToken()}
	}
	s.line = n.GetToken().Position.Line
	return nil
}

// Problem is one thing wrong with a file, for the person who wrote it.
type Problem struct {
	File string
	Line int
	Key  string // empty when the file is not YAML at all
	What string
}

func (p *Problem) Error() string {
	if p.Key == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.What)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Key, p.What)
}

// Empty is a snapshot with nothing to take.
func Empty() *Snapshot { return &Snapshot{} }

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
	doc, err := decode(b, name)
	if err != nil {
		return nil, err
	}
	l := loader{file: name, s: &Snapshot{}, seen: map[string]int{}}
	l.document(doc)
	if len(l.problems) > 0 {
		return nil, errors.Join(l.problems...)
	}
	return l.s, nil
}

// decode checks the file's form: YAML, known keys, each once, one document. The
// YAML library panics on some inputs that are none; to the person who wrote the
// file that is a syntax error.
func decode(b []byte, name string) (doc *document, err error) {
	defer func() {
		if r := recover(); r != nil {
			doc, err = nil, &Problem{File: name, Line: 1, What: fmt.Sprintf("this is not YAML (%v)", r)}
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	doc = &document{}
	switch err := d.Decode(doc); {
	case errors.Is(err, io.EOF):
		return nil, &Problem{File: name, Line: 1, What: `the file is empty: one with nothing to take says "version: 1"`}
	case err != nil:
		p := &Problem{File: name, Line: 1, What: err.Error()}
		if y := yaml.Error(nil); errors.As(err, &y) {
			p.What = y.GetMessage()
			if t := y.GetToken(); t != nil && t.Position != nil {
				p.Line = t.Position.Line
			}
		}
		return nil, p
	}
	if err := d.Decode(&document{}); !errors.Is(err, io.EOF) {
		return nil, &Problem{File: name, Line: 1, What: "there is a second YAML document: join them into one"}
	}
	return doc, nil
}

// loader turns the document into a snapshot and collects what is wrong.
type loader struct {
	file     string
	s        *Snapshot
	problems []error
	seen     map[string]int // key and name -> line
}

func (l *loader) problem(s scalar, key, format string, args ...any) {
	if len(l.problems) < problemsMax {
		l.problems = append(l.problems, &Problem{l.file, max(s.line, 1), key, fmt.Sprintf(format, args...)})
	}
}

// once refuses a second use of a name.
func (l *loader) once(s scalar, key, name string) {
	if line, twice := l.seen[key+" "+name]; twice {
		l.problem(s, key, "%s is already there on line %d", name, line)
		return
	}
	l.seen[key+" "+name] = s.line
}

func (l *loader) document(d *document) {
	if d.Version.text != formatVersion {
		l.problem(d.Version, "version", "this program reads version %s: the file must say \"version: %s\"", formatVersion, formatVersion)
	}
	l.parameters(d.Parameters)
	l.items(capks, d.CAPKs != nil, len(d.CAPKs), func(i int) (item, scalar) { return l.capk(&d.CAPKs[i]) })
	l.items(aids, d.AIDs != nil, len(d.AIDs), func(i int) (item, scalar) { return l.aid(&d.AIDs[i]) })
	l.bins(blackList, d.BlackList)
	l.bins(noPINNew, d.NoPINNew)
	l.bins(noPINBlack, d.NoPINBlack)
	l.contactless(d.Contactless)
	l.notice(d.TMS)
	if d.Status.line > 0 {
		l.s.versions[status] = hashOf([]byte(d.Status.text))
	}
	g := &d.Gray
	for c, ids := range [contents][]scalar{capks: g.CAPKs, aids: g.AIDs, parameters: g.Parameters, tms: g.TMS, blackList: g.BlackList,
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

func (l *loader) terminal(s scalar, key string) txn.TerminalID {
	if len(s.text) == 0 || len(s.text) > len(txn.TerminalID{}) {
		l.problem(s, key, "%q must be 1 to %d characters", s.text, len(txn.TerminalID{}))
	}
	return txn.MakeTerminalID(s.text)
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
			l.problem(scalar{}, key, "number %d is for nobody: list models, merchants or terminals", i+1)
		}
		for _, m := range o.Models {
			if len(m.text) == 0 || len(m.text) > 50 {
				l.problem(m, key+".models[]", "%q must be the first 1 to 50 characters of serial numbers", m.text)
			}
			l.once(m, key+".models[]", m.text)
			ls.models = append(ls.models, model{m.text, s})
		}
		for _, m := range o.Merchants {
			if len(m.text) == 0 || len(m.text) > len(txn.MerchantID{}) {
				l.problem(m, key+".merchants[]", "%q must be 1 to %d characters", m.text, len(txn.MerchantID{}))
			}
			l.once(m, key+".merchants[]", m.text)
			ls.merchants[txn.MakeMerchantID(m.text)] = s
		}
		for _, t := range o.Terminals {
			l.once(t, key+".terminals[]", t.text)
			ls.terminals[l.terminal(t, key+".terminals[]")] = s
		}
	}
	slices.SortStableFunc(ls.models, func(a, b model) int { return len(b.prefix) - len(a.prefix) })
}

func (l *loader) set(y *setYAML, key string) *set {
	s := &set{}
	var parts [][]byte
	for i, v := range y.scalars() {
		if v.line > 0 {
			var err error
			if s.values[i], err = tags[i].sort.encode(v.text, tags[i].width); err != nil {
				l.problem(v, key+"."+tags[i].name, "%v", err)
			}
		}
		parts = append(parts, []byte(s.values[i]))
	}
	s.hash = hashOf(parts...)
	return s
}

// items loads a list whose entries a terminal takes one by one.
func (l *loader) items(c content, there bool, n int, load func(int) (item, scalar)) {
	if !there {
		return
	}
	var parts [][]byte
	for i := range n {
		it, at := load(i)
		l.once(at, shelf[c].name+"[]", fmt.Sprintf("%X", it.key))
		if i == listMax {
			l.problem(at, shelf[c].name, "are %d, a query reaches %d", n, listMax)
		}
		if len(it.body) > payloadMax-1 {
			l.problem(at, shelf[c].name+"[]", "takes %d bytes, a message holds %d", len(it.body), payloadMax-1)
		}
		l.s.items[c] = append(l.s.items[c], it)
		parts = append(parts, it.body)
	}
	l.s.versions[c] = hashOf(parts...)
}

// bytes reads low to high bytes of hexadecimal digits.
func (l *loader) bytes(s scalar, key string, low, high int) []byte {
	b, err := hex.DecodeString(s.text)
	if err != nil || len(b) < low || len(b) > high {
		what := fmt.Sprint(2 * low)
		if high > low {
			what += fmt.Sprintf(" to %d", 2*high)
		}
		l.problem(s, key, "%q must be %s hexadecimal digits", s.text, what)
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

func (l *loader) capk(y *capkYAML) (item, scalar) {
	at := first(y.RID, y.Index, y.Modulus, y.Exponent, y.Hash, y.Expiry)
	rid := l.bytes(at.or(y.RID), "capks[].rid", ridSize, ridSize)
	index := l.bytes(at.or(y.Index), "capks[].index", 1, 1)
	modulus := l.bytes(at.or(y.Modulus), "capks[].modulus", 1, modulusMax)
	exponent := l.bytes(at.or(y.Exponent), "capks[].exponent", 1, 3)
	hash := l.bytes(at.or(y.Hash), "capks[].hash", sha1.Size, sha1.Size)
	if sum := sha1.Sum(slices.Concat(rid, index, modulus, exponent)); !bytes.Equal(sum[:], hash) {
		l.problem(at.or(y.Hash), "capks[].hash", "is not that of the key: SHA-1 of RID, index, modulus and exponent is %X", sum)
	}
	if _, err := time.Parse("20060102", y.Expiry.text); err != nil {
		l.problem(at.or(y.Expiry), "capks[].expiry", "%q must be a day as 20301231", y.Expiry.text)
	}
	expiry, _ := hex.DecodeString(y.Expiry.text)
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

func (l *loader) aid(y *aidYAML) (item, scalar) {
	fields := [...]struct {
		tag       uint16
		key       string
		v         scalar
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
	var there []scalar
	for i := range fields {
		there = append(there, fields[i].v)
	}
	at := first(there...)
	var it item
	for i := range fields {
		f := &fields[i]
		if f.optional && f.v.line == 0 {
			continue
		}
		it.body = appendTLV(it.body, f.tag, l.bytes(at.or(f.v), "aids[]."+f.key, f.low, f.high))
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
		at := first(y.Length, y.BIN)
		length, bin := at.or(y.Length), at.or(y.BIN)
		if _, ok := number([]byte(length.text)); !ok || len(length.text) != 2 || length.text < "12" || length.text > "19" {
			l.problem(length, key+".length", "%q must be the digits of a card number, 12 to 19", length.text)
		}
		if len(bin.text) < 1 || len(bin.text) > binSize-2 || strings.Trim(bin.text, "0123456789") != "" {
			l.problem(bin, key+".bin", "%q must be 1 to %d digits", bin.text, binSize-2)
		}
		if i == binsMax {
			l.problem(at, shelf[c].name, "has %d entries, terminals can ask for %d", len(ys), binsMax)
		}
		l.once(at, key, length.text+" "+bin.text)
		entry := [binSize]byte([]byte("            "))
		copy(entry[copy(entry[:2], length.text):], bin.text)
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
		v        scalar
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
		if f.v.line == 0 {
			continue
		}
		v, err := f.sort.encode(f.v.text, f.width)
		if err != nil {
			l.problem(f.v, "contactless."+f.key, "%v", err)
		}
		body = fmt.Appendf(body, "%s%03d%s", f.tag, f.width, v)
	}
	if len(body) == 0 {
		l.problem(scalar{}, "contactless", "has no parameter: give one or leave it out")
	}
	l.s.bodies[contactless], l.s.versions[contactless] = body, hashOf(body)
}

// notice loads what terminals are told before they fetch software elsewhere.
func (l *loader) notice(s scalar) {
	if s.line == 0 {
		return
	}
	body, err := chinese(s.text)
	if err != nil || len(body) == 0 || len(body) > payloadMax {
		l.problem(s, "tms", "must be a line of text that GBK has, 1 to %d bytes in it", payloadMax)
	}
	l.s.bodies[tms], l.s.versions[tms] = []byte(body), hashOf([]byte(body))
}

// or is t, placed on the line of s when it is not there.
func (s scalar) or(t scalar) scalar {
	if t.line == 0 {
		t.line = s.line
	}
	return t
}

// first is the line of the uppermost of the scalars that are there.
func first(ss ...scalar) (f scalar) {
	for _, s := range ss {
		if s.line > 0 && (f.line == 0 || s.line < f.line) {
			f.line = s.line
		}
	}
	return f
}
