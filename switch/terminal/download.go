package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/acqswitch/acqswitch/iso"
)

// Download is something that a CUP POS terminal takes from its switch.
type Download uint8

// The downloads, in no order.
const (
	TakeParameters Download = iota
	TakeCAPKs
	TakeAIDs
	TakeTMS
	TakeBlackList
	TakeContactless
	TakeNoPINNew
	TakeNoPINBlack
)

// downloads are how each is taken: the digit of a header that asks for it and
// DE60.3 of its steps.
var downloads = [...]struct {
	name            string
	digit           byte
	query, get, end uint16
}{
	TakeParameters:  {"parameters", 1, 0, 360, 361},
	TakeCAPKs:       {"CA public keys", 4, 372, 370, 371},
	TakeAIDs:        {"applications", 5, 382, 380, 381},
	TakeTMS:         {"TMS notice", 6, 0, 364, 365},
	TakeBlackList:   {"BIN black list", 7, 0, 390, 391},
	TakeContactless: {"contactless parameters", 9, 0, 394, 395},
	TakeNoPINNew:    {"BINs without PIN", 0xB, 0, 396, 397},
	TakeNoPINBlack:  {"BINs with PIN", 0xC, 0, 398, 399},
}

func (d Download) String() string { return downloads[d].name }

// The digits of a header that ask for no download.
const (
	asksStatus = 2
	asksSignOn = 3
)

// statusUpload is DE60.3 of a status.
const statusUpload = 362

// Asks is what the switch wants the terminal to do next, as the header's sixth
// digit says it (cup-pos A2); 0 is nothing.
func (a *Answer) Asks() byte {
	var m iso.Message
	a.dialect.Codec().Parse(&m, a.body) // it was parsed before
	if h := m.Header(); len(h) > 2 {
		return h[2] & 0x0F
	}
	return 0
}

// Download takes all of d, page by page, says the end and returns the items: a
// parameter is its tag and value, a key or application its elements, a BIN its
// twelve characters, anything else the text. The answer is the end's.
func (c *Client) Download(ctx context.Context, d Download) (items [][]byte, answer Answer, err error) {
	w := &downloads[d]
	switch d {
	case TakeCAPKs, TakeAIDs:
		items, err = c.takeItems(ctx, w.query, w.get)
	case TakeBlackList, TakeNoPINNew, TakeNoPINBlack:
		items, err = c.takeBINs(ctx, w.get)
	default:
		var body []byte
		if body, err = c.manage(ctx, 0x0800, w.get, nil, &answer); err == nil {
			items, err = splitText(d, body)
		}
	}
	if err == nil {
		_, err = c.manage(ctx, 0x0800, w.end, nil, &answer)
	}
	if err != nil {
		return nil, Answer{}, fmt.Errorf("download %s to terminal %s: %w", d, c.profile.Terminal, err)
	}
	return items, answer, nil
}

// ErrNothingThere says that the switch has nothing of what was to be downloaded.
var ErrNothingThere = errors.New("the switch has none")

// DownloadAll takes everything that there is; taken is told of each. The answer
// is the last one's.
func (c *Client) DownloadAll(ctx context.Context, taken func(Download, [][]byte)) (Answer, error) {
	var answer Answer
	for d := range downloads {
		items, a, err := c.Download(ctx, Download(d))
		if errors.Is(err, ErrNothingThere) {
			continue
		}
		if err != nil {
			return Answer{}, err
		}
		answer = a
		if taken != nil {
			taken(Download(d), items)
		}
	}
	if answer.Code == "" {
		return answer, fmt.Errorf("download to terminal %s: %w", c.profile.Terminal, ErrNothingThere)
	}
	return answer, nil
}

// statusFine is the status of a terminal of which every part works: tags of two digits
// with their values.
const statusFine = "011021031041051"

// UploadStatus says that the terminal is well.
func (c *Client) UploadStatus(ctx context.Context) (Answer, error) {
	var answer Answer
	if _, err := c.manage(ctx, 0x0820, statusUpload, []byte(statusFine), &answer); err != nil {
		return Answer{}, fmt.Errorf("upload status of terminal %s: %w", c.profile.Terminal, err)
	}
	return answer, nil
}

// obeyMax bounds what one answer can make a terminal do: each thing once, and
// some of them again.
const obeyMax = 2 * (len(downloads) + 2)

// Obey does what answer asks for, and what the answers to that ask for, until
// one asks for nothing. taken is told of each download.
func (c *Client) Obey(ctx context.Context, answer Answer, taken func(Download, [][]byte)) error {
	for range obeyMax {
		asks := answer.Asks()
		if asks == 0 {
			return nil
		}
		var err error
		switch asks {
		case asksStatus:
			answer, err = c.UploadStatus(ctx)
		case asksSignOn:
			answer, err = c.SignOn(ctx)
		default:
			d, ok := downloadFor(asks)
			if !ok {
				return nil // it does not know how
			}
			var items [][]byte
			if items, answer, err = c.Download(ctx, d); err == nil && taken != nil {
				taken(d, items)
			}
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("terminal %s is asked for %x again and again", c.profile.Terminal, answer.Asks())
}

func downloadFor(digit byte) (Download, bool) {
	for d := range downloads {
		if downloads[d].digit == digit {
			return Download(d), true
		}
	}
	return 0, false
}

// manage sends one management message without trace number and returns DE62 of
// its approval.
func (c *Client) manage(ctx context.Context, mti, network uint16, de62 []byte, answer *Answer) ([]byte, error) {
	d := c.line.Dialect
	if !IsCUP(d) {
		return nil, fmt.Errorf("dialect %s has no downloads", d.Name())
	}
	w := writer{Encoder: d.Codec().Begin(nil, c.profile.cupTPDU(), cupHeader, mti)}
	w.party(&c.profile)
	w.digits(60, fmt.Sprintf("00%06d%03d", c.store.batch, network))
	if len(de62) > 0 {
		w.bytes(62, de62)
	}
	frame, err := w.Finish()
	if err != nil {
		return nil, err
	}
	if *answer, err = c.Exchange(ctx, frame); err != nil {
		return nil, err
	}
	if answer.Code == "25" {
		return nil, fmt.Errorf("%03d was answered 25: %w", network, ErrNothingThere)
	}
	if !answer.Approved() {
		return nil, fmt.Errorf("%03d was %w", network, &RefusedError{answer.Code})
	}
	var m iso.Message
	d.Codec().Parse(&m, answer.body) // it was parsed before
	return m.Value(62), nil
}

// The flags at the head of a page.
const (
	pageNone = '0'
	pageMore = '2' // of a query or list: ask again
)

// takeItems queries the names, page by page, and takes each item by its name.
func (c *Client) takeItems(ctx context.Context, query, get uint16) (items [][]byte, err error) {
	var answer Answer
	var names [][]byte
	for more := true; more; {
		page, err := c.manage(ctx, 0x0820, query, fmt.Appendf(nil, "1%02d", len(names)), &answer)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return nil, &WrongAnswerError{62, "is missing"}
		}
		before := len(names)
		if names, err = splitNames(names, page[1:]); err != nil {
			return nil, err
		}
		if more = page[0] == pageMore; more && len(names) == before {
			return nil, &WrongAnswerError{62, "promises more and has nothing"}
		}
	}
	for _, name := range names {
		body, err := c.manage(ctx, 0x0800, get, name, &answer)
		if err != nil {
			return nil, err
		}
		if len(body) == 0 || body[0] == pageNone || !bytes.HasPrefix(body[1:], name) {
			return nil, &WrongAnswerError{62, "is not the item asked for"}
		}
		items = append(items, body[1:])
	}
	return items, nil
}

// splitNames appends the names in a page of a query: 9F06 begins one, and 9F22
// belongs to it. Anything else is not asked by.
func splitNames(names [][]byte, page []byte) ([][]byte, error) {
	for len(page) > 0 {
		element, rest, ok := cutElement(page)
		if !ok {
			return nil, &WrongAnswerError{62, "holds elements that are cut off"}
		}
		switch tag := uint16(element[0])<<8 | uint16(element[1]); {
		case tag == 0x9F06:
			names = append(names, bytes.Clone(element))
		case tag == 0x9F22 && len(names) > 0:
			names[len(names)-1] = append(names[len(names)-1], element...)
		}
		page = rest
	}
	return names, nil
}

// cutElement is the first element with a tag of two bytes and a BER length of
// one byte, or of two.
func cutElement(b []byte) (element, rest []byte, ok bool) {
	if len(b) < 3 {
		return nil, nil, false
	}
	at, n := 3, int(b[2])
	if n == 0x81 && len(b) > 3 {
		at, n = 4, int(b[3])
	} else if n > 127 {
		return nil, nil, false
	}
	if len(b) < at+n {
		return nil, nil, false
	}
	return b[:at+n], b[at+n:], true
}

// takeBINs takes a list of card BINs: each page says the number of its last one,
// and the next is asked for by that and one.
func (c *Client) takeBINs(ctx context.Context, get uint16) (bins [][]byte, err error) {
	const size, head = 12, 4
	var answer Answer
	for next := 0; ; next = len(bins) + 1 {
		page, err := c.manage(ctx, 0x0800, get, fmt.Appendf(nil, "%03d", next), &answer)
		if err != nil {
			return nil, err
		}
		if len(page) < head || (len(page)-head)%size != 0 {
			return nil, &WrongAnswerError{62, "is no page of card BINs"}
		}
		before := len(bins)
		for rest := page[head:]; len(rest) > 0; rest = rest[size:] {
			bins = append(bins, bytes.Clone(rest[:size]))
		}
		if last, err := strconv.Atoi(string(page[1:head])); page[0] != pageNone && (err != nil || last != len(bins)) {
			return nil, &WrongAnswerError{62, fmt.Sprintf("ends at %s, card BIN %d is its last", page[1:head], len(bins))}
		}
		if page[0] != pageMore {
			return bins, nil
		}
		if len(bins) == before {
			return nil, &WrongAnswerError{62, "promises more and has nothing"}
		}
	}
}

// parameterWidths are the widths of the parameters' values by tag, from 11.
var parameterWidths = [...]int{2, 2, 1, 14, 14, 14, 14, 1, 2, 1, 1, 40, 1, 1, 1, 32}

// splitText cuts parameters and contactless parameters into items.
func splitText(d Download, b []byte) (items [][]byte, err error) {
	if d != TakeParameters && d != TakeContactless {
		return [][]byte{b}, nil
	}
	for len(b) > 0 {
		n := len(b) + 1
		if d == TakeParameters && len(b) >= 2 {
			if tag, err := strconv.Atoi(string(b[:2])); err == nil && tag >= 11 && tag < 11+len(parameterWidths) {
				n = 2 + parameterWidths[tag-11]
			}
		} else if d == TakeContactless && len(b) >= 9 { // FF80xx, length 3
			if size, err := strconv.ParseUint(string(b[6:9]), 10, 16); err == nil {
				n = 9 + int(size)
			}
		}
		if n > len(b) {
			return nil, &WrongAnswerError{62, "holds a parameter that is unknown or cut off"}
		}
		items, b = append(items, b[:n:n]), b[n:]
	}
	return items, nil
}
