package txn

// MACAlgorithm is how a terminal's messages are authenticated: the algorithm of the
// MAC in their last field (DE64, or DE128 where that bitmap is used), or none.
type MACAlgorithm uint8

// The algorithms. Their order is that of the registry file's words and of package
// algo's algorithms; their keys are the terminal's KeyScheme's.
const (
	MACNone    MACAlgorithm = iota // no MAC is expected or sent
	MACCUPECB                      // UnionPay's "ECB"
	MACCUPFold                     // a processor's variant: the XOR of the blocks enciphered once, 8 raw bytes
	MACX99                         // ANSI X9.9
	MACX919                        // ANSI X9.19, the retail MAC
	MACCMAC                        // NIST SP 800-38B
	MACCBC                         // GB/T 15852.1
)

var macNames = [...]string{"none", "cup-ecb", "cup-fold", "x9.9", "x9.19", "cmac", "cbc-mac"}

func (a MACAlgorithm) String() string { return name(macNames[:], a) }

// NeedsDouble says that the algorithm is made for double-length TDES keys.
func (a MACAlgorithm) NeedsDouble() bool { return a == MACCUPFold || a == MACX919 || a == MACCMAC }

// KeyScheme is where a terminal's keys for MACs, PINs and tracks come from.
type KeyScheme uint8

// The schemes.
const (
	KeysNone          KeyScheme = iota // it has none
	KeysMasterSession                  // given at every sign-on, under its master key
	KeysDUKPTTDES                      // derived for each message (X9.24-1) from a base key
	KeysDUKPTAES128                    // likewise (X9.24-3)
	KeysDUKPTAES192
	KeysDUKPTAES256
)

var keySchemeNames = [...]string{"none", "master-session", "dukpt-tdes", "dukpt-aes128", "dukpt-aes192", "dukpt-aes256"}

func (s KeyScheme) String() string { return name(keySchemeNames[:], s) }

// DUKPT says that every message has keys of its own.
func (s KeyScheme) DUKPT() bool { return s >= KeysDUKPTTDES }

// Suits says that the scheme's keys go with an algorithm.
func (s KeyScheme) Suits(a MACAlgorithm) bool {
	switch {
	case a == MACNone:
		return true
	case s == KeysNone:
		return false
	case s == KeysDUKPTTDES:
		return a != MACCBC
	case s.DUKPT():
		return a == MACCMAC
	}
	return true
}

// PINFormat is how a terminal lays out its PIN blocks.
type PINFormat uint8

// The formats: as DE53 says, or one of ISO 9564-1.
const (
	PINByDE53 PINFormat = iota
	PINISO0
	PINISO1
	PINISO3
	PINISO4
)

var pinFormatNames = [...]string{"by-de53", "iso-0", "iso-1", "iso-3", "iso-4"}

func (f PINFormat) String() string { return name(pinFormatNames[:], f) }

// DeviceID names a DUKPT terminal's initial key: the serial number of its keys
// (KSN) without the counter. Its head names the base key it was derived from.
type DeviceID [8]byte

// BaseKey is the name of the base key it was derived from, as people write it:
// in hexadecimal, 10 digits for TDES and 8 for AES. It appends to dst.
func (d DeviceID) BaseKey(dst []byte, s KeyScheme) []byte {
	const digits = "0123456789ABCDEF"
	size := 4
	if s == KeysDUKPTTDES {
		size = 5
	}
	for _, b := range d[:size] {
		dst = append(dst, digits[b>>4], digits[b&15])
	}
	return dst
}
