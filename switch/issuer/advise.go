package issuer

import (
	"context"
	"fmt"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Advise tries once to tell an issuer of what has happened already.
func (r *Router) Advise(_ context.Context, rec *txn.Record, _ []byte, _ int) (bool, [2]byte, error) {
	return false, [2]byte{}, fmt.Errorf("advise: issuer %q takes no advices yet; they are owed", rec.Leg.Issuer)
}
