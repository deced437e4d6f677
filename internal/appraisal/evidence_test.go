package appraisal_test

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/nitro"
	"github.com/attestd/attestd/verifiers/nitrotpm"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

// authorities are made once: RSA keys of AMD's size take seconds.
var (
	aws = sync.OnceValues(func() (*forge.AWS, error) { return forge.NewAWS(forge.AWSOptions{}) })
	amd = sync.OnceValues(func() (map[string]*forge.AMD, error) {
		made := map[string]*forge.AMD{}
		for _, line := range []string{"Milan", "Genoa", "Turin"} {
			authority, err := forge.NewAMD(forge.AMDConfig{Line: line})
			if err != nil {
				return nil, err
			}
			made[line] = authority
		}
		return made, nil
	})
)

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// verified runs evidence through its real verifier and returns what appraisal gets to see.
func verified(
	t testing.TB, verifier verifiers.Verifier, evidence []byte, with attestd.Endorsements, at time.Time,
) appraisal.Input {
	t.Helper()
	claims, err := verifier.Verify(attestd.Input{
		Evidence: evidence, Endorsements: with, At: at, Demand: attestd.Recorded(),
	})
	return appraisal.Input{
		Format: verifier.Format(), Claims: claims, Err: err, At: at,
		EvidenceDigest: sha256.Sum256(evidence), Specs: verifier.Checks(),
	}
}

// enclave is a forged Nitro document.
func enclave(t testing.TB, document forge.Document) appraisal.Input {
	t.Helper()
	authority := must[*forge.AWS](t)(aws())
	evidence := must[[]byte](t)(authority.Document(document))
	roots := []*x509.Certificate{authority.Root()}
	if document.NitroTPM {
		verifier := must[*nitrotpm.Verifier](t)(nitrotpm.New(nitrotpm.Config{InsecureRoots: roots}))
		return verified(t, verifier, evidence, attestd.Endorsements{}, authority.At())
	}
	verifier := must[*nitro.Verifier](t)(nitro.New(nitro.Config{InsecureRoots: roots}))
	return verified(t, verifier, evidence, attestd.Endorsements{}, authority.At())
}

// cloud is whose VLEK signs reports that say so.
const cloud = "CN=some-region.example"

// guest is a forged SNP report: a good one of the product and version, changed.
func guest(
	t testing.TB, product string, version uint32, change func(*forge.SNPReport),
) appraisal.Input {
	t.Helper()
	line := strings.TrimSuffix(strings.TrimSuffix(product, "-X"), "-Dense")
	if product == "Bergamo" {
		line = "Genoa"
	}
	authority := must[map[string]*forge.AMD](t)(amd())[line]
	report := forge.NewSNPReport(product, version)
	config := report.VCEKConfig(line)
	if change != nil {
		change(&report)
	}
	config.TCB = report.Reported
	vcek, above := must[forge.VCEK](t)(authority.IssueVCEK(config)), authority.ASK
	if report.KeyInfo>>2&7 == 1 {
		config := report.VLEKConfig(line, cloud)
		vcek = must[forge.VCEK](t)(authority.IssueVLEK(config))
		above = must[*x509.Certificate](t)(authority.ASVK())
	}
	evidence := must[[]byte](t)(forge.SignSNP(report.Bytes(), vcek.Key))
	verifier := must[*sevsnp.Verifier](t)(sevsnp.New(sevsnp.Config{
		InsecureRoots: []*x509.Certificate{authority.ARK},
	}))
	return verified(t, verifier, evidence, attestd.Endorsements{
		Certificates: [][]byte{vcek.DER, above.Raw, authority.ARK.Raw},
	}, forge.AWSTime)
}

// under appraises input under a policy.
func under(policy *appraisal.Policy, input appraisal.Input) attestd.Appraisal {
	input.Policy = policy
	return appraisal.Appraise(input)
}

func builtin(t testing.TB, name string) *appraisal.Policy {
	t.Helper()
	return must[*appraisal.Policy](t)(appraisal.Builtin(name))
}

// only returns a policy document that demands what rules say of a format, and nothing else of it.
func only(specs []attestd.CheckSpec, format attestd.Format, rules map[string]string) []byte {
	var out strings.Builder
	fmt.Fprintf(&out, "schema: attestd.policy.v1\nid: only\nformats:\n  %s:\n", format)
	names := []string{"measurement/known", "ownership/known"}
	strictest := map[string]string{} // what no policy waives
	for _, spec := range specs {
		if spec.Stage != attestd.StageAppraise {
			continue
		}
		name := strings.TrimPrefix(string(spec.ID), string(format)+"/")
		if names = append(names, name); spec.Required && spec.Rule == attestd.RuleFlag {
			strictest[name] = "{want: false, otherwise: undecided}"
		} else if spec.Required {
			strictest[name] = "{want: [" + strings.Join(spec.Values, ", ") + "], otherwise: undecided}"
		}
	}
	for _, name := range names {
		rule, ok := rules[name]
		if !ok {
			rule = cmp.Or(strictest[name], "any")
		}
		fmt.Fprintf(&out, "    %s: %s\n", name, rule)
	}
	return []byte(out.String())
}

// demanding is the policy that demands what rules say and nothing else.
func demanding(t testing.TB, input appraisal.Input, rules map[string]string) *appraisal.Policy {
	t.Helper()
	return must[*appraisal.Policy](t)(appraisal.ParsePolicy("only.yaml",
		only(input.Specs, input.Format, rules)))
}

// known returns an index with the claims' own measurement in the given state.
func known(t testing.TB, input appraisal.Input, state measurements.State) *measurements.Index {
	t.Helper()
	set := must[*measurements.Set](t)(measurements.FromClaims("web", input.Claims))
	set.Values[0].State = state
	return must[*measurements.Index](t)(measurements.NewIndex(set))
}

func failed(verdict attestd.Appraisal, id attestd.CheckID) bool {
	for _, check := range verdict.Checks {
		if check.ID == id {
			return check.Result == attestd.ResultFail
		}
	}
	return false
}

func effectOf(verdict attestd.Appraisal, id attestd.CheckID) string {
	for _, reason := range verdict.Reasons {
		if reason.Check == id {
			return reason.Effect.String()
		}
	}
	return "no reason"
}
