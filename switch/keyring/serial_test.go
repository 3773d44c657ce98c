package keyring

import (
	"errors"
	"testing"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// serialKeyParts are two components of the specification's serial key,
// 0123456789ABCDEFFEDCBA9876543210.
func serialKeyParts(t testing.TB) []keys.Component {
	t.Helper()
	var parts []keys.Component
	key := []byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10}
	mask := make([]byte, len(key))
	for i := range mask {
		mask[i] = 0xA5
		key[i] ^= mask[i]
	}
	for _, part := range [][]byte{mask, key} {
		k, err := algo.NewLocal(algo.SM4, part)
		if err != nil {
			t.Fatal(err)
		}
		kcv, err := algo.CheckValue(k)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, keys.Component{Part: part, KCV: kcv[:]})
	}
	return parts
}

// said is a sale whose terminal says what the specification's says.
func said(serial, factor, cipher string) *txn.Request {
	r := &txn.Request{Kind: txn.KindSale, Key: txn.Key{Terminal: tid}}
	r.Info.Serial = txn.MakeSerial(serial)
	copy(r.Info.Factor[:], factor)
	copy(r.Info.Cipher[:], cipher)
	return r
}

func TestProveSerial(t *testing.T) {
	const serial = "00002304SN0000000001"
	d := newDesk(t)
	prove := func(what string, r *txn.Request, want txn.Proof) {
		t.Helper()
		d.want(what, d.ring.ProveSerial(r), txn.Approved)
		if r.Info.Proof != want {
			t.Errorf("%s: proof %d, want %d", what, r.Info.Proof, want)
		}
	}
	prove("no key", said(serial, "890128", "1A773210"), txn.ProofUnchecked)
	d.load()
	prove("a master key only", said(serial, "890128", "1A773210"), txn.ProofUnchecked)

	key, err := d.ring.vault.Combine(keys.OfTerminal(tid), keys.PurposeSerial, algo.SM4, serialKeyParts(t)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ring.SetSerial(tid, key); err != nil {
		t.Fatal(err)
	}
	rows := func(when string) {
		t.Helper()
		prove(when+"the specification's", said(serial, "890128", "1A773210"), txn.ProofRight)
		prove(when+"another factor", said(serial, "000125", "5CB9B2A9"), txn.ProofRight)
		prove(when+"a factor that is not the cipher's", said(serial, "000125", "1A773210"), txn.ProofWrong)
		prove(when+"a serial that is not the cipher's", said("00002304SN0000000002", "890128", "1A773210"), txn.ProofWrong)
		prove(when+"no cipher", said(serial, "890128", ""), txn.ProofMissing)
		for i := range 8 {
			cipher := []byte("1A773210")
			cipher[i] ^= 1
			prove(when+"a cipher with a bit changed", said(serial, "890128", string(cipher)), txn.ProofWrong)
		}
		another := said(serial, "890128", "1A773210")
		another.Key.Terminal = txn.MakeTerminalID("10000002")
		prove(when+"another terminal", another, txn.ProofUnchecked)
	}
	rows("")
	d.restart()
	rows("after a restart: ")
	d.want("the master key is still there", d.signOn(), txn.Approved)
	if _, err := d.ring.store.Rewrite(d.ring.counting); err != nil {
		t.Fatal(err)
	}
	d.restart()
	rows("after the log was written anew: ")
	d.want("the working keys are still there", d.ring.Check(d.request(0)), txn.Approved)

	// A key for another use, or of another terminal, is refused and not stored.
	if err := d.ring.SetSerial(txn.MakeTerminalID("10000002"), key); !errors.Is(err, keys.ErrPurpose) {
		t.Errorf("another terminal's key: %v", err)
	}
	tdk, err := d.ring.vault.Generate(keys.OfTerminal(tid), keys.PurposeTDK, algo.SM4)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ring.SetSerial(tid, tdk); !errors.Is(err, keys.ErrPurpose) {
		t.Errorf("a track key: %v", err)
	}
	// A new key takes the place of the old one at once.
	fresh, err := d.ring.vault.Generate(keys.OfTerminal(tid), keys.PurposeSerial, algo.SM4)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ring.SetSerial(tid, fresh); err != nil {
		t.Fatal(err)
	}
	prove("under a new key", said(serial, "890128", "1A773210"), txn.ProofWrong)

	d.ring.vault.Close()
	d.restart()
	r := said(serial, "890128", "1A773210")
	d.ring.terminals[tid].serial.sealed[len(fresh.Sealed)-1] ^= 1
	d.want("a key that does not open", d.ring.ProveSerial(r), txn.SwitchFailed)
}

func BenchmarkProveSerial(b *testing.B) {
	d := newDesk(b)
	key, err := d.ring.vault.Combine(keys.OfTerminal(tid), keys.PurposeSerial, algo.SM4, serialKeyParts(b)...)
	if err != nil {
		b.Fatal(err)
	}
	if err := d.ring.SetSerial(tid, key); err != nil {
		b.Fatal(err)
	}
	r := said("00002304SN0000000001", "890128", "1A773210")
	b.ReportAllocs()
	for b.Loop() {
		if d.ring.ProveSerial(r); r.Info.Proof != txn.ProofRight {
			b.Fatal("wrong")
		}
	}
}
