package reconcile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// Mastercard's files have records, each behind its length (four bytes, big endian),
// and end with a length of zero. They may be cut into blocks of 1014 bytes: 1012 of
// that, and two that fill them; the last block is filled up.
const (
	blockSize = 1014
	blockData = 1012
	recordMin = 20 // MTI and bitmap
	recordMax = 16 << 10
	filler    = 0x40
)

var filled = bytes.Repeat([]byte{filler}, 4)

// records reads the records of such a file.
type records struct {
	in      *bufio.Reader
	blocked bool
	left    int   // of the block's data
	offset  int64 // in the file, of what is read next
	record  [recordMax]byte
}

func newRecords(in *bufio.Reader) *records {
	head, _ := in.Peek(in.Size()) // what reading fails with it fails with again
	return &records{in: in, blocked: !chained(head, len(head) < in.Size()) && inBlocks(head), left: blockData}
}

// chained says that a file begins with records one behind the other, not cut into
// blocks. whole: head is all of it.
func chained(head []byte, whole bool) bool {
	for len(head) >= 8 {
		n := binary.BigEndian.Uint32(head)
		switch {
		case n == 0:
			return true
		case n < recordMin, n > recordMax, !isMTI(head[4:8]):
			return false
		case int(n) > len(head)-4:
			return !whole
		}
		head = head[4+n:]
	}
	return true
}

// inBlocks says that all blocks end as they should.
func inBlocks(head []byte) bool {
	n := len(head) / blockSize
	for i := range n {
		if !bytes.Equal(head[i*blockSize+blockData:(i+1)*blockSize], filled[:2]) {
			return false
		}
	}
	return n > 0
}

var (
	errCutOff  = errors.New("the file is cut off here")
	errFiller  = errors.New("the block does not end with 40 40")
	errLength  = errors.New("the record's length is none of 20 to 16384: something is missing before it, or it is no file of this form")
	errTooMuch = errors.New("there is something behind the end of the records")
)

// Read reads what is in the blocks.
func (r *records) Read(p []byte) (int, error) {
	if r.blocked {
		if r.left == 0 {
			var end [blockSize - blockData]byte
			n, err := io.ReadFull(r.in, end[:])
			r.offset += int64(n)
			switch {
			case err == io.EOF || err == io.ErrUnexpectedEOF:
				return 0, errCutOff
			case err != nil:
				return 0, err
			case !bytes.Equal(end[:], filled[:len(end)]):
				return 0, errFiller
			}
			r.left = blockData
		}
		p = p[:min(len(p), r.left)]
	}
	n, err := r.in.Read(p)
	r.left -= n
	r.offset += int64(n)
	return n, err
}

// next is the next record and where it begins; it is valid until the next call. The
// error is io.EOF at the end, one of those above, or that of reading.
func (r *records) next() (record []byte, at int64, err error) {
	var head [4]byte
	n, err := io.ReadFull(r, head[:])
	at = r.offset
	switch length := binary.BigEndian.Uint32(head[:]); {
	case err == io.EOF:
		return nil, at, r.ends()
	case err == io.ErrUnexpectedEOF && bytes.Equal(head[:n], filled[:n]) || err == nil && (length == 0 || bytes.Equal(head[:], filled)):
		return nil, at, r.rest()
	case err == io.ErrUnexpectedEOF:
		return nil, at, errCutOff
	case err != nil:
		return nil, at, err
	case length < recordMin, length > recordMax:
		return nil, at, errLength
	default:
		record = r.record[:length]
	}
	if _, err = io.ReadFull(r, record); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, at, errCutOff
	}
	return record, at, err
}

// rest reads what is behind the records, which says nothing.
func (r *records) rest() error {
	for {
		b, err := r.in.ReadByte()
		switch {
		case err == io.EOF:
			return r.ends()
		case err != nil:
			return err
		case b != 0 && b != filler:
			return errTooMuch
		}
		r.offset++
	}
}

// ends is how the file ends here.
func (r *records) ends() error {
	if r.blocked && r.offset%blockSize != 0 {
		return errCutOff
	}
	return io.EOF
}
