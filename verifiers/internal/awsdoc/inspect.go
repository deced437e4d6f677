package awsdoc

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Detect reports whether evidence looks like a document of the engine's profile: an array of four
// behind any tags, and the profile's register field among its bytes. It finds what will be rejected
// for its encoding, too, so that the rejection can name a check.
func (e *Engine) Detect(evidence []byte) bool {
	bare := evidence
	for len(bare) > 0 && bare[0]>>5 == 6 {
		width := 1
		if info := bare[0] & 0x1f; info >= 24 && info <= 27 {
			width += 1 << (info - 24)
		}
		bare = bare[min(width, len(bare)):]
	}
	if len(bare) == 0 || (bare[0] != 0x84 && bare[0] != 0x9f) {
		return false
	}
	// The search is limited: whatever is longer is refused for its size by any verifier.
	bare = bare[:min(len(bare), 4*limits.document)]
	instance := bytes.Contains(bare, []byte("\x6dnitrotpm_pcrs"))
	if e.profile.RegisterField != "pcrs" {
		return instance
	}
	return !instance && (bytes.Contains(bare, []byte("imodule_id")) ||
		bytes.Contains(bare, []byte("\x64pcrs")) || bytes.HasPrefix(bare[1:], envelopeStart))
}

// envelopeStart is the protected header as a byte string, which every document starts with.
var envelopeStart = append([]byte{0x44}, protectedES384...)

// Inspect decodes evidence and believes none of it.
//
// Errors: those of [Engine.Verify] up to the certificates' form.
func (e *Engine) Inspect(evidence []byte) (attestd.Inspection, error) {
	document, sealed, err := e.read(trail.New(e.table), evidence)
	if err != nil {
		return attestd.Inspection{}, err
	}
	out := attestd.Inspection{
		Format:  e.profile.Format,
		Summary: "document of " + attestd.Excerpt(string(document.ModuleID), 80),
	}
	add := func(name, value, note string) {
		out.Fields = append(out.Fields, attestd.InspectedField{Name: name, Value: value, Note: note})
	}
	add("module_id", attestd.Excerpt(string(document.ModuleID), limits.moduleID), "")
	add("digest", attestd.Excerpt(string(document.Digest), 20), "")
	add("timestamp", strconv.FormatUint(document.Timestamp, 10), momentOf(document.Timestamp))
	for index, value := range document.PCRs {
		if value == nil {
			continue
		}
		note := ""
		if document.Zero(index) {
			note = "all zero"
		}
		add(e.profile.RegisterField+"."+strconv.Itoa(index), hex.EncodeToString(value), note)
	}
	for index, der := range document.Bundle[:document.BundleSize] {
		addCertificate(add, "cabundle."+strconv.Itoa(index), der)
	}
	addCertificate(add, "certificate", document.Certificate)
	for _, field := range [...]struct {
		name  string
		value []byte
	}{
		{"public_key", document.PublicKey}, {"user_data", document.UserData}, {"nonce", document.Nonce},
	} {
		switch {
		case field.value == nil:
			add(field.name, "", "absent or null")
		case len(field.value) == 0:
			add(field.name, "", "empty")
		default:
			add(field.name, hex.EncodeToString(field.value), size(len(field.value)))
		}
	}
	add("signature", hex.EncodeToString(sealed.signature), size(len(sealed.signature)))
	return out, nil
}

func momentOf(milliseconds uint64) string {
	if milliseconds > latestMillisecond {
		return "beyond the year 9999"
	}
	return time.UnixMilli(int64(milliseconds)).UTC().Format(time.RFC3339Nano) //nolint:gosec // above
}

func addCertificate(add func(name, value, note string), name string, der []byte) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		add(name, size(len(der)), "not readable: "+attestd.Excerpt(err.Error(), 80))
		return
	}
	add(name, attestd.Excerpt(certificate.Subject.String(), 160), size(len(der)))
	add(name+".not_before", certificate.NotBefore.UTC().Format(time.RFC3339), "")
	add(name+".not_after", certificate.NotAfter.UTC().Format(time.RFC3339), "")
	for _, point := range certificate.CRLDistributionPoints {
		add(name+".revocation_list", attestd.Excerpt(point, 160), "an address, never fetched")
	}
}
