package azurevtpm_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/azureevidence"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/azurevtpm"
	"github.com/attestd/attestd/verifiers/tpm"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

// TestConformanceOfForgedEvidence runs the suite on what nobody published: a trust domain whose
// TDREPORT has every field, and evidence without the chip's certificates.
func TestConformanceOfForgedEvidence(t *testing.T) {
	s := newScene(t, true)
	s.td = func(q *forge.TDQuote) { q.RTMR[2][7], q.MROwner[0], q.MRConfigID[47] = 1, 2, 3 }
	input := s.build()
	parts, err := azureevidence.Parse(input.Evidence)
	s.fatal(err)
	t.Run("a trust domain", func(t *testing.T) {
		verifiertest.Conformance(t, verifiertest.Case{
			New: func() verifiers.Verifier { return forgedVerifier(t) }, Input: input, Nonce: nonce,
			OtherTimes: verifiertest.OutsideValidity(), Signatures: 2,
			Unauthenticated: macOf(t, input.Evidence, parts.HCLReport),
			Either:          versionOf(t, input.Evidence, parts.HCLReport),
		})
	})

	beside := newScene(t, false)
	beside.parts = func(e *azureevidence.Evidence) {
		beside.input.Endorsements.Certificates, e.Certificates = e.Certificates, nil
	}
	input = beside.build()
	input.Endorsements = beside.input.Endorsements
	t.Run("certificates beside the evidence", func(t *testing.T) {
		verifiertest.Conformance(t, verifiertest.Case{
			New: func() verifiers.Verifier { return forgedVerifier(t) }, Input: input, Nonce: nonce,
			OtherTimes: verifiertest.OutsideValidity(), Signatures: 2,
		})
	})
}

// TestWhatClaimsSay: devices, edge, handles and freshness of both kinds of CPU.
func TestWhatClaimsSay(t *testing.T) {
	t.Parallel()
	v := forgedVerifier(t)
	const instance = "azure:390cbcf5-6c67-4d9b-98ef-c3f1699cc8fc"
	for name, tdx := range map[string]bool{"sev-snp": false, "tdx": true} {
		s := newScene(t, tdx)
		demand, err := attestd.Fresh(nonce)
		s.fatal(err)
		s.input.Demand = demand
		got := accepted(t, v, s.build())
		if got.Freshness() != attestd.FreshnessNonce || !got.InsecureRoots() {
			t.Errorf("%s: freshness %v, insecure %v", name, got.Freshness(), got.InsecureRoots())
		}
		edges := slices.Collect(got.Edges())
		if len(edges) != 1 || edges[0].From != "cpu" || edges[0].To != "vtpm" ||
			edges[0].Grade != attestd.GradeCryptographic {
			t.Errorf("%s: edges %+v", name, edges)
		}
		devices := slices.Collect(got.Devices())
		if len(devices) != 2 || devices[0].Path != "cpu" || string(devices[0].Claims.Format()) != name ||
			devices[0].Claims.Freshness() != attestd.FreshnessNotShown ||
			devices[1].Claims.Freshness() != attestd.FreshnessNonce {
			t.Errorf("%s: devices %+v", name, devices)
		}
		residency, _ := devices[1].Claims.Fact("ak_residency")
		protection, _ := devices[1].Claims.Fact("protection")
		if residency.String() != "tee" || protection.String() != "tee" {
			t.Errorf("%s: the TPM's key is %s, %s", name, residency, protection)
		}
		handles := map[attestd.HandleKind]string{}
		for handle := range got.Handles() {
			handles[handle.Kind] = handle.Value
		}
		if handles[attestd.HandleInstance] != instance || handles[attestd.HandleHost] == "" ||
			!strings.HasSuffix(handles[attestd.HandleBoot], "/3") {
			t.Errorf("%s: handles %v", name, handles)
		}
	}
}

// TestAMachineHasANameOnlyFromAzuresParavisor: whoever owns a chip starts a paravisor that states any
// machine's id; its name, and whoever is held under it, must not be his to give.
func TestAMachineHasANameOnlyFromAzuresParavisor(t *testing.T) {
	t.Parallel()
	v := forgedVerifier(t)
	for want, digest := range map[string][48]byte{"none": {}, "unknown": {1}} {
		s := newScene(t, false)
		s.snp = func(r *forge.SNPReport) { r.IDKeyDigest = digest }
		got := accepted(t, v, s.build())
		if signer, _ := got.Fact("paravisor_signer"); signer.String() != want {
			t.Errorf("signer %s, want %s", signer, want)
		}
		for handle := range got.Handles() {
			if handle.Kind != attestd.HandleHost {
				t.Errorf("signer %s: handle %v", want, handle)
			}
		}
	}
	nameless := newScene(t, false)
	nameless.claims.Config.ID = ""
	for handle := range accepted(t, v, nameless.build()).Handles() {
		if handle.Kind != attestd.HandleHost {
			t.Errorf("no id: handle %v", handle)
		}
	}
}

// TestBindingsAndKeys: the digest of a binding is in the quote, and a key that is demanded is the one
// that the TPM certified.
func TestBindingsAndKeys(t *testing.T) {
	t.Parallel()
	v, w := forgedVerifier(t), theWorld(t)
	spki, err := w.agent.SPKI()
	if err != nil {
		t.Fatal(err)
	}
	binding := attestd.Binding{Format: attestd.FormatAzureVTPM, Nonce: nonce, SPKI: spki}
	digest, err := binding.Digest()
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, false)
	s.extra = digest
	s.machine = func(e *tpmevidence.Evidence) {
		certified, err := forge.NewTPM(s.ak, nil).Certify(w.agent, digest, nil)
		s.fatal(err)
		e.Key = certified
	}
	s.input.Demand, err = attestd.Bound(binding)
	s.fatal(err)
	input := s.build()
	got := accepted(t, v, input)
	grade, _ := got.Fact("key_grade")
	if got.Freshness() != attestd.FreshnessBinding || !slices.Equal(got.KeySPKI(), spki) ||
		grade.String() != "resident" {
		t.Errorf("freshness %v, grade %v", got.Freshness(), grade)
	}
	// As plain TPM evidence the same binding has another digest.
	binding.Format = attestd.FormatTPM
	input.Demand, err = attestd.Bound(binding)
	s.fatal(err)
	rejected(t, v, input, "vtpm", "tpm/nonce", attestd.ClassBinding)
}

// TestTheQuoteAloneIsNobodys: without the CPU's report nobody vouches for the key.
func TestTheQuoteAloneIsNobodys(t *testing.T) {
	t.Parallel()
	input := newScene(t, false).build()
	parts, err := azureevidence.Parse(input.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := tpm.New(tpm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	input.Evidence = parts.TPM
	rejected(t, alone, input, "", "tpm/ak-trusted", attestd.ClassChain)
}

// lax is a verifier that gives what it is told to instead of its own answer.
type lax struct {
	verifiers.Verifier
	claims *attestd.Claims
}

func (l lax) Verify(attestd.Input) (*attestd.Claims, error) { return l.claims, nil }

// TestAPartThatForgotAComparison: whatever the verifier of quotes let through, claims of another key or
// of no freshness make no machine.
func TestAPartThatForgotAComparison(t *testing.T) {
	t.Parallel()
	honest := accepted(t, forgedVerifier(t), newScene(t, false).build())
	var key []byte
	for device := range honest.Devices() {
		if device.Path == "vtpm" {
			fact, _ := device.Claims.Fact("ak_sha256")
			key, _ = fact.Bytes()
		}
	}
	s := newScene(t, false)
	demand, err := attestd.Fresh(nonce)
	s.fatal(err)
	s.input.Demand = demand
	input := s.build()
	for name, row := range map[string]struct {
		key   []byte
		shown attestd.Freshness
		ok    bool
	}{
		"as it should":  {key, attestd.FreshnessNonce, true},
		"another key":   {make([]byte, 32), attestd.FreshnessNonce, false},
		"no freshness":  {key, attestd.FreshnessNotShown, false},
		"a wrong grade": {key, attestd.FreshnessBinding, false},
	} {
		given := forgedVerifier(t).Parts()
		for i, part := range given {
			if part.Format() == attestd.FormatTPM {
				given[i] = lax{part, attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
					Format: attestd.FormatTPM, Freshness: row.shown,
					Facts: []attestd.Fact{{Name: "ak_sha256", Value: attestd.Bytes(row.key)}},
				})}
			}
		}
		v, err := azurevtpm.New(azurevtpm.Config{Parts: given})
		s.fatal(err)
		if row.ok {
			accepted(t, v, input)
		} else {
			t.Run(name, func(t *testing.T) {
				rejected(t, v, input, "", "azure-vtpm/quoted", attestd.ClassBinding)
			})
		}
	}
	for name, claims := range map[string]*attestd.Claims{"nothing": nil, "no seal": {},
		"another format": honest} {
		given := forgedVerifier(t).Parts()
		given[0] = lax{given[0], claims}
		v, err := azurevtpm.New(azurevtpm.Config{Parts: given})
		s.fatal(err)
		if got, err := v.Verify(input); got != nil || err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPartsOfTheVerifier(t *testing.T) {
	t.Parallel()
	given := forgedVerifier(t).Parts()
	for name, parts := range map[string][]verifiers.Verifier{
		"none": nil, "no TDX": {given[0], given[2]}, "two for SNP": {given[0], given[0], given[1], given[2]},
	} {
		_, err := azurevtpm.New(azurevtpm.Config{Parts: parts})
		if caller, ok := err.(*attestd.CallerError); !ok || caller.Class != attestd.ClassConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
}
