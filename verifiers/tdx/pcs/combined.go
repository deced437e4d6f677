package pcs

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"

	"github.com/attestd/attestd"
)

// Combined is collateral for one platform, taken apart. Nothing in it is shown to be true.
type Combined struct {
	// Documents are the TCB information and the identity in the form in which the PCS answers them.
	Documents [][]byte
	// Certificates and CRLs are in DER. Certificates are each listed once.
	Certificates, CRLs [][]byte
}

// combinedKeys are the members of the form that dcap-qvl exchanges (QuoteCollateralV3).
var combinedKeys = struct {
	chains, optionalChains, lists []string
	documents                     [2]struct{ text, signature, key string }
}{
	chains:         []string{"pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"},
	optionalChains: []string{"pck_certificate_chain"},
	lists:          []string{"root_ca_crl", "pck_crl"},
	documents: [2]struct{ text, signature, key string }{
		{"tcb_info", "tcb_info_signature", "tcbInfo"},
		{"qe_identity", "qe_identity_signature", "enclaveIdentity"},
	},
}

// IsCombined reports whether the file seems to be combined collateral; it reads nothing.
func IsCombined(file []byte) bool {
	return bytes.Contains(file, []byte(`"tcb_info_signature"`)) && KindOf(file) == KindNone
}

// SplitCombined takes the combined collateral apart that dcap-qvl and what is built on it exchange: one
// JSON object with issuer chains in PEM, revocation lists in hex, and the two signed objects as texts
// beside their signatures in hex.
//
// Errors: a plain error where a member is missing, unknown, or no such thing, or where one of the two
// documents could not be read by [Parse] either.
func SplitCombined(file []byte) (Combined, error) {
	value, err := parse(bytes.Clone(file))
	f := fieldsOf(value, "collateral", &err) // which keeps the first error
	var out Combined
	for _, key := range combinedKeys.chains {
		out.addChain(f, key, f.text(key))
	}
	for _, key := range combinedKeys.optionalChains {
		if text, found := f.optional(key); found && text.kind == '"' {
			out.addChain(f, key, text.text)
		}
	}
	for _, key := range combinedKeys.lists {
		raw, bad := hex.DecodeString(f.text(key))
		if bad != nil || len(raw) == 0 {
			f.wrong(key, "no revocation list in hex")
		}
		out.CRLs = append(out.CRLs, raw)
	}
	for _, part := range combinedKeys.documents {
		var signature [64]byte
		f.bytes(part.signature, signature[:])
		document := Join(part.key, []byte(f.text(part.text)), signature[:])
		if err == nil {
			if _, bad := Parse(document); bad != nil {
				f.wrong(part.text, "%s", bad)
			}
		}
		out.Documents = append(out.Documents, document)
	}
	f.closed()
	if err != nil {
		return Combined{}, err
	}
	return out, nil
}

// Join writes a document as the PCS answers it: the object under its key ("tcbInfo" or
// "enclaveIdentity"), and the signature over it in hex.
func Join(key string, object, signature []byte) []byte {
	out := make([]byte, 0, len(key)+len(object)+2*len(signature)+24)
	out = append(append(append(out, `{"`...), key...), `":`...)
	out = append(append(out, object...), `,"signature":"`...)
	return append(hex.AppendEncode(out, signature), `"}`...)
}

func (c *Combined) addChain(f *fields, key, text string) {
	chain, err := ReadChain([]byte(text))
	if err != nil {
		f.wrong(key, "%s", err)
	}
	for _, der := range chain {
		if !contains(c.Certificates, der) {
			c.Certificates = append(c.Certificates, der)
		}
	}
}

func contains(list [][]byte, one []byte) bool {
	for _, other := range list {
		if bytes.Equal(other, one) {
			return true
		}
	}
	return false
}

// maxChain bounds the certificates of an issuer chain: Intel's have two, a PCK's has three.
const maxChain = 8

// ReadChain reads an issuer chain in PEM and returns its certificates in DER, unread.
//
// Errors: where there is none, too many, another kind of block, or text between them.
func ReadChain(chain []byte) ([][]byte, error) {
	if len(chain) > limits.bytes {
		return nil, fmt.Errorf("a chain of %d bytes, want at most %d", len(chain), limits.bytes)
	}
	var out [][]byte
	rest := bytes.TrimRight(chain, "\x00 \r\n")
	for rest = bytes.TrimSpace(rest); len(rest) != 0; rest = bytes.TrimSpace(rest) {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, errors.New("something other than certificates in PEM")
		}
		block, behind := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			return nil, errors.New("something other than certificates in PEM")
		}
		if len(out) == maxChain {
			return nil, fmt.Errorf("more than %d certificates", maxChain)
		}
		out = append(out, block.Bytes)
		rest = behind
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate")
	}
	return out, nil
}

// ReadChainHeader reads an issuer chain as the PCS has it in a header of its answer, such as
// TCB-Info-Issuer-Chain: PEM in the encoding of URLs.
//
// Errors: as ReadChain, and where the encoding is broken.
func ReadChainHeader(header string) ([][]byte, error) {
	text, err := url.PathUnescape(header) // a plus is one of base64's letters and no space
	if err != nil {
		return nil, fmt.Errorf("not in the encoding of URLs: %s", attestd.Excerpt(err.Error(), 80))
	}
	return ReadChain([]byte(text))
}
