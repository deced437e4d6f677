package judge_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
)

// machine is a TPM, and the request for a credential for it.
func machine(t *testing.T) (*forge.TPM, judge.CredentialRequest) {
	t.Helper()
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ek, err := forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true})
	if err != nil {
		t.Fatal(err)
	}
	return forge.NewTPM(ak, ek), judge.CredentialRequest{
		AKPublic: ak.Public, EKPublic: ek.Public,
		Secret: bytes.Repeat([]byte{7}, 32), Entropy: bytes.Repeat([]byte{9}, 64),
	}
}

func TestACredentialIsOpenedByTheTPMWithBothKeysAndSaysWhoseTheyAre(t *testing.T) {
	made, err := judge.New(judge.Config{})
	if err != nil {
		t.Fatal(err)
	}
	tpm, request := machine(t)
	first, err := made.Credential(request)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := tpm.EK.SPKI()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.AKName, tpm.AK.Name) || first.EK != sha256.Sum256(spki) {
		t.Errorf("got name %x and EK %x", first.AKName, first.EK)
	}
	secret, err := tpm.Activate(first.Blob, first.EncryptedSecret)
	if err != nil || !bytes.Equal(secret, request.Secret) {
		t.Errorf("the TPM opened %x, %v; want %x", secret, err, request.Secret)
	}
	again, err := made.Credential(request)
	if err != nil || !bytes.Equal(again.Blob, first.Blob) || !bytes.Equal(again.EncryptedSecret, first.EncryptedSecret) {
		t.Errorf("the same request gave another credential: %v", err)
	}
	other, _ := machine(t)
	other.EK = tpm.EK
	if secret, err := other.Activate(first.Blob, first.EncryptedSecret); err == nil {
		t.Errorf("another attestation key of the same TPM opened %x", secret)
	}
}

func TestKeysThatWillNotDoAreTheCallersAndAPanicIsABug(t *testing.T) {
	made, err := judge.New(judge.Config{})
	if err != nil {
		t.Fatal(err)
	}
	tpm, good := machine(t)
	for name, row := range map[string]struct {
		change func(*judge.CredentialRequest)
		class  attestd.Class
	}{
		"no attestation key": {func(r *judge.CredentialRequest) { r.AKPublic = nil }, attestd.ClassMalformed},
		"no endorsement key": {func(r *judge.CredentialRequest) { r.EKPublic = nil }, attestd.ClassMalformed},
		"swapped": {func(r *judge.CredentialRequest) {
			r.AKPublic, r.EKPublic = tpm.EK.Public, tpm.AK.Public
		}, attestd.ClassKeyProperties},
	} {
		t.Run(name, func(t *testing.T) {
			request := good
			row.change(&request)
			got, err := made.Credential(request)
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Class != row.class || caller.Hint == "" || got.AKName != nil {
				t.Errorf("got %+v, %v; want %s and a hint", got, err, row.class)
			}
		})
	}
	for name, make := range map[string]func(judge.CredentialRequest) (judge.Credential, error){
		"a panic": func(judge.CredentialRequest) (judge.Credential, error) { panic("index out of range") },
		"an error of no one": func(r judge.CredentialRequest) (judge.Credential, error) {
			return judge.Credential{Blob: r.Secret}, errors.New(string(r.Secret))
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := judge.WithCredential(make).Credential(good)
			var bug *judge.Bug
			if !errors.As(err, &bug) || got.Blob != nil || strings.Contains(err.Error(), string(good.Secret)) {
				t.Errorf("got %+v, %v; want a bug that says nothing of the secret", got, err)
			}
		})
	}
}

// seeing is a verifier that shows what it was given.
type seeing struct {
	broken
	input attestd.Input
}

func (s *seeing) Verify(input attestd.Input) (*attestd.Claims, error) {
	s.input = input
	return nil, &attestd.EvidenceError{Check: "tpm/size", Class: attestd.ClassTooLarge}
}

func TestAVerifierIsToldWhatIsKnownAndWhatTheOperatorNamed(t *testing.T) {
	digest := func(n byte) [32]byte { return [32]byte{0: n, 31: n} }
	hexOf := func(n string) string { return n + strings.Repeat("00", 30) + n }
	set, err := measurements.Parse("test", []byte("schema: attestd.reference-values.v1\nname: keys\n"+
		"format: tpm\nattestation-keys: {a: \""+hexOf("01")+"\"}\nendorsement-keys: {e: \""+hexOf("02")+"\"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := measurements.NewIndex(set)
	if err != nil {
		t.Fatal(err)
	}
	verifier := &seeing{broken: broken{format: attestd.FormatTPM}}
	other := &seeing{broken: broken{format: attestd.FormatNitro}}
	made := judge.NewWith([]verifiers.Verifier{verifier, other})
	_, request := enclave(t)
	known := attestd.Anchors{
		Activation: &attestd.Activation{Earlier: true}, LastSeen: &attestd.TPMState{Clock: 5},
	}
	request.Format, request.References, request.Anchors = attestd.FormatTPM, index, known
	if _, err := made.Judge(request); err != nil {
		t.Fatal(err)
	}
	got := verifier.input.Anchors
	if got.Activation != known.Activation || got.LastSeen != known.LastSeen ||
		len(got.AttestationKeys) != 1 || got.AttestationKeys[0] != digest(1) ||
		len(got.EndorsementKeys) != 1 || got.EndorsementKeys[0] != digest(2) {
		t.Errorf("got %+v", got)
	}
	request.Anchors.AttestationKeys = [][32]byte{digest(3)}
	if _, err := made.Judge(request); err != nil {
		t.Fatal(err)
	}
	if got := verifier.input.Anchors.AttestationKeys; len(got) != 2 || got[0] != digest(3) || got[1] != digest(1) {
		t.Errorf("the caller's own keys: got %x", got)
	}
	request.Anchors = known
	request.Format = attestd.FormatNitro
	if _, err := made.Judge(request); err != nil {
		t.Fatal(err)
	}
	if got := other.input.Anchors; got.AttestationKeys != nil || got.EndorsementKeys != nil {
		t.Errorf("keys of one format were given to another: %+v", got)
	}
}

// TestAnInventoryIsCollectedOnce: whoever sends nonsense must not have it collected each time.
func TestAnInventoryIsCollectedOnce(t *testing.T) {
	var document strings.Builder
	document.WriteString("schema: attestd.reference-values.v1\nname: inventory\nformat: tpm\nendorsement-keys:\n")
	for i := range 2000 {
		fmt.Fprintf(&document, "  - {name: m-%d, sha256: \"%x\"}\n", i, sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	set, err := measurements.Parse("test", []byte(document.String()))
	if err != nil {
		t.Fatal(err)
	}
	verifier := &seeing{broken: broken{format: attestd.FormatTPM}}
	made := judge.NewWith([]verifiers.Verifier{verifier})
	_, request := enclave(t)
	request.Format = attestd.FormatTPM
	ask := func(index *measurements.Index, want int) {
		request.References = index
		if _, err := made.Verify(request); err == nil || len(verifier.input.Anchors.EndorsementKeys) != want {
			t.Fatalf("got %d keys, %v; want %d", len(verifier.input.Anchors.EndorsementKeys), err, want)
		}
	}
	for range 40 { // more than are remembered
		index, err := measurements.NewIndex(set)
		if err != nil {
			t.Fatal(err)
		}
		ask(index, 2000)
		ask(nil, 0)
		ask(index, 2000)
		allocated := testing.AllocsPerRun(10, func() { ask(index, 2000) })
		if allocated > 20 {
			t.Fatalf("%v allocations for a judgement that looked at nothing", allocated)
		}
	}
}
