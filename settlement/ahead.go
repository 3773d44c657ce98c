package settlement

import (
	"errors"

	"github.com/acqswitch/acqswitch/settlement/ledger"
)

// aheadFacts is how many facts are handed over at once; up to four times as many are
// between a database that reads and the pricing that takes them.
const aheadFacts = 256

var errTakerFailed = errors.New("the one who takes what is read has failed")

// ahead calls take with each fact that read puts, on another processor than the one
// that reads: both cost about the same. It returns when both have ended.
func ahead(read func(put func(*ledger.Fact) error) error, take func(*ledger.Fact) error) error {
	full, free := make(chan []ledger.Fact, 2), make(chan []ledger.Fact, 4)
	for range cap(free) {
		free <- make([]ledger.Fact, 0, aheadFacts)
	}
	failed := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		defer close(full)
		var chunk []ledger.Fact
		put := func(f *ledger.Fact) error {
			if chunk == nil {
				select {
				case chunk = <-free:
				case <-failed:
					return errTakerFailed
				}
			}
			if chunk = append(chunk, *f); len(chunk) == aheadFacts {
				full <- chunk
				chunk = nil
			}
			return nil
		}
		err := read(put)
		if err == nil && chunk != nil {
			full <- chunk
		}
		ended <- err
	}()
	var failure error
	for chunk := range full {
		for i := range chunk {
			if failure == nil {
				if failure = take(&chunk[i]); failure != nil {
					close(failed)
				}
			}
		}
		free <- chunk[:0]
	}
	if err := <-ended; failure == nil {
		failure = err
	}
	return failure
}
