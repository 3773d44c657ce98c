package settlement

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The files of an archived day: one for each of ledger.DayTables, what they come to,
// and the manifest. A table's file is CSV, compressed: a head of columns with their
// types, then a row a line, by journal position. Two archives of the same rows have
// the same content.
const (
	archiveFile   = "archive.json"
	archiveFormat = 1
)

func tableFile(table string) string { return table + ".csv.gz" }

// archiveIndex says what the files of a day must come to.
type archiveIndex struct {
	Format int           `json:"format"`
	Date   string        `json:"business_date"`
	Tables []tableDigest `json:"tables"`
}

type tableDigest struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"` // of the content, not compressed
}

// ArchiveInput is what ArchiveDay and RestoreDay work on.
type ArchiveInput struct {
	Ledger *ledger.Ledger
	Dir    string // with a directory for each day
	Day    txn.Date
	Now    time.Time

	step func(string) error // see RunInput
}

// ArchiveDay writes the rows of a settled business day into files, reads these back,
// and only then removes the rows. It may be called any number of times, and after a
// kill at any point.
//
//	step       durable by           killed before it                 killed after it
//	files      fsync, hidden        written anew                     written anew
//	published  rename               no file is seen                  compared, and kept if they are the same
//	noted      a row of archived    all rows are in the ledger       the rows are removed by the next call
//	removed    the row of archived  some rows may be in the ledger   all are in files only
//
// What is stored of the day later, such as a reversal that took a month, stays in
// the ledger. An approval.Refusal changes nothing.
func ArchiveDay(ctx context.Context, in ArchiveInput) (*ledger.ArchivedDay, error) {
	if in.step == nil {
		in.step = func(string) error { return nil }
	}
	unlock, err := lockRuns(ctx, in.Dir)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", in.Day, err)
	}
	defer unlock()
	d, err := in.archive(ctx)
	if err != nil && !errors.As(err, new(approval.Refusal)) {
		err = fmt.Errorf("archive %s: %w", in.Day, err)
	}
	return d, err
}

func (in *ArchiveInput) archive(ctx context.Context) (*ledger.ArchivedDay, error) {
	known, err := in.Ledger.Archived(ctx, in.Day, in.Day)
	if err != nil {
		return nil, err
	}
	if len(known) > 0 {
		d := &known[0]
		if d.State == ledger.Removing {
			err = in.remove(ctx, d)
		}
		return d, err
	}
	d := &ledger.ArchivedDay{Day: in.Day, At: in.Now.UTC().Truncate(time.Microsecond)}
	if d.First, d.Last, err = in.Ledger.DayBounds(ctx, in.Day); err != nil {
		return nil, err
	}
	if d.Last == 0 {
		return nil, refuse("%s cannot be archived: it has no transactions", in.Day)
	}
	if err := in.over(ctx, d.Last); err != nil {
		return nil, err
	}
	if err := in.Ledger.MayRemove(ctx); err != nil {
		return nil, err
	}
	final := filepath.Join(in.Dir, in.Day.String())
	hidden := filepath.Join(in.Dir, "."+in.Day.String())
	index, err := in.write(ctx, hidden, d)
	if err != nil {
		return nil, err
	}
	if d.Manifest, err = writeArchiveManifest(hidden); err != nil {
		return nil, err
	}
	if err := in.step("files"); err != nil {
		return nil, err
	}
	if err := publish(hidden, final, d.Manifest); err != nil {
		return nil, err
	}
	if err := in.step("published"); err != nil {
		return nil, err
	}
	// Nothing is removed unless what is on the disk says all that the rows said.
	if err := verifyArchive(final, d.Manifest, index); err != nil {
		return nil, err
	}
	return d, in.remove(ctx, d)
}

func (in *ArchiveInput) remove(ctx context.Context, d *ledger.ArchivedDay) error {
	if !intact(filepath.Join(in.Dir, d.Day.String()), d.Manifest) {
		return fmt.Errorf("the files in %s are not what was written: put them back; rows are still in the ledger", filepath.Join(in.Dir, d.Day.String()))
	}
	if err := in.step("noted"); err != nil {
		return err
	}
	return in.Ledger.Remove(ctx, d)
}

// over refuses a day that something is still to be made of: its rows must be covered
// by a run that has ended, and nothing may be owed about them.
func (in *ArchiveInput) over(ctx context.Context, last uint64) error {
	runs, err := in.Ledger.Runs(ctx)
	if err != nil {
		return err
	}
	covered := false
	for i := range runs {
		covered = covered || runs[i].State == ledger.RunDone && runs[i].Day >= in.Day && runs[i].Position >= last
	}
	if !covered {
		return refuse("%s cannot be archived: no run that has ended covers all of it; settle it, and what came late with the day after", in.Day)
	}
	open, err := in.Ledger.OpenReversals(ctx)
	if err != nil {
		return err
	}
	for _, e := range open {
		if e.Rec.Day == in.Day {
			return refuse("%s cannot be archived: its transaction %s owes its issuer a reversal or an advice", in.Day, e.Rec.ID)
		}
	}
	return nil
}

// write writes the tables of the day and their index.
func (in *ArchiveInput) write(ctx context.Context, dir string, d *ledger.ArchivedDay) (*archiveIndex, error) {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, err
	}
	index := &archiveIndex{Format: archiveFormat, Date: in.Day.String()}
	err := in.Ledger.Read(ctx, func(s *ledger.Snapshot) error {
		for _, table := range ledger.DayTables {
			t := tableDigest{Table: table}
			err := writeFile(filepath.Join(dir, tableFile(table)), func(f io.Writer) error {
				z, sum := gzip.NewWriter(f), sha256.New()
				w := csv.NewWriter(io.MultiWriter(z, sum))
				var line []string
				err := s.DayRows(ctx, table, in.Day, d.First, d.Last, func(head []string, row []sql.RawBytes) error {
					if row == nil {
						return w.Write(head)
					}
					line = line[:0]
					for _, v := range row {
						line = append(line, string(v))
					}
					t.Rows++
					return w.Write(line)
				})
				w.Flush()
				err = errors.Join(err, w.Error(), z.Close())
				t.SHA256 = hex.EncodeToString(sum.Sum(nil))
				return err
			})
			if err != nil {
				return err
			}
			index.Tables = append(index.Tables, t)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.Txns = index.Tables[0].Rows
	return index, writeFile(filepath.Join(dir, archiveFile), func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(index)
	})
}

// writeFile makes a file, durable when it returns.
func writeFile(path string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	if err := errors.Join(fill(w), w.Flush(), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeArchiveManifest writes the hashes of the files of a directory, and returns
// its own.
func writeArchiveManifest(dir string) (string, error) {
	manifest := ""
	for _, name := range archiveNames() {
		sum, err := fileSum(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		manifest += sum + "  " + name + "\n"
	}
	err := writeFile(filepath.Join(dir, manifestName), func(w io.Writer) error {
		_, err := io.WriteString(w, manifest)
		return err
	})
	return sumOf([]byte(manifest)), errors.Join(err, syncDir(dir))
}

func archiveNames() []string {
	names := []string{archiveFile}
	for _, table := range ledger.DayTables {
		names = append(names, tableFile(table))
	}
	return names
}

// verifyArchive reads the files of a day back: by the manifest, unless it is empty,
// and by what their content must come to.
func verifyArchive(dir, manifest string, index *archiveIndex) error {
	if manifest != "" && !intact(dir, manifest) {
		return fmt.Errorf("the files in %s are not those of their manifest", dir)
	}
	for i := range index.Tables {
		t := &index.Tables[i]
		got, err := readTable(dir, t.Table, func([]string, []string) error { return nil })
		if err != nil {
			return err
		}
		if got != *t {
			return fmt.Errorf("%s has %d rows with the hash %s, it should be %d with %s", filepath.Join(dir, tableFile(t.Table)), got.Rows, got.SHA256, t.Rows, t.SHA256)
		}
	}
	return nil
}

// readTable calls fn with the rows of a table's file, and returns what they come to.
func readTable(dir, table string, fn func(head, row []string) error) (tableDigest, error) {
	t := tableDigest{Table: table}
	path := filepath.Join(dir, tableFile(table))
	f, err := os.Open(path)
	if err != nil {
		return t, err
	}
	defer f.Close()
	sum := sha256.New()
	err = readRows(bufio.NewReaderSize(f, 1<<16), sum, &t.Rows, fn)
	if t.SHA256 = hex.EncodeToString(sum.Sum(nil)); err != nil {
		err = fmt.Errorf("read %s: %w", path, err)
	}
	return t, err
}

// archiveColumnsMax and archiveRowMax bound what one row of a table's file has.
const (
	archiveColumnsMax = 200
	archiveRowMax     = 64 << 10
)

func readRows(in io.Reader, sum hash.Hash, n *int64, fn func(head, row []string) error) error {
	z, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	b := &bounded{in: io.TeeReader(z, sum)}
	r := csv.NewReader(b)
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return err
	}
	if len(head) > archiveColumnsMax {
		return fmt.Errorf("it has %d columns, at most %d are read", len(head), archiveColumnsMax)
	}
	head = slices.Clone(head)
	for {
		b.left = archiveRowMax
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = fn(head, row)
		}
		if err != nil {
			return err
		}
		*n++
	}
}

// bounded fails when one row takes more bytes than it may, so that a file of one
// endless line is not read into memory.
type bounded struct {
	in   io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errors.New("a row is longer than " + strconv.Itoa(archiveRowMax) + " bytes")
	}
	n, err := b.in.Read(p[:min(len(p), 4096)])
	b.left -= n
	return n, err
}

// RestoreDay puts the rows of an archived day into a ledger, as they were: into the
// one that they were removed from, or another one. All arrive or none. The files are
// verified first, and stay. A day that is not in files is an approval.Refusal.
func RestoreDay(ctx context.Context, in ArchiveInput) (rows int64, err error) {
	dir := filepath.Join(in.Dir, in.Day.String())
	fail := func(err error) (int64, error) {
		return 0, fmt.Errorf("restore %s: %w", in.Day, err)
	}
	known, err := in.Ledger.Archived(ctx, in.Day, in.Day)
	if err != nil {
		return fail(err)
	}
	index, err := readArchive(dir)
	if errors.Is(err, os.ErrNotExist) && (len(known) == 0 || known[0].State == ledger.Purged) {
		return 0, refuse("%s is not in files; acqswitch ledger archived lists the days that are", in.Day)
	}
	if err != nil {
		return fail(err)
	}
	if index.Date != in.Day.String() {
		return fail(fmt.Errorf("the files in %s are of %s", dir, index.Date))
	}
	manifest := ""
	if len(known) > 0 {
		manifest = known[0].Manifest
	}
	if err := verifyArchive(dir, manifest, index); err != nil {
		return fail(err)
	}
	err = in.Ledger.Restore(ctx, in.Day, func(put func(table string, head, row []string) error) error {
		for i := range index.Tables {
			t := &index.Tables[i]
			var refused error // by the ledger: it says nothing about the file
			got, err := readTable(dir, t.Table, func(head, row []string) error {
				refused = put(t.Table, head, row)
				return refused
			})
			if err := cmp.Or(refused, err); err != nil {
				return err
			}
			if got != *t {
				return fmt.Errorf("%s changed while it was read", filepath.Join(dir, tableFile(t.Table)))
			}
			rows += t.Rows
		}
		return nil
	})
	if errors.Is(err, ledger.ErrDayIsHere) {
		return 0, refuse("%s cannot be restored: %v", in.Day, ledger.ErrDayIsHere)
	}
	return rows, err
}

// readArchive reads the index of a day's files, whose manifest must be true.
func readArchive(dir string) (*archiveIndex, error) {
	manifest, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, err
	}
	if !intact(dir, sumOf(manifest)) {
		return nil, fmt.Errorf("the files in %s are not those of their manifest", dir)
	}
	text, err := os.ReadFile(filepath.Join(dir, archiveFile))
	if err != nil {
		return nil, err
	}
	var index archiveIndex
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, archiveFile), err)
	}
	if index.Format != archiveFormat {
		return nil, fmt.Errorf("%s is of format %d, this version reads %d", filepath.Join(dir, archiveFile), index.Format, archiveFormat)
	}
	for _, t := range index.Tables {
		if !slices.Contains(ledger.DayTables, t.Table) {
			return nil, fmt.Errorf("%s has a table %q", filepath.Join(dir, archiveFile), t.Table)
		}
	}
	return &index, nil
}

// PurgeDay removes the files of an archived day for ever, and then notes it: after a
// kill another call removes what is left. Their directory goes last: where it is not
// there, nobody knows that they are removed, and that is an approval.Refusal.
func PurgeDay(ctx context.Context, in ArchiveInput) error {
	if in.step == nil {
		in.step = func(string) error { return nil }
	}
	unlock, err := lockRuns(ctx, in.Dir)
	if err != nil {
		return fmt.Errorf("purge %s: %w", in.Day, err)
	}
	defer unlock()
	if err := in.Ledger.MayRemove(ctx); err != nil { // then it could not be noted
		return fmt.Errorf("purge %s: %w", in.Day, err)
	}
	days, err := in.Ledger.Archived(ctx, in.Day, in.Day)
	if err != nil {
		return fmt.Errorf("purge %s: %w", in.Day, err)
	}
	if len(days) == 0 || days[0].State != ledger.Removed { // restored since the caller looked
		return refuse("%s cannot be purged: its transactions are not in files only", in.Day)
	}
	dir := filepath.Join(in.Dir, in.Day.String())
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return refuse("%s cannot be purged: there is no %s; is the archive's disk mounted? Where its files are lost, make it, empty", in.Day, dir)
	}
	for _, f := range files {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, f.Name())))
	}
	if err := errors.Join(err, syncDir(dir)); err != nil {
		return fmt.Errorf("purge %s: %w", in.Day, err)
	}
	if err := in.step("removed"); err != nil {
		return err
	}
	if err := in.Ledger.Purged(ctx, in.Day); err != nil {
		return err
	}
	return os.Remove(dir) // a kill before it leaves an empty directory
}

// NotArchived refuses a range of days if the transactions of one of them are in files
// only.
func NotArchived(ctx context.Context, l *ledger.Ledger, from, to txn.Date) error {
	days, err := l.Archived(ctx, from, to)
	if err != nil || len(days) == 0 {
		return err
	}
	d := &days[0]
	switch {
	case len(days) > 1:
		return refuse("%d business days from %s to %s are archived: their transactions are not in the ledger; acqswitch ledger restore brings one back", len(days), d.Day, days[len(days)-1].Day)
	case d.State == ledger.Purged:
		return refuse("%s was archived, and its files were removed when their time was over", d.Day)
	}
	return refuse("%s is archived: its transactions are not in the ledger; acqswitch ledger restore %s brings them back", d.Day, d.Day)
}
