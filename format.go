package attestd

import (
	"fmt"
	"strings"
)

// Format names a kind of evidence. The set is closed: [ParseFormat] knows every member.
type Format string

// The formats attestd has names for. A format is served by the verifier that carries its name; one
// without a verifier in this build is answered as unsupported, never guessed.
const (
	// FormatNitro is an AWS Nitro Enclaves attestation document.
	FormatNitro Format = "nitro"
	// FormatNitroTPM is an AWS NitroTPM attestation document of an EC2 instance.
	FormatNitroTPM Format = "nitrotpm"
	// FormatSEVSNP is an AMD SEV-SNP attestation report.
	FormatSEVSNP Format = "sev-snp"
	// FormatTPM is a TPM 2.0 quote.
	FormatTPM Format = "tpm"
	// FormatTDX is an Intel TDX quote.
	FormatTDX Format = "tdx"
	// FormatAzureVTPM is the evidence of an Azure confidential or Trusted Launch VM.
	FormatAzureVTPM Format = "azure-vtpm"
	// FormatComposite is the evidence of several devices of one machine behind one nonce.
	FormatComposite Format = "composite"
)

// Formats lists every format name, in the order in which people are shown them.
func Formats() []Format {
	return []Format{
		FormatNitro, FormatNitroTPM, FormatSEVSNP, FormatTPM, FormatTDX, FormatAzureVTPM,
		FormatComposite,
	}
}

// ParseFormat returns the format called name. Names are compared exactly.
//
// Errors: a [*CallerError] of class UNSUPPORTED that lists the names there are.
func ParseFormat(name string) (Format, error) {
	known := make([]string, 0, len(Formats()))
	for _, format := range Formats() {
		if string(format) == name {
			return format, nil
		}
		known = append(known, string(format))
	}
	return "", &CallerError{
		Class: ClassUnsupported,
		Hint:  "give one of: " + strings.Join(known, ", "),
		Err:   fmt.Errorf("unknown format %q", Excerpt(name, 40)),
	}
}
