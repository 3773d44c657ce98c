package terminal

// Meaning is what an answer's code (DE39) tells the cashier, empty for a code
// that no terminal knows. The codes are those of CUP POS (cup-pos C6), of which
// ISO 8583:1987 (field E3) has all up to 96 and means the same by them.
func Meaning(code string) string { return meanings[code] }

var meanings = map[string]string{
	"00": "approved",
	"01": "refer to the card's issuer",
	"02": "refer to the card's issuer, special conditions",
	"03": "merchant is invalid",
	"04": "take the card in",
	"05": "issuer does not honour it",
	"06": "error",
	"07": "take the card in, special conditions",
	"09": "still in progress",
	"10": "approved in part",
	"11": "approved, important customer",
	"12": "transaction is invalid",
	"13": "amount is invalid",
	"14": "card number is invalid",
	"15": "no such issuer",
	"19": "enter it again",
	"20": "answer is invalid",
	"21": "nothing was done",
	"22": "suspected malfunction",
	"23": "fee is not acceptable",
	"25": "original was not found",
	"30": "format error",
	"31": "bank is not supported",
	"33": "card has expired, take it in",
	"34": "suspected fraud, take the card in",
	"35": "call security, take the card in",
	"36": "restricted card, take it in",
	"37": "call security, take the card in",
	"38": "too many wrong PINs, take the card in",
	"39": "no credit account",
	"40": "function is not supported",
	"41": "lost card, take it in",
	"42": "no such account",
	"43": "stolen card, take it in",
	"44": "no investment account",
	"51": "insufficient funds",
	"52": "no cheque account",
	"53": "no savings account",
	"54": "card has expired",
	"55": "PIN is wrong",
	"56": "no record of the card",
	"57": "not permitted to the cardholder",
	"58": "not permitted to the terminal",
	"59": "suspected fraud",
	"60": "call security",
	"61": "amount over limit",
	"62": "restricted card",
	"63": "security violation",
	"64": "original's amount is another",
	"65": "count over limit",
	"66": "call security",
	"67": "take the card in",
	"68": "no answer in time",
	"75": "too many wrong PINs",
	"77": "sign on first",
	"79": "offline totals differ",
	"90": "business day is being cut over",
	"91": "issuer is not available",
	"92": "issuer cannot be reached",
	"93": "against the law",
	"94": "duplicate",
	"95": "totals differ",
	"96": "system error",
	"97": "terminal is unknown",
	"98": "no answer from the issuer",
	"99": "PIN format is wrong, sign on again",
	"A0": "MAC is wrong, sign on again",
}

// RefusedError says that the switch answered no where the terminal cannot go on
// without a yes.
type RefusedError struct{ Code string } // DE39

func (e *RefusedError) Error() string { return "answered " + withMeaning(e.Code) }

func withMeaning(code string) string {
	if m := Meaning(code); m != "" {
		return code + ", " + m
	}
	return code
}
