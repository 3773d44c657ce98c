package keys

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// inUse is a terminal's and an issuer's opened keys, with a message of 256
// bytes and its MAC, and a PIN block.
type inUse struct {
	tmk          Key
	keys         *TerminalKeys
	term         *Terminal
	zone         *Zone
	message, mac []byte
	block        []byte
}

func use(t testing.TB, v *Vault) inUse {
	t.Helper()
	tmkClear := unhex(t, pubTMK)
	u := inUse{tmk: load(t, v, OfTerminal(theTerminal), PurposeTMK, algo.TDES2, tmkClear), message: make([]byte, 256)}
	de62, keys, err := v.Issue(u.tmk, theTerminal, KeySetDouble, IssueOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	u.keys = keys
	if u.term, err = v.OpenTerminal(keys); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.term.Close)
	zpk, err := v.Generate(theIssuer, PurposeZPK, algo.TDES2)
	if err != nil {
		t.Fatal(err)
	}
	if u.zone, err = v.OpenZone(zpk); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.zone.Close)
	d := takeKeys(t, algo.TDES2, tmkClear, de62, algo.TDES2, algo.DES)
	mac, err := algo.MACCUPECB.MAC(d.tak, u.message)
	if err != nil {
		t.Fatal(err)
	}
	u.mac = mac[:]
	if u.block, err = algo.EncipherPIN(nil, d.tpk, algo.PINISO0, []byte(thePIN), thePAN.Append(nil)); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestASaleAllocatesNothing(t *testing.T) {
	if raceEnabled {
		return // the detector makes sync.Pool forget
	}
	u := use(t, softVault(t))
	out := make([]byte, 0, 16)
	if n := testing.AllocsPerRun(500, func() { u.term.VerifyMAC(algo.MACCUPECB, u.message, u.mac) }); n != 0 {
		t.Errorf("checking a MAC allocates %v times", n)
	}
	if n := testing.AllocsPerRun(500, func() { u.term.MAC(Current, algo.MACCUPECB, u.message) }); n != 0 {
		t.Errorf("making a MAC allocates %v times", n)
	}
	if n := testing.AllocsPerRun(500, func() {
		u.term.TranslatePIN(out, algo.PINISO0, u.block, &thePAN, u.zone, algo.PINISO0)
	}); n != 0 {
		t.Errorf("translating a PIN allocates %v times", n)
	}
}

func BenchmarkVault(b *testing.B) {
	for name, open := range openers {
		u := use(b, open(b))
		out := make([]byte, 0, 16)
		for _, row := range []struct {
			name string
			fn   func() error
		}{
			{"VerifyMAC", func() error { return second(u.term.VerifyMAC(algo.MACCUPECB, u.message, u.mac)) }},
			{"TranslatePIN", func() error {
				return second(u.term.TranslatePIN(out, algo.PINISO0, u.block, &thePAN, u.zone, algo.PINISO0))
			}},
		} {
			b.Run(name+"/"+row.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := row.fn(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkSignOn is all that the vault does for one: issue and open keys.
func BenchmarkSignOn(b *testing.B) {
	for name, open := range openers {
		v := open(b)
		u := use(b, v)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, keys, err := v.Issue(u.tmk, theTerminal, KeySetDouble, IssueOptions{}, u.keys)
				if err != nil {
					b.Fatal(err)
				}
				term, err := v.OpenTerminal(keys)
				if err != nil {
					b.Fatal(err)
				}
				term.Close()
			}
		})
	}
}
