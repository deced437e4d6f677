package service_test

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/testvectors/forge"
)

// guest is an SEV-SNP guest with a TPM that its owner's inventory names.
type guest struct {
	*world
	tpm    *forge.TPM
	report forge.SNPReport
	vcek   forge.VCEK
	above  [][]byte
}

func newGuest(t *testing.T, o worldOptions) *guest {
	t.Helper()
	amd, err := forge.NewAMD(forge.AMDConfig{Line: "Milan"})
	if err != nil {
		t.Fatal(err)
	}
	o.roots = []*x509.Certificate{amd.ARK}
	g := &guest{world: newWorld(t, o), report: forge.NewSNPReport("Milan", 3)}
	g.tpm = g.newTPM(nil)
	g.vcek, err = amd.IssueVCEK(g.report.VCEKConfig("Milan"))
	g.must(err)
	g.above = [][]byte{g.vcek.DER, amd.ASK.Raw}
	return g
}

// attest is a whole exchange; answered says whether a credential was asked for and answered.
func (g *guest) attest() (given attestd.Appraisal, answered bool, err error) {
	g.Helper()
	reply, err := g.service.Challenge(context.Background(), service.Wish{
		Wish: challenge.Wish{
			Format: attestd.FormatComposite, Tenant: "default", Purpose: "verify", Source: "192.0.2.1",
		},
		AttestationKey: g.tpm.AK.Public, EndorsementKey: g.tpm.EK.Public,
	})
	if err != nil {
		return attestd.Appraisal{}, false, err
	}
	handed := submission(reply.Challenge, nil)
	handed.Endorsements.Certificates = g.above
	if reply.Activation != nil {
		answered = true
		handed.ActivationSecret, err = g.tpm.Activate(reply.Activation.CredentialBlob, reply.Activation.EncryptedSecret)
		g.must(err)
	}
	root, err := reply.Challenge.Binding(nil).Digest()
	g.must(err)
	g.tpm.Clock++
	handed.Evidence, err = forge.Composite(root, forge.SNPPart(g.report, g.vcek.Key), forge.TPMPart(g.tpm, nil, nil))
	g.must(err)
	given, err = g.service.Verify(context.Background(), handed)
	return given, answered, err
}

// TestAComposedMachineIsItsTPMs: it answers one credential, is known from then on, and is named by its
// endorsement key; its host is the chip.
func TestAComposedMachineIsItsTPMs(t *testing.T) {
	g := newGuest(t, worldOptions{})
	given, answered, err := g.attest()
	g.must(err)
	if given.Verdict != attestd.VerdictAccepted || !answered || len(given.Devices) != 2 || given.Standing == nil {
		t.Fatalf("got %v, answered %t: %+v", given.Verdict, answered, given.Reasons)
	}
	if name := given.Standing.Subject; !strings.HasPrefix(name, "spiffe://example.org/spire/agent/attestd/composite/") {
		t.Errorf("got subject %q", name)
	}
	seen := subject.Observe(given)
	if seen.Host != hex.EncodeToString(g.report.ChipID[:]) || seen.Clock == nil || seen.Clock.Milliseconds != g.tpm.Clock {
		t.Errorf("got host %q and clock %+v", seen.Host, seen.Clock)
	}
	if given, answered, err = g.attest(); err != nil || answered || given.Verdict != attestd.VerdictAccepted {
		t.Errorf("the second time: %v, answered %t, %v", given.Verdict, answered, err)
	}
	// A TPM that was set back is a copy's, beside a processor as well.
	g.tpm.Clock -= 2
	given, _, err = g.attest()
	g.must(err)
	claims, _ := given.PartOf(attestd.FormatTPM)
	if !strings.Contains(string(claims), `"clock_order":"backward"`) {
		t.Errorf("a clock that went back is not told: %s", claims)
	}
}

// TestAHoldOnTheHostOfAComposedMachine: whoever quarantines a chip holds every machine on it.
func TestAHoldOnTheHostOfAComposedMachine(t *testing.T) {
	report := forge.NewSNPReport("Milan", 3)
	g := newGuest(t, worldOptions{held: subject.Key{Kind: "host", Value: hex.EncodeToString(report.ChipID[:])}})
	given, _, err := g.attest()
	g.refused(err, attestd.ClassQuarantined)
	if given.Schema != "" {
		t.Error("a verdict beside the error")
	}
}
