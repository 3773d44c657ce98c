//go:build cgo

package keys

import (
	"bytes"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// OpenPKCS11 opens the vault whose local master keys are in a hardware
// security module and never leave it. Two token objects are the local master
// key: an AES-256 key that wraps keys, and a secret that binds each wrapped
// key to its head and owner.
//
// Keys are wrapped with CKM_AES_KEY_WRAP_PAD (RFC 5649) and used as session
// objects that are sensitive and not extractable. A key that is generated for
// a custodian or an issuer never is in this process. A terminal's working keys
// and imported keys are, for microseconds, as clear PIN blocks are: PKCS#11
// knows neither UnionPay's key layout nor PIN translation.
func OpenPKCS11(cfg PKCS11Config) (*Vault, error) {
	fail := func(err error) (*Vault, error) { return nil, fmt.Errorf("open the PKCS#11 vault: %w", err) }
	if err := cfg.validate(); err != nil {
		return fail(err)
	}
	m, err := openModule(cfg)
	if err != nil {
		return fail(err)
	}
	h := &hsm{module: m, label: cfg.LMKLabel}
	if err := h.findLMK(cfg.CreateLMK); err != nil {
		return fail(errors.Join(err, m.close()))
	}
	return &Vault{h}, nil
}

// hsm is the engine whose keys are in a module.
type hsm struct {
	module *module
	label  string // of the local master key's two token objects
}

// lmkVersion is the only one: a module's master key is changed by moving to
// another label and importing again.
const lmkVersion = 1

const tagSize = 32 // CKM_SHA256_HMAC

type template = []*pkcs11.Attribute

func attr(t uint, v any) *pkcs11.Attribute { return pkcs11.NewAttribute(t, v) }

func mech(m uint, iv []byte) []*pkcs11.Mechanism {
	return []*pkcs11.Mechanism{pkcs11.NewMechanism(m, iv)}
}

// findLMK checks that the token has both master keys, or makes them.
func (h *hsm) findLMK(create bool) error {
	label := h.label
	_, err := h.module.do(func(s session) ([]byte, error) {
		_, _, err := s.lmk(label)
		if !errors.Is(err, errNoObject) || !create {
			return nil, err
		}
		common := template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, true),
			attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, false), attr(pkcs11.CKA_VALUE_LEN, 32)}
		_, err = s.ctx.GenerateKey(s.handle, mech(pkcs11.CKM_AES_KEY_GEN, nil), append(slices.Clone(common),
			attr(pkcs11.CKA_LABEL, label+"-wrap"), attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_UNWRAP, true)))
		if err != nil {
			return nil, fmt.Errorf("make the local master key: %w", err)
		}
		_, err = s.ctx.GenerateKey(s.handle, mech(pkcs11.CKM_GENERIC_SECRET_KEY_GEN, nil), append(slices.Clone(common),
			attr(pkcs11.CKA_LABEL, label+"-bind"), attr(pkcs11.CKA_SIGN, true)))
		if err != nil {
			return nil, fmt.Errorf("make the local master key: %w", err)
		}
		return nil, nil
	})
	if errors.Is(err, errNoObject) {
		return fmt.Errorf("token has no local master key %s-wrap and %s-bind: name another label, or create them at the key ceremony", label, label)
	}
	return err
}

func (h *hsm) version() byte { return lmkVersion }

func (h *hsm) random(b []byte) error {
	out, err := h.module.do(func(s session) ([]byte, error) { return s.ctx.GenerateRandom(s.handle, len(b)) })
	if err != nil {
		return fmt.Errorf("draw random bytes: %w", err)
	}
	if copy(b, out) != len(b) {
		return errors.New("draw random bytes: the module gave too few")
	}
	clear(out)
	return nil
}

func (h *hsm) generate(kind algo.Kind, head func(algo.KCV) []byte) ([]byte, error) {
	if kind == algo.DES {
		return nil, fmt.Errorf("%w: a DES key is made for a terminal only", ErrUnsupported)
	}
	return h.module.do(func(s session) ([]byte, error) {
		keyType, _, err := keyTypeOf(kind)
		if err != nil {
			return nil, err
		}
		t := usable(keyType, true)
		gen := map[algo.Kind]uint{algo.TDES2: pkcs11.CKM_DES2_KEY_GEN, algo.TDES3: pkcs11.CKM_DES3_KEY_GEN}[kind]
		if kind.IsAES() {
			gen, t = pkcs11.CKM_AES_KEY_GEN, append(t, attr(pkcs11.CKA_VALUE_LEN, kind.KeySize()))
		}
		key, err := s.ctx.GenerateKey(s.handle, mech(gen, nil), t)
		if err != nil {
			return nil, err
		}
		defer s.ctx.DestroyObject(s.handle, key)
		zero := make([]byte, kind.BlockSize())
		out, err := s.encrypt(key, mech(ecbOf(kind), nil), zero)
		if err != nil {
			return nil, err
		}
		wrapped, err := s.wrap(h.label, key)
		if err != nil {
			return nil, err
		}
		return s.tag(h.label, head(algo.KCV(out[:4])), wrapped)
	})
}

// seal makes the body: the wrapped key, with left a second wrapped key, and
// the tag that binds them to head. A length byte precedes each wrapped key.
func (h *hsm) seal(head []byte, kind algo.Kind, left bool, key []byte) ([]byte, error) {
	// Copies, which the call clears: it may outlive ours.
	values, kinds := [][]byte{bytes.Clone(key)}, []algo.Kind{kind}
	if left {
		values, kinds = append(values, bytes.Clone(key[:8])), append(kinds, algo.DES)
	}
	return h.module.do(func(s session) ([]byte, error) {
		var wrapped []byte
		defer func() {
			for _, v := range values {
				clear(v)
			}
		}()
		for i, value := range values {
			w, err := s.createWrapped(h.label, kinds[i], value)
			if err != nil {
				return nil, err
			}
			wrapped = append(wrapped, w...)
		}
		return s.tag(h.label, head, wrapped)
	})
}

func (h *hsm) open(head []byte, kind algo.Kind, left bool, body []byte) (held, held, error) {
	want := 1
	kinds := []algo.Kind{kind}
	if left {
		want, kinds = 2, append(kinds, algo.DES)
	}
	if len(body) <= tagSize {
		return nil, nil, ErrSealedKey
	}
	body = bytes.Clone(body)
	wrapped := body[:len(body)-tagSize]
	whole, err := h.module.do(func(s session) ([]byte, error) { return s.tag(h.label, head, wrapped) })
	if err != nil {
		return nil, nil, err
	}
	if !hmac.Equal(whole, body) {
		return nil, nil, ErrSealedKey
	}
	keys := make([]*hsmKey, 0, want)
	for i := range want {
		if len(wrapped) == 0 || len(wrapped) < 1+int(wrapped[0]) {
			return nil, nil, ErrSealedKey
		}
		n := 1 + int(wrapped[0])
		k := &hsmKey{hsm: h, kind: kinds[i], wrapped: bytes.Clone(wrapped[1:n])}
		wrapped = wrapped[n:]
		if err := k.check(); err != nil {
			for _, k := range keys {
				k.Close()
			}
			return nil, nil, err
		}
		keys = append(keys, k)
	}
	if left {
		return keys[0], keys[1], nil
	}
	return keys[0], nil, nil
}

func (h *hsm) reveal([]byte, algo.Kind, []byte) ([]byte, error) {
	return nil, fmt.Errorf("%w: keys do not leave the module", ErrUnsupported)
}

func (h *hsm) close() error { return h.module.close() }

// keyTypeOf is the module's type for a kind, and how a clear key becomes one:
// a DES key is a triple one of three equal parts, so that modules without
// single DES can use it.
func keyTypeOf(kind algo.Kind) (keyType uint, value func(key []byte) []byte, err error) {
	switch {
	case kind == algo.DES:
		return pkcs11.CKK_DES3, func(key []byte) []byte { return slices.Concat(key, key, key) }, nil
	case kind == algo.TDES2:
		return pkcs11.CKK_DES2, bytes.Clone, nil
	case kind == algo.TDES3:
		return pkcs11.CKK_DES3, bytes.Clone, nil
	case kind.IsAES():
		return pkcs11.CKK_AES, bytes.Clone, nil
	}
	return 0, nil, fmt.Errorf("%w: PKCS#11 has no %v keys", ErrUnsupported, kind)
}

func ecbOf(kind algo.Kind) uint {
	if kind.IsDES() {
		return pkcs11.CKM_DES3_ECB
	}
	return pkcs11.CKM_AES_ECB
}

func cbcOf(kind algo.Kind) uint {
	if kind.IsDES() {
		return pkcs11.CKM_DES3_CBC
	}
	return pkcs11.CKM_AES_CBC
}

// usable is the template of a session key that enciphers and deciphers.
func usable(keyType uint, extractable bool) template {
	return template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, keyType),
		attr(pkcs11.CKA_TOKEN, false), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, extractable),
		attr(pkcs11.CKA_ENCRYPT, true), attr(pkcs11.CKA_DECRYPT, true)}
}
