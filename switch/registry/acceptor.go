package registry

import "golang.org/x/text/encoding/simplifiedchinese"

// acceptor is DE43 of a merchant's transactions: name 25, city 13, country 2. A
// name is written in ASCII, in China also in GBK (cup-pos A11); a character that
// cannot be is a space, and none is written in part.
func acceptor(name, city, country string) (b [40]byte) {
	for i := range b {
		b[i] = ' '
	}
	write(b[:25], name, country == "CN")
	write(b[25:38], city, country == "CN")
	copy(b[38:], country)
	return b
}

func write(dst []byte, text string, chinese bool) {
	gbk := simplifiedchinese.GBK.NewEncoder()
	for _, r := range text {
		c := " "
		if r < 0x7F {
			c = string(r)
		} else if chinese {
			if s, err := gbk.String(string(r)); err == nil {
				c = s
			}
		}
		if len(c) > len(dst) {
			return
		}
		dst = dst[copy(dst, c):]
	}
}
