package registry

import (
	"fmt"
	"iter"
	"reflect"
	"strings"

	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// keys are the keys of an entry of the file, flat: limits.day_count is day_count
// of limits. They are read off the file's own structs, so that a file, a table
// of CSV, the command line and the database speak of the same things.
type keys struct {
	what  string // merchant, terminal
	names []string
	index map[string]int
	paths [][]int // of struct fields
	list  []bool
}

// listSep stands between the elements of a list.
const listSep = ", "

var (
	scalarType = reflect.TypeFor[yamlfile.Scalar]()
	listType   = reflect.TypeFor[[]yamlfile.Scalar]()

	merchantKeys = keysOf[merchantYAML]("merchant")
	terminalKeys = keysOf[terminalYAML]("terminal")
)

func keysOf[Y any](what string) *keys {
	k := &keys{what: what, index: map[string]int{}}
	var walk func(t reflect.Type, prefix string, path []int)
	walk = func(t reflect.Type, prefix string, path []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, path := prefix+f.Tag.Get("yaml"), append(path[:len(path):len(path)], i)
			switch {
			case f.Type == scalarType || f.Type == listType:
				k.index[name] = len(k.names)
				k.names = append(k.names, name)
				k.paths = append(k.paths, path)
				k.list = append(k.list, f.Type == listType)
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, name+".", path)
			}
		}
	}
	walk(reflect.TypeFor[Y](), "", nil)
	return k
}

// Entry is one merchant or one terminal as it is written: a text for each key,
// and the line where it stands. A list is its elements with commas between. Keys
// that are not there have line 0. What the texts mean is not known here.
type Entry struct {
	keys   *keys
	values []yamlfile.Scalar
}

// NewMerchant is a merchant with no value yet.
func NewMerchant() Entry { return newEntry(merchantKeys) }

// NewTerminal is a terminal, or a machine in stock, with no value yet. Its key merchant
// is the id of the merchant it is bound to.
func NewTerminal() Entry { return newEntry(terminalKeys) }

func newEntry(k *keys) Entry { return Entry{k, make([]yamlfile.Scalar, len(k.names))} }

// MerchantKeys and TerminalKeys are the keys in their order.
func MerchantKeys() []string { return merchantKeys.names }

// TerminalKeys are the keys of a terminal in their order.
func TerminalKeys() []string { return terminalKeys.names }

// Get is the text of a key, empty where it is not there.
func (e Entry) Get(key string) string { return e.values[e.keys.at(key)].Text }

// at is the place of a key that the program itself names.
func (k *keys) at(key string) int {
	i, ok := k.index[key]
	if !ok {
		panic("registry: a " + k.what + " has no key " + key)
	}
	return i
}

// Put sets the text of a key; the empty text takes it away.
func (e Entry) Put(key, text string) { e.values[e.keys.at(key)] = there(text) }

func there(text string) yamlfile.Scalar {
	if text == "" {
		return yamlfile.Scalar{}
	}
	return yamlfile.Scalar{Text: text, Line: 1}
}

// Has says that there is a key of this name.
func (e Entry) Has(key string) bool {
	_, ok := e.keys.index[key]
	return ok
}

// StockKeys are the keys that a machine keeps when it leaves a merchant.
var StockKeys = []string{"serial", "mac", "keys", "ksn", "double_tak", "pin", "info", "serial_check", "model", "capabilities", "inspected",
	"kind", "label", "certification", "app", "parameters", "sim"}

// line is the line where a key stands, or the first line of the entry.
func (e Entry) line(key string) int {
	s := e.values[e.keys.at(key)]
	return yamlfile.First(e.values...).Or(s).Line
}

// Clone is a copy.
func (e Entry) Clone() Entry { return Entry{e.keys, append([]yamlfile.Scalar(nil), e.values...)} }

// Merge puts what is said of other over e: keys that are not there in other stay
// as they are, and those with an empty text go.
func (e Entry) Merge(other Entry) {
	at := yamlfile.First(other.values...).Line
	for i, s := range other.values {
		switch {
		case s.Line == 0 && e.values[i].Line > 0:
			e.values[i].Line = at // problems are told where other stands
		case s.Line == 0:
		case s.Text == "":
			e.values[i] = yamlfile.Scalar{}
		default:
			e.values[i] = s
		}
	}
}

// All walks the keys that are there, in order.
func (e Entry) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i, s := range e.values {
			if s.Text != "" && !yield(e.keys.names[i], s.Text) {
				return
			}
		}
	}
}

// Text is the entry as the database keeps it: a line "key text" for each key
// that is there, in order. Equal entries have equal texts.
func (e Entry) Text() string {
	var b strings.Builder
	for key, text := range e.All() {
		b.WriteString(key)
		b.WriteByte(' ')
		b.WriteString(text)
		b.WriteByte('\n')
	}
	return b.String()
}

// ParseMerchant reads Text's form.
func ParseMerchant(text string) (Entry, error) { return parseEntry(merchantKeys, text) }

// ParseTerminal reads Text's form.
func ParseTerminal(text string) (Entry, error) { return parseEntry(terminalKeys, text) }

func parseEntry(k *keys, text string) (Entry, error) {
	e := newEntry(k)
	return e, e.Parse(text)
}

// Parse reads Text's form in place of what e said; the texts alias text.
func (e Entry) Parse(text string) error {
	clear(e.values)
	next := 0 // keys come in order: the next is near
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		for next < len(e.keys.names) && e.keys.names[next] != name {
			next++
		}
		if next == len(e.keys.names) {
			return fmt.Errorf("read a %s: key %q is unknown or out of order", e.keys.what, name)
		}
		e.values[next] = yamlfile.Scalar{Text: value, Line: 1}
		next++
	}
	return nil
}

// fill puts the entry into the struct of the file, which must be zero.
func (e Entry) fill(y reflect.Value) {
	for i, s := range e.values {
		if s.Text == "" {
			continue
		}
		switch p := y.FieldByIndex(e.keys.paths[i]).Addr().Interface().(type) {
		case *yamlfile.Scalar:
			*p = s
		case *[]yamlfile.Scalar:
			for element := range strings.SplitSeq(s.Text, ",") {
				*p = append(*p, yamlfile.Scalar{Text: strings.TrimSpace(element), Line: s.Line})
			}
		}
	}
}

// entryOf is the entry of the struct of the file.
func entryOf(k *keys, y reflect.Value) Entry {
	e := newEntry(k)
	for i, path := range k.paths {
		switch v := y.FieldByIndex(path).Addr().Interface().(type) {
		case *yamlfile.Scalar:
			e.values[i] = *v
		case *[]yamlfile.Scalar:
			var texts []string
			for _, s := range *v {
				texts = append(texts, s.Text)
				e.values[i].Line = yamlfile.First(e.values[i], s).Line
			}
			e.values[i].Text = strings.Join(texts, listSep)
		}
	}
	return e
}

// Set is Put for keys that people name. An empty text is a value: merged over another
// entry, it takes that one's away.
func (e Entry) Set(key, text string) error {
	i, ok := e.keys.index[key]
	if !ok {
		return fmt.Errorf("a %s has no %q: it has %s", e.keys.what, key, strings.Join(e.keys.names, ", "))
	}
	e.values[i] = yamlfile.Scalar{Text: text, Line: 1}
	return nil
}
