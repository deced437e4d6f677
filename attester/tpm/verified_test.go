package tpm_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/swtpm"
	verifier "github.com/attestd/attestd/verifiers/tpm"
)

// pemOf returns the certificate in a PEM document.
func pemOf(t *testing.T, doc []byte, err error) *x509.Certificate {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(doc)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// judgeOf is the real verifier, which trusts the CA of the software TPMs.
func judgeOf(t *testing.T, ca *swtpm.CA) *verifier.Verifier {
	t.Helper()
	doc, err := ca.RootPEM()
	judge, err := verifier.New(verifier.Config{InsecureRoots: []*x509.Certificate{pemOf(t, doc, err)}})
	if err != nil {
		t.Fatal(err)
	}
	return judge
}

func TestTheVerifierAcceptsWhatIsCollected(t *testing.T) {
	chip, ca := manufacture(t)
	doc, err := ca.IssuerPEM()
	device := open(t, chip, tpm.Options{
		StateDir: t.TempDir(), Intermediates: [][]byte{pemOf(t, doc, err).Raw},
	})
	who := identity(t, device)
	secret := bytes.Repeat([]byte{9}, 32)
	credential, err := verifier.MakeCredential(verifier.CredentialRequest{
		AKPublic: who.AKPublic, EKPublic: who.EKPublic, Secret: secret, Entropy: bytes.Repeat([]byte{1}, verifier.EntropySize),
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(credential.AKName, who.AKName) || credential.EK != who.EKSHA256() {
		t.Error("verifier and attester name the keys otherwise")
	}
	answer, err := device.Activate(t.Context(), credential.Blob, credential.EncryptedSecret)
	if err != nil {
		t.Fatal(err)
	}
	key, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	binding := attestd.Binding{
		TrustDomain: "example.org", Format: attestd.FormatTPM, Nonce: bytes.Repeat([]byte{2}, 32), SPKI: key.SPKI(),
	}
	value, err := binding.Digest()
	if err != nil {
		t.Fatal(err)
	}
	demand, err := attestd.Bound(binding)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		key   *tpm.Key
		grade string
	}{{"a key of the TPM", key, "resident"}, {"a key that is only bound", nil, "bound"}} {
		t.Run(row.name, func(t *testing.T) {
			collected, err := device.Collect(t.Context(), tpm.Request{Freshness: value, Key: row.key})
			if err != nil {
				t.Fatal(err)
			}
			claims, err := judgeOf(t, ca).Verify(attestd.Input{
				Evidence: collected.Bytes, At: time.Now(), Demand: demand,
				Anchors: attestd.Anchors{Activation: &attestd.Activation{
					AKName: credential.AKName, EK: credential.EK, Secret: sha256.Sum256(secret), Answer: answer,
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{
				"key_grade": row.grade, "ak_residency": "activated", "ek_trust": "chain",
			} {
				if fact, ok := claims.Fact(name); !ok || fact.String() != want {
					t.Errorf("%s is %v, want %s", name, fact, want)
				}
			}
		})
	}
}
