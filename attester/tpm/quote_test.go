package tpm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/tpmevidence"
)

func freshness(first byte) []byte { return append([]byte{first}, make([]byte, 31)...) }

func collect(t *testing.T, device *tpm.Device, request tpm.Request) tpmevidence.Evidence {
	t.Helper()
	collected, err := device.Collect(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if collected.Format != attestd.FormatTPM {
		t.Errorf("format is %q", collected.Format)
	}
	parts, err := tpmevidence.Parse(collected.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func verifySignature(t *testing.T, spki, message, signature []byte) {
	t.Helper()
	parsed, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	// TPMT_SIGNATURE: ECDSA, SHA-256, then r and s behind their lengths.
	if binary.BigEndian.Uint32(signature) != 0x0018000b {
		t.Fatalf("signature begins %x", signature[:4])
	}
	r, rest := sized(signature[4:])
	s, rest := sized(rest)
	if len(rest) != 0 {
		t.Fatal("bytes behind the signature")
	}
	digest := sha256.Sum256(message)
	if !ecdsa.VerifyASN1(parsed.(*ecdsa.PublicKey), digest[:], asn1Signature(t, r, s)) {
		t.Error("the signature is not the AK's")
	}
}

func sized(data []byte) (value, rest []byte) {
	size := int(binary.BigEndian.Uint16(data))
	return data[2 : 2+size], data[2+size:]
}

func TestAQuoteCoversTheValuesBesideItAndTheFreshnessValue(t *testing.T) {
	chip, _ := manufacture(t)
	device := open(t, chip, tpm.Options{})
	who := identity(t, device)
	for _, row := range []struct {
		name string
		ask  tpm.Request
		want []uint8
	}{
		{"what nothing is said about", tpm.Request{Freshness: freshness(1)}, tpm.DefaultPCRs()},
		{
			"PCRs in any order and twice",
			tpm.Request{Freshness: freshness(2), PCRs: []uint8{23, 0, 7, 0, 16}},
			[]uint8{0, 7, 16, 23},
		},
		{
			"another bank", tpm.Request{Freshness: bytes.Repeat([]byte{3}, 64), Bank: tpm.SHA384, PCRs: []uint8{4}},
			[]uint8{4},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			parts := collect(t, device, row.ask)
			if !bytes.Equal(parts.AKPublic, who.AKPublic) || !bytes.Equal(parts.EKPublic, who.EKPublic) ||
				!bytes.Equal(parts.EKCertificate, who.EKCertificate) {
				t.Error("the evidence holds other keys than the identity")
			}
			verifySignature(t, who.AKSPKI, parts.Quote, parts.QuoteSignature)
			attest, err := tpm2.Unmarshal[tpm2.TPMSAttest](parts.Quote)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(attest.ExtraData.Buffer, row.ask.Freshness) {
				t.Errorf("extraData is %x", attest.ExtraData.Buffer)
			}
			if attest.FirmwareVersion>>48 == 0 || attest.ClockInfo.ResetCount > 10 {
				t.Errorf("firmware %x and reset count %d look garbled, as with a key of another hierarchy",
					attest.FirmwareVersion, attest.ClockInfo.ResetCount)
			}
			var indices []uint8
			hash := sha256.New()
			for _, pcr := range parts.PCRs[0].PCRs {
				indices = append(indices, pcr.Index)
				hash.Write(pcr.Value)
			}
			if !slices.Equal(indices, row.want) {
				t.Errorf("PCRs %v, want %v", indices, row.want)
			}
			quoted, err := attest.Attested.Quote()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(hash.Sum(nil), quoted.PCRDigest.Buffer) {
				t.Error("the values are not those that were quoted")
			}
		})
	}
	wantNothingLoaded(t, chip)
}

func TestRequestsThatCannotBeMetAreRefused(t *testing.T) {
	chip, _ := manufacture(t)
	other, err := tpm.Open("swtpm:/nowhere", tpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	device := open(t, chip, tpm.Options{StateDir: t.TempDir()})
	key, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		at   *tpm.Device
		ask  tpm.Request
		want string
	}{
		{"no freshness value", device, tpm.Request{}, "0 bytes"},
		{"a short freshness value", device, tpm.Request{Freshness: make([]byte, 31)}, "31 bytes"},
		{"a long freshness value", device, tpm.Request{Freshness: make([]byte, 65)}, "65 bytes"},
		{"a PCR that no TPM has", device, tpm.Request{Freshness: freshness(1), PCRs: []uint8{24}}, "PCR 24"},
		{"SHA-1", device, tpm.Request{Freshness: freshness(1), Bank: 4}, "bank 0x0004"},
		{"a bank that is not active", device, tpm.Request{Freshness: freshness(1), Bank: tpm.SHA512}, "0 of 8 PCRs"},
		{"a TPM that is not there", other, tpm.Request{Freshness: freshness(1)}, "no socket"},
		{"a key of another TPM", other, tpm.Request{Freshness: freshness(1), Key: key}, "another TPM's"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := row.at.Collect(t.Context(), row.ask)
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Hint == "" || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want an error with a hint that says %q", err, row.want)
			}
		})
	}
	wantNothingLoaded(t, chip)
}
func asn1Signature(t *testing.T, r, s []byte) []byte {
	t.Helper()
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
	if err != nil {
		t.Fatal(err)
	}
	return der
}
