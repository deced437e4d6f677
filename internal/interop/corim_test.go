package interop_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/veraison/corim/comid"
	"github.com/veraison/corim/corim"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/measurements/imports"
)

const amdProfile = "http://amd.com/2024/snp-corim-profile"

// theirs is a CoRIM that Veraison's library wrote, with one CoMID of the reference values.
func theirs(t *testing.T, profile string, values ...comid.ReferenceValue) *corim.UnsignedCorim {
	t.Helper()
	tag := comid.NewComid().SetTagIdentity("web-guest", 0)
	for _, value := range values {
		tag.AddReferenceValue(value)
	}
	made := corim.NewUnsignedCorim().SetID("example").AddComid(*tag)
	if made == nil {
		t.Fatal("the library made nothing")
	}
	if profile != "" && made.AddProfile(profile) == nil {
		t.Fatal("the library took no profile")
	}
	return made
}

func launchOf(digest []byte) comid.ReferenceValue {
	return comid.ReferenceValue{
		Environment: comid.Environment{Class: comid.NewClassOID("1.3.6.1.4.1.3704.3.1")},
		Measurements: *comid.NewMeasurements().AddMeasurement(
			comid.MustNewUintMeasurement(uint64(641)).AddDigest(7, digest)),
	}
}

func encoded(t *testing.T, made *corim.UnsignedCorim) []byte {
	t.Helper()
	out, err := made.ToCBOR()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestReferenceValuesThatVeraisonWrote(t *testing.T) {
	digest := bytes.Repeat([]byte{0xa1}, 48)
	options := imports.Options{Name: "web", At: time.Now()}
	result, err := imports.CoRIM(encoded(t, theirs(t, amdProfile, launchOf(digest))), options)
	if err != nil {
		t.Fatal(err)
	}
	value := result.Set.Values[0]
	if result.Set.Format != attestd.FormatSEVSNP || value.State != measurements.StateProposed ||
		!bytes.Equal(value.Registers[0].Digest, digest) {
		t.Errorf("got %+v", result.Set)
	}

	registers := comid.NewIntegrityRegisters()
	for index, fill := range map[uint64]byte{0: 1, 4: 2, 7: 3} {
		if err := registers.AddDigest(index, *comid.NewHashEntry(1, bytes.Repeat([]byte{fill}, 32))); err != nil {
			t.Fatal(err)
		}
	}
	measured := comid.Measurement{Val: comid.Mval{IntegrityRegisters: registers}}
	host := comid.ReferenceValue{
		Environment:  comid.Environment{Class: (&comid.Class{}).SetVendor("ACME").SetModel("host")},
		Measurements: *comid.NewMeasurements().AddMeasurement(&measured),
	}
	options.Format = attestd.FormatTPM
	result, err = imports.CoRIM(encoded(t, theirs(t, "", host)), options)
	if err != nil {
		t.Fatal(err)
	}
	if value := result.Set.Values[0]; len(value.Registers) != 3 || result.Set.Bank != "sha256" {
		t.Errorf("got %+v", value)
	}
}

func TestSignedReferenceValuesThatVeraisonWrote(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	signer, err := corim.NewSignerFromJWK(fmt.Appendf(nil,
		`{"kty":"EC","crv":"P-256","alg":"ES256","x":%q,"y":%q,"d":%q}`,
		text(public[1:33]), text(public[33:]), text(secret)))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-time.Hour)
	var signed corim.SignedCorim
	signed.UnsignedCorim = *theirs(t, amdProfile, launchOf(bytes.Repeat([]byte{0xa1}, 48)))
	signed.Meta = *corim.NewMeta().SetSigner("example.org", nil).SetValidity(begin.Add(2*time.Hour), &begin)
	file, err := signed.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	options := imports.Options{Name: "web", At: time.Now(), Key: &key.PublicKey}
	if result, err := imports.CoRIM(file, options); err != nil || !result.Signed {
		t.Fatalf("got %+v, %v", result, err)
	}
	late := options
	late.At = begin.Add(3 * time.Hour)
	if _, err := imports.CoRIM(file, late); err == nil {
		t.Error("taken after the signer's validity")
	}
	// What they refuse, we do: each byte of the signed file, changed.
	var kept int
	for at := range file {
		bad := bytes.Clone(file)
		bad[at] ^= 0x10
		var theirs corim.SignedCorim
		their := theirs.FromCOSE(bad)
		if their == nil {
			their = theirs.Verify(&key.PublicKey)
		}
		_, ours := imports.CoRIM(bad, options)
		if ours == nil {
			kept++
			if their != nil {
				t.Fatalf("byte %d: they refuse with %v, we take it", at, their)
			}
		}
	}
	if kept > 0 {
		t.Errorf("%d changed files were taken", kept)
	}
}
