package risk

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// The rules of cup-pos T03 to T05 and S01: what a message says of its machine,
// on both sides of each.
func TestMachine(t *testing.T) {
	const tusn, other = "00002304SN0000000001", "00002304SN0000000002"
	says := func(serial string) func(*txn.Request) {
		return func(r *txn.Request) { r.Info.Serial = txn.MakeSerial(serial) }
	}
	registered := func(serial string) func(*txn.Request) {
		return func(r *txn.Request) { r.Holder.Serial = txn.MakeSerial(serial) }
	}
	check := func(c txn.SerialCheck) func(*txn.Request) {
		return func(r *txn.Request) { r.Holder.SerialCheck = c }
	}
	proof := func(p txn.Proof) func(*txn.Request) { return func(r *txn.Request) { r.Info.Proof = p } }
	factor := func(f string) func(*txn.Request) { return func(r *txn.Request) { copy(r.Info.Factor[:], f) } }
	kind := func(k txn.Kind) func(*txn.Request) { return func(r *txn.Request) { r.Kind = k } }
	broken := func(r *txn.Request) { r.Info.Broken = true }
	code := func(r *txn.Request) { r.Entry = txn.EntryCode }
	compare, require := check(txn.SerialCompared), check(txn.SerialRequired)
	required, differs, wrong := txn.TerminalInfoIsRequired, txn.SerialIsNotTheTerminals, txn.SerialCipherIsWrong

	for _, row := range []struct {
		name string
		want txn.Reason
		do   []func(*txn.Request)
	}{
		{"T03 another serial, not checked", 0, fs(says(other))},
		{"T03 its serial", 0, fs(compare, says(tusn))},
		{"T03 another serial", differs, fs(compare, says(other))},
		{"T03 the serial's beginning", differs, fs(compare, says(tusn[:19]))},
		{"T03 the maker's own number in a sale", differs, fs(compare, says(tusn[8:]))},
		{"T03 another serial with a void", differs, fs(compare, says(other), kind(txn.KindVoid))},
		{"T03 another serial with a reversal: it must go through", 0, fs(require, says(other), kind(txn.KindReversal))},
		{"T03 another serial with an advice: it has happened", 0, fs(require, says(other), kind(txn.KindCompletionAdvice))},
		{"T04 none, compared", 0, fs(compare)},
		{"T04 none, required", required, fs(require)},
		{"T04 broken, compared", 0, fs(compare, says(tusn), broken)},
		{"T04 broken, required", required, fs(require, says(tusn), broken)},
		{"T04 its serial, required", 0, fs(require, says(tusn))},
		{"T04 none with a pre-authorization", required, fs(require, kind(txn.KindPreauth))},
		{"T04 none with a balance", 0, fs(require, kind(txn.KindBalance))},
		{"T04 no ciphertext for a key that is there, required", required, fs(require, says(tusn), proof(txn.ProofMissing))},
		{"T04 no ciphertext for a key that is there, compared", 0, fs(compare, says(tusn), proof(txn.ProofMissing))},
		{"T05 ciphertext wrong, not checked otherwise", wrong, fs(says(other), proof(txn.ProofWrong))},
		{"T05 ciphertext right", 0, fs(compare, says(tusn), proof(txn.ProofRight), factor("000009"))},
		{"T05 the serial stands before its ciphertext", differs, fs(compare, says(other), proof(txn.ProofWrong))},
		{"T05 factor is the card's", 0, fs(compare, says(tusn), factor("000009"))},
		{"T05 factor is another card's", wrong, fs(compare, says(tusn), factor("000008"))},
		{"T05 factor is another card's, not checked", 0, fs(factor("000008"))},
		{"T05 factor is another card's, ciphertext right", wrong, fs(says(tusn), proof(txn.ProofRight), factor("000008"))},
		{"T05 factor is the card's last five", wrong, fs(compare, says(tusn), factor("00009"))},
		{"T05 factor is the card's last seven", wrong, fs(compare, says(tusn), factor("0000009"))},
		{"T05 factor is the code's", 0, fs(compare, says(tusn), code, factor("000009"))},
		{"S01 its TUSN at sign-on", 0, fs(compare, says(tusn), kind(txn.KindSignOn))},
		{"S01 the maker's own number at sign-on", 0, fs(compare, says(tusn[8:]), kind(txn.KindSignOn))},
		{"S01 another's own number at sign-on", differs, fs(compare, says(other[8:]), kind(txn.KindSignOn))},
		{"S01 the end of a serial that is no TUSN", differs, fs(compare, registered("SUNMIP2-2600037"), says("2600037"), kind(txn.KindSignOn))},
		{"S01 none at sign-on, required", required, fs(require, kind(txn.KindSignOn))},
		{"S01 none at sign-on, compared", 0, fs(compare, kind(txn.KindSignOn))},
	} {
		t.Run(row.name, func(t *testing.T) {
			req := good()
			req.Holder.Serial = txn.MakeSerial(tusn)
			for _, do := range row.do {
				do(req)
			}
			if v := engine(t).Assess(req); v.Reason != row.want {
				t.Errorf("got %q, want %q", v.Reason, row.want)
			}
		})
	}
}
