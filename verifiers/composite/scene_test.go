package composite_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/composite"
	"github.com/attestd/attestd/verifiers/nitrotpm"
	"github.com/attestd/attestd/verifiers/sevsnp"
	"github.com/attestd/attestd/verifiers/tdx"
	"github.com/attestd/attestd/verifiers/tpm"
)

// root is what every machine is asked with.
var root = bytes.Repeat([]byte{0x42}, 64)

// world is made once, but for AMD's part of it.
type world struct {
	intel *forge.Intel
	aws   *forge.AWS
	makes *forge.TPMCA
	pck   forge.PCK
	// Two attestation keys, their endorsement keys, and a key that an agent uses.
	ak, otherAK, ek, otherEK, agent *forge.TPMKey
}

var shared = sync.OnceValues(func() (*world, error) {
	w := &world{}
	var errs []error
	keep := func(err error) { errs = append(errs, err) }
	var err error
	w.intel, err = forge.NewIntel(forge.IntelConfig{})
	keep(err)
	w.aws, err = forge.NewAWS(forge.AWSOptions{ModuleID: forge.NitroTPMModuleID})
	keep(err)
	w.makes, err = forge.NewTPMCA(forge.TPMCAConfig{})
	keep(err)
	for _, made := range []struct {
		key    **forge.TPMKey
		config forge.TPMKeyConfig
	}{
		{&w.ak, forge.TPMKeyConfig{}}, {&w.otherAK, forge.TPMKeyConfig{}},
		{&w.ek, forge.TPMKeyConfig{Endorsement: true}}, {&w.otherEK, forge.TPMKeyConfig{Endorsement: true}},
		{&w.agent, forge.TPMKeyConfig{Ordinary: true}},
	} {
		*made.key, err = forge.NewTPMKey(made.config)
		keep(err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	w.pck, err = w.intel.IssuePCK(forge.NewPCKConfig())
	keep(err)
	return w, errors.Join(errs...)
})

// chips are AMD's authority and the key of one of its chips. Its RSA keys take seconds.
type chips struct {
	amd  *forge.AMD
	vcek forge.VCEK
}

var sharedChips = sync.OnceValues(func() (made chips, err error) {
	if made.amd, err = forge.NewAMD(forge.AMDConfig{Line: "Genoa"}); err != nil {
		return made, err
	}
	made.vcek, err = made.amd.IssueVCEK(forge.NewSNPReport("Genoa", 3).VCEKConfig("Genoa"))
	return made, err
})

func theChips(t testing.TB) chips {
	t.Helper()
	made, err := sharedChips()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func theWorld(t testing.TB) *world {
	t.Helper()
	w, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func only(root *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{root} }

// parts are new verifiers of the devices' formats.
func parts(t testing.TB) []verifiers.Verifier {
	t.Helper()
	guests, noGuests := sevsnp.New(sevsnp.Config{InsecureRoots: only(theChips(t).amd.ARK)})
	instances, noInstances := nitrotpm.New(nitrotpm.Config{InsecureRoots: only(theWorld(t).aws.Root())})
	if err := errors.Join(noGuests, noInstances); err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]verifiers.Verifier{guests}, quickParts(t), []verifiers.Verifier{instances})
}

// quickParts are those whose test authorities have no RSA keys.
func quickParts(t testing.TB) []verifiers.Verifier {
	t.Helper()
	w := theWorld(t)
	domains, noDomains := tdx.New(tdx.Config{InsecureRoots: only(w.intel.Root)})
	machines, noMachines := tpm.New(tpm.Config{InsecureRoots: only(w.makes.Root)})
	if err := errors.Join(noDomains, noMachines); err != nil {
		t.Fatal(err)
	}
	return []verifiers.Verifier{domains, machines}
}

func newVerifier(t testing.TB) *composite.Verifier {
	t.Helper()
	v, err := composite.New(composite.Config{Parts: parts(t)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func guest(t testing.TB) forge.CompositePart {
	return forge.SNPPart(forge.NewSNPReport("Genoa", 3), theChips(t).vcek.Key)
}

func domain(t testing.TB) forge.CompositePart {
	return forge.TDXPart(forge.NewTDQuote(4), theWorld(t).pck)
}

// chip is the first machine's TPM, with the certificate of its endorsement key.
func chip(t testing.TB, key *forge.TPMKey) forge.CompositePart {
	w := theWorld(t)
	return chipOf(t, w.ak, w.ek, key)
}

func chipOf(t testing.TB, ak, ek, key *forge.TPMKey) forge.CompositePart {
	t.Helper()
	w := theWorld(t)
	certificate, err := w.makes.EKCertificate(ek.Signer.Public(), forge.EKCertificateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return forge.TPMPart(forge.NewTPM(ak, ek), key, func(e *tpmevidence.Evidence) {
		e.EKCertificate, e.Intermediates = certificate, w.makes.Bundle()
	})
}

func instance(t testing.TB) forge.CompositePart {
	return forge.NitroTPMPart(theWorld(t).aws, forge.Document{})
}

// input asks the parts with the root and demands what is given.
func input(t testing.TB, demand attestd.Demand, asked []byte, devices ...forge.CompositePart) attestd.Input {
	t.Helper()
	evidence, err := forge.Composite(asked, devices...)
	if err != nil {
		t.Fatal(err)
	}
	return inputOf(t, demand, evidence)
}

func inputOf(t testing.TB, demand attestd.Demand, evidence []byte) attestd.Input {
	t.Helper()
	asked := bareInput(t, demand, evidence)
	asked.Endorsements.Certificates = [][]byte{theChips(t).amd.ASK.Raw, theChips(t).vcek.DER}
	return asked
}

// bareInput has no endorsements.
func bareInput(t testing.TB, demand attestd.Demand, evidence []byte) attestd.Input {
	t.Helper()
	w := theWorld(t)
	secret := []byte("a secret of thirty-two bytes 123")
	return attestd.Input{
		Evidence: evidence, At: forge.CompositeTime, Demand: demand,
		Anchors: attestd.Anchors{Activation: &attestd.Activation{
			AKName: w.ak.Name, EK: digestOf(t, w.ek), Secret: sha256.Sum256(secret), Answer: secret,
		}},
	}
}

func digestOf(t testing.TB, key *forge.TPMKey) [32]byte {
	t.Helper()
	return sha256.Sum256(spki(t, key))
}

func spki(t testing.TB, key *forge.TPMKey) []byte {
	t.Helper()
	der, err := key.SPKI()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func fresh(t testing.TB, nonce []byte) attestd.Demand {
	t.Helper()
	demand, err := attestd.Fresh(nonce)
	if err != nil {
		t.Fatal(err)
	}
	return demand
}

func good(t testing.TB, v verifiers.Verifier, input attestd.Input) *attestd.Claims {
	t.Helper()
	claims, err := v.Verify(input)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// refused fails unless the answer is a rejection by the check of the device, of the class.
func refused(
	t testing.TB, v verifiers.Verifier, input attestd.Input, device string, check attestd.CheckID,
	class attestd.Class,
) {
	t.Helper()
	claims, err := v.Verify(input)
	var rejected *attestd.EvidenceError
	switch {
	case claims != nil:
		t.Errorf("accepted, want %s", check)
	case !errors.As(err, &rejected):
		t.Errorf("got %v, want a rejection by %s", err, check)
	case rejected.Check != check || rejected.Class != class:
		t.Errorf("got %s of class %s (%v), want %s of class %s", rejected.Check, rejected.Class, err,
			check, class)
	default:
		last := rejected.Checks[len(rejected.Checks)-1]
		if last.ID != check || last.Device != device || last.Result != attestd.ResultFail {
			t.Errorf("the last check is %s of device %q, %v; want %s of %q", last.ID, last.Device, last.Result,
				check, device)
		}
	}
}

func fact(claims *attestd.Claims, name string) string {
	value, ok := claims.Fact(name)
	if !ok {
		return "(absent)"
	}
	return value.String()
}

func handles(claims *attestd.Claims) map[attestd.HandleKind]string {
	out := map[attestd.HandleKind]string{}
	for handle := range claims.Handles() {
		out[handle.Kind] = handle.Value
	}
	return out
}
