package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	acquirer "github.com/acqswitch/acqswitch/switch"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// controlSocket is where the commands that change something in a running switch
// reach it: in the data directory, for its owner only.
const controlSocket = "control.sock"

// controlWithin bounds one such command.
const controlWithin = 30 * time.Second

// decision is what a person decides about something parked.
type decision struct {
	ID      txn.ID `json:"id"`
	Resolve bool   `json:"resolve"` // else it is sent again
	Taken   bool   `json:"taken"`   // of an advice that is resolved
	Why     string `json:"why"`
}

// whyMax bounds a person's words, which are part of a record.
const whyMax = 500

// listenControl opens the socket, which a killed switch may have left: the lock on
// the journal says that nobody else listens there.
func listenControl(dataDir string) (net.Listener, error) {
	path := filepath.Join(dataDir, controlSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	return l, nil
}

// serveControl does what commands ask for until ctx ends.
func (a *app) serveControl(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /parked", func(w http.ResponseWriter, r *http.Request) {
		var d decision
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&d); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		switch err := a.decide(d); {
		case errors.Is(err, acquirer.ErrNotParked):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("POST /keys", func(w http.ResponseWriter, r *http.Request) {
		var k newKey
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&k); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := a.takeKey(k); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return serveHTTP(ctx, a.control, mux, a.log)
}

// decide does what a person decided about something parked.
func (a *app) decide(d decision) error {
	log := a.log.With("id", d.ID, "why", d.Why)
	if !d.Resolve {
		if err := a.acquirer.Release(d.ID, d.Why); err != nil {
			return err
		}
		log.Warn("what was parked is sent again")
		return nil
	}
	if err := a.acquirer.Resolve(d.ID, d.Why, d.Taken); err != nil {
		return err
	}
	log.Warn("what was parked is resolved by hand", "taken", d.Taken)
	return nil
}

// control has d done by the running switch; done is false if none runs.
func (d decision) control(ctx context.Context, dataDir string) (done bool, err error) {
	switch status, said, err := control(ctx, dataDir, "/parked", d); {
	case err != nil || status == 0:
		return false, err
	case status == http.StatusNotFound:
		return true, acquirer.ErrNotParked
	default:
		return true, notDone(status, said)
	}
}

// newKey is a key for one of keyHolders, sealed under the local master key.
type newKey struct {
	Holder string      `json:"holder"`
	Name   string      `json:"name"`
	Sealed keys.Sealed `json:"sealed"`
}

// takeKey gives a key to its holder, from the next message on.
func (a *app) takeKey(k newKey) error {
	h, err := holderOf(k.Holder, func(*keyHolder) bool { return true })
	if err == nil {
		err = h.checkName(k.Name)
	}
	if err != nil {
		return err
	}
	info, err := k.Sealed.Info()
	if err != nil {
		return err
	}
	if err := h.store(a.keys, k.Name, keys.Key{Owner: h.owner(k.Name), Sealed: k.Sealed}); err != nil {
		return err
	}
	a.log.Warn("a key was loaded", "owner", string(h.owner(k.Name)), "purpose", info.Purpose.String(), "kind", info.Kind.String(), "check_value", info.KCV.String())
	return nil
}

// control has the key taken by the running switch; done is false if none runs.
func (k newKey) control(ctx context.Context, dataDir string) (done bool, err error) {
	status, said, err := control(ctx, dataDir, "/keys", k)
	if err != nil || status == 0 {
		return false, err
	}
	return true, notDone(status, said)
}

// notDone is what the running switch said to what it did not do.
func notDone(status int, said string) error {
	if status == http.StatusOK {
		return nil
	}
	return fmt.Errorf("the running switch says: %s", said)
}

// control asks something of the running switch; a status of 0 is that none runs.
func control(ctx context.Context, dataDir, path string, what any) (status int, said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, controlWithin)
	defer cancel()
	socket := filepath.Join(dataDir, controlSocket)
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(what)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://switch"+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r, err := client.Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", unreachable(fmt.Errorf("ask the running switch: %w", err))
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
	return r.StatusCode, strings.TrimSpace(string(text)), nil
}
