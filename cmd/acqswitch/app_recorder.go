package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/capture"
	"github.com/acqswitch/acqswitch/switch/pos"
)

// recorder lets the front end's sessions be recorded.
type recorder struct {
	*capture.Recorder
	file *os.File
}

// openRecorder makes the capture of this start, beside those of earlier ones.
func openRecorder(cfg *recorderConfig, now time.Time) (*recorder, error) {
	key, err := pseudonymKey(cfg.Key)
	if err != nil {
		return nil, usage(fmt.Errorf("recorder.key: %w", err))
	}
	cleaner, err := capture.NewCleaner(key, 8)
	if err != nil {
		return nil, err
	}
	ext := filepath.Ext(cfg.File)
	name := strings.TrimSuffix(cfg.File, ext) + now.UTC().Format("-20060102-150405.000") + ext
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, usage(fmt.Errorf("recorder.file: %w", err))
	}
	r, err := capture.NewRecorder(f, cleaner, capture.RecorderConfig{Percent: cfg.Percent, SizeMax: cfg.SizeMax})
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(name))
	}
	return &recorder{r, f}, nil
}

// Open implements pos.Recorder.
func (r *recorder) Open(client, server net.Addr, dialect string) pos.Tap {
	return r.Recorder.Open(addrPort(client), addrPort(server), dialect)
}

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

// record runs the recorder. A disk that fails ends the recording, not the switch.
func (a *app) record(ctx context.Context) error {
	err := a.recorder.Run(ctx)
	if err := errors.Join(err, a.recorder.file.Close()); err != nil {
		a.log.Error("recording has ended", "file", a.recorder.file.Name(), "error", err)
	}
	written, dropped := a.recorder.Figures()
	a.log.Info("recorded", "file", a.recorder.file.Name(), "messages", written, "dropped", dropped)
	return nil
}
