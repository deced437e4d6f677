package collateral

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestd/attestd"
)

// A bundle is one file: a line that names the form and the length of the note behind it, the note, and the
// objects. The note is a signed note (C2SP signed-note) that says how many objects there are, how many
// bytes, and their SHA-256. The objects are DER, or Intel's documents as they were published, those of the
// early channel with a mark before them; each stands behind its length (32 bits, big-endian), in the order
// of their bytes and each once: there is one bundle of a set of objects and a key.
const (
	bundleMagic = "attestd-collateral-bundle v1 "
	noteFirst   = "attestd collateral bundle v1"
	// MaxBundle bounds a bundle in bytes.
	MaxBundle = 64 << 20
	maxNote   = 4 << 10
)

// NewKey draws a key for bundles and returns both halves in the form of signed notes. name stands in the
// signatures, such as the name of the site that exports.
//
// Errors: where name has spaces, a plus sign, control characters, or nothing in it.
func NewKey(name string) (private, public string, err error) {
	if name == "" || len(name) > 100 || strings.ContainsAny(name, "+ ") || attestd.Excerpt(name, 100) != name {
		return "", "", usage("a name such as lab.example.org", "key name %q", attestd.Excerpt(name, 60))
	}
	return note.GenerateKey(rand.Reader, name)
}

func usage(hint, format string, args ...any) error {
	return &attestd.CallerError{Class: attestd.ClassMalformed, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// Bundle packs objects and signs them with a private key of NewKey.
//
// Errors: where there is nothing to pack, too much of it, or the key is none.
func Bundle(objects [][]byte, private string) ([]byte, error) {
	signer, err := note.NewSigner(strings.TrimSpace(private))
	if err != nil {
		return nil, usage("attestd collateral keygen FILE makes a key", "the key cannot be read")
	}
	sorted := slices.Clone(objects)
	slices.SortFunc(sorted, bytes.Compare)
	sorted = slices.CompactFunc(sorted, bytes.Equal)
	if len(sorted) == 0 {
		return nil, usage("import or pull something first", "there is nothing to export")
	}
	var payload []byte
	for _, der := range sorted {
		if len(der) == 0 || len(der) > maxList {
			return nil, tooMuch("an object of %d bytes", len(der))
		}
		payload = binary.BigEndian.AppendUint32(payload, uint32(len(der))) //nolint:gosec // bounded above
		payload = append(payload, der...)
	}
	if len(sorted) > MaxObjects || len(payload) > MaxBundle-maxNote-100 {
		return nil, tooMuch("a bundle of %d objects and %d bytes", len(sorted), len(payload))
	}
	signed, err := note.Sign(&note.Note{Text: bundleText(len(sorted), payload)}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the bundle: %w", err)
	}
	out := fmt.Appendf(nil, "%s%d\n", bundleMagic, len(signed))
	return append(append(out, signed...), payload...), nil
}

// bundleText is what is signed.
func bundleText(objects int, payload []byte) string {
	digest := sha256.Sum256(payload)
	return fmt.Sprintf("%s\nobjects %d\nbytes %d\nsha256 %s\n", noteFirst, objects, len(payload),
		hex.EncodeToString(digest[:]))
}

// IsBundle says whether a file begins like a bundle.
func IsBundle(file []byte) bool { return bytes.HasPrefix(file, []byte(bundleMagic)) }

// OpenBundle returns the objects of a bundle that the key public (of NewKey) signed, and the name in the
// key. The signature is verified before anything else is read; the objects are still to be verified, which
// Import does: whoever holds the key cannot make collateral, only choose and carry it.
//
// Errors: a *attestd.CallerError of class COLLATERAL_INVALID.
func OpenBundle(file []byte, public string) (objects [][]byte, by string, err error) {
	verifier, err := note.NewVerifier(strings.TrimSpace(public))
	if err != nil {
		return nil, "", usage("give the line that attestd collateral keygen printed, or a file with it",
			"--key is no public key of a bundle")
	}
	damaged := func(why string) error {
		return invalid("carry the file over again, unchanged", "the bundle %s", why)
	}
	rest, is := bytes.CutPrefix(file, []byte(bundleMagic))
	line, rest, cut := bytes.Cut(rest, []byte("\n"))
	size := 0
	for _, digit := range line {
		if digit < '0' || digit > '9' || size > maxNote {
			return nil, "", damaged("has no length of its note")
		}
		size = 10*size + int(digit-'0')
	}
	if !is || !cut || size == 0 || size > maxNote || size > len(rest) || line[0] == '0' ||
		len(file) > MaxBundle {
		return nil, "", damaged("has no note, or is too large")
	}
	opened, err := note.Open(rest[:size], note.VerifierList(verifier))
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		return nil, "", invalid("compare --key with the line that the exporting site's keygen printed",
			"the bundle is not signed by the key %q", attestd.Excerpt(verifier.Name(), 60))
	case err != nil:
		return nil, "", damaged("has a note or a signature that cannot be read")
	case len(opened.Sigs) != 1 || len(opened.UnverifiedSigs) != 0 || !isOneForm(opened, rest[:size]):
		return nil, "", damaged("has a note that is not in its one form")
	}
	objects, ok := bundleObjects(rest[size:])
	if !ok || opened.Text != bundleText(len(objects), rest[size:]) {
		return nil, "", damaged("does not hold what its note says")
	}
	return objects, verifier.Name(), nil
}

// isOneForm demands that a note is written as it would be signed. The last letter of a signature in base64
// has bits that mean nothing.
func isOneForm(opened *note.Note, written []byte) bool {
	signature := opened.Sigs[0]
	_, err := base64.StdEncoding.Strict().DecodeString(signature.Base64)
	return err == nil &&
		string(written) == fmt.Sprintf("%s\n— %s %s\n", opened.Text, signature.Name, signature.Base64)
}

// bundleObjects reads the objects in their one order.
func bundleObjects(payload []byte) (objects [][]byte, ok bool) {
	for len(payload) > 0 {
		if len(payload) < 4 || len(objects) == MaxObjects {
			return nil, false
		}
		size := int(binary.BigEndian.Uint32(payload))
		if payload = payload[4:]; size == 0 || size > maxList || size > len(payload) {
			return nil, false
		}
		if len(objects) > 0 && bytes.Compare(objects[len(objects)-1], payload[:size]) >= 0 {
			return nil, false
		}
		objects, payload = append(objects, payload[:size:size]), payload[size:]
	}
	return objects, len(objects) > 0
}

// Objects returns everything that is held and usable, for a bundle: lists, CAs, documents of both channels
// and certificates of machines. It verifies what it gives out.
//
// Errors: where the folder cannot be read.
func (s *Store) Objects() ([][]byte, error) {
	if err := s.load(); err != nil {
		return nil, err
	}
	var objects [][]byte
	for _, of := range s.Sets() {
		objects = append(append(objects, of.Certificates...), of.CRLs...)
	}
	// What several formats are judged with is one object.
	slices.SortFunc(objects, bytes.Compare)
	objects = append(slices.CompactFunc(objects, bytes.Equal), s.documents()...)
	err := s.eachMachine(func(_ string, der []byte, _ *endorsed, err error) {
		if err == nil {
			objects = append(objects, der)
		}
	})
	return objects, err
}

// documents returns the usable documents of both channels, those of the early one with their mark.
func (s *Store) documents() (found [][]byte) {
	s.mu.Lock()
	rows, unusable := s.ledger.Documents, s.unusable
	s.mu.Unlock()
	for _, row := range rows {
		if document, err := s.readObject(row.file(), maxJSON); err == nil && unusable[row.SHA256] == nil {
			found = append(found, In(row.Channel, [][]byte{document})...)
		}
	}
	return found
}

// eachMachine verifies the certificate of every machine that is held.
func (s *Store) eachMachine(take func(path string, der []byte, found *endorsed, err error)) error {
	s.mu.Lock()
	issuers, at := s.issuers, s.now()
	s.mu.Unlock()
	root := filepath.Join(s.folder, machineFolder)
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), temporary) {
			return err
		}
		der, err := readFile(path, maxCertificate)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		var found *endorsed
		if err == nil {
			found, err = authenticMachine(issuers, der, at)
		}
		if err == nil && s.machineFile(found.machine, found.csp) != path {
			err = errors.New("it is another machine's")
		}
		take(path, der, found, err)
		return nil
	})
}

// WriteKey writes a private key to a new file that nobody else can read.
//
// Errors: where the file is there already.
func WriteKey(path, private string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usage("name another file: a key is never overwritten", "%q is there already",
			attestd.Excerpt(path, 200))
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(private + "\n")
	return errors.Join(err, file.Sync(), file.Close(), syncFolder(filepath.Dir(path)))
}
