package all_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/all"
)

// notFormats are the folders beside the verifiers.
var notFormats = []string{"all", "internal", "verifiertest"}

// TestEveryFolderIsComplete walks verifiers/ and wants, for each folder that is a format, an entry
// in the list, a conformance call, a fuzz target and a page. Adding a format is adding a folder:
// what is forgotten shows here.
func TestEveryFolderIsComplete(t *testing.T) {
	list, err := all.New(all.Config{})
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]attestd.Format{}
	for _, verifier := range list {
		folder := strings.ReplaceAll(string(verifier.Format()), "-", "")
		if _, double := listed[folder]; double {
			t.Errorf("format %q stands in the list twice", verifier.Format())
		}
		listed[folder] = verifier.Format()
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, entry := range entries {
		if !entry.IsDir() || slices.Contains(notFormats, entry.Name()) {
			continue
		}
		found++
		format, known := listed[entry.Name()]
		if !known {
			t.Errorf("verifiers/%s has no entry in the list", entry.Name())
			continue
		}
		tests := sourceOfTests(t, filepath.Join("..", entry.Name()))
		if !bytes.Contains(tests, []byte("verifiertest.Conformance(")) &&
			!bytes.Contains(tests, []byte("verifiertest.Vectors(")) {
			t.Errorf("verifiers/%s never calls the conformance suite", entry.Name())
		}
		if !bytes.Contains(tests, []byte("\nfunc Fuzz")) {
			t.Errorf("verifiers/%s has no fuzz target", entry.Name())
		}
		page := filepath.Join("..", "..", "docs", "verifiers", string(format)+".md")
		if _, err := os.Stat(page); err != nil {
			t.Errorf("verifiers/%s has no page docs/verifiers/%s.md", entry.Name(), format)
		}
	}
	if found != len(list) {
		t.Errorf("%d folders for %d entries of the list", found, len(list))
	}
}

func sourceOfTests(t *testing.T, folder string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var source []byte
	for _, name := range names {
		text, err := os.ReadFile(name) //nolint:gosec // a file of the repository
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, text...)
	}
	return source
}

// TestARootOfNoVendorIsRefused shows that a root which no verifier can use is said to be one, instead
// of being dropped.
func TestARootOfNoVendorIsRefused(t *testing.T) {
	for name, root := range map[string]*x509.Certificate{
		"an Ed25519 root": {PublicKeyAlgorithm: x509.Ed25519}, "no root": nil,
	} {
		var refused *attestd.CallerError
		_, err := all.New(all.Config{InsecureRoots: []*x509.Certificate{root}})
		if !errors.As(err, &refused) || refused.Class != attestd.ClassConfig {
			t.Errorf("%s: got %v, want a CONFIG error", name, err)
		}
	}
}
