package risk

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const tusn, another = "00002304SN0000000001", "00002304SN0000000002"

func says(serial string) func(*txn.Request) {
	return func(r *txn.Request) { r.Info.Serial = txn.MakeSerial(serial) }
}

func checked(c txn.SerialCheck) func(*txn.Request) {
	return func(r *txn.Request) { r.Terminal.SerialCheck = c }
}

func proof(p txn.Proof) func(*txn.Request) { return func(r *txn.Request) { r.Info.Proof = p } }

func factor(f string) func(*txn.Request) { return func(r *txn.Request) { copy(r.Info.Factor[:], f) } }

func broken(r *txn.Request) { r.Info.Broken = true }

var (
	compare, require         = checked(txn.SerialCompared), checked(txn.SerialRequired)
	required, differs, wrong = txn.TerminalInfoIsRequired, txn.SerialIsNotTheTerminals, txn.SerialCipherIsWrong
)

// said is what a message of the machine tusn says of its machine, and the answer.
type said struct {
	name string
	want txn.Reason
	do   []func(*txn.Request)
}

func machines(t *testing.T, rows ...said) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			req := good()
			req.Terminal.Serial = txn.MakeSerial(tusn)
			for _, do := range row.do {
				do(req)
			}
			if v := engine(t).Assess(req); v.Reason != row.want {
				t.Errorf("got %q, want %q", v.Reason, row.want)
			}
		})
	}
}

func TestT03SerialIsNotTheTerminals(t *testing.T) {
	machines(t,
		said{"another serial, not checked", 0, fs(says(another))},
		said{"its serial", 0, fs(compare, says(tusn))},
		said{"another serial", differs, fs(compare, says(another))},
		said{"the serial's beginning", differs, fs(compare, says(tusn[:19]))},
		said{"the maker's own number in a sale", differs, fs(compare, says(tusn[8:]))},
		said{"another serial with a void", differs, fs(compare, says(another), kind(txn.KindVoid))},
		said{"another serial with a reversal: it must go through", 0, fs(require, says(another), kind(txn.KindReversal))},
		said{"another serial with an advice: it has happened", 0, fs(require, says(another), kind(txn.KindCompletionAdvice))},
	)
}

func TestT04MachineIsNotTold(t *testing.T) {
	machines(t,
		said{"none, compared", 0, fs(compare)},
		said{"none, required", required, fs(require)},
		said{"broken, compared", 0, fs(compare, says(tusn), broken)},
		said{"broken, required", required, fs(require, says(tusn), broken)},
		said{"its serial, required", 0, fs(require, says(tusn))},
		said{"none with a pre-authorization", required, fs(require, kind(txn.KindPreauth))},
		said{"none with a balance", 0, fs(require, kind(txn.KindBalance))},
		said{"no ciphertext for a key that is there, required", required, fs(require, says(tusn), proof(txn.ProofMissing))},
		said{"no ciphertext for a key that is there, compared", 0, fs(compare, says(tusn), proof(txn.ProofMissing))},
	)
}

func TestT05SerialCipherIsWrong(t *testing.T) {
	code := func(r *txn.Request) { r.Entry = txn.EntryCode }
	machines(t,
		said{"ciphertext wrong, not checked otherwise", wrong, fs(says(another), proof(txn.ProofWrong))},
		said{"ciphertext right", 0, fs(compare, says(tusn), proof(txn.ProofRight), factor("000009"))},
		said{"the serial stands before its ciphertext", differs, fs(compare, says(another), proof(txn.ProofWrong))},
		said{"factor is the card's", 0, fs(compare, says(tusn), factor("000009"))},
		said{"factor is another card's", wrong, fs(compare, says(tusn), factor("000008"))},
		said{"factor is another card's, not checked", 0, fs(factor("000008"))},
		said{"factor is another card's, ciphertext right", wrong, fs(says(tusn), proof(txn.ProofRight), factor("000008"))},
		said{"factor is the card's last five", wrong, fs(compare, says(tusn), factor("00009"))},
		said{"factor is the card's last seven", wrong, fs(compare, says(tusn), factor("0000009"))},
		said{"factor is the code's", 0, fs(compare, says(tusn), code, factor("000009"))},
	)
}

func TestS01SerialAtSignOn(t *testing.T) {
	registered := func(serial string) func(*txn.Request) {
		return func(r *txn.Request) { r.Terminal.Serial = txn.MakeSerial(serial) }
	}
	machines(t,
		said{"its TUSN at sign-on", 0, fs(compare, says(tusn), kind(txn.KindSignOn))},
		said{"the maker's own number at sign-on", 0, fs(compare, says(tusn[8:]), kind(txn.KindSignOn))},
		said{"another's own number at sign-on", differs, fs(compare, says(another[8:]), kind(txn.KindSignOn))},
		said{"the end of a serial that is no TUSN", differs, fs(compare, registered("SUNMIP2-2600037"), says("2600037"), kind(txn.KindSignOn))},
		said{"none at sign-on, required", required, fs(require, kind(txn.KindSignOn))},
		said{"none at sign-on, compared", 0, fs(compare, kind(txn.KindSignOn))},
	)
}

func TestT09CallerIsNotTheTerminals(t *testing.T) {
	line := func(registered, calls uint64) func(*txn.Request) {
		return func(r *txn.Request) { r.Terminal.Phone, r.Caller = registered, calls }
	}
	refused := func(do ...func(*txn.Request)) visit {
		return visit{do, txn.CallerIsNotTheTerminals, ruleT09, txn.ActionRefuse}
	}
	visits(t, engine(t), visit{fs(line(2112345678, 2112345678)), 0, 0, 0}, refused(line(2112345678, 2112345679)), refused(line(2112345678, 12345678)),
		refused(line(9999_9999_9999_9999, 9999_9999_9999_9998)), visit{fs(line(2112345678, 0)), 0, 0, 0}, visit{fs(line(0, 2112345678)), 0, 0, 0},
		refused(line(1, 2), kind(txn.KindSignOn)), refused(line(1, 2), kind(txn.KindVoid)),
		visit{fs(line(1, 2), kind(txn.KindReversal)), 0, 0, 0}, visit{fs(line(1, 2), kind(txn.KindOfflineSale)), 0, 0, 0})
	v := engine(t).Assess(func() *txn.Request { r := good(); line(2112345678, 2112345679)(r); return r }())
	for f := range v.Findings.All() {
		if f.Seen != 2112345679 || f.Bound != 2112345678 {
			t.Errorf("%+v", f)
		}
	}
}
