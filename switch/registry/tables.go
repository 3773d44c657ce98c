package registry

import (
	"bytes"
	_ "embed" // the tables
	"encoding/csv"
	"fmt"
	"strconv"
	"sync"

	"github.com/acqswitch/acqswitch/switch/txn"
)

//go:embed tables/gbt2260-provinces.csv
var provincesCSV []byte

//go:embed tables/gbt2260-cities.csv
var citiesCSV []byte

//go:embed tables/gbt2260-areas.csv
var areasCSV []byte

//go:embed tables/mcc.csv
var mccCSV []byte

var regions = sync.OnceValue(func() map[txn.Region]bool {
	known := make(map[txn.Region]bool, 4000)
	for _, t := range []struct {
		csv  []byte
		unit int // what one step of the table's code is worth in six digits
	}{{provincesCSV, 10000}, {citiesCSV, 100}, {areasCSV, 1}} {
		for code := range table(t.csv) {
			known[txn.Region(code*t.unit)] = true
		}
	}
	return known
})

var mccs = sync.OnceValue(func() map[int]bool { return table(mccCSV) })

// ParseDivision reads the six digits of a GB/T 2260 division.
func ParseDivision(s string) (txn.Region, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || len(s) != 6 || !regions()[txn.Region(n)] {
		return 0, fmt.Errorf("%q is no region of GB/T 2260: give its six digits, such as 310115", s)
	}
	return txn.Region(n), nil
}

// table reads the numbers that an embedded table's rows begin with. A broken table
// is a broken build.
func table(b []byte) map[int]bool {
	rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		panic(fmt.Sprintf("registry: embedded table: %v", err))
	}
	m := make(map[int]bool, len(rows))
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[0])
		if err != nil {
			panic(fmt.Sprintf("registry: embedded table: %v", err))
		}
		m[n] = true
	}
	return m
}
