package nitrotpm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/nitrotpm"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

// No document recorded from hardware is published: everything here is made with a test CA.

var nonce = bytes.Repeat([]byte{0x5a}, 32)

func authority(t testing.TB) *forge.AWS {
	t.Helper()
	made, err := forge.NewAWS(forge.AWSOptions{ModuleID: forge.NitroTPMModuleID})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func document(t testing.TB, a *forge.AWS, d forge.Document) []byte {
	t.Helper()
	made, err := a.Document(d)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func verifier(t testing.TB, a *forge.AWS) *nitrotpm.Verifier {
	t.Helper()
	made, err := nitrotpm.New(nitrotpm.Config{InsecureRoots: []*x509.Certificate{a.Root()}})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestConformanceOnAForgedDocument(t *testing.T) {
	t.Parallel()
	a := authority(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	verifiertest.Conformance(t, verifiertest.Case{
		New: func() verifiers.Verifier { return verifier(t, a) },
		Input: attestd.Input{
			Evidence: document(t, a, forge.Document{
				NitroTPM: true, Open: true, Nonce: nonce, PublicKey: key,
			}),
			At: a.At(), Demand: attestd.Recorded(),
		},
		Nonce: nonce, KeySPKI: key, OtherTimes: verifiertest.OutsideValidity(),
	})
}

func TestWhatClaimsSay(t *testing.T) {
	t.Parallel()
	a := authority(t)
	claims, err := verifier(t, a).Verify(attestd.Input{
		Evidence: document(t, a, forge.Document{
			NitroTPM: true, PCRs: map[uint64][]byte{7: make([]byte, 48)},
		}),
		At: a.At(), Demand: attestd.Recorded(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"module_id": forge.NitroTPMModuleID, "instance_id": "i-0123456789abcdef0", "region": "us-east-2",
		"pcr4": attestd.Bytes(forge.AWSRegister(4)).String(), "pcr7": "not visible", "pcr12": "not visible",
	} {
		if value, ok := claims.Fact(name); !ok || value.String() != want {
			t.Errorf("fact %s is %q (%v), want %q", name, value, ok, want)
		}
	}
	if _, ok := claims.Fact("debug"); ok {
		t.Error("an instance's document says nothing about debug mode")
	}
	for handle := range claims.Handles() {
		if handle.Kind != attestd.HandleInstance || handle.Value != forge.NitroTPMModuleID {
			t.Errorf("handle %s %q", handle.Kind, handle.Value)
		}
	}
	count := 0
	for range claims.Registers() {
		count++
	}
	if count != 24 {
		t.Errorf("%d registers, want all 24 of the document", count)
	}
}

func TestDocumentsThatAreRefused(t *testing.T) {
	t.Parallel()
	a := authority(t)
	demand, err := attestd.Fresh(nonce)
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(t, a)
	for _, row := range []struct {
		name  string
		neg   string
		with  forge.Document
		at    time.Duration
		check attestd.CheckID
		class attestd.Class
	}{
		{"an enclave's document", "neg: 51", forge.Document{Nonce: nonce}, 0,
			"nitrotpm/document-type", attestd.ClassUnsupported},
		{"the registers of both", "neg: 51", forge.Document{NitroTPM: true, Nonce: nonce,
			Fields: func(f []forge.CBORField) []forge.CBORField {
				return forge.SetField(f, "pcrs", forge.CBORMap(
					forge.CBORField{Key: []byte{0}, Value: forge.CBORBytes(make([]byte, 48))}))
			}}, 0, "nitrotpm/document-type", attestd.ClassMalformed},
		{"the registers of neither", "neg: 51", forge.Document{NitroTPM: true, Nonce: nonce,
			Fields: func(f []forge.CBORField) []forge.CBORField {
				return forge.DropField(f, "nitrotpm_pcrs")
			}}, 0, "nitrotpm/document-type", attestd.ClassMalformed},
		{"another nonce", "neg: 41", forge.Document{NitroTPM: true, Nonce: nonce[1:]}, 0,
			"nitrotpm/nonce", attestd.ClassBinding},
		{"a signature that was changed", "neg: 25", forge.Document{NitroTPM: true, Nonce: nonce,
			Signature: func(s []byte) []byte { s[0] ^= 1; return s }}, 0,
			"nitrotpm/signature", attestd.ClassSignature},
		{"a leaf that expired", "neg: 37", forge.Document{NitroTPM: true, Nonce: nonce}, 3 * time.Hour,
			"nitrotpm/chain-validity", attestd.ClassCertTime},
	} {
		t.Run(row.name, func(t *testing.T) {
			claims, err := v.Verify(attestd.Input{
				Evidence: document(t, a, row.with), At: a.At().Add(row.at), Demand: demand,
			})
			var rejected *attestd.EvidenceError
			if claims != nil || !errors.As(err, &rejected) {
				t.Fatalf("got %v, want a rejection by %s", err, row.check)
			}
			if rejected.Check != row.check || rejected.Class != row.class {
				t.Errorf("got %s %s, want %s %s", rejected.Check, rejected.Class, row.check, row.class)
			}
		})
	}
}

// TestARevokedRegionIsRefused: lists count for instances as for enclaves, whose tests have the rest.
func TestARevokedRegionIsRefused(t *testing.T) {
	a := authority(t)
	const region = 2 // serial numbers of a forged chain count from 1 at the root
	list, err := a.CRL(forge.AWSCRLConfig{Serials: []int64{region}})
	if err != nil {
		t.Fatal(err)
	}
	input := attestd.Input{
		Evidence: document(t, a, forge.Document{NitroTPM: true}), At: a.At(), Demand: attestd.Recorded(),
	}
	input.Endorsements.CRLs = [][]byte{list}
	var rejected *attestd.EvidenceError
	if _, err := verifier(t, a).Verify(input); !errors.As(err, &rejected) ||
		rejected.Check != "nitrotpm/revoked" || rejected.Class != attestd.ClassRevokedCert {
		t.Errorf("got %v, want nitrotpm/revoked", err)
	}
}

func TestDetectTellsInstancesFromEnclaves(t *testing.T) {
	t.Parallel()
	a := authority(t)
	v := verifier(t, a)
	if !v.Detect(document(t, a, forge.Document{NitroTPM: true})) {
		t.Error("an instance's document was not detected")
	}
	if v.Detect(document(t, a, forge.Document{})) {
		t.Error("an enclave's document was detected as an instance's")
	}
	if v.Detect(nil) || v.Detect([]byte("nitrotpm_pcrs")) {
		t.Error("something that is no document was detected")
	}
}
