package issuer

import (
	"fmt"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// routes finds the longest known prefix of a card number: a trie of digits in
// one slice, so a look-up walks at most 19 nodes and allocates nothing.
type routes struct {
	nodes []routeNode
}

type routeNode struct {
	child  [10]int32 // 0: none, for the root is nobody's child
	issuer int32     // index+1; 0: no prefix ends here
}

// add routes the prefix bin to an issuer by its index.
func (r *routes) add(bin string, issuer int) error {
	if len(r.nodes) == 0 {
		r.nodes = append(r.nodes, routeNode{})
	}
	if len(bin) < 1 || len(bin) > txn.PANDigitsMax {
		return fmt.Errorf("bins: prefix %q must be 1 to %d digits", bin, txn.PANDigitsMax)
	}
	at := int32(0)
	for i := range len(bin) {
		d := bin[i] - '0'
		if d > 9 {
			return fmt.Errorf("bins: prefix %q must be digits only", bin)
		}
		next := r.nodes[at].child[d]
		if next == 0 {
			next = int32(len(r.nodes))
			r.nodes = append(r.nodes, routeNode{})
			r.nodes[at].child[d] = next
		}
		at = next
	}
	if r.nodes[at].issuer != 0 {
		return fmt.Errorf("bins: prefix %q is listed twice; a prefix belongs to one issuer", bin)
	}
	r.nodes[at].issuer = int32(issuer) + 1
	return nil
}

// find is the issuer of pan's longest prefix, or false.
func (r *routes) find(pan *txn.PAN) (int, bool) {
	best, at := int32(0), int32(0)
	for i := range pan.Len() {
		if at = r.nodes[at].child[pan.Digit(i)]; at == 0 {
			break
		}
		if is := r.nodes[at].issuer; is != 0 {
			best = is
		}
	}
	return int(best) - 1, best != 0
}
