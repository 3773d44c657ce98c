//go:build cgo

package keys

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// module is a connection to a hardware security module: a pool of sessions
// that is made anew after the module was lost.
//
// A call into a module cannot be interrupted. So each runs on a goroutine of
// its own, which keeps its session until the module returns; the caller waits
// no longer than the timeout. At most cfg.Sessions such goroutines exist, and
// one that connects; while all of them are overdue every call fails at once.
type module struct {
	cfg    PKCS11Config
	ctx    *pkcs11.Ctx
	closed chan struct{}

	overdue atomic.Int32 // calls that run although nobody waits for them any more

	// mu guards what follows. It is never held across a call into the module.
	mu         sync.Mutex
	connection uint64
	pool       chan pkcs11.SessionHandle // of this connection, nil while lost
	connecting bool
	retry      time.Time // no reconnect before
	stopped    bool
}

// Waits for the module.
const (
	connectWait   = 30 * time.Second // at start: a login may take seconds
	reconnectWait = time.Second      // between attempts after a loss
)

func openModule(cfg PKCS11Config) (*module, error) {
	ctx := pkcs11.New(cfg.Module)
	if ctx == nil {
		return nil, fmt.Errorf("load %s: it is not there or is no PKCS#11 library", cfg.Module)
	}
	m := &module{cfg: cfg, ctx: ctx, closed: make(chan struct{}), connecting: true}
	done := make(chan error, 1)
	go func() {
		// A library is initialized once in a process, and stays so: another
		// vault may use it.
		if err := ctx.Initialize(); err != nil && !isRV(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
			done <- fmt.Errorf("initialize %s: %w", cfg.Module, err)
			return
		}
		done <- m.connect()
	}()
	select {
	case err := <-done:
		if err != nil {
			m.close()
			return nil, err
		}
		return m, nil
	case <-time.After(connectWait):
		return nil, fmt.Errorf("connect to %s: %w: no answer within %v", cfg.Module, ErrDown, connectWait)
	}
}

// connect makes a connection and publishes it. The caller has set connecting.
func (m *module) connect() error {
	pool, err := m.sessions()
	m.mu.Lock()
	m.connecting = false
	m.retry = time.Now().Add(reconnectWait)
	stopped := m.stopped
	if err == nil && !stopped {
		m.connection++
		m.pool = pool
	}
	m.mu.Unlock()
	if err == nil && stopped {
		m.closeSessions(pool)
	}
	return err
}

// sessions opens the sessions and logs in.
func (m *module) sessions() (chan pkcs11.SessionHandle, error) {
	slot, err := m.slot()
	if err != nil {
		return nil, err
	}
	pool := make(chan pkcs11.SessionHandle, m.cfg.Sessions)
	for range m.cfg.Sessions {
		s, err := m.ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		if err == nil {
			pool <- s
			if len(pool) == 1 { // one login serves all sessions of the process
				err = m.login(s)
			}
		}
		if err != nil {
			m.closeSessions(pool)
			return nil, fmt.Errorf("open a session on token %s: %w", m.cfg.TokenLabel, err)
		}
	}
	return pool, nil
}

// login reads the PIN each time, so that it is not kept.
func (m *module) login(s pkcs11.SessionHandle) error {
	pin, err := m.cfg.pin()
	if err != nil {
		return fmt.Errorf("read the PIN: %w", err)
	}
	defer clear(pin)
	if err := m.ctx.Login(s, pkcs11.CKU_USER, string(bytes.TrimSpace(pin))); err != nil && !isRV(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		return fmt.Errorf("log in: %w", err)
	}
	return nil
}

func (m *module) slot() (uint, error) {
	slots, err := m.ctx.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("list the tokens: %w", err)
	}
	for _, slot := range slots {
		info, err := m.ctx.GetTokenInfo(slot)
		if err == nil && info.Label == m.cfg.TokenLabel {
			return slot, nil
		}
	}
	return 0, fmt.Errorf("find token %s: %d tokens are there, none has that label", m.cfg.TokenLabel, len(slots))
}

// session is one session, and the connection that it belongs to.
type session struct {
	ctx        *pkcs11.Ctx
	handle     pkcs11.SessionHandle
	connection uint64
}

// do runs fn with a session. ErrDown, after at most the timeout, says that the
// module could not be used; fn may then still be running and its result is
// dropped, so fn must not touch memory of its caller.
func (m *module) do(fn func(session) ([]byte, error)) ([]byte, error) {
	pool, connection, err := m.current()
	if err != nil {
		return nil, err
	}
	if int(m.overdue.Load()) >= m.cfg.Sessions {
		return nil, fmt.Errorf("%w: none of %d sessions answers", ErrDown, m.cfg.Sessions)
	}
	timer := time.NewTimer(m.cfg.Timeout)
	defer timer.Stop()
	s := session{ctx: m.ctx, connection: connection}
	select {
	case s.handle = <-pool:
	case <-m.closed:
		return nil, ErrClosed
	case <-timer.C:
		return nil, fmt.Errorf("%w: all %d sessions are busy", ErrDown, m.cfg.Sessions)
	}
	type result struct {
		out []byte
		err error
	}
	done := make(chan result, 1)
	var given atomic.Bool // up by the caller, or done by the call, whichever is first
	go func() {
		out, err := fn(s)
		if !given.CompareAndSwap(false, true) {
			m.overdue.Add(-1)
		}
		isLost := lost(err)
		if isLost {
			err = fmt.Errorf("%w: %w", ErrDown, err)
		}
		m.giveBack(pool, s.handle, isLost)
		done <- result{out, err}
	}()
	select {
	case r := <-done:
		return r.out, r.err
	case <-timer.C:
		if given.CompareAndSwap(false, true) {
			m.overdue.Add(1)
		}
		return nil, fmt.Errorf("%w: no answer within %v", ErrDown, m.cfg.Timeout)
	}
}

// current is the connection. When it was lost, the call fails and another is
// attempted beside it, once a second.
func (m *module) current() (chan pkcs11.SessionHandle, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil, 0, ErrClosed
	}
	if m.pool == nil {
		if !m.connecting && time.Now().After(m.retry) {
			m.connecting = true
			go m.connect() // ends by itself; its failure is told by the calls that fail
		}
		return nil, 0, fmt.Errorf("%w: the connection was lost and is being made anew", ErrDown)
	}
	return m.pool, m.connection, nil
}

// giveBack returns a session to its connection, or closes it with one that is
// lost. A loss ends the whole connection: session objects are of no use on
// another.
func (m *module) giveBack(pool chan pkcs11.SessionHandle, s pkcs11.SessionHandle, isLost bool) {
	m.mu.Lock()
	current := m.pool == pool
	if current && isLost {
		m.pool, m.retry = nil, time.Time{}
	}
	if current && !isLost {
		pool <- s
	}
	m.mu.Unlock()
	if current && !isLost {
		return
	}
	m.ctx.CloseSession(s)
	m.closeSessions(pool)
}

// closeSessions closes those that are not in use. Errors mean that a session
// is gone already.
func (m *module) closeSessions(pool chan pkcs11.SessionHandle) {
	for {
		select {
		case s := <-pool:
			m.ctx.CloseSession(s)
		default:
			return
		}
	}
}

// close closes the sessions, and with them all session objects; one in use is
// closed when its call returns.
func (m *module) close() error {
	m.mu.Lock()
	pool, first := m.pool, !m.stopped
	m.pool, m.stopped = nil, true
	m.mu.Unlock()
	if first {
		close(m.closed)
	}
	if pool != nil {
		m.closeSessions(pool)
	}
	return nil
}

// lost says that an error is the connection's and not the call's.
func lost(err error) bool {
	var rv pkcs11.Error
	if !errors.As(err, &rv) {
		return false
	}
	return slices.Contains([]pkcs11.Error{
		pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_REMOVED,
		pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_GENERAL_ERROR,
		pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, pkcs11.CKR_OPERATION_ACTIVE, pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_OBJECT_HANDLE_INVALID, pkcs11.CKR_FUNCTION_FAILED,
	}, rv)
}

func isRV(err error, want uint) bool {
	var rv pkcs11.Error
	return errors.As(err, &rv) && rv == pkcs11.Error(want)
}

var errNoObject = errors.New("object is not on the token")

// find is the one token object of a label.
func (s session) find(label string) (pkcs11.ObjectHandle, error) {
	t := template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_LABEL, label)}
	if err := s.ctx.FindObjectsInit(s.handle, t); err != nil {
		return 0, err
	}
	found, _, err := s.ctx.FindObjects(s.handle, 2)
	if err := errors.Join(err, s.ctx.FindObjectsFinal(s.handle)); err != nil {
		return 0, err
	}
	switch len(found) {
	case 0:
		return 0, fmt.Errorf("find %s: %w", label, errNoObject)
	case 1:
		return found[0], nil
	}
	return 0, fmt.Errorf("find %s: the token has several; remove all but the right one", label)
}

func (s session) lmk(label string) (wrap, bind pkcs11.ObjectHandle, err error) {
	if wrap, err = s.find(label + "-wrap"); err != nil {
		return 0, 0, err
	}
	bind, err = s.find(label + "-bind")
	return wrap, bind, err
}

func (s session) encrypt(key pkcs11.ObjectHandle, m []*pkcs11.Mechanism, src []byte) ([]byte, error) {
	if err := s.ctx.EncryptInit(s.handle, m, key); err != nil {
		return nil, err
	}
	return s.ctx.Encrypt(s.handle, src)
}

func (s session) decrypt(key pkcs11.ObjectHandle, m []*pkcs11.Mechanism, src []byte) ([]byte, error) {
	if err := s.ctx.DecryptInit(s.handle, m, key); err != nil {
		return nil, err
	}
	return s.ctx.Decrypt(s.handle, src)
}

// createWrapped makes an object of a clear key only to wrap it.
func (s session) createWrapped(label string, kind algo.Kind, key []byte) ([]byte, error) {
	keyType, value, err := keyTypeOf(kind)
	if err != nil {
		return nil, err
	}
	v := value(key)
	defer clear(v)
	object, err := s.ctx.CreateObject(s.handle, append(usable(keyType, true), attr(pkcs11.CKA_VALUE, v)))
	if err != nil {
		return nil, fmt.Errorf("create a key: %w", err)
	}
	defer s.ctx.DestroyObject(s.handle, object)
	return s.wrap(label, object)
}

// wrap is a length byte and the key wrapped under the local master key.
func (s session) wrap(label string, key pkcs11.ObjectHandle) ([]byte, error) {
	lmk, err := s.find(label + "-wrap")
	if err != nil {
		return nil, err
	}
	w, err := s.ctx.WrapKey(s.handle, mech(pkcs11.CKM_AES_KEY_WRAP_PAD, nil), lmk, key)
	if err != nil {
		return nil, fmt.Errorf("wrap a key: %w", err)
	}
	return append([]byte{byte(len(w))}, w...), nil
}

func (s session) unwrap(label string, kind algo.Kind, wrapped []byte) (pkcs11.ObjectHandle, error) {
	lmk, err := s.find(label + "-wrap")
	if err != nil {
		return 0, err
	}
	keyType, _, err := keyTypeOf(kind)
	if err != nil {
		return 0, err
	}
	object, err := s.ctx.UnwrapKey(s.handle, mech(pkcs11.CKM_AES_KEY_WRAP_PAD, nil), lmk, wrapped, usable(keyType, false))
	if err != nil && !lost(err) {
		return 0, fmt.Errorf("%w: %w", ErrSealedKey, err)
	}
	return object, err
}

// tag appends to wrapped the tag that binds it to head. The head's length is
// bound too, so that no byte can move from one to the other.
func (s session) tag(label string, head, wrapped []byte) ([]byte, error) {
	key, err := s.find(label + "-bind")
	if err != nil {
		return nil, err
	}
	if err := s.ctx.SignInit(s.handle, mech(pkcs11.CKM_SHA256_HMAC, nil), key); err != nil {
		return nil, fmt.Errorf("bind a key: %w", err)
	}
	t, err := s.ctx.Sign(s.handle, slices.Concat([]byte{byte(len(head))}, head, wrapped))
	if err != nil {
		return nil, fmt.Errorf("bind a key: %w", err)
	}
	return slices.Concat(wrapped, t), nil
}
