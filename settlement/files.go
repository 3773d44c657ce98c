package settlement

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/sheet"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The files of a run, in the order of its manifest.
const (
	agenciesFile   = "agencies.csv"
	batchesFile    = "batches.csv"
	binsFile       = "bins.csv"
	calendarFile   = "calendar.yaml"
	entriesFile    = "entries.csv"
	exceptionsFile = "exceptions.csv"
	feesFile       = "fees.yaml"
	generalFile    = "general-ledger.csv"
	painFile       = "pain.001.xml" // only if something is paid
	payoutsFile    = "payouts.csv"
	termsFile      = "payouts.yaml"
	positionsFile  = "positions.csv"
	proofFile      = "proof.csv"
	statementsFile = "statements.csv" // and statements-001.html and so on
	terminalsFile  = "terminals.csv"

	// manifestName has the form of sha256sum, so `sha256sum -c` checks the files
	// and the manifest of the run before, which stands first.
	manifestName = "SHA256SUMS"
)

var fileNames = [...]string{agenciesFile, batchesFile, binsFile, calendarFile, entriesFile, exceptionsFile, feesFile, generalFile, painFile, payoutsFile, termsFile,
	positionsFile, proofFile, statementsFile, terminalsFile}

// files are the files of one run while they are written, in a hidden folder
// beside the one they get. The zero value writes nothing.
type files struct {
	dir, final string
	open       map[string]*output
	step       func(string) error
	err        error // the first
}

type output struct {
	f   *os.File
	sum hash.Hash
	buf *bufio.Writer
	csv *sheet.Writer
}

// createFiles begins the files of a run. What a killed run left is removed.
func createFiles(final string, step func(string) error) (*files, error) {
	out := &files{dir: filepath.Join(filepath.Dir(final), "."+filepath.Base(final)), final: final, open: map[string]*output{}, step: step}
	if err := os.RemoveAll(out.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out.dir, 0o700); err != nil {
		return nil, err
	}
	for _, name := range fileNames {
		if out.create(name); out.err != nil {
			return nil, errors.Join(out.err, out.close())
		}
	}
	return out, nil
}

// create adds a file; nil if it cannot be made, and the error is kept.
func (out *files) create(name string) *bufio.Writer {
	f, err := os.OpenFile(filepath.Join(out.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		if out.err == nil {
			out.err = err
		}
		return nil
	}
	o := &output{f: f, sum: sha256.New()}
	o.buf = bufio.NewWriterSize(io.MultiWriter(f, o.sum), 1<<16)
	o.csv = sheet.NewWriter(o.buf)
	out.open[name] = o
	return o.buf
}

// writing says whether there are files to write at all.
func (out *files) writing() bool { return out.open != nil }

// writer is a file to write to; nil if none are written.
func (out *files) writer(name string) io.Writer {
	if o := out.open[name]; o != nil {
		return o.buf
	}
	return nil
}

// line adds a line to a file; the error is kept.
func (out *files) line(name string, fields ...string) {
	if o := out.open[name]; o != nil && out.err == nil {
		out.err = o.csv.Write(fields)
	}
}

// close closes what is open. The folder of a run that failed stays for the next
// one to remove.
func (out *files) close() (err error) {
	for _, o := range out.open {
		err = errors.Join(err, o.f.Close())
	}
	out.open = nil
	return err
}

// finish adds what the run was priced and paid by, makes all files durable and
// writes their manifest behind the line of the run before. Files with nothing in
// them are left out. It returns the manifest's hash.
func (out *files) finish(s *fee.Schedule, t *payout.Terms, prior string) (string, error) {
	defer out.close()
	for name, text := range map[string][]byte{feesFile: s.Plans(), binsFile: s.BINs(), termsFile: t.Text(), calendarFile: t.CalendarText()} {
		if _, err := out.open[name].buf.Write(text); err != nil {
			return "", fmt.Errorf("write %s: %w", name, err)
		}
	}
	manifest := prior
	for _, name := range sortedKeys(out.open) {
		o := out.open[name]
		if err := errors.Join(out.err, o.csv.Flush(), o.buf.Flush(), o.f.Sync()); err != nil {
			return "", fmt.Errorf("write %s: %w", name, err)
		}
		size, err := o.f.Seek(0, io.SeekEnd)
		if err == nil && size == 0 {
			err = os.Remove(o.f.Name())
		}
		if err != nil {
			return "", fmt.Errorf("write %s: %w", name, err)
		}
		if size == 0 {
			continue
		}
		manifest += fmt.Sprintf("%x  %s\n", o.sum.Sum(nil), name)
		if err := out.step("file " + name); err != nil {
			return "", err
		}
	}
	f, err := os.OpenFile(filepath.Join(out.dir, manifestName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(manifest)
	if err := errors.Join(err, f.Sync(), f.Close(), syncDir(out.dir)); err != nil {
		return "", fmt.Errorf("write %s: %w", manifestName, err)
	}
	if err := out.step("file " + manifestName); err != nil {
		return "", err
	}
	return sumOf([]byte(manifest)), nil
}

// publish gives a hidden folder its name. One that is there already with other
// content is put aside, for people: somebody changed a file.
func publish(hidden, final, manifest string) error {
	if intact(final, manifest) { // killed after the rename
		return os.RemoveAll(hidden)
	}
	if _, err := os.Lstat(final); err == nil {
		aside := final + ".changed"
		for n := 2; ; n++ {
			if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
				break
			}
			aside = fmt.Sprintf("%s.changed-%d", final, n)
		}
		if err := os.Rename(final, aside); err != nil {
			return err
		}
	}
	if err := os.Rename(hidden, final); err != nil {
		return err
	}
	return syncDir(filepath.Dir(final))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// FileSum is a file and the SHA-256 of its content.
type FileSum struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// intact says that a folder has the manifest of a hash and the files it lists.
func intact(dir, manifest string) bool {
	listed, err := readManifest(dir, manifest)
	if err != nil {
		return false
	}
	for _, f := range listed {
		if strings.HasPrefix(f.Name, "../") {
			continue // another run's
		}
		if got, err := fileSum(filepath.Join(dir, f.Name)); err != nil || got != f.SHA256 {
			return false
		}
	}
	return true
}

func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readManifest reads the manifest of a hash.
func readManifest(dir, manifest string) ([]FileSum, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, err
	}
	if got := sumOf(b); got != manifest {
		return nil, fmt.Errorf("%s has the hash %s, it should be %s", filepath.Join(dir, manifestName), got, manifest)
	}
	var listed []FileSum
	for line := range bytes.Lines(b) {
		sum, name, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), "  ")
		listed = append(listed, FileSum{name, sum})
	}
	return listed, nil
}

// majorUnits is an amount as finance writes it, without its currency.
func majorUnits(minor int64, c txn.Currency) string {
	return txn.Amount{Minor: minor, Currency: c}.Major()
}

// six is a batch or trace number.
func six(n uint32) string {
	s := strconv.FormatUint(uint64(n), 10)
	return "000000"[:max(0, 6-len(s))] + s
}
