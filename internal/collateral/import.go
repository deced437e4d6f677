package collateral

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// MaxObjects bounds what one import may bring.
const MaxObjects = 1 << 15

// Kinds of what an import brings, beside [VCEK] and [VLEK].
const (
	KindList = "list"
	KindCA   = "ca"
)

// What became of an object.
const (
	// Taken says that it is new, or newer than what was held.
	Taken = "taken"
	// Held says that it, or its successor, is held already or compiled in.
	Held = "held"
)

// Item is what became of an object of an import.
type Item struct {
	Kind   string         `json:"kind"`
	Format attestd.Format `json:"format"`
	// Name is the issuer of a list, the CA's name, or the machine.
	Name string `json:"name"`
	// Number of a list, in decimal;
	// of one of Intel's documents its evaluation number.
	Number string `json:"number,omitempty"`
	// Channel of one of Intel's documents.
	Channel Channel   `json:"channel,omitempty"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	SHA256  string    `json:"sha256"`
	Outcome string    `json:"outcome"`
}

// Decode returns the objects in a file as vendors publish them: one in DER, some in PEM, one of Intel's
// documents, or the combined form in which others exchange what Intel publishes for one platform.
//
// Errors: where it holds anything else.
func Decode(data []byte) ([][]byte, error) {
	trimmed := bytes.TrimSpace(data)
	if pcs.IsCombined(trimmed) {
		split, err := pcs.SplitCombined(trimmed)
		if err != nil {
			return nil, invalid("get it from its maker again, as it was written", "combined collateral: %s",
				attestd.Excerpt(err.Error(), 160))
		}
		return slices.Concat(split.Certificates, split.CRLs, split.Documents), nil
	}
	if isDocument(trimmed) {
		return [][]byte{trimmed}, nil
	}
	if !bytes.HasPrefix(trimmed, []byte("-----BEGIN ")) {
		return [][]byte{data}, nil
	}
	var found [][]byte
	for rest := trimmed; len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || len(found) == MaxObjects {
			return nil, unreadable("PEM file", errors.New("text between or behind its blocks"))
		}
		if block.Type != "CERTIFICATE" && block.Type != "X509 CRL" {
			return nil, invalid("import certificates and revocation lists",
				"a PEM block of type %q", attestd.Excerpt(block.Type, 40))
		}
		found = append(found, block.Bytes)
	}
	return found, nil
}

// Import verifies DER objects and takes them all, or none. source says where they came from, for people.
// Objects may come in any order, as long as the CA of each is compiled in, held, or among them.
//
// Errors: a *attestd.CallerError of class COLLATERAL_INVALID that names the first object that no root
// vouches for, or that would go back behind what was seen; TOO_LARGE; CONFLICT.
func (s *Store) Import(ctx context.Context, objects [][]byte, source string) ([]Item, error) {
	if len(objects) == 0 {
		return nil, invalid("name files with certificates or revocation lists", "nothing to import")
	}
	if len(objects) > MaxObjects {
		return nil, tooMuch("%d objects at once, want at most %d", len(objects), MaxObjects)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.load(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	job := &taking{
		store: s, at: s.now(), source: attestd.Excerpt(source, 100), issuers: slices.Clone(s.issuers),
		next: s.ledger, objects: map[string][]byte{}, machines: map[string][]byte{},
	}
	s.mu.Unlock()
	job.next.Lists, job.next.Certificates = slices.Clone(job.next.Lists), slices.Clone(job.next.Certificates)
	job.next.Documents = slices.Clone(job.next.Documents)
	if err := job.all(objects); err != nil {
		return nil, err
	}
	if err := job.write(); err != nil {
		return nil, err
	}
	return job.items, s.load()
}

// taking is one import under way.
type taking struct {
	store   *Store
	at      time.Time
	source  string
	issuers []*issuer
	next    ledger
	items   []Item
	// objects to write, by file, and certificates of machines by path.
	objects, machines map[string][]byte
	wishes            []string
	changed           bool
}

// all takes CAs first, since they vouch for the rest.
func (t *taking) all(objects [][]byte) error {
	var cas, others [][]byte
	for _, der := range objects {
		if len(der) > maxList {
			return tooMuch("an object of %d bytes, want at most %d", len(der), maxList)
		}
		if certificate, err := x509.ParseCertificate(der); err == nil &&
			(certificate.IsCA || isSigner(certificate)) {
			cas = append(cas, der)
			continue
		}
		others = append(others, der)
	}
	for len(cas) > 0 {
		var left [][]byte
		var first error
		for _, der := range cas {
			if err := t.takeCA(der); err != nil {
				left = append(left, der)
				first = cmpError(first, named(err, der))
			}
		}
		if len(left) == len(cas) {
			return first
		}
		cas = left
	}
	for _, der := range others {
		if err := t.takeOther(der); err != nil {
			return named(err, der)
		}
	}
	return nil
}

func cmpError(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// named says which object an error is about.
func named(err error, der []byte) error {
	digest := sha256.Sum256(der)
	text := "object " + hex.EncodeToString(digest[:8])
	var caller *attestd.CallerError
	if errors.As(err, &caller) {
		return &attestd.CallerError{
			Class: caller.Class, Hint: caller.Hint, Err: fmt.Errorf("%s: %w", text, caller.Err),
		}
	}
	return fmt.Errorf("%s: %w", text, err)
}

func (t *taking) takeCA(der []byte) error {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(der)
	kind := KindCA
	if isSigner(certificate) {
		kind = KindSigner
	}
	item := Item{
		Kind: kind, Name: attestd.Excerpt(certificate.Subject.CommonName, 80), Outcome: Held,
		From: certificate.NotBefore.UTC(), Until: certificate.NotAfter.UTC(), SHA256: hex.EncodeToString(digest[:]),
	}
	for _, known := range t.issuers {
		// A root that comes along, as in AMD's cert_chain, is compared with the one that is compiled in.
		if known.certificate.Equal(certificate) {
			item.Format = known.format
			t.items = append(t.items, item)
			return nil
		}
	}
	found, err := authenticCA(t.issuers, der, t.at)
	if err != nil {
		return err
	}
	t.issuers = append(t.issuers, found.issuer)
	item.Format, item.Outcome = found.issuer.format, Taken
	t.items = append(t.items, item)
	// One that is in the ledger and not among the issuers has lost its file: it is the same row.
	t.next.Certificates = slices.DeleteFunc(t.next.Certificates, func(row certificateRow) bool {
		return row.SHA256 == item.SHA256
	})
	t.next.Certificates = append(t.next.Certificates, certificateRow{
		Format: item.Format, Name: item.Name, From: item.From, Until: item.Until, SHA256: item.SHA256,
		Source: t.source, Taken: t.at.UTC(),
	})
	t.objects[item.SHA256+derFile], t.changed = der, true
	return nil
}

func (t *taking) takeOther(der []byte) error {
	if _, document := channelOf(der); isDocument(document) {
		return t.takeDocument(der)
	}
	if _, err := x509.ParseRevocationList(der); err == nil {
		return t.takeList(der)
	}
	return t.takeMachine(der)
}

func (t *taking) takeList(der []byte) error {
	found, err := authenticList(t.issuers, der, t.at)
	if err != nil {
		return err
	}
	row := found.row
	row.Source, row.Taken = t.source, t.at.UTC()
	item := Item{
		Kind: KindList, Format: row.Format, Name: row.IssuerName, Number: decimal(row.Number), From: row.From,
		Until: row.Until, SHA256: row.SHA256, Outcome: Held,
	}
	place := slices.IndexFunc(t.next.Lists, func(last listRow) bool {
		return last.Format == row.Format && last.Issuer == row.Issuer && last.IssuerName == row.IssuerName &&
			last.Scope == row.Scope
	})
	changes := true
	if place >= 0 {
		last := t.next.Lists[place]
		if changes, err = found.follows(last); err != nil {
			return err
		}
		// The same list comes back where its file was lost.
		_, lost := t.store.readObject(last.file(), maxList)
		_, coming := t.objects[last.file()]
		changes = changes || lost != nil && !coming
	}
	if changes {
		item.Outcome, t.changed, t.objects[row.file()] = Taken, true, der
		if place >= 0 {
			t.next.Lists[place] = row
		} else {
			t.next.Lists = append(t.next.Lists, row)
		}
	}
	t.items = append(t.items, item)
	return nil
}

func (t *taking) takeMachine(der []byte) error {
	found, err := authenticMachine(t.issuers, der, t.at)
	if err != nil {
		return err
	}
	if len(der) > maxCertificate {
		return tooMuch("a certificate of %d bytes", len(der))
	}
	digest := sha256.Sum256(der)
	item := Item{
		Kind: string(found.machine.Kind), Format: attestd.FormatSEVSNP, Name: found.machine.String(),
		From: found.certificate.NotBefore.UTC(), Until: found.certificate.NotAfter.UTC(),
		SHA256: hex.EncodeToString(digest[:]), Outcome: Taken,
	}
	path := t.store.machineFile(found.machine, found.csp)
	held, coming := t.machines[path]
	if !coming {
		held, err = readFile(path, maxCertificate)
		if err == nil {
			// What lies there only counts where it is authentic and that machine's.
			var other *endorsed
			if other, err = authenticMachine(t.issuers, held, t.at); err == nil &&
				(other.machine != found.machine || other.csp != found.csp) {
				err = errors.New("it is another machine's")
			}
		}
		coming = err == nil
	}
	if coming {
		if last, err := x509.ParseCertificate(held); err == nil &&
			!last.NotBefore.Before(found.certificate.NotBefore) {
			item.Outcome = Held
		}
	}
	if item.Outcome == Taken {
		t.machines[path], t.changed = der, true
	}
	t.wishes = append(t.wishes, found.machine.key())
	t.items = append(t.items, item)
	return nil
}

// write puts everything in place: objects first and then the ledger, which makes them count.
func (t *taking) write() error {
	if !t.changed {
		t.forget(t.wishes)
		return nil
	}
	for file, content := range t.objects {
		if err := writeWhole(t.store.object(file), content); err != nil {
			return err
		}
	}
	if view := t.store.assemble(t.next); len(t.objects) > 0 {
		if err := view.checkAWS(); err != nil {
			return err
		}
		for format, of := range view.sets {
			if _, err := of.Marshal(); err != nil {
				return tooMuch("the collateral of %s: %w", format, err)
			}
		}
	}
	for path, der := range t.machines {
		if err := writeWhole(path, der); err != nil {
			return err
		}
	}
	if len(t.machines) > 0 {
		t.next.Machines++
	}
	if err := t.store.writeLedger(t.next); err != nil {
		return err
	}
	t.store.clearObjects(t.next)
	t.forget(t.wishes)
	return nil
}

// forget removes the wishes that these machines fulfil. A wish stands under its first line, and the machine
// may be of another one.
func (t *taking) forget(keys []string) {
	for _, w := range t.store.wishes() {
		if w.Platform != nil && slices.Contains(keys, w.key()) {
			_ = os.Remove(t.store.wishFile(w.key()))
		}
		for _, machine := range w.Machines {
			if slices.Contains(keys, machine.key()) {
				_ = os.Remove(t.store.wishFile(w.key()))
			}
		}
	}
}
