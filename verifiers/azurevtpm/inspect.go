package azurevtpm

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tdxevidence"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Inspect implements verifiers.Verifier. A part that cannot be read is said to be so, and the others
// are decoded all the same: that is when a person needs to look at them.
func (v *Verifier) Inspect(evidence []byte) (attestd.Inspection, error) {
	parts, bad := open(evidence)
	s := &session{trail: trail.New(table)}
	if bad != nil {
		if bad.check == checkEncoding {
			s.trail.Pass(checkSize, wantSize, wantSize)
		}
		return attestd.Inspection{}, s.end(bad)
	}
	notes := inspection{verifier: v}
	notes.add("hcl.size", fmt.Sprintf("%d bytes", len(parts.HCLReport)), "")
	if bad := s.readReport(parts.HCLReport); bad != nil {
		notes.add("hcl", hex.EncodeToString(parts.HCLReport[:min(64, len(parts.HCLReport))]),
			"unreadable: "+bad.got)
	} else {
		notes.report(&s.report)
	}
	if parts.TDQuote != nil {
		wrapped, err := tdxevidence.Evidence{Quote: parts.TDQuote}.Marshal()
		notes.device("cpu", attestd.FormatTDX, wrapped, err)
	}
	for index, certificate := range parts.Certificates {
		notes.add(fmt.Sprintf("certificate.%d", index), fmt.Sprintf("%d bytes", len(certificate)), "DER")
	}
	notes.device("vtpm", attestd.FormatTPM, parts.TPM, nil)
	return attestd.Inspection{Format: attestd.FormatAzureVTPM,
		Summary: "Azure confidential VM evidence", Fields: notes.fields}, nil
}

type inspection struct {
	verifier *Verifier
	fields   []attestd.InspectedField
}

func (i *inspection) add(name, value, note string) {
	i.fields = append(i.fields, attestd.InspectedField{Name: name, Value: value, Note: note})
}

// report shows what the HCL report holds.
func (i *inspection) report(report *hclReport) {
	i.add("hcl.version", fmt.Sprint(report.version), "")
	i.add("hcl.report_type", report.kind.String(), "")
	i.add("hcl.runtime_hash", hex.EncodeToString(reportData(report.claims)[:32]), "computed")
	read, bad := readRuntime(report.claims)
	if bad != nil {
		note := bad.got
		if bad.err != nil {
			note = attestd.Excerpt(bad.err.Error(), 120)
		}
		i.add("hcl.runtime", attestd.Excerpt(string(report.claims), 200), "unreadable: "+note)
	} else {
		i.add("hcl.ak_sha256", hex.EncodeToString(read.ak[:]), "of the SubjectPublicKeyInfo")
		for _, spec := range [...]string{"vmUniqueId", "secure-boot", "tpm-enabled", "tpm-persisted",
			"console-enabled", "interactive-console-enabled", "root-cert-thumbprint"} {
			if value := read.value(spec); value.Kind() != attestd.KindNotVisible {
				i.add("hcl.vm."+spec, value.String(), "")
			}
		}
		if len(read.unknown) != 0 {
			i.add("hcl.unknown", attestd.Excerpt(strings.Join(read.unknown, ","), 120), "members")
		}
	}
	if report.kind == kindSNP {
		i.device("cpu", attestd.FormatSEVSNP, report.hardware, nil)
		return
	}
	i.add("hcl.td_report", hex.EncodeToString(report.hardware[tdOffData:tdOffData+64]),
		"REPORTDATA; a TDREPORT shows nothing outside of its machine")
}

// device shows a part as its own verifier decodes it.
func (i *inspection) device(path string, format attestd.Format, evidence []byte, err error) {
	var inner attestd.Inspection
	if err == nil {
		inner, err = i.verifier.parts[format].Inspect(evidence)
	}
	if err != nil {
		i.add(path, string(format), "unreadable: "+attestd.Excerpt(err.Error(), 120))
		return
	}
	i.add(path, string(format), inner.Summary)
	for _, field := range inner.Fields {
		field.Name = path + "." + field.Name
		i.fields = append(i.fields, field)
	}
}
