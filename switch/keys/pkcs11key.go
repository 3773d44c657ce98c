//go:build cgo

package keys

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/miekg/pkcs11"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// hsmKey is a key in use in a module. It is an object of the module's current
// connection; after a reconnect the next use unwraps it again.
type hsmKey struct {
	hsm     *hsm
	kind    algo.Kind
	wrapped []byte

	// mu guards the object. It is held across the module's unwrap, not its use.
	mu         sync.Mutex
	connection uint64 // the connection the object is of, 0 for none
	object     pkcs11.ObjectHandle
}

func (k *hsmKey) Kind() algo.Kind { return k.kind }

func (k *hsmKey) Encrypt(dst, src []byte) error {
	return k.run(dst, src, func(s session, o pkcs11.ObjectHandle, src []byte) ([]byte, error) {
		return s.encrypt(o, mech(ecbOf(k.kind), nil), src)
	})
}

func (k *hsmKey) Decrypt(dst, src []byte) error {
	return k.run(dst, src, func(s session, o pkcs11.ObjectHandle, src []byte) ([]byte, error) {
		return s.decrypt(o, mech(ecbOf(k.kind), nil), src)
	})
}

func (k *hsmKey) Chain(tag, src []byte) error {
	size := k.kind.BlockSize()
	if len(src) == 0 {
		clear(tag[:size])
		return nil
	}
	return k.run(tag[:size], src, func(s session, o pkcs11.ObjectHandle, src []byte) ([]byte, error) {
		out, err := s.encrypt(o, mech(cbcOf(k.kind), make([]byte, size)), src)
		if err != nil {
			return nil, err
		}
		return out[len(out)-size:], nil
	})
}

// run copies what fn makes of a copy of src to dst: when the module does not
// answer in time fn may outlive the call, and may not touch its memory.
func (k *hsmKey) run(dst, src []byte, fn func(session, pkcs11.ObjectHandle, []byte) ([]byte, error)) error {
	src = bytes.Clone(src)
	out, err := k.hsm.module.do(func(s session) ([]byte, error) {
		defer clear(src)
		o, err := k.on(s)
		if err != nil {
			return nil, err
		}
		return fn(s, o, src)
	})
	if err != nil {
		return err
	}
	if len(out) != len(dst) {
		return fmt.Errorf("use a key in the module: it gave %d bytes, want %d", len(out), len(dst))
	}
	copy(dst, out)
	clear(out)
	return nil
}

// on is the key's object on s's connection.
func (k *hsmKey) on(s session) (pkcs11.ObjectHandle, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.connection == s.connection {
		return k.object, nil
	}
	o, err := s.unwrap(k.hsm.label, k.kind, k.wrapped)
	if err != nil {
		return 0, err
	}
	k.connection, k.object = s.connection, o
	return o, nil
}

// check opens the key now, so that one that does not open is told at once.
func (k *hsmKey) check() error {
	_, err := k.hsm.module.do(func(s session) ([]byte, error) {
		_, err := k.on(s)
		return nil, err
	})
	return err
}

// Close destroys the object. When the module does not answer, the object goes
// with its connection.
func (k *hsmKey) Close() {
	k.hsm.module.do(func(s session) ([]byte, error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.connection != s.connection {
			return nil, nil
		}
		k.connection = 0
		return nil, s.ctx.DestroyObject(s.handle, k.object)
	})
}
