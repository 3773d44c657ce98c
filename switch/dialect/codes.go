package dialect

import "github.com/acqswitch/acqswitch/switch/txn"

// cupCodes is DE39 of a CUP POS terminal (cup-pos C5 and C6), iso87Codes of an
// ISO 8583:1987 one (field E3). An entry left out is system error 96.
var (
	cupCodes = codes(map[txn.Reason]string{
		txn.Approved:                         "00",
		txn.FormatIsWrong:                    "30",
		txn.KindIsNotOffered:                 "40",
		txn.MACIsWrong:                       "A0",
		txn.MerchantIsUnknown:                "03",
		txn.MerchantIsNotActive:              "03",
		txn.MerchantIsShunned:                "58",
		txn.TerminalIsUnknown:                "97",
		txn.TerminalIsNotActive:              "58",
		txn.TerminalIsBoundToAnotherMerchant: "58",
		txn.CallerIsNotTheTerminals:          "58",
		txn.TerminalInfoIsRequired:           "58",
		txn.SerialIsNotTheTerminals:          "58",
		txn.SerialCipherIsWrong:              "58",
		txn.SoftwareIsTooOld:                 "58",
		txn.TerminalHasNoKeys:                "58",
		txn.SignOnIsRequired:                 "77",
		txn.BatchIsNotCurrent:                "77",
		txn.BatchIsNotSettling:               "95",
		txn.TraceNumberWentBack:              "30",
		txn.DuplicateWithOtherContent:        "94",
		txn.ReversedBeforeRequest:            "22",
		txn.SwitchIsOverloaded:               "96",
		txn.DiskIsNearlyFull:                 "96",
		txn.ResolvedByHand:                   "96",
		txn.TerminalIsTooFast:                "96",
		txn.CountryIsNotAccepted:             "58",
		txn.PositionIsRequired:               "58",
		txn.TerminalIsFarFromPremises:        "58",
		txn.TerminalIsOutsideItsAreas:        "58",
		txn.RegionIsNotTheMerchants:          "58",
		txn.TerminalMovesTooFast:             "58",
		txn.CategoryIsNotTheMerchants:        "58",
		txn.MerchantMustBeVerified:           "58",
		txn.KindIsNotAllowed:                 "58",
		txn.EntryIsNotAllowed:                "58",
		txn.ManualEntryIsNotAllowed:          "58",
		txn.FallbackIsNotAllowed:             "58",
		txn.CardTypeIsNotAllowed:             "58",
		txn.CurrencyIsNotAccepted:            "13",
		txn.AmountMustNotBeZero:              "13",
		txn.AmountIsOverMaximum:              "13",
		txn.ChipAmountDiffers:                "13",
		txn.CardNumberIsInvalid:              "14",
		txn.CardIsExpired:                    "54",
		txn.CardIsLost:                       "41",
		txn.CardIsStolen:                     "43",
		txn.CardIsRestricted:                 "62",
		txn.PINIsRequired:                    "55",
		txn.PaymentWithoutPINIsNotAllowed:    "58",
		txn.PartyIsHighRisk:                  "58",
		txn.MachineServesAnotherMerchant:     "58",
		txn.RefundsAreTooMany:                "58",
		txn.CardIsDeclinedTooOften:           "75",
		txn.TerminalTestsCards:               "58",
		txn.CardRepeatsAtMerchant:            "65",
		txn.CardMovesTooFast:                 "59",
		txn.PaymentsLookLikeCash:             "59",
		txn.TurnoverIsOverDeclared:           "61",
		txn.CardIsRefusedByRule:              "57",
		txn.TransactionIsRefusedByRule:       "58",
		txn.AmountIsRefusedByRule:            "61",
		txn.FrequencyIsRefusedByRule:         "65",
		txn.AmountIsOverTransactionLimit:     "61",
		txn.DayAmountIsOverLimit:             "61",
		txn.MonthAmountIsOverLimit:           "61",
		txn.DayCountIsOverLimit:              "65",
		txn.MonthCountIsOverLimit:            "65",
		txn.IssuerIsUnknown:                  "15",
		txn.IssuerIsUnavailable:              "91",
		txn.PINBlockIsWrong:                  "99",
		txn.PINCannotBeTranslated:            "96",
		txn.IssuerIsBusy:                     "91",
		txn.IssuerDeclined:                   "05",
		txn.IssuerDidNotAnswer:               "98",
		txn.IssuerAnsweredNonsense:           "98",
		txn.OriginalIsUnknown:                "25",
		txn.RecordsAreUnavailable:            "96",
		txn.OriginalIsOfAnotherKind:          "12",
		txn.OriginalDoesNotStand:             "25",
		txn.OriginalIsBusy:                   "09",
		txn.OriginalIsTooOld:                 "22",
		txn.OriginalIsOfAnotherBatch:         "25",
		txn.OriginalIsCompleted:              "12",
		txn.CardIsNotTheOriginals:            "14",
		txn.OriginalAmountDiffers:            "64",
		txn.ReplacementIsNotLess:             "13",
		txn.OriginalIsOfAnotherDay:           "25",
		txn.ItemIsUnknown:                    "25", // no such record here; 30 would blame the message, which is well-formed
		txn.AnswerWasNotDelivered:            "98",
	})
	iso87Codes = override(cupCodes, map[txn.Reason]string{
		txn.KindIsNotOffered:       "12",
		txn.MACIsWrong:             "63",
		txn.TerminalIsUnknown:      "58",
		txn.SignOnIsRequired:       "58",
		txn.BatchIsNotCurrent:      "58",
		txn.ReversedBeforeRequest:  "12",
		txn.OriginalIsTooOld:       "12",
		txn.PINBlockIsWrong:        "55",
		txn.IssuerDidNotAnswer:     "68",
		txn.IssuerAnsweredNonsense: "68",
		txn.AnswerWasNotDelivered:  "68",
	})
)

// issuerCodes are the refusals of issuers that terminals of both dialects
// understand; any other becomes the dialect's code for IssuerDeclined, or for what
// networkCodes says. Codes that mean something else on this side of the switch (77, 97,
// 99, A0: the terminal's own keys and registration; 94, 95: its own numbering and
// totals) are never passed through.
var issuerCodes = set(
	"01", "02", "03", "04", "05", "06", "07", "09", "12", "13", "14", "15", "19", "20", "21", "22", "23", "25", "30",
	"31", "33", "34", "35", "36", "37", "38", "39", "40", "41", "42", "43", "44", "51", "52", "53", "54", "55", "56",
	"57", "58", "59", "60", "61", "62", "63", "64", "65", "66", "67", "68", "75", "90", "91", "92", "93", "96")

// networkCodes are UnionPay's refusals that are not the card's: no answer came from behind
// its network, which undoes what may have been booked there, or our MAC is wrong. A
// terminal is told what it would be of its own switch.
var networkCodes = map[[2]byte]txn.Reason{{'9', '8'}: txn.IssuerDidNotAnswer, {'A', '0'}: txn.SwitchFailed}

func codes(m map[txn.Reason]string) (t [txn.Reasons][2]byte) {
	for r := range t {
		t[r] = [2]byte{'9', '6'}
	}
	return override(t, m)
}

func override(t [txn.Reasons][2]byte, m map[txn.Reason]string) [txn.Reasons][2]byte {
	for r, code := range m {
		t[r] = [2]byte([]byte(code))
	}
	return t
}

func set(codes ...string) map[[2]byte]bool {
	m := map[[2]byte]bool{}
	for _, c := range codes {
		m[[2]byte([]byte(c))] = true
	}
	return m
}
