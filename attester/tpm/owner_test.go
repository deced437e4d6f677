package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/tpm"
)

func TestHierarchiesWithPasswordsNeedThem(t *testing.T) {
	chip, _ := manufacture(t)
	direct(t, chip, func(at transport.TPM) {
		for _, one := range []struct {
			hierarchy tpm2.TPMHandle
			password  string
		}{{tpm2.TPMRHOwner, "owner"}, {tpm2.TPMRHEndorsement, "endorsement"}} {
			if _, err := (tpm2.HierarchyChangeAuth{
				AuthHandle: tpm2.AuthHandle{Handle: one.hierarchy, Auth: tpm2.PasswordAuth(nil)},
				NewAuth:    tpm2.TPM2BAuth{Buffer: []byte(one.password)},
			}).Execute(at); err != nil {
				t.Fatal(err)
			}
		}
	})
	folder := t.TempDir()
	for _, options := range []tpm.Options{
		{}, {OwnerAuth: []byte("owner")}, {EndorsementAuth: []byte("endorsement")},
		{OwnerAuth: []byte("endorsement"), EndorsementAuth: []byte("owner")},
	} {
		var caller *attestd.CallerError
		if _, err := open(t, chip, options).Identity(t.Context()); !errors.As(err, &caller) ||
			!strings.Contains(caller.Hint, "has a password") {
			t.Errorf("with %+v: %v", options, err)
		}
	}
	device := open(t, chip, tpm.Options{
		OwnerAuth: []byte("owner"), EndorsementAuth: []byte("endorsement"), StateDir: folder,
	})
	activate(t, device, identity(t, device))
	key, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	collect(t, device, tpm.Request{Freshness: freshness(1), Key: key})
	wantNothingLoaded(t, chip)
}

func TestAStorageRootKeyThatPersistsIsUsed(t *testing.T) {
	chip, _ := manufacture(t)
	device := open(t, chip, tpm.Options{StateDir: t.TempDir()})
	before, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	persist := func(template tpm2.TPMTPublic) {
		direct(t, chip, func(at transport.TPM) {
			made, err := tpm2.CreatePrimary{
				PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template),
			}.Execute(at)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := (tpm2.EvictControl{
				Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
				ObjectHandle:     tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name},
				PersistentHandle: 0x81000001,
			}).Execute(at); err != nil {
				t.Fatal(err)
			}
			if _, err := (tpm2.FlushContext{FlushHandle: made.ObjectHandle}).Execute(at); err != nil {
				t.Fatal(err)
			}
		})
	}
	persist(tpm2.ECCSRKTemplate) // the same key as the one that was made for the call
	same, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(same.SPKI(), before.SPKI()) {
		t.Error("the key was made anew below the same storage key")
	}
	evict(t, chip, 0x81000001)
	persist(tpm2.RSASRKTemplate)
	if _, err := same.Sign(nil, make([]byte, 32), crypto.SHA256); err == nil ||
		!strings.Contains(err.Error(), "made below storage key") {
		t.Errorf("below another storage key: %v", err)
	}
	other, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(other.SPKI(), before.SPKI()) {
		t.Error("the key is still the one below another storage key")
	}
	collect(t, device, tpm.Request{Freshness: freshness(1), Key: other})
	evict(t, chip, 0x81000001)
	persist(tpm.AttestationTemplate())
	if _, err := device.Key(t.Context(), "agent"); err == nil ||
		!strings.Contains(err.Error(), "0x81000001 is not a storage root key") {
		t.Errorf("with a signing key in its place: %v", err)
	}
	wantNothingLoaded(t, chip)
}

func TestAnAttestationKeyThatWasEvictedComesBackTheSame(t *testing.T) {
	chip, _ := manufacture(t)
	device := open(t, chip, tpm.Options{})
	first := identity(t, device)
	evict(t, chip, 0x81010020)
	if again := identity(t, device); !bytes.Equal(first.AKName, again.AKName) {
		t.Error("it is another key")
	}
}

// A certificate that is for none of the TPM's keys is said, and no key that nobody vouches for takes its
// place: the verifier would refuse it for another reason than the true one.
func TestACertificateForNoKeyOfTheTPMIsSaid(t *testing.T) {
	chip, _ := manufacture(t)
	direct(t, chip, func(at transport.TPM) {
		platform := tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}
		for _, index := range []tpm2.TPMHandle{0x01c00002, 0x01c00016} {
			undefine := tpm2.NVUndefineSpace{AuthHandle: platform, NVIndex: nvIndex(t, at, index)}
			if _, err := undefine.Execute(at); err != nil {
				t.Fatal(err)
			}
		}
		content := []byte{0x30, 3, 2, 1, 1}
		_, err := tpm2.NVDefineSpace{AuthHandle: platform, PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: 0x01c00002, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(content)),
			Attributes: tpm2.TPMANV{
				PPWrite: true, PPRead: true, OwnerRead: true, AuthRead: true, NoDA: true, PlatformCreate: true,
			},
		})}.Execute(at)
		if err != nil {
			t.Fatal(err)
		}
		write := tpm2.NVWrite{
			AuthHandle: platform, NVIndex: nvIndex(t, at, 0x01c00002),
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: content},
		}
		if _, err := write.Execute(at); err != nil {
			t.Fatal(err)
		}
	})
	if who, err := open(t, chip, tpm.Options{}).Identity(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "no endorsement key fits its certificate") {
		t.Errorf("got %s, %v", who.EKKind, err)
	}
	wantNothingLoaded(t, chip)
}

// TPM2_Clear sets clock and counters to zero and leaves the endorsement seed (TPM 2.0 Library, Part 3,
// revision 1.59, section 24.6): a verifier that remembers the old attestation key would take the same
// key for a TPM that went back, until its counters have passed the old ones again.
func TestAClearedTPMAndAnotherHandleHaveAnotherAttestationKey(t *testing.T) {
	chip, _ := manufacture(t)
	device := open(t, chip, tpm.Options{})
	first := identity(t, device)
	other := identity(t, open(t, chip, tpm.Options{AKHandle: tpm.DefaultAKHandle + 1}))
	if bytes.Equal(first.AKName, other.AKName) || !bytes.Equal(first.EKPublic, other.EKPublic) {
		t.Error("at another handle it is the same attestation key, or another endorsement key")
	}
	direct(t, chip, func(at transport.TPM) {
		if _, err := (tpm2.Clear{AuthHandle: tpm2.AuthHandle{
			Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil),
		}}).Execute(at); err != nil {
			t.Fatal(err)
		}
	})
	cleared := identity(t, device)
	if bytes.Equal(first.AKName, cleared.AKName) || !bytes.Equal(first.EKPublic, cleared.EKPublic) {
		t.Error("after TPM2_Clear it is the same attestation key, or another endorsement key")
	}
	activate(t, device, cleared)
	wantNothingLoaded(t, chip)
}

func TestCertificatesOfMakersAreReadAsTheyAre(t *testing.T) {
	bits := []byte("the key")
	certificate, err := asn1.Marshal(struct{ TBS any }{struct {
		Serial                               *big.Int
		Signature, Issuer, Validity, Subject struct{}
		Key                                  any
	}{Serial: big.NewInt(-1), Key: struct { // a negative serial number, which crypto/x509 refuses
		Algorithm pkix.AlgorithmIdentifier
		Bits      asn1.BitString
	}{
		// id-RSAES-OAEP, as old certificates have it.
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7}},
		asn1.BitString{Bytes: bits, BitLength: 8 * len(bits)},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := tpm.CertifiedKey(certificate)
	if err != nil || !bytes.Equal(got, bits) {
		t.Errorf("key %q, %v", got, err)
	}
	for _, row := range []struct {
		name string
		area []byte
		want int // certificates; 0 for an error
	}{
		{"alone", certificate, 1},
		{"filled up with zeros", append(bytes.Clone(certificate), make([]byte, 300)...), 1},
		{"filled up with ones", append(bytes.Clone(certificate), bytes.Repeat([]byte{0xff}, 300)...), 1},
		{"two", append(bytes.Clone(certificate), certificate...), 2},
		{"cut off", certificate[:len(certificate)-1], 0},
		{"nothing", nil, 0},
		{"never written", bytes.Repeat([]byte{0xff}, 300), 0},
	} {
		ders, err := tpm.Certificates(row.area)
		if (err != nil) != (row.want == 0) || len(ders) != row.want {
			t.Errorf("%s: %d certificates, %v; want %d", row.name, len(ders), err, row.want)
			continue
		}
		for _, der := range ders {
			if !bytes.Equal(der, certificate) {
				t.Errorf("%s: another certificate", row.name)
			}
		}
	}
	for _, der := range [][]byte{nil, {0x30, 0}, []byte("text")} {
		if _, err := tpm.CertifiedKey(der); err == nil {
			t.Errorf("%x has a key", der)
		}
	}
}
