package txn

import "slices"

// Region is a GB/T 2260 administrative division code of six digits, such as
// 310115 (Pudong); its first two digits are the province, its first four the
// city. Zero is unknown.
type Region uint32

// Province is the code with city and district zeroed.
func (r Region) Province() Region { return r / 10000 * 10000 }

// City is the code with the district zeroed. For the four municipalities
// (Beijing 11, Tianjin 12, Shanghai 31, Chongqing 50) the city is the
// province, since their "city" digits only tell districts from counties.
func (r Region) City() Region {
	switch r / 10000 {
	case 11, 12, 31, 50:
		return r.Province()
	}
	return r / 100 * 100
}

// Contains says that s lies in r: 310000 contains 310115.
func (r Region) Contains(s Region) bool {
	switch {
	case r == s:
		return true
	case r%10000 == 0:
		return r.Province() == s.Province()
	case r%100 == 0:
		return r.City() == s.City()
	}
	return false
}

// Status is a terminal's or a merchant's.
type Status uint8

// The statuses. The zero value refuses.
const (
	StatusInactive Status = iota
	StatusActive
	StatusSuspended
	StatusClosed
)

var statusNames = [...]string{"inactive", "active", "suspended", "closed"}

func (s Status) String() string { return name(statusNames[:], s) }

// Mobility is how a terminal may move.
type Mobility uint8

// The mobilities.
const (
	Fixed  Mobility = iota // stays at its premises, within Radius
	Mobile                 // stays in its listed areas
	Chain                  // a chain store's: at any of the merchant's areas
)

var mobilityNames = [...]string{"fixed", "mobile", "chain"}

func (m Mobility) String() string { return name(mobilityNames[:], m) }

// RegionPolicy is what happens when a terminal works outside its merchant's
// region. The zero value refuses.
type RegionPolicy uint8

// The policies.
const (
	RegionRefuse RegionPolicy = iota // only the merchant's own city
	RegionListed                     // also the listed areas
	RegionAllow                      // anywhere in the country
)

var regionPolicyNames = [...]string{"refuse", "listed", "allow"}

func (p RegionPolicy) String() string { return name(regionPolicyNames[:], p) }

// Limits are what one party may do. Zero is no limit of that kind.
type Limits struct {
	Transaction int64  // minor units per transaction
	DayAmount   int64  // minor units per business day
	DayCount    uint32 // transactions per business day
	MonthCount  uint32 // transactions in the business days of a month
	MonthAmount int64  // minor units in them
}

// Area is a region a terminal may work in, with the circle that stands for it
// where a message reports a position instead of a region.
type Area struct {
	Region       Region
	Lat, Lng     int32 // centre, millionths of a degree
	RadiusMetres uint32
}

// SerialCheck is how the serial number that a terminal reports is judged.
type SerialCheck uint8

// The checks. Their order is that of the registry file's words.
const (
	SerialIgnored  SerialCheck = iota // it is recorded only
	SerialCompared                    // one that is reported must be the registered one
	SerialRequired                    // and a sale must report it
)

var serialCheckNames = [...]string{"off", "compare", "require"}

func (c SerialCheck) String() string { return name(serialCheckNames[:], c) }

// Terminal is one registered terminal as the switch needs it for every
// request. It holds no pointers: a million of them cost the collector nothing.
type Terminal struct {
	ID        TerminalID
	Merchant  MerchantID // the one merchant it is bound to
	Status    Status
	Mobility  Mobility
	MAC       MACAlgorithm
	Keys      KeyScheme
	Device    DeviceID // of a DUKPT terminal
	PINFormat PINFormat
	// DoubleTAK gives a master-session terminal a double-length MAC key.
	DoubleTAK bool
	Serial    Serial  // of its machine
	Carrier   Carrier // of what it tells of its machine and place
	// SerialCheck is what becomes of what it reports of its machine.
	SerialCheck SerialCheck
	// RequirePosition refuses a request that reports neither position nor region.
	RequirePosition bool
	Region          Region
	Lat, Lng        int32            // premises; zero and zero is not surveyed
	RadiusMetres    uint32           // of a fixed one 0 is the policy's
	Cells           [CellsMax]CellID // heard at its premises, where it tells no position
	Phone           uint64           // of the line it calls from, without leading zeros; 0 is none
	Limits          Limits
	AreaCount       uint8
	Areas           [AreasMax]Area
	Plan            uint16 // of limits, in the policy; 0 is the plan of its merchant
	Model           uint16 // of the machine, numbered by the registry; 0 is unknown
	Capabilities    Entries
	Since           Date // when it was bound
	Inspected       Date // when somebody last looked at it, 0 never
}

// Hears says that a cell is one of those that are heard at the premises.
func (t *Terminal) Hears(c CellID) bool { return slices.Contains(t.Cells[:], c) }

// Merchant is one registered merchant as the switch needs it.
type Merchant struct {
	ID       MerchantID
	Status   Status
	Policy   RegionPolicy
	Region   Region
	Country  uint16 // ISO 3166 numeric, 156 for China
	MCC      uint16
	Currency Currency
	Kinds    uint32 // bit 1<<Kind is an allowed kind, by its Licence
	Limits   Limits
	Card     Limits // per card at this merchant's plan; zero fields fall to the switch's default
	Name     [40]byte
	Acceptor [40]byte // its name and place as issuers are told them, DE43

	Type        MerchantType
	Identity    Identity // of the licence or document it was registered with
	Grade       uint8    // of risk, 1 (least) to 5; 0 is not graded
	Plan        uint16   // of limits, in the policy; 0 is the policy's default
	Entries     Entries  // how cards may be read; 0 is any way but by hand (R02)
	Cards       Cards    // which may be taken; 0 is any
	Since       Date     // when it was approved
	LicenceEnds Date     // last day of its licence or document, 0 is never
	Unmatched   bool     // its settlement account is in another name (M04)
	Turnover    int64    // a month, as it declared, in minor units; 0 is not known
}

// MerchantType is what a merchant is before the law.
type MerchantType uint8

// The types.
const (
	Enterprise         MerchantType = iota
	IndividualBusiness              // with a licence
	NaturalPerson                   // without, at premises
	Micro                           // without premises of its own
)

var merchantTypeNames = [...]string{"enterprise", "individual-business", "natural-person", "micro"}

func (t MerchantType) String() string { return name(merchantTypeNames[:], t) }

// Identity is the keyed hash of the number of a licence or identity document: a
// person's merchants share it. Zero is none.
type Identity [16]byte

// Entries are ways of reading a card: bit 1<<EntryMode each.
type Entries uint16

// Has says that m is among them.
func (e Entries) Has(m EntryMode) bool { return m < 16 && e&(1<<m) != 0 }

// CardType is what kind of account a card stands for.
type CardType uint8

// The types. CardUnknown is of no issuer that the table of BINs names.
const (
	CardUnknown CardType = iota
	CardDebit
	CardCredit
	CardPrepaid
)

var cardTypeNames = [...]string{"unknown", "debit", "credit", "prepaid"}

func (t CardType) String() string { return name(cardTypeNames[:], t) }

// Cards are types of cards: bit 1<<CardType each.
type Cards uint8

// Has says that t is among them.
func (c Cards) Has(t CardType) bool { return c&(1<<t) != 0 }

// Allows says that the merchant may ask for k.
func (m *Merchant) Allows(k Kind) bool { return m.Kinds&(1<<k.Licence()) != 0 }
