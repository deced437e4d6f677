package measurements

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestd/attestd"
)

// GenerateKey makes a key to sign reference values with, and returns its two halves as lines of
// text: the private one as [Sign] takes it, the public one as [ReadKeys] does. The name tells
// people whose key it is, as in "example.org/references"; it is part of the key.
//
// Errors: a [*attestd.CallerError] where the name will not do.
func GenerateKey(name string) (private, public string, err error) {
	if problem := badKeyName(name); problem != "" {
		return "", "", &attestd.CallerError{Class: attestd.ClassConfig,
			Hint: "use a name of yours, as in example.org/references",
			Err:  fmt.Errorf("name %q %s", attestd.Excerpt(name, 80), problem)}
	}
	private, public, err = note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", "", fmt.Errorf("make key: %w", err)
	}
	return private + "\n", public + "\n", nil
}

func badKeyName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > 100:
		return "has more than 100 characters"
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '+' }):
		return "has a character that is none of: letters, digits and marks without + or spaces"
	default:
		return ""
	}
}

// Sign returns the document with one more signature, by the private key; one of the same key that
// stood there is replaced, so that signing again after a change is one step. Signatures of other
// keys are kept where they still cover the bytes, which of keys that are not known cannot be told:
// keep names those to keep signatures of, and all others go.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the document is not one that [Parse] reads,
// or the key is none.
func Sign(source string, doc []byte, private string, keep []PublicKey) ([]byte, error) {
	signer, err := note.NewSigner(strings.TrimSpace(private))
	if err != nil {
		// The cause could quote the file, which holds a secret.
		return nil, &attestd.CallerError{Class: attestd.ClassConfig,
			Hint: "attestd ref keygen --name NAME --out FILE makes one",
			Err:  errors.New("the key is no private key for reference values")}
	}
	if _, err := Parse(source, doc); err != nil {
		return nil, err
	}
	body, signatures, err := split(doc)
	if err != nil {
		return nil, &attestd.CallerError{Class: attestd.ClassConfig,
			Hint: "take the lines from \"" + strings.TrimSpace(blockHead) + "\" to the end off, and sign again",
			Err:  fmt.Errorf("reference values %q: %w", attestd.Excerpt(source, 200), err)}
	}
	if body[len(body)-1] != '\n' {
		body = append(body[:len(body):len(body)], '\n')
	}
	text := signedText(body)
	fresh := &note.Note{Text: text}
	if signatures != "" {
		verifiers := make([]note.Verifier, 0, len(keep))
		for _, key := range keep {
			if key.verifier != nil {
				verifiers = append(verifiers, key.verifier)
			}
		}
		opened, err := note.Open([]byte(text+"\n"+signatures), note.VerifierList(verifiers...))
		if err == nil {
			fresh.Sigs = opened.Sigs
		}
	}
	signed, err := note.Sign(fresh, signer)
	if err != nil {
		return nil, fmt.Errorf("sign reference values: %w", err)
	}
	out := append(body[:len(body):len(body)], blockHead...)
	for line := range strings.Lines(strings.TrimPrefix(string(signed), text+"\n")) {
		out = append(append(out, blockPrefix...), line...)
	}
	if len(out) > MaxDocument {
		return nil, refuseSet("split the document", "more than %d bytes once it is signed", MaxDocument)
	}
	return out, nil
}

// IsSigned reports whether a document has a block of signatures, good or not.
func IsSigned(doc []byte) bool {
	_, signatures, err := split(doc)
	return err != nil || signatures != ""
}

// SignerNames returns the names that a document's signatures claim, in their order. Nothing was
// verified.
func SignerNames(doc []byte) (names []string) {
	_, signatures, err := split(doc)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(signatures) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, notePrefix), " ")
		names = append(names, name)
	}
	return names
}
