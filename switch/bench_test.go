package acquirer

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// BenchmarkSale takes sales from frame to answer's frame: decoded, decided and
// answered, with an issuer and a journal that take no time. One after another they
// find in the caches what is shared, and of few terminals all they need; in flight
// together each finds there what a thousand others have left of its own, as at full
// load. The processor time includes the collector's and is what other work on the machine
// changes least. A terminal has trace numbers for a million sales.
func BenchmarkSale(b *testing.B) {
	for _, c := range []struct {
		name                string
		terminals, inFlight int
	}{{"1Terminal", 1, 1}, {"1000Terminals", 1000, 1}, {"40000Terminals", 40_000, 1}, {"1000InFlight", 1000, 1000}} {
		var m *mall
		b.Run(c.name, func(b *testing.B) {
			if m == nil {
				m = newMall(b, c.terminals, c.inFlight > 1)
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := processorTime(b)
			var wg sync.WaitGroup
			for first := range c.inFlight {
				wg.Go(func() {
					for i := first; i < b.N && !b.Failed(); i += c.inFlight {
						m.sell(b, i%c.terminals)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/sale")
		})
	}
}

// mall is a switch and the next sale of each of its terminals. One terminal's sales
// are made one after another.
type mall struct {
	s         *Switch
	dialect   *dialect.Terminal
	exchanges sync.Pool
	frames    [][]byte
	stans     []uint32
	stanAt    int // where a frame has it
}

func (m *mall) sell(b *testing.B, terminal int) {
	m.stans[terminal]++
	for i, hundreds := range [...]uint32{10_000, 100, 1} {
		two := m.stans[terminal] / hundreds % 100
		m.frames[terminal][m.stanAt+i] = byte(two/10<<4 | two%10)
	}
	x := m.exchanges.Get().(*dialect.Exchange)
	x.Frame = append(x.Frame[:0], m.frames[terminal]...)
	err := m.dialect.Decode(x, time.Now())
	if err == nil {
		m.s.Authorize(&x.Request, &x.Answer)
		x.Out, err = m.dialect.AppendAnswer(x.Out[:0], x, m.s.Sign)
	}
	if err != nil || x.Answer.Code != [2]byte{'0', '0'} {
		b.Errorf("sale %d: %v, %v", m.stans[terminal], x.Answer.Reason, err)
	}
	m.exchanges.Put(x)
}

// newMall has every terminal make the golden sale, with a card, place and serial
// number of its own and five to a merchant.
func newMall(b *testing.B, terminals int, crowded bool) *mall {
	b.Helper()
	must := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	m := &mall{stans: make([]uint32, terminals)}
	m.exchanges.New = func() any { return new(dialect.Exchange) }
	var err error
	m.dialect, err = dialect.ForTerminal("cup-pos")
	must(err)
	var golden, sale iso.Message
	must(m.dialect.Codec().Parse(&golden, goldenSale(b)))
	var rows registry.Rows
	for n := range terminals {
		pan := luhnPAN(n)
		terminal := txn.Terminal{ID: txn.MakeTerminalID(fmt.Sprintf("%08d", 10_000_001+n)), Merchant: txn.MakeMerchantID(fmt.Sprintf("9992900%04d%04d", 5411, n/5+1)),
			Status: txn.StatusActive, Serial: txn.MakeSerial(fmt.Sprintf("00002304SN%010d", n+1)), Region: 310101, Lat: 31_230400, Lng: 121_473700, Limits: txn.Limits{DayAmount: 1 << 50}}
		e := m.dialect.Codec().Begin(nil, golden.TPDU(), golden.Header(), golden.MTI())
		for field := range golden.Fields() {
			switch field {
			case 2:
				e.Digits(2, []byte(pan))
			case 35:
				e.Digits(35, []byte(pan+"D49122010000012300"))
			case 41:
				e.Text(41, terminal.ID[:])
			case 42:
				e.Text(42, terminal.Merchant[:])
			case 59:
				e.Text(59, []byte(strings.NewReplacer("00002304SN0000000001", terminal.Serial.String(), "006890128", "006"+pan[13:]).Replace(string(golden.Value(59)))))
			default:
				e.Copy(field, &golden)
			}
		}
		frame, err := e.Finish()
		must(err)
		m.frames = append(m.frames, frame[m.dialect.PrefixSize():])
		if n%5 == 0 {
			rows.Merchants = append(rows.Merchants, txn.Merchant{ID: terminal.Merchant, Status: txn.StatusActive, Region: 310100, Country: 156, MCC: 5411,
				Currency: txn.CNY, Kinds: 1<<txn.Kinds - 1, Entries: 1<<16 - 1})
		}
		rows.Terminals = append(rows.Terminals, terminal)
	}
	must(m.dialect.Codec().Parse(&sale, m.frames[0]))
	m.stanAt = sale.Offset(11)
	snapshot, err := registry.New(rows)
	must(err)
	engine, err := risk.New(risk.Config{})
	must(err)
	cards, err := keys.OpenCards(filepath.Join(b.TempDir(), "card.keys"))
	must(err)
	cfg := Config{Acquirer: "48802900", Day: txn.BusinessDay{Zone: zone, CutOver: 23 * time.Hour}, TerminalRate: 1e6, TerminalBurst: 1e6}
	m.s, err = New(cfg, Parts{Registry: func() Registry { return snapshot }, Risk: engine, Issuers: &swiftBank{crowded: crowded}, Journal: &swiftJournal{crowded: crowded},
		Cards: cards, Log: slog.New(slog.DiscardHandler)})
	must(err)
	return m
}

// goldenSale is the constructed CUP sale, without its length.
func goldenSale(b *testing.B) []byte {
	b.Helper()
	f, err := os.Open("../testdata/messages/cup-pos-constructed/messages.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var message struct{ ID, Hex string }
		if err := json.Unmarshal(lines.Bytes(), &message); err != nil {
			b.Fatal(err)
		}
		if message.ID == "cup-03" {
			frame, err := hex.DecodeString(message.Hex)
			if err != nil {
				b.Fatal(err)
			}
			return frame[2:]
		}
	}
	b.Fatal("there is no golden sale")
	return nil
}

// luhnPAN is the n-th card number.
func luhnPAN(n int) string {
	for digit := 0; ; digit++ {
		text := fmt.Sprintf("622202%012d%d", n, digit)
		if pan, err := txn.ParsePAN(text); err == nil && pan.LuhnValid() {
			return text
		}
	}
}

// swiftBank approves at once or, where it is crowded, after all others had a turn.
type swiftBank struct {
	Forwarder
	crowded bool
	stan    atomic.Uint32
}

func (k *swiftBank) Busy(*txn.Request) bool { return false }

func (k *swiftBank) Begin(*txn.Request) (txn.Leg, txn.Reason) {
	return txn.Leg{Issuer: txn.MakeIssuerID("bank"), STAN: k.stan.Add(1)%txn.STANMax + 1}, txn.Approved
}

func (k *swiftBank) Exchange(_ *txn.Request, _ *txn.Leg, _ [12]byte, _ journal.Position, gone func(), reply *txn.Reply) (txn.Outcome, txn.Reason) {
	gone()
	if k.crowded {
		runtime.Gosched()
	}
	reply.Reset()
	reply.Code, reply.AuthCode = [2]byte{'0', '0'}, [6]byte([]byte("A1B2C3"))
	return txn.OutcomeApproved, txn.Approved
}

// swiftJournal keeps nothing, at once or after all others had a turn.
type swiftJournal struct {
	Recorder
	crowded bool
	last    atomic.Uint64
}

func (j *swiftJournal) Queue([]byte) (journal.Position, error) {
	return journal.Position(j.last.Add(1)), nil
}

func (j *swiftJournal) Append(rec []byte) (journal.Position, error) {
	if j.crowded {
		runtime.Gosched()
	}
	return j.Queue(rec)
}
