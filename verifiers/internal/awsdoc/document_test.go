package awsdoc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/awsdoc"
)

// TestEachItemOfADocumentIsDemanded has what nobody behind the parser would notice, or would for
// another reason: a value that is skipped is read as the next key.
func TestEachItemOfADocumentIsDemanded(t *testing.T) {
	field := func(key string, value []byte) forge.CBORField {
		return forge.CBORField{Key: forge.CBORText(key), Value: value}
	}
	register := func(index, value []byte) []byte {
		return forge.CBORMap(forge.CBORField{Key: index, Value: value})
	}
	null, text, one := forge.CBORNull(), forge.CBORText("nonce"), forge.CBORUint(1)
	bytes48 := forge.CBORBytes(make([]byte, 48))
	for name, row := range map[string]struct {
		payload []byte
		want    string
	}{
		"a document": {forge.CBORMap(field("nonce", null)), ""},
		"no map":     {forge.CBORArray(), "map"},
		"a map that does not end": {[]byte{0xbf, 0x65, 'n', 'o', 'n', 'c', 'e', 0xf6},
			"the end of the input"},
		"a key that is a number": {forge.CBORMap(forge.CBORField{Key: one, Value: null}), "key: "},
		"a key that nobody knows": {forge.CBORMap(field("Nonce", null), field("nonce", null)),
			`unknown key "Nonce"`},
		"a nonce twice": {forge.CBORMap(field("nonce", null), field("nonce", null)),
			"nonce: a key stands twice"},
		"registers that are no map": {
			forge.CBORMap(field("pcrs", text), field("nonce", null)), "pcrs: ",
		},
		"a register with a name": {forge.CBORMap(field("pcrs", register(text, bytes48))), "pcrs: "},
		"a register that is text": {
			forge.CBORMap(field("pcrs", register(one, text)), field("nonce", null)), "pcrs: ",
		},
		"a bundle that is no array": {
			forge.CBORMap(field("cabundle", text), field("nonce", null)), "cabundle: ",
		},
		"a certificate that is text": {
			forge.CBORMap(field("cabundle", forge.CBORArray(text)), field("nonce", null)), "cabundle: ",
		},
		"registers of both kinds": {forge.CBORMap(field("pcrs", register(one, bytes48)),
			field("nitrotpm_pcrs", register(one, bytes48))), "both pcrs"},
		"a register that stands twice": {forge.CBORMap(field("pcrs", forge.CBORMap(
			forge.CBORField{Key: one, Value: bytes48}, forge.CBORField{Key: one, Value: bytes48},
		))), "register 1: "},
		"something behind a whole map":   {append(forge.CBORMap(field("nonce", null)), 0), "trailing"},
		"a public key that is no string": {forge.CBORMap(field("public_key", one)), "public_key: "},
	} {
		document, err := awsdoc.ParseDocument(row.payload)
		if row.want == "" && err != nil || row.want != "" &&
			(err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: got %+v, %v, want %q", name, document, err, row.want)
		}
	}
}

// TestRootsOfOtherKeysAreRefusedByTheirKeys does not run beside other tests: it changes the root that
// is compiled in.
func TestRootsOfOtherKeysAreRefusedByTheirKeys(t *testing.T) {
	short, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"},
		IsCA: true, BasicConstraintsValid: true}
	made := func(public, private any) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	for want, root := range map[string]*x509.Certificate{
		"not a P-384 key":        made(short.Public(), short),
		"want ECDSA on P-384":    made(other.Public(), other),
		"a configured root is n": nil,
	} {
		_, err := awsdoc.New(awsdoc.Config{InsecureRoots: []*x509.Certificate{root}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	defer awsdoc.PinAs([]byte("another root"))()
	if _, err := awsdoc.New(awsdoc.Config{}); err == nil || !strings.Contains(err.Error(), "has SHA-256") {
		t.Errorf("a damaged build: got %v", err)
	}
}
