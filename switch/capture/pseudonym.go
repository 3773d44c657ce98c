package capture

import (
	"encoding/binary"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// rounds of the Feistel network: ten, as NIST's FF1 has, for halves as short as
// one digit.
const rounds = 10

// pseudonym replaces a card number by its pseudonym. The digits between the
// issuer's and the check digit go through a Feistel network over decimal
// numbers, keyed by the whole of the rest: different cards get different
// pseudonyms.
func (c *Cleaner) pseudonym(pan []byte) {
	c.counts.Cards++
	for _, d := range pan {
		if d-'0' > 9 {
			for i := range pan {
				pan[i] = '0'
			}
			return
		}
	}
	var was, is number19
	if len(pan) <= txn.PANDigitsMax {
		was.size = uint8(copy(was.digits[:], pan))
		if made, ok := c.known[was]; ok {
			copy(pan, made.digits[:made.size])
			return
		}
		defer func() {
			if len(c.known) >= knownMax {
				clear(c.known)
			}
			is.size = uint8(copy(is.digits[:], pan))
			c.known[was] = is
		}()
	}
	keep := c.bin
	if len(pan) < 16 {
		keep = min(6, len(pan)/2)
	}
	if len(pan)-keep-1 < 2 {
		for i := range pan {
			pan[i] = '0'
		}
		return
	}
	body, check := pan[:len(pan)-1], &pan[len(pan)-1]
	off := (*check - txn.CheckDigit(body) + 10) % 10
	mid := body[keep:]
	half := len(mid) / 2
	left, right := number(mid[:half]), number(mid[half:])
	sizes := [2]uint64{power(half), power(len(mid) - half)}
	for round := range rounds {
		// Each half is replaced by itself plus a function of the other.
		if round&1 == 0 {
			left = (left + c.round(pan[:keep], len(pan), off, round, right)%sizes[0]) % sizes[0]
		} else {
			right = (right + c.round(pan[:keep], len(pan), off, round, left)%sizes[1]) % sizes[1]
		}
	}
	digits(mid[:half], left)
	digits(mid[half:], right)
	*check = '0' + (txn.CheckDigit(body)-'0'+off)%10
}

func (c *Cleaner) round(bin []byte, size int, off byte, round int, half uint64) uint64 {
	c.in = append(append(c.in[:0], bin...), byte(size), off, byte(round))
	c.in = binary.BigEndian.AppendUint64(c.in, half)
	c.mac.Reset()
	c.mac.Write(c.in)
	return binary.BigEndian.Uint64(c.mac.Sum(c.sum[:0]))
}

func number(digits []byte) (n uint64) {
	for _, d := range digits {
		n = n*10 + uint64(d-'0')
	}
	return n
}

func digits(to []byte, n uint64) {
	for i := len(to) - 1; i >= 0; i-- {
		to[i] = '0' + byte(n%10)
		n /= 10
	}
}

func power(digits int) uint64 {
	n := uint64(1)
	for range digits {
		n *= 10
	}
	return n
}
