package collateral

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// ledgerForm names the form of the ledger's document.
const ledgerForm = "attestd.collateral-ledger.v1"

// maxLedger bounds the ledger in bytes; it has some 600 for each list.
const maxLedger = 4 << 20

// ledger is what the store remembers of everything it ever took: it is what does not go back.
type ledger struct {
	Form string `json:"form"`
	// Generation rises with each change.
	Generation uint64 `json:"generation"`
	// Machines rises with each change of the certificates of machines.
	Machines uint64 `json:"machines"`
	// Seed is drawn once for a folder: moments that should not be the same everywhere follow from it.
	Seed string `json:"seed"`
	// Lists has one row for each issuer and scope of revocation lists, also where the list is gone.
	Lists []listRow `json:"lists"`
	// Certificates of intermediate CAs, and of keys that sign documents.
	Certificates []certificateRow `json:"certificates"`
	// Documents has one row for each channel and subject, also where the document is gone. A folder that
	// never had one is written as before there were any.
	Documents []documentRow `json:"documents,omitempty"`
}

// listRow is the newest revocation list of one issuer and scope.
type listRow struct {
	Format attestd.Format `json:"format"`
	// Issuer is the SHA-256 of its SubjectPublicKeyInfo in hex, and IssuerName its common name. An issuer is
	// both (RFC 5280, section 6.3.3 goes by the name, and its key verifies).
	Issuer     string `json:"issuer"`
	IssuerName string `json:"issuer_name"`
	// Scope has the URIs of the list's distribution point; empty for a list of all certificates.
	Scope string `json:"scope"`
	// Number in hex, without leading zeros.
	Number string    `json:"number"`
	From   time.Time `json:"this_update"`
	Until  time.Time `json:"next_update"`
	// Body is the SHA-256 of what was signed, and SHA256 that of the whole list.
	Body    string    `json:"body_sha256"`
	SHA256  string    `json:"sha256"`
	Bytes   int       `json:"bytes"`
	Entries int       `json:"entries"`
	Source  string    `json:"source"`
	Taken   time.Time `json:"taken"`
}

// key tells lists apart that do not follow each other.
func (l listRow) key() string {
	return string(l.Format) + l.Issuer + l.IssuerName + "\x00" + l.Scope
}

// certificateRow is an intermediate CA.
type certificateRow struct {
	Format attestd.Format `json:"format"`
	Name   string         `json:"name"`
	From   time.Time      `json:"not_before"`
	Until  time.Time      `json:"not_after"`
	SHA256 string         `json:"sha256"`
	Source string         `json:"source"`
	Taken  time.Time      `json:"taken"`
}

// newLedger returns that of an empty store.
func newLedger() ledger {
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // never fails (crypto/rand)
	return ledger{
		Form: ledgerForm, Seed: hex.EncodeToString(seed[:]), Lists: []listRow{},
		Certificates: []certificateRow{},
	}
}

// readLedger reads the ledger of a folder, and makes one where the folder is new. A folder with objects
// and without a ledger has lost its floors, and is refused.
func (s *Store) readLedger() (ledger, error) {
	document, err := readFile(filepath.Join(s.folder, ledgerFile), maxLedger)
	if errors.Is(err, fs.ErrNotExist) {
		return ledger{}, errNoLedger
	}
	var read ledger
	if err == nil {
		err = strict.DecodeJSON(document, strict.JSONLimits{Bytes: maxLedger, Depth: 4}, &read)
	}
	if err == nil {
		err = read.check()
	}
	if err != nil {
		return ledger{}, damaged(fmt.Errorf("the ledger cannot be read: %w", err))
	}
	return read, nil
}

var errNoLedger = errors.New("no ledger")

// damaged is what a person has to mend.
func damaged(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig,
		Hint: "restore the collateral folder from a backup; or move it away, make it anew and import again " +
			"(which forgets how far the lists had come)",
		Err: err,
	}
}

// check refuses a ledger that this package would not have written.
func (l *ledger) check() error {
	if l.Form != ledgerForm {
		return fmt.Errorf("form %q, want %q", attestd.Excerpt(l.Form, 40), ledgerForm)
	}
	if seed, err := hex.DecodeString(l.Seed); err != nil || len(seed) != 16 {
		return errors.New("its seed is none")
	}
	seen := map[string]bool{}
	for _, row := range l.Lists {
		key := row.key()
		switch {
		case !isDigest(row.Issuer) || !isDigest(row.SHA256) || !isDigest(row.Body):
			return errors.New("a list without digests")
		case !isNumber(row.Number):
			return errors.New("a list with a number that is none")
		case row.Format == "" || row.From.IsZero() || row.Until.IsZero() || seen[key]:
			return errors.New("a list without dates, or twice")
		}
		seen[key] = true
	}
	for _, row := range l.Documents {
		if err := row.check(); err != nil {
			return err
		}
		if seen[row.key()] {
			return errors.New("a document twice")
		}
		seen[row.key()] = true
	}
	for _, row := range l.Certificates {
		if !isDigest(row.SHA256) || row.Format == "" || seen[row.SHA256] {
			return errors.New("a certificate without a digest, or twice")
		}
		seen[row.SHA256] = true
	}
	return nil
}

// isNumber says whether a text is the number of a list as rows have it.
func isNumber(text string) bool {
	number, err := hex.DecodeString(text)
	return err == nil && len(number) <= maxNumber && (len(number) == 0 || number[0] != 0)
}

func isDigest(text string) bool {
	digest, err := hex.DecodeString(text)
	return err == nil && len(digest) == 32 && strings.ToLower(text) == text
}

// writeLedger puts the next ledger in place.
func (s *Store) writeLedger(next ledger) error {
	next.Generation++
	slices.SortFunc(next.Lists, func(a, b listRow) int {
		return strings.Compare(string(a.Format)+a.IssuerName+a.Issuer+a.Scope,
			string(b.Format)+b.IssuerName+b.Issuer+b.Scope)
	})
	slices.SortFunc(next.Certificates, func(a, b certificateRow) int {
		return strings.Compare(string(a.Format)+a.Name+a.SHA256, string(b.Format)+b.Name+b.SHA256)
	})
	slices.SortFunc(next.Documents, func(a, b documentRow) int { return strings.Compare(a.key(), b.key()) })
	if err := next.check(); err != nil { // what cannot be read again must never be put in place
		return fmt.Errorf("the next ledger: %w", err)
	}
	document, err := json.MarshalIndent(next, "", " ")
	if err != nil {
		return err
	}
	if len(document) > maxLedger {
		return tooMuch("the ledger would have %d bytes, want at most %d", len(document), maxLedger)
	}
	return writeWhole(filepath.Join(s.folder, ledgerFile), append(document, '\n'))
}

func tooMuch(format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassTooLarge, Hint: "keep less: attestd collateral ls shows what is held",
		Err: fmt.Errorf(format, args...),
	}
}

// Endings of the files of objects.
const (
	derFile  = ".der"
	jsonFile = ".json"
)

// object is where an object lies.
func (s *Store) object(name string) string { return filepath.Join(s.folder, objectsFolder, name) }

// file is where the object of a row lies.
func (l listRow) file() string { return l.SHA256 + derFile }

func (c certificateRow) file() string { return c.SHA256 + derFile }

// clearObjects removes objects that no row names, of which a reader of the ledger before has had time.
func (s *Store) clearObjects(kept ledger) {
	named := map[string]bool{}
	for _, row := range kept.Lists {
		named[row.file()] = true
	}
	for _, row := range kept.Certificates {
		named[row.file()] = true
	}
	for _, row := range kept.Documents {
		named[row.file()] = true
	}
	folder := filepath.Join(s.folder, objectsFolder)
	entries, _ := os.ReadDir(folder)
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && !named[entry.Name()] && time.Since(info.ModTime()) > time.Minute {
			_ = os.Remove(filepath.Join(folder, entry.Name()))
		}
	}
	sweep(folder)
	sweep(s.folder)
}
