package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// benchPIN is the PIN of every card.
const benchPIN = "1234"

// benchTMK is the clear test master key of the n-th terminal.
func benchTMK(n int) []byte {
	sum := sha256.Sum256([]byte("acqswitch bench, a test key: " + terminalID(n)))
	return sum[:16]
}

// guardedKeys gives n terminals their master keys and the issuer its PIN key.
func guardedKeys(data string, n int, issuer string) error {
	return loadKeys(data, func(vault *keys.Vault, ring *keyring.Ring) error {
		id := txn.MakeIssuerID(issuer)
		zone, err := vault.Generate(keys.OfIssuer(id), keys.PurposeZPK, algo.TDES2)
		if err == nil {
			err = ring.SetZone(id, zone)
		}
		if err != nil {
			return err
		}
		return eachAtOnce(n, func(i int) error {
			id := txn.MakeTerminalID(terminalID(i))
			key, err := fleet.Seal(vault, keys.OfTerminal(id), keys.PurposeTMK, algo.TDES2, benchTMK(i))
			if err == nil {
				err = ring.SetMaster(id, key)
			}
			return err
		})
	})
}

// loadKeys opens a switch's keys for load, before the switch does.
func loadKeys(data string, load func(*keys.Vault, *keyring.Ring) error) (err error) {
	vault, err := keys.OpenSoft(filepath.Join(data, "lmk.keys"))
	if err != nil {
		return err
	}
	log, err := journal.Open(filepath.Join(data, "keys"), journal.Config{SegmentSize: 16 << 20})
	if err != nil {
		return errors.Join(err, vault.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	ring := keyring.New(keyring.Config{}, vault, log, slog.New(slog.DiscardHandler))
	defer func() {
		err = errors.Join(err, ring.Close())
		cancel()
		<-ended
		err = errors.Join(err, log.Close())
	}()
	if err := ring.Recover(); err != nil {
		return err
	}
	return load(vault, ring)
}

// eachAtOnce does do for 0 to n-1, many at a time, so that their writes share a flush,
// and returns the first error.
func eachAtOnce(n int, do func(i int) error) (failed error) {
	var next atomic.Int64
	var once sync.Once
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					once.Do(func() { failed = err })
					return
				}
			}
		})
	}
	workers.Wait()
	return failed
}

// guard signs the n-th terminal on over conn, and gives its sale the PIN and the key
// of its MACs. Answers' MACs are not checked: that is the terminal's work.
func (s *sale) guard(conn net.Conn, n int) error {
	frame, err := signOnFrame(n, 1)
	if err == nil {
		_, err = conn.Write(frame)
	}
	if err != nil {
		return fmt.Errorf("sign terminal %d on: %w", n, err)
	}
	body, err := peek(bufio.NewReader(conn))
	var m iso.Message
	if err == nil {
		err = cupPOS.Parse(&m, body)
	}
	if err != nil {
		return fmt.Errorf("wait for the sign-on of terminal %d: %w", n, err)
	}
	const size, slot = 16, 20 // a key of double length; its check value is behind it
	set := m.Value(62)
	if string(m.Value(39)) != "00" || len(set) != 2*slot {
		return fmt.Errorf("terminal %d was not signed on: %s", n, m.Value(39))
	}
	master, err := algo.NewLocal(algo.TDES2, benchTMK(n))
	if err != nil {
		return err
	}
	working := func(at int) (*algo.Local, error) {
		var key [size]byte
		if err := master.Decrypt(key[:], set[at:at+size]); err != nil {
			return nil, err
		}
		if half := algo.DES.KeySize(); [8]byte(set[at+half:]) == [8]byte{} { // a key for MACs
			return algo.NewLocal(algo.DES, key[:half])
		}
		return algo.NewLocal(algo.TDES2, key[:])
	}
	tpk, err := working(0)
	if err != nil {
		return err
	}
	if s.tak, err = working(slot); err != nil {
		return err
	}
	if err := cupPOS.Parse(&m, s.frame[prefixSize:]); err != nil {
		return err
	}
	block, err := algo.EncipherPIN(nil, tpk, algo.PINISO0, []byte(benchPIN), m.AppendDigits(nil, 2))
	if err != nil {
		return err
	}
	copy(m.Value(52), block)
	s.signed, s.mac = m.Before(64), m.Value(64)
	return nil
}
