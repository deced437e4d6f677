package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Media types of evidence in sessions: ours have the evidence as it is, and those of Veraison's ratsd
// (docs/tsm-report.cddl there) the files of Linux' configfs-tsm in an envelope.
const (
	mediaEvidence = "application/vnd.attestd."
	mediaTSMCBOR  = "application/vnd.veraison.tsm-report+cbor"
	mediaTSMJSON  = "application/vnd.veraison.tsm-report+json"
)

// evidenceTypes are the media types of evidence that sessions take.
func (s *server) evidenceTypes() []string {
	var types []string
	tsm := false
	for _, format := range s.config.Service.Formats() {
		types = append(types, mediaEvidence+string(format))
		tsm = tsm || format == attestd.FormatSEVSNP || format == attestd.FormatTDX
	}
	if tsm {
		types = append(types, mediaTSMCBOR, mediaTSMJSON)
	}
	return types
}

// unwrap returns the format of evidence and its bytes. Only the envelope is read here; what is in it is
// the worker's to parse.
func unwrap(media string, body []byte, limit int) (attestd.Format, []byte, error) {
	var report tsmReport
	var err error
	switch media {
	case mediaTSMJSON:
		err = strict.DecodeJSON(body, strict.JSONLimits{Bytes: limit, Depth: 1}, &report)
	case mediaTSMCBOR:
		err = report.decodeCBOR(body)
	default:
		format, err := attestd.ParseFormat(strings.TrimPrefix(media, mediaEvidence))
		return format, body, err
	}
	if err == nil {
		err = report.check()
	}
	if err != nil {
		return "", nil, malformed("tsm-report: "+err.Error(),
			"send outblob, auxblob and provider as configfs-tsm gave them: of sev_guest or tdx_guest")
	}
	if report.provider() == providerTDX {
		return attestd.FormatTDX, report.OutBlob, nil
	}
	// A report and the certificate table of its host are one evidence, as with attestd evidence snp.
	return attestd.FormatSEVSNP, slices.Concat([]byte(report.OutBlob), []byte(report.AuxBlob)), nil
}

// tsmReport has the files of one entry of configfs-tsm (Linux,
// Documentation/ABI/testing/configfs-tsm-report). Reports of a service provider are another format.
type tsmReport struct {
	OutBlob  blob   `json:"outblob"`
	AuxBlob  blob   `json:"auxblob"`
	Provider string `json:"provider"`
}

// The providers of SEV-SNP reports and of TD quotes.
const (
	providerSEV = "sev_guest"
	providerTDX = "tdx_guest"
)

// provider is without the new line that the kernel ends it with.
func (t *tsmReport) provider() string { return strings.TrimSuffix(t.Provider, "\n") }

func (t *tsmReport) check() error {
	switch provider := t.provider(); {
	case provider != providerSEV && provider != providerTDX:
		return fmt.Errorf("provider is %q, want %s or %s", attestd.Excerpt(t.Provider, 40), providerSEV, providerTDX)
	case len(t.OutBlob) == 0:
		return errors.New("outblob is missing")
	case provider == providerTDX && len(t.AuxBlob) != 0:
		return errors.New("auxblob beside a TD quote, which has none")
	}
	return nil
}

// blob is bytes in base64url without padding, as the JSON form has them.
type blob []byte

// UnmarshalJSON implements [json.Unmarshaler].
func (b *blob) UnmarshalJSON(document []byte) error {
	var text string
	if err := json.Unmarshal(document, &text); err != nil {
		return err
	}
	if strings.ContainsAny(text, "\r\n") { // which package base64 skips
		return errors.New("a line's end in base64url")
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(decoded) == 0 {
		return errors.New("want base64url without padding, and not empty")
	}
	*b = decoded
	return nil
}

// decodeCBOR reads the CBOR form: one map with each known key at most once, and nothing behind it.
func (t *tsmReport) decodeCBOR(body []byte) error {
	cursor := strict.NewCBOR(body)
	count, err := cursor.Map(3)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for range count {
		key, err := cursor.Text()
		if err != nil {
			return err
		}
		name := string(key)
		if seen[name] {
			return fmt.Errorf("key %q stands twice", attestd.Excerpt(name, 40))
		}
		seen[name] = true
		var value []byte
		switch name {
		case "outblob":
			value, err = cursor.Bytes()
			t.OutBlob = value
		case "auxblob":
			value, err = cursor.Bytes()
			t.AuxBlob = value
		case "provider":
			value, err = cursor.Text()
			t.Provider = string(value)
		default:
			return fmt.Errorf("unknown key %q", attestd.Excerpt(name, 40))
		}
		if err != nil {
			return err
		}
	}
	return cursor.End()
}
