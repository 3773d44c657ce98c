package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// tlsFlags say how a terminal's sessions are secured.
type tlsFlags struct{ files certs.Client }

func (f *tlsFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.files.CA, "tls-ca", "", "connect with TLS: PEM file of the authority of the switch's certificate")
	fs.StringVar(&f.files.Cert, "tls-cert", "", "PEM file of the terminal's certificate, for a switch that asks for one")
	fs.StringVar(&f.files.Key, "tls-key", "", "PEM file of its key")
	fs.StringVar(&f.files.ServerName, "tls-name", "", "name in the switch's certificate; empty is the host of its address")
}

// config is nil where sessions are plain.
func (f *tlsFlags) config() (*tls.Config, error) {
	switch {
	case f.files == certs.Client{}:
		return nil, nil
	case f.files.CA == "":
		return nil, errors.New("--tls-cert, --tls-key and --tls-name need --tls-ca, the authority of the switch's certificate")
	case (f.files.Cert == "") != (f.files.Key == ""):
		return nil, errors.New("--tls-cert and --tls-key must be given together")
	}
	l, err := f.files.Load()
	if err != nil {
		return nil, fmt.Errorf("--tls: %w", err)
	}
	return l.TLS, nil
}

// dataFlags say whose data a command works on.
type dataFlags struct{ file, data string }

func (f *dataFlags) register(cmd *cobra.Command) {
	configFlag(cmd, &f.file)
	cmd.Flags().StringVar(&f.data, "data", "", "the data directory; overrides the configuration")
}

func (f *dataFlags) config() (*config, error) {
	cfg, err := readConfig(f.file)
	if err == nil && f.data != "" {
		cfg.DataDir = f.data
	}
	return cfg, err
}

// dayFlags are those of commands that work on a business day.
type dayFlags struct {
	dataFlags
	date string
}

func (f *dayFlags) register(cmd *cobra.Command) {
	f.dataFlags.register(cmd)
	cmd.Flags().StringVar(&f.date, "date", "", "the business day as yyyy-mm-dd")
}

// read loads the configuration and reads the day, which must be given: none should be
// settled by default.
func (f *dayFlags) read() (*config, txn.Date, error) {
	day, err := readDay(f.date)
	if err != nil {
		return nil, 0, err
	}
	cfg, err := f.config()
	return cfg, day, err
}

// readDay reads --date, which must be given.
func readDay(date string) (txn.Date, error) {
	if date == "" {
		return 0, usage(errors.New("--date must say which business day"))
	}
	day, err := txn.ParseDate(date)
	if err != nil {
		return 0, usage(fmt.Errorf("--date: %w", err))
	}
	return day, nil
}

// rangeFlags are those of days.
func rangeFlags(cmd *cobra.Command, from, to *string) {
	cmd.Flags().StringVar(from, "from", "", "the first of several business days")
	cmd.Flags().StringVar(to, "to", "", "the last one; empty is the current")
}

// days reads one business day or a range of them, both included. Without any it
// is the current one.
func days(cfg *config, date, from, to string) (first, last txn.Date, err error) {
	if date != "" {
		if from != "" || to != "" {
			return 0, 0, usage(errors.New("--date is one day; --from and --to are for several"))
		}
		day, err := readDay(date)
		return day, day, err
	}
	zone, err := cfg.businessDay()
	if err != nil {
		return 0, 0, err
	}
	today := zone.Of(time.Now())
	read := func(flag, s string, d *txn.Date) {
		if *d = today; s != "" && err == nil {
			if *d, err = txn.ParseDate(s); err != nil {
				err = fmt.Errorf("--%s: %w", flag, err)
			}
		}
	}
	read("to", to, &last)
	if from == "" && to != "" {
		return 0, 0, usage(errors.New("--to needs --from, the first day"))
	}
	read("from", from, &first)
	if err == nil && first > last {
		err = fmt.Errorf("--from %s is after --to %s", first, last)
	}
	return first, last, usageIf(err)
}

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "the configuration file (default "+configFile+" if it exists, else what config init prints, without its issuer)")
}
