package fleet

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func (pr *program) overISO87() bool { return !terminal.IsCUP(pr.dialect) }

func (pr *program) placedCUP() bool { return terminal.IsCUP(pr.dialect) && pr.terminal.RequirePosition }

func (pr *program) checkedCUP() bool {
	return terminal.IsCUP(pr.dialect) && pr.terminal.SerialCheck != txn.SerialIgnored
}

func (pr *program) requiredCUP() bool {
	return terminal.IsCUP(pr.dialect) && pr.terminal.SerialCheck == txn.SerialRequired
}

func (pr *program) movingCUP() bool {
	return terminal.IsCUP(pr.dialect) && pr.terminal.Mobility != txn.Fixed
}

func (pr *program) fixedCUP() bool {
	return terminal.IsCUP(pr.dialect) && pr.terminal.Mobility == txn.Fixed && pr.terminal.Lat != 0
}

// elsewhere is a sale in Urumqi, where no merchant of the sample is.
func (pr *program) elsewhere(reason txn.Reason) {
	usual := pr.profile.Position
	pr.profile.Position = txn.Position{Lat: 43_825600, Lng: 87_616800, Known: true}
	pr.send(pr.sale(cardGood), want{reason: reason})
	pr.profile.Position = usual
}

// premises is where the terminal belongs.
func (pr *program) premises() txn.Position {
	return txn.Position{Lat: pr.terminal.Lat, Lng: pr.terminal.Lng, Known: true}
}

// strays is a fixed terminal that is away from its premises again and again.
func (pr *program) strays() {
	usual := pr.profile.Position
	pr.profile.Position = pr.premises()
	pr.send(pr.sale(cardGood), want{})
	pr.profile.Position.Lat += 10_000 // 1.1 km
	pr.send(pr.sale(cardGood), want{})
	pr.send(pr.sale(cardGood), want{})
	pr.send(pr.sale(cardGood), want{reason: txn.TerminalIsFarFromPremises})
	pr.profile.Position = pr.premises()
	pr.send(pr.sale(cardGood), want{})
	pr.profile.Position = usual
}

// cloned is a fixed terminal that is elsewhere a moment later: no terminal moves so fast.
func (pr *program) cloned() {
	usual := pr.profile.Position
	pr.profile.Position = pr.premises()
	pr.send(pr.sale(cardGood), want{})
	pr.profile.Position.Lat += 100_000 // 11 km
	pr.send(pr.sale(cardGood), want{reason: txn.TerminalMovesTooFast})
	pr.profile.Position = pr.premises()
	pr.send(pr.sale(cardGood), want{})
	pr.profile.Position = usual
}

// anotherMachine is a sale on a machine that took this one's place.
func (pr *program) anotherMachine() {
	usual := pr.profile.Serial
	pr.profile.Serial = "00002304SN0000000099"
	pr.send(pr.sale(cardGood), want{reason: txn.SerialIsNotTheTerminals})
	pr.profile.Serial = usual
}

// anotherFactor is a sale whose machine proves its serial with the end of another
// card's number.
func (pr *program) anotherFactor() {
	m := pr.sale(cardGood)
	pr.profile.SerialKey = make(txn.Secret, 16)
	frame, err := m.Append(nil, pr.dialect, &pr.profile)
	pr.profile.SerialKey = nil
	at := bytes.Index(frame, []byte("03006"))
	if err != nil || at < 0 {
		pr.err = cmp.Or(pr.err, err, errors.New("a sale has no factor"))
		return
	}
	frame[at+5] ^= 1 // another digit
	pr.send(m, want{reason: txn.SerialCipherIsWrong, frame: frame})
}

// anotherLine is a sale that was called in from the terminal's own telephone, and
// one from a neighbour's.
func (pr *program) anotherLine() {
	for _, c := range [...]struct {
		phone  uint64
		reason txn.Reason
	}{{pr.terminal.Phone, txn.Approved}, {pr.terminal.Phone + 1, txn.CallerIsNotTheTerminals}} {
		const tpdu = 5
		m := pr.sale(cardGood)
		frame, err := m.Append(nil, pr.dialect, &pr.profile)
		if err != nil {
			pr.err = cmp.Or(pr.err, err)
			return
		}
		prefix := pr.dialect.PrefixSize()
		caller, _ := hex.DecodeString(fmt.Sprintf("%016d", c.phone))
		frame = slices.Insert(frame, prefix+tpdu, append([]byte{'L', 'R', 'I', 0, byte(len(caller))}, caller...)...)
		binary.BigEndian.PutUint16(frame, uint16(len(frame)-prefix))
		pr.send(m, want{reason: c.reason, frame: frame})
	}
}

// oldSoftware is a sale by a version that is not served any more, before an update.
func (pr *program) oldSoftware() {
	pr.profile.Version = "0"
	pr.send(pr.sale(cardGood), want{reason: txn.SoftwareIsTooOld})
	pr.profile.Version = ""
	pr.send(pr.sale(cardGood), want{})
}

func (pr *program) serialMissing() {
	m := pr.sale(cardGood)
	m.NoPlace = true
	pr.send(m, want{reason: txn.TerminalInfoIsRequired})
}

func (pr *program) positionMissing() {
	pr.send(pr.sale(cardGood), want{})
	for _, reason := range [...]txn.Reason{txn.Approved, txn.Approved, txn.PositionIsRequired} {
		m := pr.sale(cardGood)
		m.NoPlace = true
		pr.send(m, want{reason: reason})
	}
}

func (pr *program) anotherCountry() {
	usual := pr.profile.Country
	if pr.profile.Country = 643; usual == 643 {
		pr.profile.Country = 156
	}
	pr.send(pr.sale(cardGood), want{reason: txn.CountryIsNotAccepted})
	pr.profile.Country = usual
}
