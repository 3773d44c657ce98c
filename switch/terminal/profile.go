package terminal

import (
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Profile is who a terminal is: what it puts into every message of its own.
type Profile struct {
	Terminal txn.TerminalID
	Merchant txn.MerchantID
	// TPDU goes before every message, 5 bytes. Default of CUP POS 6000030000; of
	// ISO 8583:1987 there is none then.
	TPDU []byte
	// Serial of the machine, sent at sign-on behind its maker's licence and with
	// each sale (CUP POS).
	Serial string
	// TUSN is the number under which UnionPay knows the machine (DE59 A2.02):
	// maker 6, type 2, serial number. Default Serial.
	TUSN string
	// SerialKey is the clear SM4 key of a simulated terminal, 16 bytes, under
	// which it proves its TUSN (DE59 A2.04). Without it the proof is left out.
	SerialKey txn.Secret
	// Version of the software (DE59 A2.05), up to 8 characters. Default 100000.
	Version  string
	Currency txn.Currency
	// Country is DE19, ISO 3166 numeric (ISO 8583:1987). Zero leaves it out.
	Country uint16
	// Position is reported with each sale (CUP POS) when it is known.
	Position txn.Position
	// Cell is the radio cell reported with the position, if there is one.
	Cell Cell
	// Batch is DE60.2 (CUP POS) of the terminal's first batch; a Store knows the
	// later ones. Default 1.
	Batch uint32
	// TMK is the clear master key of a simulated terminal (CUP POS), 16 bytes:
	// never a real one's. With it the terminal must sign on before it trades,
	// its requests and the approvals it takes carry MACs, and it can send PINs.
	TMK txn.Secret
	// KeySet is which working keys it asks for at sign-on (DE60.3). Default 003.
	KeySet keys.KeySet
	// MAC is the algorithm of its MACs. Default UnionPay's.
	MAC algo.MACAlgorithm
	// Initial is the key of a simulated DUKPT terminal (ISO 8583:1987), which
	// must have a Store in a file: no number is ever used twice, so that its
	// count must outlive the process.
	Initial InitialKey
}

func (p *Profile) cupTPDU() []byte {
	if p.TPDU == nil {
		return cupTPDU
	}
	return p.TPDU
}

// Cell is where a radio says it is (DE59 A5.03 to 08), as the network spells it.
type Cell struct{ Country, Network, Area, ID, Signal string }
