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

var regionNames = sync.OnceValue(func() map[txn.Region]string {
	names := make(map[txn.Region]string, 4000)
	for _, t := range []struct {
		csv  []byte
		unit int // what one step of the table's code is worth in six digits
	}{{provincesCSV, 10000}, {citiesCSV, 100}, {areasCSV, 1}} {
		for code, name := range table(t.csv) {
			names[txn.Region(code*t.unit)] = name
		}
	}
	return names
})

var mccNames = sync.OnceValue(func() map[int]string { return table(mccCSV) })

// RegionName is the name of a GB/T 2260 division, and whether there is one.
func RegionName(r txn.Region) (string, bool) {
	name, ok := regionNames()[r]
	return name, ok
}

// table reads an embedded table whose first two columns are a number and a
// name. A broken table is a broken build.
func table(b []byte) map[int]string {
	rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		panic(fmt.Sprintf("registry: embedded table: %v", err))
	}
	m := make(map[int]string, len(rows))
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[0])
		if err != nil {
			panic(fmt.Sprintf("registry: embedded table: %v", err))
		}
		m[n] = row[1]
	}
	return m
}
