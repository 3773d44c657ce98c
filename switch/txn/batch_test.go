package txn

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func sampleFact() BatchFact {
	f := BatchFact{
		Step: StepUpload, State: BatchUploading, Opened: 20261121, Code: 201,
		Theirs: [2]Totals{{Sum{2, 107345}, Sum{1, 12345}}, {Sum{3, 1}, Sum{4, 2}}},
		Ours:   Totals{Sum{2, 107345}, Sum{5, 6}}, Result: [2]Comparison{Uneven, Even},
		Announced: 7, Received: 8, Missing: Totals{Sum{9, 10}, Sum{11, 12}},
		Items: []BatchItem{{Verdict: ItemAmountDiffers, Kind: KindRefund, STAN: 999999, Minor: AmountMax, Ours: 1, Card: CardToken{1, 2}}},
	}
	copy(f.Items[0].Masked[:], "622202*********0128")
	return f
}

// A fact is the same after its bytes, and the largest one fits a record.
func TestBatchFactBytes(t *testing.T) {
	want := sampleFact()
	var got BatchFact
	if err := got.Unmarshal(want.Append(nil)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for len(want.Items) < MissingItemsMax {
		want.Items = append(want.Items, BatchItem{Verdict: ItemIsNotUploaded})
	}
	rec := Record{Kind: RecordOutcome, Data: want.Append(nil)}
	if n := len(rec.Append(nil)); n > RecordSizeMax {
		t.Errorf("a record with %d items has %d bytes, more than %d", len(want.Items), n, RecordSizeMax)
	}
	for _, b := range [][]byte{nil, {1}, {2, 1, 1}, want.Append(nil)[:200], append(want.Append(nil), 0)} {
		if err := got.Unmarshal(b); !errors.Is(err, ErrBatchFact) {
			t.Errorf("%d bytes were read: %v", len(b), err)
		}
	}
}

func FuzzBatchFact(f *testing.F) {
	fact := sampleFact()
	f.Add(fact.Append(nil))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var fact BatchFact
		if fact.Unmarshal(b) == nil && !bytes.Equal(fact.Append(nil), b) {
			t.Errorf("%x is read and written as %x", b, fact.Append(nil))
		}
	})
}
