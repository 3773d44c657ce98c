package txn

import "bytes"

// Text is a fixed field without its padding.
func Text(field []byte) string { return string(bytes.TrimRight(field, " \x00")) }

// Alphanumeric says that s has letters of ASCII and digits, and nothing else.
func Alphanumeric[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return len(s) > 0
}

// Digits says that s has digits of ASCII, and nothing else.
func Digits[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) > 0
}

// ParseDigits is the number that s writes in 1 to 18 digits; false where it writes none.
func ParseDigits[T string | []byte](s T) (n int64, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i == 18 {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, len(s) > 0
}
