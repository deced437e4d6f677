package inspect

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/fxamacker/cbor/v2"
)

// Kinds of what can be decoded here.
const (
	KindCertificate = "x509-certificate"
	KindCRL         = "x509-crl"
	KindCBOR        = "cbor"
)

// limits of what is decoded. The notation of CBOR is longer than its encoding, and nobody reads more.
const (
	maxBlocks     = 32
	maxCBOR       = 64 << 10
	maxCBORDepth  = 16
	maxCBORItems  = 4096
	maxRevoked    = 50
	maxExtensions = 40
)

// Any decodes data as certificates, a CRL or CBOR. ok is false where it is none of them.
func Any(data []byte) (kind string, inspection attestd.Inspection, ok bool) {
	// Third-party decoders stand behind a wall: a panic in one is "cannot be decoded", never a crash.
	defer func() {
		if recover() != nil {
			kind, inspection, ok = "", attestd.Inspection{}, false
		}
	}()
	if blocks := DER(data); len(blocks) > 0 {
		if kind, inspection, ok = x509Blocks(blocks); ok {
			return kind, inspection, true
		}
	}
	return cborNotation(data)
}

// DER returns the DER objects in data: those inside PEM blocks, or data itself. It returns nil where
// data starts like neither.
func DER(data []byte) [][]byte {
	if len(data) > 1 && data[0] == 0x30 { // SEQUENCE: X.690, section 8.9
		return [][]byte{data}
	}
	var out [][]byte
	for rest := bytes.TrimSpace(data); len(rest) > 0 && len(out) < maxBlocks; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		out = append(out, block.Bytes)
	}
	return out
}

func x509Blocks(blocks [][]byte) (string, attestd.Inspection, bool) {
	kind, summaries := "", []string{}
	var fields []attestd.InspectedField
	for index, der := range blocks {
		prefix := ""
		if len(blocks) > 1 {
			prefix = fmt.Sprintf("%d.", index)
		}
		if certificate, err := x509.ParseCertificate(der); err == nil {
			kind = KindCertificate
			summaries = append(summaries, certificate.Subject.CommonName)
			fields = append(fields, certificateFields(prefix, certificate)...)
			continue
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return "", attestd.Inspection{}, false
		}
		if kind == "" {
			kind = KindCRL
		}
		summaries = append(summaries, list.Issuer.CommonName)
		fields = append(fields, revocationFields(prefix, list)...)
	}
	summary := attestd.Excerpt(strings.Join(summaries, ", "), 80)
	return kind, attestd.Inspection{Summary: summary, Fields: fields}, true
}

func certificateFields(prefix string, c *x509.Certificate) []attestd.InspectedField {
	field := fieldMaker(prefix)
	out := []attestd.InspectedField{
		field("subject", c.Subject.String(), ""),
		field("issuer", c.Issuer.String(), ""),
		field("serial", c.SerialNumber.Text(16), "hex"),
		field("not_before", c.NotBefore.UTC().Format(time.RFC3339), ""),
		field("not_after", c.NotAfter.UTC().Format(time.RFC3339), ""),
		field("public_key", c.PublicKeyAlgorithm.String(), ""),
		field("signature_algorithm", c.SignatureAlgorithm.String(), ""),
		field("ca", fmt.Sprint(c.IsCA), ""),
		field("key_usage", fmt.Sprintf("0x%03x", int(c.KeyUsage)), "bits as in RFC 5280, section 4.2.1.3"),
	}
	for index, extension := range c.Extensions {
		if index == maxExtensions {
			out = append(out, field("extension", "...", fmt.Sprintf("%d in all", len(c.Extensions))))
			break
		}
		note := ""
		if extension.Critical {
			note = "critical"
		}
		out = append(out, field("extension."+extension.Id.String(), shortHex(extension.Value), note))
	}
	return out
}

func revocationFields(prefix string, list *x509.RevocationList) []attestd.InspectedField {
	field := fieldMaker(prefix)
	number := "(none)"
	if list.Number != nil {
		number = list.Number.String()
	}
	out := []attestd.InspectedField{
		field("issuer", list.Issuer.String(), ""),
		field("number", number, ""),
		field("this_update", list.ThisUpdate.UTC().Format(time.RFC3339), ""),
		field("next_update", list.NextUpdate.UTC().Format(time.RFC3339), ""),
		field("signature_algorithm", list.SignatureAlgorithm.String(), ""),
		field("revoked", fmt.Sprint(len(list.RevokedCertificateEntries)), "number of entries"),
	}
	for index, entry := range list.RevokedCertificateEntries {
		if index == maxRevoked {
			out = append(out, field("revoked", "...", "more entries are not shown"))
			break
		}
		out = append(out, field("revoked."+entry.SerialNumber.Text(16),
			entry.RevocationTime.UTC().Format(time.RFC3339), ""))
	}
	return out
}

func fieldMaker(prefix string) func(name, value, note string) attestd.InspectedField {
	return func(name, value, note string) attestd.InspectedField {
		return attestd.InspectedField{
			Name: prefix + attestd.Excerpt(name, 80), Value: attestd.Excerpt(value, 1000), Note: note,
		}
	}
}

func shortHex(raw []byte) string {
	const most = 128
	if len(raw) <= most {
		return hex.EncodeToString(raw)
	}
	return fmt.Sprintf("%x... (%d bytes)", raw[:most], len(raw))
}

// cborNotation shows arrays, maps and tags in diagnostic notation (RFC 8949, section 8). A lone
// number or string is not taken for CBOR: nearly any byte is one.
func cborNotation(data []byte) (string, attestd.Inspection, bool) {
	if len(data) == 0 || len(data) > maxCBOR {
		return "", attestd.Inspection{}, false
	}
	switch major := data[0] >> 5; major {
	case 4, 5, 6: // array, map, tag: RFC 8949, section 3.1
	default:
		return "", attestd.Inspection{}, false
	}
	mode, err := cbor.DiagOptions{
		ByteStringEncoding: cbor.ByteStringBase16Encoding, MaxNestedLevels: maxCBORDepth,
		MaxArrayElements: maxCBORItems, MaxMapPairs: maxCBORItems,
	}.DiagMode()
	if err != nil {
		return "", attestd.Inspection{}, false
	}
	notation, err := mode.Diagnose(data)
	if err != nil {
		return "", attestd.Inspection{}, false
	}
	return KindCBOR, attestd.Inspection{
		Summary: "diagnostic notation of RFC 8949",
		Fields:  []attestd.InspectedField{{Name: "cbor", Value: attestd.Excerpt(notation, 4*maxCBOR)}},
	}, true
}
