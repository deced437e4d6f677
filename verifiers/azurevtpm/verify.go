package azurevtpm

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/azureevidence"
	"github.com/attestd/attestd/internal/tdxevidence"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Config of a verifier.
type Config struct {
	// Parts are the verifiers that the parts are shown to: one each for sev-snp, tdx and tpm. They may
	// be shared with whoever verifies evidence of their formats alone. Others are left out.
	Parts []verifiers.Verifier
}

// parts are the formats that an Azure VM's evidence is composed of.
var parts = []attestd.Format{attestd.FormatSEVSNP, attestd.FormatTDX, attestd.FormatTPM}

// Paths of the devices.
const (
	pathCPU = "cpu"
	pathTPM = "vtpm"
)

// Verifier verifies the evidence of Azure's confidential VMs. It is safe for concurrent use and holds
// no state of its own.
type Verifier struct {
	parts map[attestd.Format]verifiers.Verifier
}

var _ verifiers.Composer = (*Verifier)(nil)

// New returns a verifier.
//
// Errors: a [*attestd.CallerError] of class CONFIG where a part has no verifier, or two.
func New(config Config) (*Verifier, error) {
	v := &Verifier{parts: map[attestd.Format]verifiers.Verifier{}}
	for _, part := range config.Parts {
		if part == nil || !slices.Contains(parts, part.Format()) {
			continue
		}
		if v.parts[part.Format()] != nil {
			return nil, badConfig(fmt.Errorf("two verifiers for format %s", part.Format()))
		}
		v.parts[part.Format()] = part
	}
	for _, format := range parts {
		if v.parts[format] == nil {
			return nil, badConfig(fmt.Errorf("no verifier for format %s", format))
		}
	}
	return v, nil
}

func badConfig(err error) error {
	return &attestd.CallerError{Class: attestd.ClassConfig,
		Hint: "give one verifier each for sev-snp, tdx and tpm", Err: err}
}

// Format returns attestd.FormatAzureVTPM.
func (v *Verifier) Format() attestd.Format { return attestd.FormatAzureVTPM }

// Parts are the verifiers that the parts of the evidence are shown to.
func (v *Verifier) Parts() []verifiers.Verifier {
	out := make([]verifiers.Verifier, 0, len(parts))
	for _, format := range parts {
		out = append(out, v.parts[format])
	}
	return out
}

// Detect implements verifiers.Verifier.
func (v *Verifier) Detect(evidence []byte) bool { return azureevidence.IsEvidence(evidence) }

// SignaturesVerified counts the public-key verifications of its parts, those included that whoever
// shares a part had made.
func (v *Verifier) SignaturesVerified() (count uint64) {
	for _, part := range v.parts {
		count += part.SignaturesVerified()
	}
	return count
}

// session is one verification.
type session struct {
	verifier *Verifier
	input    attestd.Input
	evidence azureevidence.Evidence
	// trail has the checks since the last device, and ran all before.
	trail    *trail.Trail
	ran      []attestd.Check
	report   hclReport
	runtime  runtime
	cpu, tpm *attestd.Claims
}

// settle moves the trail's checks to those that ran.
func (s *session) settle() {
	s.ran = slices.Concat(s.ran, s.trail.Checks())
	s.trail = trail.New(table)
}

// Verify implements verifiers.Verifier. Where a part's verifier refuses, the answer is its own: its
// check, class and hint, with the device's path in the checks.
func (v *Verifier) Verify(input attestd.Input) (*attestd.Claims, error) {
	if err := askable(input); err != nil {
		return nil, err
	}
	s := &session{verifier: v, input: input, trail: trail.New(table)}
	if bad := s.read(); bad != nil {
		return nil, s.end(bad)
	}
	if err := s.verifyCPU(); err != nil {
		return nil, err
	}
	for _, step := range [...]func() *fault{
		s.checkLevel, s.checkTDReport, s.checkHash, s.checkKey,
	} {
		if bad := step(); bad != nil {
			return nil, s.end(bad)
		}
	}
	if err := s.verifyTPM(); err != nil {
		return nil, err
	}
	if bad := s.checkQuoted(); bad != nil {
		return nil, s.end(bad)
	}
	s.settle()
	return s.seal(), nil
}

// askable refuses questions that cannot be answered.
func askable(input attestd.Input) error {
	fail := func(hint, text string) error {
		return &attestd.CallerError{Class: attestd.ClassMalformed, Hint: hint, Err: errors.New(text)}
	}
	if input.At.IsZero() {
		return fail("give the time at which to judge (--at)", "no time to judge at")
	}
	if input.Demand.IsZero() {
		return fail("give --nonce or --challenge, or --recorded", "nothing is demanded of the evidence")
	}
	return nil
}

// read takes the evidence apart and makes the checks of its structure.
func (s *session) read() *fault {
	parsed, bad := open(s.input.Evidence)
	if bad != nil {
		if bad.check == checkEncoding {
			s.trail.Pass(checkSize, wantSize, wantSize)
		}
		return bad
	}
	s.evidence = parsed
	s.trail.Pass(checkSize, wantSize, wantSize)
	s.trail.Pass(checkEncoding, wantEncoding, wantEncoding)
	if bad := s.readReport(parsed.HCLReport); bad != nil {
		return bad
	}
	if bad := s.checkParts(); bad != nil {
		return bad
	}
	if s.runtime, bad = readRuntime(s.report.claims); bad != nil {
		return bad
	}
	s.trail.Pass(checkClaims, wantClaims, wantClaims)
	return nil
}

func open(evidence []byte) (azureevidence.Evidence, *fault) {
	parsed, err := azureevidence.Parse(evidence)
	switch {
	case err == nil:
		return parsed, nil
	case errors.Is(err, azureevidence.ErrTooLarge):
		return parsed, refuse(checkSize, "", wantSize).because(err)
	default:
		return parsed, refuse(checkEncoding, "", wantEncoding).because(err)
	}
}

// checkParts demands the parts that belong to the CPU, and no others: what nobody looks at could be
// anything.
func (s *session) checkParts() *fault {
	const want = "certificates on SNP alone, a TD quote on TDX alone"
	switch {
	case s.report.kind == kindSNP && s.evidence.TDQuote != nil:
		return refuse(checkParts, "a TD quote beside an SNP report", want)
	case s.report.kind == kindTDX && s.evidence.TDQuote == nil:
		return refuse(checkParts, "a TDREPORT without the quote of it: its MAC is for its own machine",
			"the TD quote that the host's service makes of it")
	case s.report.kind == kindTDX && s.evidence.Certificates != nil:
		return refuse(checkParts, "certificates beside a TD quote, which has its own", want)
	case len(s.evidence.Certificates) > len(certificateKinds):
		return refuse(checkParts, fmt.Sprintf("%d certificates", len(s.evidence.Certificates)),
			"VCEK, ASK and ARK at most")
	}
	for index, certificate := range s.evidence.Certificates {
		// The verifier of SNP reads armoured ones too, which would be a second form of the same evidence.
		if certificate[0] != derSequence {
			return refuse(checkParts, fmt.Sprintf("certificate %d is not DER", index), want)
		}
	}
	s.trail.Pass(checkParts, want, want)
	return nil
}

// verifyCPU shows the CPU's report to the verifier of its format. What it carries in REPORTDATA is
// compared afterwards: it is no nonce, and says nothing about freshness.
func (s *session) verifyCPU() error {
	format := attestd.FormatSEVSNP
	input := s.input
	input.Demand = attestd.Recorded()
	input.Evidence = s.report.hardware
	input.Anchors.TEEKeys = nil
	if s.report.kind == kindTDX {
		format = attestd.FormatTDX
		// In its container a quote has one form: no zeros behind it.
		wrapped, err := tdxevidence.Evidence{Quote: s.evidence.TDQuote}.Marshal()
		if err != nil {
			return s.end(refuse(checkEncoding, "", wantEncoding).because(err))
		}
		input.Evidence = wrapped
	} else if s.evidence.Certificates != nil {
		input.Evidence = extended(s.report.hardware, s.evidence.Certificates)
	}
	var err error
	s.cpu, err = s.ask(pathCPU, format, input)
	return err
}

// ask shows a device's evidence to its verifier.
func (s *session) ask(
	path string, format attestd.Format, input attestd.Input,
) (*attestd.Claims, error) {
	claims, err := s.verifier.parts[format].Verify(input)
	if err != nil {
		return nil, s.refusedBy(path, err)
	}
	if !claims.Proven() || claims.Format() != format {
		return nil, fmt.Errorf("the verifier of %s answered with claims of something else", format)
	}
	s.settle()
	s.ran = append(s.ran, under(path, claims.Checks())...)
	return claims, nil
}

// checkLevel demands that the paravisor asked for the report. The guest's kernel, at a level with
// fewer rights, can ask for one too, over claims of its own.
func (s *session) checkLevel() *fault {
	const want = "VMPL 0, the paravisor's"
	if s.report.kind == kindTDX {
		s.trail.NotApplicable(checkLevel, "only the paravisor of a partitioned TD can ask for a TDREPORT")
		return nil
	}
	level, _ := s.cpu.Fact("vmpl")
	if number, ok := level.Uint(); !ok || number != 0 {
		return refuse(checkLevel, "VMPL "+level.String(), want)
	}
	s.trail.Pass(checkLevel, want, want)
	return nil
}

func (s *session) checkTDReport() *fault {
	if s.report.kind == kindSNP {
		s.trail.NotApplicable(checkTD, "an SNP report stands for itself")
		return nil
	}
	if bad := checkTDReport(s.report.hardware, s.evidence.TDQuote); bad != nil {
		return bad
	}
	s.trail.Pass(checkTD, wantTDReport, wantTDReport)
	return nil
}

// checkHash compares REPORTDATA with the claims, in full length: what the other half could hold would
// be the attacker's.
func (s *session) checkHash() *fault {
	const want = "their SHA-256 and 32 zeros"
	fact, _ := s.cpu.Fact("report_data")
	got, ok := fact.Bytes()
	if !ok || subtle.ConstantTimeCompare(got, reportData(s.report.claims)) != 1 {
		return refuse(checkHash, "REPORTDATA is not over these runtime claims", want)
	}
	s.trail.Pass(checkHash, want, want)
	return nil
}

// checkKey demands that the quote is by the key of the claims. Without it any TPM with a key that
// somebody vouches for could stand beside any CPU.
func (s *session) checkKey() *fault {
	const want = "the key " + keyAttestation
	parsed, err := tpmevidence.Parse(s.evidence.TPM)
	if err != nil {
		return refuseAs(checkKey, attestd.ClassMalformed, "", "TPM evidence with its key").because(err)
	}
	public, err := tpm2.ParsePublic(bytes.Clone(parsed.AKPublic))
	if err != nil {
		return refuseAs(checkKey, attestd.ClassMalformed, "", "TPM evidence with its key").because(err)
	}
	spki, err := public.SPKI()
	if err != nil || sha256.Sum256(spki) != s.runtime.ak {
		return refuse(checkKey, "a quote by another key", want)
	}
	s.trail.Pass(checkKey, want, want)
	return nil
}

// verifyTPM shows the quote to the verifier of TPM quotes, with the whole demand, and tells it that the
// CPU vouches for the key.
func (s *session) verifyTPM() (err error) {
	input := s.input
	input.Evidence = s.evidence.TPM
	input.Anchors.TEEKeys = [][32]byte{s.runtime.ak}
	s.tpm, err = s.ask(pathTPM, attestd.FormatTPM, input)
	return err
}

// checkQuoted looks once more at what the claims of the quote say of key and freshness, so that a
// verifier that forgot one cannot lend its TPM to another machine.
func (s *session) checkQuoted() *fault {
	fact, _ := s.tpm.Fact("ak_sha256")
	key, _ := fact.Bytes()
	want := wantedFreshness(s.input.Demand)
	switch {
	case !bytes.Equal(key, s.runtime.ak[:]):
		return refuse(checkQuoted, "a quote by another key", "the key "+keyAttestation)
	case s.tpm.Freshness() != want:
		return refuse(checkQuoted, fmt.Sprintf("freshness %q", s.tpm.Freshness()), fmt.Sprintf("%q", want))
	}
	if _, demanded := s.input.Demand.Freshness(); !demanded {
		s.trail.NotApplicable(checkQuoted, "no nonce was demanded: freshness is not shown")
		return nil
	}
	s.trail.Pass(checkQuoted, "what was demanded, by the key "+keyAttestation, "what was demanded")
	return nil
}

func wantedFreshness(demand attestd.Demand) attestd.Freshness {
	switch {
	case demand.IsBinding():
		return attestd.FreshnessBinding
	case demand.IsRecorded():
		return attestd.FreshnessNotShown
	default:
		return attestd.FreshnessNonce
	}
}
