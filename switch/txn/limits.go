package txn

import "time"

// The limits that several packages keep. Others are constants beside what they bound,
// or fields of a Config; docs/architecture.md lists all. Sizes are bytes.
const (
	// FrameSizeMax is the largest frame body accepted from a terminal or an
	// issuer, checked against the length prefix before a byte is allocated.
	// The largest legal CUP POS message (DE55 255 + DE59 600 + DE62 512 +
	// DE63 163 + DE48 161 + the rest) stays below 2,300.
	FrameSizeMax = 4096

	// RecordSizeMax bounds one journal record. A record holds at most the
	// issuer's variable response data plus about 300 bytes of fixed fields.
	RecordSizeMax = 4096

	// ResponseDataMax bounds each variable field kept from an issuer's reply.
	ResponseDataMax = 999

	// PANDigitsMax is ISO/IEC 7812-1's longest card number.
	PANDigitsMax = 19
	// PANDigitsMin is the shortest card number accepted.
	PANDigitsMin = 12

	// STANMax is the largest DE11; numbering wraps from it to 1.
	STANMax = 999_999

	// AmountMax is the largest DE4 (n12).
	AmountMax = 999_999_999_999

	// AreasMax is how many areas one terminal may list.
	AreasMax = 8

	// CellsMax is how many radio cells one terminal's premises may have.
	CellsMax = 4
)

// Waits. Each has one owner; none is unbounded.
const (
	// PatienceDefault is how long a terminal waits for its answer (CUP
	// parameter 12 is 60 s; the switch answers well before it).
	PatienceDefault = 60 * time.Second
	// IssuerTimeoutDefault is how long an issuer may take.
	IssuerTimeoutDefault = 25 * time.Second
	// FrameDeadlineDefault runs from a frame's first byte to its last.
	FrameDeadlineDefault = 10 * time.Second
)

// A record must be able to hold everything an answer can carry.
const _ = uint(RecordSizeMax - 3*ResponseDataMax - 600)
