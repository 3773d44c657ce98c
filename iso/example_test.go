package iso_test

import (
	"encoding/hex"
	"fmt"

	"github.com/acqswitch/acqswitch/iso"
)

// A terminal's echo is read and answered. The Message and the buffer are kept
// for the next frame.
func Example() {
	codec := iso.MustCompile(iso.CUPPOS(), iso.CUPPOSFraming(4096))
	wire, _ := hex.DecodeString("0034600003000060310031000008200000000000C0001031303030303030313939393239303035343131303030310011000000013010")

	size, err := codec.ReadLength(wire[:codec.Framing().PrefixSize()])
	if err != nil {
		fmt.Println(err) // out of step: close the connection
		return
	}
	var m iso.Message
	if err := codec.Parse(&m, wire[2:2+size]); err != nil {
		fmt.Println(err)
		return
	}

	answer := codec.Begin(nil, m.TPDU(), m.Header(), m.MTI()+0x10)
	answer.Digits(12, []byte("093000"))
	answer.Digits(13, []byte("1121"))
	answer.Text(39, []byte("00"))
	answer.Copy(41, &m)
	answer.Copy(42, &m)
	answer.Copy(60, &m)
	out, err := answer.Finish()
	fmt.Printf("%04x from %s: %d bytes, %v\n", m.MTI(), m.AppendText(nil, 41), len(out), err)
	// Output: 0820 from 10000001: 61 bytes, <nil>
}
