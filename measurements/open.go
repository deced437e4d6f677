package measurements

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestd/attestd"
)

// Trust says by whose word a document of reference values is taken. The zero Trust takes none.
type Trust struct {
	// Keys of those who may sign; one good signature by one of them is enough.
	Keys []PublicKey
	// Local says that the operator vouches for the file as it lies there, signed or not.
	Local bool
}

// PublicKey is the Ed25519 key of somebody who signs reference values. The zero PublicKey verifies
// nothing. [ReadKeys] makes them.
type PublicKey struct{ verifier note.Verifier }

// Name returns the key's name, as in "example.org/references"; it is part of what a signature covers.
func (k PublicKey) Name() string {
	if k.verifier == nil {
		return ""
	}
	return k.verifier.Name()
}

// maxKeys bounds the keys of one file, and the signatures of one document.
const maxKeys = 16

// MaxKeyFile is the largest file of public keys that is read, in bytes.
const MaxKeyFile = 16 << 10

// ReadKeys reads public keys, one a line in the form name+hash+key (C2SP signed-note, "Verifier
// keys"), as `attestd ref keygen` writes them. Empty lines and those that begin with # are left out.
//
// Errors: a [*attestd.CallerError] of class CONFIG where a line is no key, a private key stands
// there, a key stands twice, or there is none.
func ReadKeys(source string, file []byte) ([]PublicKey, error) {
	const hint = "attestd ref keygen --name NAME --out FILE writes the public key to FILE.pub"
	bad := func(format string, args ...any) error {
		return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint,
			Err: fmt.Errorf("keys %q: "+format, append([]any{attestd.Excerpt(source, 200)}, args...)...)}
	}
	if len(file) > MaxKeyFile {
		return nil, bad("more than %d bytes", MaxKeyFile)
	}
	var keys []PublicKey
	number := 0
	for text := range strings.Lines(string(file)) {
		number++
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if strings.HasPrefix(text, "PRIVATE+KEY+") {
			return nil, bad("line %d is a private key, which nobody but its owner should have", number)
		}
		verifier, err := note.NewVerifier(text)
		if err != nil {
			return nil, bad("line %d is no public key of the form name+hash+key", number)
		}
		if slices.ContainsFunc(keys, func(k PublicKey) bool {
			return k.verifier.Name() == verifier.Name() && k.verifier.KeyHash() == verifier.KeyHash()
		}) {
			return nil, bad("line %d stands there twice", number)
		}
		keys = append(keys, PublicKey{verifier})
	}
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, bad("got %d keys, want 1 to %d", len(keys), maxKeys)
	}
	return keys, nil
}

// Open reads a document that is signed by one of the keys, or that is local by the caller's word.
// Of a signed document, SignedBy of the set names the key.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the document is not signed and not local,
// where its signatures are by other keys only (and it is not local), where one in the name of a
// known key is bad (local or not: somebody changed what was signed), and for all that [Parse]
// refuses.
func Open(source string, doc []byte, trust Trust) (*Set, error) {
	signer, err := signedBy(doc, trust.Keys)
	switch {
	case err == nil:
	case errors.Is(err, errTampered), errors.Is(err, errSignatureForm), !trust.Local:
		return nil, &attestd.CallerError{Class: attestd.ClassConfig, Hint: openHint(err, trust),
			Err: fmt.Errorf("reference values %q: %w", attestd.Excerpt(source, 200), err)}
	}
	set, err := Parse(source, doc)
	if err != nil {
		return nil, err
	}
	set.SignedBy = signer
	return set, nil
}

// Reasons for which no signature counts.
var (
	errUnsigned      = errors.New("are not signed")
	errOthers        = errors.New("are signed, but by none of the keys that are trusted")
	errTampered      = errors.New("are not what was signed: a signature does not fit the bytes")
	errSignatureForm = errors.New("have a block of signatures that cannot be read")
)

func openHint(err error, trust Trust) string {
	switch {
	case errors.Is(err, errUnsigned):
		return "sign them with attestd ref sign FILE --key KEY; or, if you vouch for the file as it " +
			"lies there, name it local:FILE"
	case errors.Is(err, errOthers) && len(trust.Keys) == 0:
		return "name the signer's public key in verify.reference_keys"
	case errors.Is(err, errOthers):
		return "add the signer's public key to verify.reference_keys if you trust it"
	default:
		return "get the file again from whoever signed it; after a change of your own, sign it again"
	}
}

// The block of signatures ends a document. Its lines are comments for whoever reads YAML, so that a
// signed document is a document.
const (
	blockHead   = "# attestd:signatures\n"
	blockPrefix = "# "
	notePrefix  = "\u2014 " // of each signature of a note (C2SP signed-note, "Format")
)

var signatureForm = regexp.MustCompile("^" + notePrefix + "[!-~]{1,100} [A-Za-z0-9+/=]{8,400}\n$")

// signedText is what a signature covers: the purpose, so that no signature of the same key over
// something else fits, and the digest of all bytes in front of the block.
func signedText(body []byte) string {
	return fmt.Sprintf("attestd reference values\nsha256:%x\n", sha256.Sum256(body))
}

// split takes the block of signatures off a document; without one, signatures is empty.
func split(doc []byte) (body []byte, signatures string, err error) {
	head := []byte(blockHead)
	at := bytes.Index(doc, head)
	if at < 0 || at > 0 && doc[at-1] != '\n' {
		if bytes.Contains(doc, bytes.TrimSuffix(head, []byte("\n"))) {
			return nil, "", errSignatureForm // moved, cut or written by a tool with other line ends
		}
		return doc, "", nil
	}
	var block strings.Builder
	count := 0
	for line := range strings.Lines(string(doc[at+len(head):])) {
		signature, ok := strings.CutPrefix(line, blockPrefix)
		if count++; !ok || count > maxKeys || !signatureForm.MatchString(signature) {
			return nil, "", errSignatureForm
		}
		// Base64 has more than one text for the same bytes; a document has one.
		_, digits, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(signature, notePrefix)), " ")
		if _, err := base64.StdEncoding.Strict().DecodeString(digits); err != nil {
			return nil, "", errSignatureForm
		}
		block.WriteString(signature)
	}
	if count == 0 {
		return nil, "", errSignatureForm
	}
	return doc[:at], block.String(), nil
}

// signedBy returns the name of the first key whose good signature the document has.
func signedBy(doc []byte, keys []PublicKey) (string, error) {
	body, signatures, err := split(doc)
	if err != nil {
		return "", err
	}
	if signatures == "" {
		return "", errUnsigned
	}
	verifiers := make([]note.Verifier, 0, len(keys))
	for _, key := range keys {
		if key.verifier != nil {
			verifiers = append(verifiers, key.verifier)
		}
	}
	opened, err := note.Open([]byte(signedText(body)+"\n"+signatures), note.VerifierList(verifiers...))
	var invalid *note.InvalidSignatureError
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &invalid):
		return "", errTampered
	case errors.As(err, &unverified):
		return "", errOthers
	case err != nil || len(opened.Sigs) == 0 || opened.Text != signedText(body):
		return "", errSignatureForm
	}
	return opened.Sigs[0].Name, nil
}
