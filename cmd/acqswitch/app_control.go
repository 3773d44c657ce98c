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
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// controlSocket is where commands reach a running switch: in the data directory, for
// its owner only.
const controlSocket = "control.sock"

// controlWithin bounds one such command.
const controlWithin = 30 * time.Second

// controlStopMax is how long a command may go on when the switch stops.
const controlStopMax = 2 * time.Second

// decision is what a person decides about something parked.
type decision struct {
	ID      txn.ID `json:"id"`
	Resolve bool   `json:"resolve"` // else it is sent again
	Taken   bool   `json:"taken"`   // of an advice that is resolved
	Why     string `json:"why"`
}

// whyMax bounds a person's words, which are part of a record.
const whyMax = 500

// controlPath is where the socket is. The system bounds the path of one.
func controlPath(dataDir string) (string, error) {
	path := filepath.Join(dataDir, controlSocket)
	if most := len(syscall.RawSockaddrUnix{}.Path) - 1; len(path) > most {
		return "", fmt.Errorf("data_dir: the path of %s must have at most %d bytes, it has %d: %s", controlSocket, most, len(path), path)
	}
	return path, nil
}

// listenControl opens the socket, which a killed switch may have left: the lock on
// the journal says that nobody else listens there.
func listenControl(dataDir string) (net.Listener, error) {
	path, err := controlPath(dataDir)
	if err != nil {
		return nil, err
	}
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
	mux.HandleFunc("POST /parked", commanded(func(d decision) (any, error) { return nil, a.decide(d) }))
	mux.HandleFunc("POST /status", commanded(func(struct{}) (any, error) { return a.status() }))
	mux.HandleFunc("POST /keys", commanded(func(k newKey) (any, error) { return nil, a.takeKey(k) }))
	mux.HandleFunc("POST /keys/list", commanded(func(struct{}) (any, error) { return listKeys(a.keys) }))
	mux.HandleFunc("POST /keys/ask", commanded(func(issuer string) (any, error) { return a.issuers.AskKeys(ctx, txn.MakeIssuerID(issuer)) }))
	mux.HandleFunc("POST /keys/sealed", commanded(func(k wantedKey) (any, error) { return a.sealedKey(k) }))
	return serveHTTP(ctx, a.control, mux, controlStopMax, a.log)
}

// commanded does what one command asks for, and answers with what came of it.
func commanded[Asked any](do func(Asked) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var asked Asked
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		switch got, err := do(asked); {
		case errors.Is(err, acquirer.ErrNotParked), errors.Is(err, keyring.ErrNoKey):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case got != nil:
			json.NewEncoder(w).Encode(got) // who asked may be gone
		}
	}
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
	switch err := control(ctx, dataDir, "/parked", d, nil); {
	case errors.Is(err, errNoSwitch):
		return false, nil
	case errors.As(err, new(notThere)):
		return true, acquirer.ErrNotParked
	default:
		return true, err
	}
}

var errNoSwitch = errors.New("no switch runs")

// notThere is what the running switch says where it does not have what a command is
// about.
type notThere string

func (n notThere) Error() string { return string(n) }

// controlAnswerMax bounds an answer: that of a million terminals' keys is smaller.
const controlAnswerMax = 1 << 30

// control asks something of the running switch. got, unless it is nil, is for its
// answer. It fails with errNoSwitch where none runs.
func control(ctx context.Context, dataDir, path string, what, got any) error {
	ctx, cancel := context.WithTimeout(ctx, controlWithin)
	defer cancel()
	socket := filepath.Join(dataDir, controlSocket)
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://switch"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r, err := client.Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return errNoSwitch
	}
	if err != nil {
		return unreachable(fmt.Errorf("ask the running switch: %w", err))
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
		said := "the running switch says: " + strings.TrimSpace(string(text))
		if r.StatusCode == http.StatusNotFound {
			return notThere(said)
		}
		return errors.New(said)
	}
	if got != nil {
		if err := json.NewDecoder(io.LimitReader(r.Body, controlAnswerMax)).Decode(got); err != nil {
			return unreachable(fmt.Errorf("read what the running switch says: %w", err))
		}
	}
	return nil
}
