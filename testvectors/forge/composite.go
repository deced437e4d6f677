package forge

import (
	"crypto"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/compositeevidence"
	"github.com/attestd/attestd/internal/tpmevidence"
)

// CompositeTime is when the certificates of AMD's, Intel's and the TPM maker's test authorities are all
// valid.
var CompositeTime = TPMTime

// CompositePart is a device of a composed machine.
type CompositePart struct {
	Path   string
	Format attestd.Format
	// Make returns the device's evidence over the value of its freshness field; nil for evidence that
	// answers nothing.
	Make func(value []byte) ([]byte, error)
}

// Composite returns the evidence of the devices over the root, each over the value that is derived for
// it. A nil root asks them nothing.
func Composite(root []byte, parts ...CompositePart) ([]byte, error) {
	var out compositeevidence.Evidence
	for _, part := range parts {
		var value []byte
		if root != nil {
			var err error
			if value, err = attestd.DeviceFreshness(root, part.Path, part.Format); err != nil {
				return nil, err
			}
		}
		evidence, err := part.Make(value)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", part.Path, err)
		}
		out.Devices = append(out.Devices, compositeevidence.Device{
			Path: part.Path, Format: part.Format, Evidence: evidence,
		})
	}
	return out.Marshal()
}

// SNPPart is the processor of an SEV-SNP guest whose reports are signed with the key of a VCEK or VLEK.
func SNPPart(report SNPReport, key crypto.Signer) CompositePart {
	return CompositePart{"cpu", attestd.FormatSEVSNP, func(value []byte) ([]byte, error) {
		if value != nil {
			report.ReportData = [64]byte(value)
		}
		return SignSNP(report.Bytes(), key)
	}}
}

// TDXPart is the processor of a TD on the platform that the PCK certifies.
func TDXPart(quote TDQuote, pck PCK) CompositePart {
	return CompositePart{"cpu", attestd.FormatTDX, func(value []byte) ([]byte, error) {
		if value != nil {
			quote.ReportData = [64]byte(value)
		}
		return quote.Sign(pck)
	}}
}

// TPMPart is the machine's TPM. key is certified beside the quote where it is not nil, and edit, which
// may be nil, adds what belongs to the evidence: certificates and logs.
func TPMPart(machine *TPM, key *TPMKey, edit func(*tpmevidence.Evidence)) CompositePart {
	return CompositePart{"vtpm", attestd.FormatTPM, func(value []byte) ([]byte, error) {
		parts, err := machine.Evidence(value, nil)
		if err != nil {
			return nil, err
		}
		if key != nil {
			if parts.Key, err = machine.Certify(key, value, nil); err != nil {
				return nil, err
			}
		}
		if edit != nil {
			edit(&parts)
		}
		return parts.Marshal()
	}}
}

// NitroTPMPart is the NitroTPM of an EC2 instance.
func NitroTPMPart(authority *AWS, document Document) CompositePart {
	return CompositePart{"vtpm", attestd.FormatNitroTPM, func(value []byte) ([]byte, error) {
		document.NitroTPM = true
		if value != nil {
			document.Nonce = value
		}
		return authority.Document(document)
	}}
}

// At returns the part under another path.
func (p CompositePart) At(path string) CompositePart {
	p.Path = path
	return p
}
