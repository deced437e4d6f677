package collateral

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral/set"
)

// cachedMachines bounds the certificates of machines that are kept in memory, each of some 1.5 KB.
const cachedMachines = 4096

// Store is a folder of collateral. It is safe for concurrent use, and several processes may have the
// folder open: what one of them takes the others see when they next call [Store.Changed].
type Store struct {
	folder string
	now    func() time.Time
	pinned []*issuer

	machines *lru.Cache[string, []byte]
	asking   *asking

	mu       sync.Mutex
	ledger   ledger
	issuers  []*issuer
	sets     map[attestd.Format]set.Set
	unusable map[string]error // by digest: held, and not given out
	channel  Channel          // of documents, that are given out
	// seen is how far the lists had come, by issuer and scope; witness is where that is kept too.
	seen     map[string]listRow
	seenDocs map[string]documentRow
	witness  string
}

// Open opens the store in a folder and makes it where there is none. now is the clock that validity is
// judged by. insecure are further roots that collateral may be signed under, as verifiers have them
// from verify.insecure_roots; none in production.
//
// Errors: a *attestd.CallerError of class CONFIG where the folder is open to others, or its ledger is
// missing or damaged: then nothing tells an older list from the newest.
func Open(folder string, now func() time.Time, insecure ...*x509.Certificate) (*Store, error) {
	pinned, err := pinnedIssuers(insecure)
	if err != nil {
		return nil, err
	}
	machines, err := lru.New[string, []byte](cachedMachines)
	if err != nil {
		return nil, err
	}
	s := &Store{
		folder: folder, now: now, pinned: pinned, machines: machines, asking: newAsking(), channel: Standard,
		seen: map[string]listRow{}, seenDocs: map[string]documentRow{},
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, unfit(err, "name a folder that this user can make")
	}
	if err := checkPrivate(folder); err != nil {
		return nil, err
	}
	if err := s.create(); err != nil {
		return nil, err
	}
	return s, s.load()
}

func unfit(err error, hint string) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}

// create makes what a new folder needs. The ledger is there before the first object, so that a folder
// with objects and without a ledger is one that lost it.
func (s *Store) create() error {
	if _, err := s.readLedger(); !errors.Is(err, errNoLedger) {
		return err
	}
	unlock, err := s.lock(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.readLedger(); !errors.Is(err, errNoLedger) {
		return err
	}
	if _, err := os.Lstat(filepath.Join(s.folder, objectsFolder)); err == nil {
		return damaged(fmt.Errorf("%s has objects and no %s", s.folder, ledgerFile))
	}
	if err := s.writeLedger(newLedger()); err != nil {
		return err
	}
	folders := []string{objectsFolder, wantedFolder, machineFolder}
	for _, line := range lines {
		folders = append(folders, filepath.Join(machineFolder, line, string(VCEK)),
			filepath.Join(machineFolder, line, string(VLEK)))
	}
	for _, name := range folders {
		if err := os.MkdirAll(filepath.Join(s.folder, name), 0o700); err != nil {
			return err
		}
	}
	return syncFolder(s.folder)
}

// load reads the folder. Objects are verified again: the disk is not asked to be honest.
func (s *Store) load() error {
	// A writer may put a newer ledger in place and remove what the one before named.
	for range 3 {
		read, err := s.readLedger()
		if err != nil {
			if errors.Is(err, errNoLedger) {
				err = damaged(fmt.Errorf("%s has no %s any more", s.folder, ledgerFile))
			}
			return err
		}
		view := s.assemble(read)
		if again, err := s.readLedger(); err == nil && again.Generation == read.Generation {
			return s.show(view)
		}
	}
	return &attestd.CallerError{
		Class: attestd.ClassCollateralUnavailable, Hint: "try again",
		Err: errors.New("the collateral folder changes all the time"),
	}
}

// view is what a ledger and its objects come to.
type view struct {
	ledger   ledger
	issuers  []*issuer
	sets     map[attestd.Format]set.Set
	unusable map[string]error
	at       time.Time
	channel  Channel
}

// assemble verifies what the ledger names and makes the sets.
func (s *Store) assemble(read ledger) view {
	v := view{
		ledger: read, issuers: slices.Clone(s.pinned), sets: map[attestd.Format]set.Set{},
		unusable: map[string]error{}, at: s.now(), channel: s.following(),
	}
	pending := slices.Clone(read.Certificates)
	for range maxPath { // a chain's certificates stand in the order of their names
		var left []certificateRow
		for _, row := range pending {
			der, err := s.readObject(row.file(), maxCertificate)
			if err == nil {
				err = v.addCA(row, der)
			}
			if v.unusable[row.SHA256] = err; err != nil {
				left = append(left, row)
			}
		}
		if pending = left; len(left) == 0 {
			break
		}
	}
	for _, row := range read.Lists {
		der, err := s.readObject(row.file(), maxList)
		if err == nil {
			err = v.addList(row, der)
		}
		v.unusable[row.SHA256] = err
		v.addFloor(row)
	}
	for _, row := range read.Documents {
		document, err := s.readObject(row.file(), maxJSON)
		if err == nil {
			err = v.addDocument(row, document)
		}
		v.unusable[row.SHA256] = err
		v.addDocumentFloor(row)
	}
	v.shareAWS()
	v.compose()
	maps.DeleteFunc(v.unusable, func(_ string, err error) bool { return err == nil })
	return v
}

func (v *view) addCA(row certificateRow, der []byte) error {
	// When it was taken it was valid. That it is not any more is told by Health and found by verifiers.
	found, err := authenticCA(v.issuers, der, row.Taken)
	if err != nil {
		return err
	}
	if found.issuer.format != row.Format {
		return errors.New("it belongs to another format now")
	}
	v.issuers = append(v.issuers, found.issuer)
	if retired(row.Format, row.Until, v.at) {
		return nil
	}
	of := v.sets[row.Format]
	of.Certificates = append(of.Certificates, der)
	v.sets[row.Format] = of
	return nil
}

func (v *view) addList(row listRow, der []byte) error {
	found, err := authenticList(v.issuers, der, row.Taken)
	if err != nil {
		return err
	}
	if found.row.Body != row.Body || found.row.Issuer != row.Issuer || found.row.Scope != row.Scope ||
		found.row.Format != row.Format {
		return errors.New("it is not the list that was taken")
	}
	if v.retiredIssuer(row) {
		return nil
	}
	of := v.sets[row.Format]
	of.CRLs = append(of.CRLs, der)
	v.sets[row.Format] = of
	return nil
}

// addFloor says how far an issuer's lists had come. Floors have no scope: those of partitioned lists are
// kept by the store alone.
func (v *view) addFloor(row listRow) {
	issuer, err := hex.DecodeString(row.Issuer)
	number, bad := hex.DecodeString(row.Number)
	if err != nil || bad != nil || row.Scope != "" || v.retiredIssuer(row) {
		return
	}
	of := v.sets[row.Format]
	of.Floors = append(of.Floors, attestd.CRLFloor{Issuer: [32]byte(issuer), Number: number})
	v.sets[row.Format] = of
	if row.Format == attestd.FormatTDX {
		v.raise(row.Format, listFloor(row))
	}
}

// show makes a view the current one.
func (s *Store) show(v view) error {
	for format, of := range v.sets {
		if _, err := of.Marshal(); err != nil {
			return tooMuch("the collateral of %s: %w", format, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.witnessed(v.ledger); err != nil {
		return err
	}
	if v.ledger.Machines != s.ledger.Machines {
		s.machines.Purge()
	}
	s.ledger, s.issuers, s.sets, s.unusable = v.ledger, v.issuers, v.sets, v.unusable
	return nil
}

// readObject reads an object and demands that it is the one of that name.
func (s *Store) readObject(name string, limit int64) ([]byte, error) {
	der, err := readFile(s.object(name), limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("its file is gone")
	case err != nil:
		return nil, err
	}
	digest, _, _ := strings.Cut(name, ".")
	if got := sha256.Sum256(der); hex.EncodeToString(got[:]) != digest {
		return nil, errors.New("its file was changed")
	}
	return der, nil
}

// Sets returns what judges of each format need: intermediate CAs, revocation lists, documents, and floors,
// the latter also where the list or document itself is gone. It is what the last Open, Import or Changed found; the
// certificates of machines are not in it. A format without collateral has no entry.
func (s *Store) Sets() map[attestd.Format]set.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[attestd.Format]set.Set, len(s.sets))
	for format, of := range s.sets {
		out[format] = set.Set{
			Certificates: slices.Clone(of.Certificates), CRLs: slices.Clone(of.CRLs),
			Floors: slices.Clone(of.Floors), Documents: slices.Clone(of.Documents),
			DocumentFloors: slices.Clone(of.DocumentFloors),
		}
	}
	return out
}

// Change says what moved in a folder.
type Change struct {
	// Formats whose set is another one now, in order. What was judged with the one before should be
	// judged again.
	Formats []attestd.Format
	// Machines says that certificates of machines came: what was undecided for want of one need not be.
	Machines bool
}

// Any says whether anything moved.
func (c Change) Any() bool { return c.Machines || len(c.Formats) > 0 }

// Changed looks whether the folder was written since it was last read, by this or by another process, and
// if so reads it. It costs one small file where nothing moved: ask every few seconds.
//
// Errors: as Open. The sets stay as they were then.
func (s *Store) Changed() (Change, error) {
	read, err := s.readLedger()
	s.mu.Lock()
	before, sets := s.ledger, s.sets
	s.mu.Unlock()
	if err == nil && sameLedger(read, before) {
		return Change{}, nil
	}
	if err := s.load(); err != nil {
		return Change{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	change := Change{Machines: s.ledger.Machines != before.Machines}
	formats := slices.Collect(maps.Keys(s.sets))
	for format := range sets {
		if _, still := s.sets[format]; !still {
			formats = append(formats, format)
		}
	}
	slices.Sort(formats)
	for _, format := range formats {
		if !sameSet(sets[format], s.sets[format]) {
			change.Formats = append(change.Formats, format)
		}
	}
	return change, nil
}

// sameLedger compares all of it: an older copy that went on by itself comes to the same generation.
func sameLedger(a, b ledger) bool {
	return a.Generation == b.Generation && a.Machines == b.Machines && a.Seed == b.Seed &&
		slices.Equal(a.Lists, b.Lists) && slices.Equal(a.Certificates, b.Certificates) &&
		slices.Equal(a.Documents, b.Documents)
}

func sameSet(a, b set.Set) bool {
	one, first := a.Marshal()
	other, second := b.Marshal()
	return first == nil && second == nil && string(one) == string(other)
}
