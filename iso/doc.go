// Package iso is the wire: frames, field tables and messages of ISO 8583.
//
// A dialect is a moov-io/iso8583 MessageSpec, in Go (CUPPOS, ISO87, CUPS) or in
// moov's JSON form (LoadSpec). Compile turns it once, at start, into a Codec: a
// flat table of 129 descriptors. A spec that the table cannot express is
// refused with the field named.
//
// Codec.Parse takes a frame apart into a reused Message of offsets; no byte is
// copied and nothing is allocated. Codec.Begin appends a frame to the caller's
// buffer, field by field in ascending order; that allocates nothing either.
// Values stay packed until somebody asks for them.
//
// Parse is strict: what it accepts, the Encoder writes back byte for byte, and
// moov's own Unpack reads the same values (a differential fuzz test holds both
// promises). It accepts no trailing bytes, no digit that is not one, no length
// over its maximum, no padding but zero, or F behind an odd digit, no field the
// dialect does not know and no bitmap that disagrees with the body. Its errors name
// the field and the byte offset, and quote no content.
//
// Not here: what a field means, whether it must be present, money, and masks in
// logs other than those of Describe. Those live in switch/dialect and txn.
package iso
