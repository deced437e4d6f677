package collateral_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
)

// copyFolder copies a store's folder, as a backup does.
func copyFolder(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = os.Chmod(path, 0o700) //nolint:gosec // a folder
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func demandBehind(t testing.TB, err error, words string) {
	t.Helper()
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || caller.Hint == "" ||
		!strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want a CONFIG error that says %q", err, words)
	}
}

// TestAnOlderFolderIsNotTakenUp: with it every floor goes down, and revoked keys come back.
func TestAnOlderFolderIsNotTakenUp(t *testing.T) {
	s := newScene(t)
	amd := made(t, milan)
	copied := filepath.Join(t.TempDir(), "copy")
	list := func(number int64) []byte {
		return s.crl(amd, forge.AMDCRLConfig{Number: number, At: forge.AMDTime.Add(time.Duration(number) * time.Hour)})
	}
	s.now = forge.AMDTime.AddDate(0, 1, 0)
	empty := filepath.Join(t.TempDir(), "empty")
	copyFolder(t, s.folder, empty)
	s.take(list(5))
	copyFolder(t, s.folder, copied)
	record := filepath.Join(t.TempDir(), "collateral.floors")
	if err := s.store.Witness(record); err != nil {
		t.Fatal(err)
	}
	s.take(list(6))
	before := s.setsOf(s.store)

	demandStill := func(words string) {
		t.Helper()
		_, err := s.store.Changed()
		demandBehind(t, err, words)
		_, err = s.store.Import(t.Context(), [][]byte{list(5)}, "test")
		demandBehind(t, err, words)
		if after := s.setsOf(s.store); after != before {
			t.Errorf("the older folder is given out")
		}
		// The next process knows it from the record alone.
		demandBehind(t, s.open().Witness(record), words)
	}
	newest := filepath.Join(t.TempDir(), "newest")
	copyFolder(t, s.folder, newest)
	copyFolder(t, copied, s.folder)
	demandStill("number 5, and 6 was seen")
	copyFolder(t, empty, s.folder)
	demandStill("no list any more")
	// Another way to the same generation: it is the content that counts.
	copyFolder(t, copied, s.folder)
	if _, err := s.open().Import(t.Context(), [][]byte{s.crl(made(t, genoa), forge.AMDCRLConfig{Number: 9})}, "test"); err != nil {
		t.Fatal(err)
	}
	demandStill("number 5, and 6 was seen")

	copyFolder(t, newest, s.folder)
	if change, err := s.store.Changed(); err != nil || change.Any() {
		t.Errorf("the newest copy: %v, %v", change, err)
	}
	other := s.open()
	if err := other.Witness(record); err != nil {
		t.Errorf("the newest copy: %v", err)
	}
	// It is kept from then on, also of what another process took.
	s.take(list(7))
	if _, err := other.Changed(); err != nil {
		t.Fatal(err)
	}
	copyFolder(t, newest, s.folder)
	demandBehind(t, s.open().Witness(record), "number 6, and 7 was seen")
}

func TestARecordThatCannotBeReadOrWrittenIsTold(t *testing.T) {
	s := newScene(t)
	s.take(s.crl(made(t, milan), forge.AMDCRLConfig{Number: 5}))
	folder := t.TempDir()
	record := filepath.Join(folder, "collateral.floors")
	for _, content := range []string{"", "{}", `{"form":"attestd.collateral-floors.v1","lists":[{}]}`} {
		if err := os.WriteFile(record, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		demandBehind(t, s.open().Witness(record), "cannot be read")
	}
	if err := s.open().Witness(filepath.Join(folder, "nowhere", "record")); err == nil {
		t.Error("a record that cannot be written is none")
	}
}

// TestAFolderIsItsOwners: whoever owns it can take it from under us, and what root writes there its owner
// cannot read.
func TestAFolderIsItsOwners(t *testing.T) {
	folder := "/" // root's
	if os.Geteuid() == 0 {
		folder = filepath.Join(t.TempDir(), "collateral")
		if err := errors.Join(os.Mkdir(folder, 0o700), os.Chown(folder, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := collateral.Open(folder, time.Now)
	demandBehind(t, err, "belongs to")
}
