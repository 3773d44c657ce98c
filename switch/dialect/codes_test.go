package dialect

import (
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestCodes holds DE39 of every reason in both kinds of dialect. A new reason
// needs a row: system error 96 is never an accident.
func TestCodes(t *testing.T) {
	rows := []struct {
		reason     txn.Reason
		cup, iso87 string
	}{
		{txn.Approved, "00", "00"},
		{txn.FormatIsWrong, "30", "30"},
		{txn.KindIsNotOffered, "40", "12"},
		{txn.MACIsWrong, "A0", "63"},
		{txn.MerchantIsUnknown, "03", "03"},
		{txn.MerchantIsNotActive, "03", "03"},
		{txn.MerchantIsShunned, "58", "58"},
		{txn.TerminalIsUnknown, "97", "58"},
		{txn.TerminalIsNotActive, "58", "58"},
		{txn.TerminalIsBoundToAnotherMerchant, "58", "58"},
		{txn.CallerIsNotTheTerminals, "58", "58"},
		{txn.TerminalInfoIsRequired, "58", "58"},
		{txn.SerialIsNotTheTerminals, "58", "58"},
		{txn.SerialCipherIsWrong, "58", "58"},
		{txn.SoftwareIsTooOld, "58", "58"},
		{txn.TerminalHasNoKeys, "58", "58"},
		{txn.SignOnIsRequired, "77", "58"},
		{txn.BatchIsNotCurrent, "77", "58"},
		{txn.BatchIsNotSettling, "95", "95"},
		{txn.TraceNumberWentBack, "30", "30"},
		{txn.ChipAmountDiffers, "13", "13"},
		{txn.DuplicateWithOtherContent, "94", "94"},
		{txn.ReversedBeforeRequest, "22", "12"},
		{txn.SwitchIsOverloaded, "96", "96"},
		{txn.DiskIsNearlyFull, "96", "96"},
		{txn.TerminalIsTooFast, "96", "96"},
		{txn.CountryIsNotAccepted, "58", "58"},
		{txn.PositionIsRequired, "58", "58"},
		{txn.TerminalIsFarFromPremises, "58", "58"},
		{txn.TerminalIsOutsideItsAreas, "58", "58"},
		{txn.RegionIsNotTheMerchants, "58", "58"},
		{txn.TerminalMovesTooFast, "58", "58"},
		{txn.CategoryIsNotTheMerchants, "58", "58"},
		{txn.MerchantMustBeVerified, "58", "58"},
		{txn.KindIsNotAllowed, "58", "58"},
		{txn.EntryIsNotAllowed, "58", "58"},
		{txn.ManualEntryIsNotAllowed, "58", "58"},
		{txn.FallbackIsNotAllowed, "58", "58"},
		{txn.CardTypeIsNotAllowed, "58", "58"},
		{txn.CurrencyIsNotAccepted, "13", "13"},
		{txn.AmountMustNotBeZero, "13", "13"},
		{txn.AmountIsOverMaximum, "13", "13"},
		{txn.CardNumberIsInvalid, "14", "14"},
		{txn.CardIsExpired, "54", "54"},
		{txn.CardIsLost, "41", "41"},
		{txn.CardIsStolen, "43", "43"},
		{txn.CardIsRestricted, "62", "62"},
		{txn.PINIsRequired, "55", "55"},
		{txn.PaymentWithoutPINIsNotAllowed, "58", "58"},
		{txn.PartyIsHighRisk, "58", "58"},
		{txn.MachineServesAnotherMerchant, "58", "58"},
		{txn.RefundsAreTooMany, "58", "58"},
		{txn.CardIsDeclinedTooOften, "75", "75"},
		{txn.TerminalTestsCards, "58", "58"},
		{txn.CardRepeatsAtMerchant, "65", "65"},
		{txn.CardMovesTooFast, "59", "59"},
		{txn.PaymentsLookLikeCash, "59", "59"},
		{txn.TurnoverIsOverDeclared, "61", "61"},
		{txn.CardIsRefusedByRule, "57", "57"},
		{txn.TransactionIsRefusedByRule, "58", "58"},
		{txn.AmountIsRefusedByRule, "61", "61"},
		{txn.FrequencyIsRefusedByRule, "65", "65"},
		{txn.AmountIsOverTransactionLimit, "61", "61"},
		{txn.DayAmountIsOverLimit, "61", "61"},
		{txn.MonthAmountIsOverLimit, "61", "61"},
		{txn.DayCountIsOverLimit, "65", "65"},
		{txn.MonthCountIsOverLimit, "65", "65"},
		{txn.IssuerIsUnknown, "15", "15"},
		{txn.IssuerIsUnavailable, "91", "91"},
		{txn.PINBlockIsWrong, "99", "55"},
		{txn.PINCannotBeTranslated, "96", "96"},
		{txn.IssuerIsBusy, "91", "91"},
		{txn.IssuerDeclined, "05", "05"},
		{txn.IssuerDidNotAnswer, "98", "68"},
		{txn.IssuerAnsweredNonsense, "98", "68"},
		{txn.OriginalIsUnknown, "25", "25"},
		{txn.RecordsAreUnavailable, "96", "96"},
		{txn.OriginalIsOfAnotherKind, "12", "12"},
		{txn.OriginalDoesNotStand, "25", "25"},
		{txn.OriginalIsBusy, "09", "09"},
		{txn.OriginalIsTooOld, "22", "12"},
		{txn.OriginalIsOfAnotherBatch, "25", "25"},
		{txn.OriginalIsCompleted, "12", "12"},
		{txn.CardIsNotTheOriginals, "14", "14"},
		{txn.OriginalAmountDiffers, "64", "64"},
		{txn.ReplacementIsNotLess, "13", "13"},
		{txn.OriginalIsOfAnotherDay, "25", "25"},
		{txn.ItemIsUnknown, "25", "25"},
		{txn.AnswerWasNotDelivered, "98", "68"},
		{txn.JournalIsUnavailable, "96", "96"},
		{txn.SwitchFailed, "96", "96"},
		{txn.ResolvedByHand, "96", "96"},
	}
	if len(rows) != txn.Reasons {
		t.Errorf("%d rows for %d reasons", len(rows), txn.Reasons)
	}
	seen := map[txn.Reason]bool{}
	for _, row := range rows {
		if seen[row.reason] {
			t.Fatalf("reason %q has two rows", row.reason)
		}
		seen[row.reason] = true
		for id := idCUPPOS; id <= idISO87Hex32; id++ {
			want := row.iso87
			if id == idCUPPOS {
				want = row.cup
			}
			for _, issuer := range []string{"\x00\x00", "00"} {
				got := Code(id, row.reason, [2]byte([]byte(issuer)))
				if string(got[:]) != want {
					t.Errorf("%s, %q, issuer said %q: got %q, want %q", NameOf(id), row.reason, issuer, got, want)
				}
			}
		}
	}
}

// TestIssuerCodes holds which of an issuer's refusals terminals are told.
func TestIssuerCodes(t *testing.T) {
	passed := " 01 02 03 04 05 06 07 09 12 13 14 15 19 20 21 22 23 25 30 31 33 34 35 36 37 38 39 40 41 42 43 44" +
		" 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 75 90 91 92 93 96 "
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ \x00"
	for _, a := range alphabet {
		for _, b := range alphabet {
			said := string([]rune{a, b})
			want := "05"
			if strings.Contains(passed, " "+said+" ") && strings.TrimSpace(said) == said {
				want = said
			}
			for _, id := range []uint8{idCUPPOS, idISO87, 0, 99} {
				switch {
				case said == "A0":
					want = "96"
				case said == "98" && id == idCUPPOS:
					want = "98"
				case said == "98":
					want = "68"
				}
				if got := Code(id, txn.IssuerDeclined, [2]byte([]byte(said))); string(got[:]) != want {
					t.Errorf("%s: issuer said %q: got %q, want %q", NameOf(id), said, got, want)
				}
			}
		}
	}

	// What means something else between a terminal and its switch is never an
	// issuer's to say, and an issuer's refusal is told only as the reason.
	for _, own := range []string{"00", "77", "94", "95", "97", "99"} {
		if got := Code(idCUPPOS, txn.IssuerDeclined, [2]byte([]byte(own))); string(got[:]) != "05" {
			t.Errorf("issuer said %s: the terminal is told %s", own, got)
		}
	}
	if got := Code(idCUPPOS, txn.IssuerDidNotAnswer, [2]byte([]byte("51"))); string(got[:]) != "98" {
		t.Errorf("no answer that counts, code 51 in it: the terminal is told %s", got)
	}
}
