package registry

// acceptor is DE43 of a merchant's transactions: name 25, city 13, country 2, in
// ASCII. Any other character is a space: UnionPay takes GBK here (cup-pos A11),
// but an ISO 8583:1987 host may refuse the message for it.
func acceptor(name, city, country string) (b [40]byte) {
	for i := range b {
		b[i] = ' '
	}
	write(b[:25], name)
	write(b[25:38], city)
	copy(b[38:], country)
	return b
}

func write(dst []byte, text string) {
	i := 0
	for _, r := range text {
		if i == len(dst) {
			return
		}
		if r < 0x7F {
			dst[i] = byte(r)
		}
		i++
	}
}
