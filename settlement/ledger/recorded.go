package ledger

import (
	"context"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// judged are the columns that judging a transaction again needs, and showing it.
var judged = chosen(`merchant_id business_date terminal_id id position at request entry_mode mcc region amount currency card_token pan_masked held
	outcome reason issuer_code rrn original_id serial lat lng card_type pin method identity gone stays`)

var selectRecorded = func() string {
	list := strings.Join(namesOf(judged), ", ")
	return `SELECT 'outcome' AS kind, ` + strings.Replace(list, "gone, stays", "0 AS gone, 0 AS stays", 1) + ` FROM txn WHERE business_date = $1
		UNION ALL SELECT kind, ` + list + ` FROM event WHERE business_date = $1 AND kind = 'reversal done' ORDER BY position`
}()

// Recorded calls fn with what was decided about the transactions of a business
// day and with the reversals that are done, in the order of the journal. Of each
// record there is what judging the request again needs; it is overwritten by the
// next call.
func (q queries) Recorded(ctx context.Context, day txn.Date, fn func(*txn.Record) error) error {
	return q.eachOf(ctx, judged, func(e Entry) error { return fn(e.Rec) }, selectRecorded, day.String())
}
