package registry

import (
	"encoding/hex"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// security reads how a terminal's messages are secured. Without keys said, a
// terminal with MACs is a master-session one and any other has no keys.
func (l *loader) security(y *terminalYAML, t *txn.Terminal, at yamlfile.Scalar) {
	t.MAC = oneOf[txn.MACAlgorithm](l, at.Or(y.MAC), "terminals[].mac")
	switch {
	case y.Keys.Line > 0:
		t.Keys = oneOf[txn.KeyScheme](l, y.Keys, "terminals[].keys")
	case t.MAC != txn.MACNone:
		t.Keys = txn.KeysMasterSession
	}
	if !t.Keys.Suits(t.MAC) {
		l.Add(at.Or(y.Keys), "terminals[].keys", "%s gives no keys for mac %s", t.Keys, t.MAC)
	}
	if y.PIN.Line > 0 {
		t.PINFormat = oneOf[txn.PINFormat](l, y.PIN, "terminals[].pin")
	}
	t.DoubleTAK = l.yes(y.DoubleTAK, "terminals[].double_tak")
	if t.DoubleTAK && t.Keys != txn.KeysMasterSession {
		l.Add(y.DoubleTAK, "terminals[].double_tak", "is for terminals with keys: master-session")
	}
	t.DoubleTAK = t.DoubleTAK || t.Keys == txn.KeysMasterSession && t.MAC.NeedsDouble()
	switch id, err := hex.DecodeString(y.KSN.Text); {
	case y.KSN.Line == 0 && !t.Keys.DUKPT():
	case !t.Keys.DUKPT():
		l.Add(y.KSN, "terminals[].ksn", "is for terminals with DUKPT keys")
	case err != nil || len(id) != len(t.Device):
		l.Add(at.Or(y.KSN), "terminals[].ksn", "%q must be %d hexadecimal digits: the serial number of the terminal's first key without its counter", y.KSN.Text, 2*len(t.Device))
	case t.Keys == txn.KeysDUKPTTDES && id[len(id)-1]&0x1f != 0:
		l.Add(y.KSN, "terminals[].ksn", "%s has counter bits: its last five bits must be 0", y.KSN.Text)
	default:
		t.Device = txn.DeviceID(id)
	}
}
