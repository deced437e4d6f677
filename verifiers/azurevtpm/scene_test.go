package azurevtpm_test

import (
	"crypto/x509"
	"errors"
	"sync"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/azureevidence"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/azurevtpm"
)

// world is made once: keys of RSA take a while.
type world struct {
	amd       *forge.AMD
	intel     *forge.Intel
	pck       forge.PCK
	ak, other *forge.TPMKey
	agent     *forge.TPMKey
}

var shared = sync.OnceValues(func() (*world, error) {
	w := &world{}
	var errs [6]error
	w.amd, errs[0] = forge.NewAMD(forge.AMDConfig{Line: "Genoa"})
	w.intel, errs[1] = forge.NewIntel(forge.IntelConfig{})
	w.ak, errs[2] = forge.AzureAK(nil)
	w.other, errs[3] = forge.AzureAK(nil)
	w.agent, errs[4] = forge.NewTPMKey(forge.TPMKeyConfig{Ordinary: true})
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	w.pck, errs[5] = w.intel.IssuePCK(forge.NewPCKConfig())
	return w, errs[5]
})

func theWorld(t testing.TB) *world {
	t.Helper()
	w, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func forgedVerifier(t testing.TB) *azurevtpm.Verifier {
	t.Helper()
	w := theWorld(t)
	return build(t, []*x509.Certificate{w.amd.ARK}, []*x509.Certificate{w.intel.Root})
}

// nonce is what every scene is asked with.
var nonce = []byte("0123456789abcdef0123456789abcdef")

// scene is forged evidence in the making; a row of a test changes it before it is built.
type scene struct {
	t      testing.TB
	tdx    bool
	claims forge.HCLClaims
	// snp and td change the CPU's report before it is signed, and domain the TDREPORT alone.
	snp    func(*forge.SNPReport)
	td     func(*forge.TDQuote)
	domain func([]byte) []byte
	// report changes what is around the CPU's report, and raw the bytes of the whole HCL report.
	report func(*forge.HCLReport)
	raw    func([]byte) []byte
	// ak signs the quote, over extra.
	ak    *forge.TPMKey
	extra []byte
	// machine changes what the TPM sends, parts what the container has.
	machine func(*tpmevidence.Evidence)
	parts   func(*azureevidence.Evidence)
	input   attestd.Input
}

func newScene(t testing.TB, tdx bool) *scene {
	t.Helper()
	w := theWorld(t)
	public, err := w.ak.RSAPublic()
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, tdx: tdx, claims: forge.NewHCLClaims(public, nil), ak: w.ak, extra: nonce,
		input: attestd.Input{At: forge.AMDTime, Demand: attestd.Recorded()}}
	if tdx {
		s.input.At = forge.IntelTime
	}
	return s
}

func (s *scene) fatal(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// cpu returns the HCL report, the quote of a trust domain, and the chip's certificates.
func (s *scene) cpu() (report, quote []byte, certificates [][]byte) {
	s.t.Helper()
	w := theWorld(s.t)
	claims, err := s.claims.Bytes()
	s.fatal(err)
	around := forge.NewHCLReport(forge.HCLReportSNP, nil, claims)
	if s.tdx {
		around.ReportType = forge.HCLReportTDX
		report, quote, err = forge.AzureTDX(w.pck, s.claims, s.td)
		s.fatal(err)
		around.Hardware = report[32 : 32+1024]
		if s.domain != nil {
			around.Hardware = s.domain(append([]byte(nil), around.Hardware...))
		}
	} else {
		report, certificates, err = w.amd.AzureSNP("Genoa", s.claims, s.snp)
		s.fatal(err)
		around.Hardware = report[32 : 32+1184]
	}
	if s.report != nil {
		s.report(&around)
	}
	report = around.Bytes()
	if s.raw != nil {
		report = s.raw(report)
	}
	return report, quote, certificates
}

func (s *scene) build() attestd.Input {
	s.t.Helper()
	parts := azureevidence.Evidence{}
	parts.HCLReport, parts.TDQuote, parts.Certificates = s.cpu()
	tpm, err := forge.NewTPM(s.ak, nil).Evidence(s.extra, nil)
	s.fatal(err)
	if s.machine != nil {
		s.machine(&tpm)
	}
	parts.TPM, err = tpm.Marshal()
	s.fatal(err)
	if s.parts != nil {
		s.parts(&parts)
	}
	s.input.Evidence, err = parts.Marshal()
	s.fatal(err)
	return s.input
}

// accepted verifies and returns the claims.
func accepted(t testing.TB, v verifiers.Verifier, input attestd.Input) *attestd.Claims {
	t.Helper()
	claims, err := v.Verify(input)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// rejected demands a rejection by the check of the device with the class, the failed check standing
// last among those that ran.
func rejected(
	t testing.TB, v verifiers.Verifier, input attestd.Input, device string, check attestd.CheckID,
	class attestd.Class,
) {
	t.Helper()
	claims, err := v.Verify(input)
	var bad *attestd.EvidenceError
	if claims != nil || !errors.As(err, &bad) {
		t.Fatalf("got %v, want a rejection by %s", err, check)
	}
	last := bad.Checks[len(bad.Checks)-1]
	if bad.Check != check || bad.Class != class || last.ID != check || last.Device != device ||
		last.Result != attestd.ResultFail || bad.Hint == "" {
		t.Errorf("got %s %s %s on %q, want %s %s on %q: %v", bad.Check, bad.Class, last.Result, last.Device,
			check, class, device, err)
	}
}
