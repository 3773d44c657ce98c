package capture

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"time"
)

// The stored form, version 1; docs/captures.md has its bytes.
const (
	Magic   = "ACQCAPT1" // how a capture begins
	ending  = "ACQCEND1"
	trailer = 16
	head    = 8 // of a record

	recordMax = 1 << 26 // an index is the largest
	// indexEvery is how many messages lie between two places that the index names.
	indexEvery = 4096
	// terminalsMax bounds the terminals that the index names.
	terminalsMax = 1 << 20
)

// The kinds of records.
const (
	kindDialect = 1 + iota
	kindSession
	kindRequest
	kindAnswer
	kindEnd
	kindNote
	kindIndex
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrNotCapture says that a file is not one of the stored form.
var ErrNotCapture = errors.New("not a stored capture: make one with acqswitch capture")

// Index is what stands at the end of a stored capture.
type Index struct {
	Version   int             `json:"version"`
	Requests  int             `json:"requests"`
	Answers   int             `json:"answers"`
	Sessions  int             `json:"sessions"`
	First     time.Time       `json:"first"` // of the messages
	Last      time.Time       `json:"last"`
	KeyID     string          `json:"key_id"` // of the pseudonyms
	Cleaned   Cleaned         `json:"cleaned"`
	Unmatched int             `json:"unmatched"`  // answers to no request, left out
	Forgotten int             `json:"forgotten"`  // requests whose answers were not waited for, too many later ones having none
	Unread    int             `json:"unread"`     // messages that could not be taken apart, left out
	FromHosts int             `json:"from_hosts"` // requests that came from the server's side, left out
	Dialects  []DialectCount  `json:"dialects"`
	Terminals []TerminalCount `json:"terminals"`
	Places    []Place         `json:"places"`
}

// DialectCount is how much a dialect was spoken, and how sure that is: the
// least sure and the mean of its sessions.
type DialectCount struct {
	Name     string  `json:"name"`
	Sessions int     `json:"sessions"`
	Messages int     `json:"messages"`
	Sure     float64 `json:"sure"`
	SureMin  float64 `json:"sure_min"`
}

// TerminalCount is how much a terminal asked.
type TerminalCount struct {
	Terminal string `json:"terminal"` // DE41
	Merchant string `json:"merchant"` // DE42
	Requests int    `json:"requests"`
}

// Place is where in the file, in bytes, the record of a message begins.
type Place struct {
	Message uint64    `json:"message"`
	At      time.Time `json:"at"`
	Offset  int64     `json:"offset"`
}

type dialectRecord struct {
	Number uint8           `json:"number"`
	Name   string          `json:"name"`
	Prefix string          `json:"prefix"`
	Spec   json.RawMessage `json:"spec,omitempty"`
}
