package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tpm"
)

func TestEveryKindOfKeyIsVerified(t *testing.T) {
	v, w := newVerifier(t), theWorld(t)
	for ak, want := range map[string]string{
		"ECDSA P-256": "ECDSA P-256 SHA256", "ECDSA P-384": "ECDSA P-384 SHA384",
		"ECDSA P-384 SHA-256": "ECDSA P-384 SHA256", "RSASSA": "RSASSA RSA-2048 SHA256",
		"RSAPSS": "RSAPSS RSA-2048 SHA512",
	} {
		for _, ek := range []string{"RSA EK", "ECC EK"} {
			s := newScene(t, ak, ek)
			s.fresh()
			claims := good(t, v, s.build())
			sum := spki(t, w.keys[ak])
			for name, want := range map[string]string{
				"ak_algorithm": want, "ak_hierarchy": "endorsement", "ak_residency": "activated",
				"ak_name": hex.EncodeToString(w.keys[ak].Name), "ak_sha256": hex.EncodeToString(sum[:]),
				"ek_trust": "chain", "ek_certificate": "valid", "ek_crl": "missing", "manufacturer": "STM",
				"tpm_model": "ST33TEST", "clock": "3600000", "reset_count": "3", "restart_count": "1",
				"clock_safe": "true", "clock_order": "first", "firmware": "major=1 minor=258 build=0 revision=0",
				"firmware_vulnerable": "false", "pcrs": "255", "pcr_banks": "SHA256", "boot_log": "absent",
				"secure_boot": "not visible", "ima": "absent", "ownership": "(absent)",
				"extra_data": hex.EncodeToString(nonce),
			} {
				if got := fact(t, claims, name); got != want {
					t.Errorf("%s, %s: %s is %s, want %s", ak, ek, name, got, want)
				}
			}
			if claims.Product() != "STM" || !strings.HasPrefix(claims.Summary(), "TPM (STM ST33TEST, ") {
				t.Errorf("%q %q", claims.Product(), claims.Summary())
			}
			if claims.Freshness() != attestd.FreshnessNonce || !claims.InsecureRoots() {
				t.Errorf("freshness %v, insecure roots %t", claims.Freshness(), claims.InsecureRoots())
			}
			checkHandles(t, claims, spki(t, w.keys[ek]))
		}
	}
}

func checkHandles(t *testing.T, claims *attestd.Claims, ek [32]byte) {
	t.Helper()
	got := map[attestd.HandleKind]string{}
	for handle := range claims.Handles() {
		got[handle.Kind] = handle.Value
	}
	instance := "ek:" + hex.EncodeToString(ek[:])
	want := map[attestd.HandleKind]string{
		attestd.HandleInstance: instance, attestd.HandleBoot: instance + "/3"}
	if !maps.Equal(got, want) {
		t.Errorf("handles %v, want %v", got, want)
	}
	var names []string
	for register := range claims.Registers() {
		names = append(names, register.Name+" "+register.Algorithm)
		if len(register.Digest) != 32 || register.Digest[0] != 0xa0+byte(len(names)-1) {
			t.Errorf("%s is %x", register.Name, register.Digest)
		}
	}
	if len(names) != 8 || names[7] != "PCR7 SHA256" {
		t.Errorf("registers %v", names)
	}
}

// neg: 62
func TestTheDigestIsOverThePCRsInTheQuotedOrder(t *testing.T) {
	s := newScene(t, "ECDSA P-256", "ECC EK")
	s.machine.PCRs = []forge.TPMBank{
		{Algorithm: reference.TPMAlgSHA512, Values: map[uint8][]byte{
			23: bytes.Repeat([]byte{3}, 64), 0: make([]byte, 64)}},
		s.machine.PCRs[0],
		{Algorithm: reference.TPMAlgSHA384, Values: map[uint8][]byte{7: bytes.Repeat([]byte{9}, 48)}},
	}
	claims := good(t, newVerifier(t), s.build())
	if got := fact(t, claims, "pcr_banks"); got != "SHA512,SHA256,SHA384" {
		t.Errorf("banks %s", got)
	}
	// A bitmap of four bytes selects the same PCRs as one of three.
	s.edit = func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
		for i := range q.PCRSelect.PCRSelections {
			one := &q.PCRSelect.PCRSelections[i]
			one.PCRSelect = append(one.PCRSelect, 0)
		}
	}
	good(t, newVerifier(t), s.build())
}

func TestAKeyBelowAnother(t *testing.T) {
	v, w := newVerifier(t), theWorld(t)
	for hierarchy, want := range map[reference.TPMHandle]string{
		reference.TPMRHEndorsement: "endorsement", reference.TPMRHOwner: "owner",
	} {
		s := newScene(t, "ECDSA P-256", "ECC EK")
		withAK(s, forge.TPMKeyConfig{Hierarchy: hierarchy,
			Parents: [][]byte{w.keys["ECC EK"].Name, w.keys["ECDSA P-384"].Name}})
		claims := good(t, v, s.build())
		if got := fact(t, claims, "ak_hierarchy"); got != want {
			t.Errorf("hierarchy %s, want %s", got, want)
		}
		boots := 0
		for handle := range claims.Handles() {
			if handle.Kind == attestd.HandleBoot {
				boots++
			}
		}
		// Counters of the owner hierarchy are hidden behind an offset: they name no boot.
		if hidden := want == "owner"; hidden != (boots == 0) ||
			hidden != (fact(t, claims, "firmware") == "not visible") {
			t.Errorf("%s: %d boots, firmware %s", want, boots, fact(t, claims, "firmware"))
		}
	}
}

func TestAnEarlierActivationIsEnough(t *testing.T) {
	s := newScene(t, "ECDSA P-256", "ECC EK")
	a := s.input.Anchors.Activation
	*a = attestd.Activation{AKName: a.AKName, EK: a.EK, Earlier: true}
	if got := fact(t, good(t, newVerifier(t), s.build()), "ak_residency"); got != "activated" {
		t.Errorf("residency %s", got)
	}
}

func TestAnEKCertificateAlone(t *testing.T) {
	s := newScene(t, "ECDSA P-256", "ECC EK")
	s.parts = func(e *tpmevidence.Evidence) { e.EKPublic = nil }
	if got := fact(t, good(t, newVerifier(t), s.build()), "ak_residency"); got != "activated" {
		t.Errorf("residency %s", got)
	}
}

func TestAnEKThatNoActivationTiesSaysNothing(t *testing.T) {
	s := newScene(t, "ECDSA P-256", "ECC EK")
	s.name(s.machine.AK)
	claims := good(t, newVerifier(t), s.build())
	for name, want := range map[string]string{"ak_residency": "none", "ek_trust": "none",
		"ek_certificate": "absent", "ek_crl": "absent", "manufacturer": "not visible",
		"ek_sha256": "(absent)", "tpm_model": "(absent)"} {
		if got := fact(t, claims, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if claims.Product() != "" || claims.Summary() != "TPM (unknown maker, ECC AK)" {
		t.Errorf("%q %q", claims.Product(), claims.Summary())
	}
	for handle := range claims.Handles() {
		t.Errorf("handle %v", handle)
	}
}

func TestStatesOfAnEKCertificate(t *testing.T) {
	v, w := newVerifier(t), theWorld(t)
	s := newScene(t, "ECDSA P-256", "RSA EK")
	s.parts = func(e *tpmevidence.Evidence) {
		e.EKCertificate = ekCertificate(t, w.ca, s.machine.EK.Signer.Public(), forge.EKCertificateConfig{
			Edit: func(c *x509.Certificate) { c.NotAfter = forge.TPMTime.AddDate(0, 0, -1) }})
	}
	if got := fact(t, good(t, v, s.build()), "ek_certificate"); got != "expired" {
		t.Errorf("an ended certificate is %s", got)
	}
	s = newScene(t, "ECDSA P-256", "RSA EK")
	for _, config := range []forge.TPMCRLConfig{{}, {Issuer: forge.TPMRoot}} {
		crl, err := w.ca.CRL(config)
		if err != nil {
			t.Fatal(err)
		}
		s.input.Endorsements.CRLs = append(s.input.Endorsements.CRLs, crl)
	}
	if got := fact(t, good(t, v, s.build()), "ek_crl"); got != "fresh" {
		t.Errorf("with lists of both CAs: %s", got)
	}
	// An intermediate may come beside the evidence as well.
	s = newScene(t, "ECDSA P-256", "RSA EK")
	s.parts = func(e *tpmevidence.Evidence) { e.Intermediates = nil }
	s.input.Endorsements.Certificates = w.ca.Bundle()
	good(t, v, s.build())
}

// neg: 76
func TestClocksThatGoBackAreSaid(t *testing.T) {
	v := newVerifier(t)
	state := func(resets, restarts uint32, clock uint64) *attestd.TPMState {
		return &attestd.TPMState{ResetCount: resets, RestartCount: restarts, Clock: clock}
	}
	for _, row := range []struct {
		name   string
		last   *attestd.TPMState
		unsafe bool
		want   string
	}{
		{"never seen", nil, false, "first"},
		{"the same moment", state(3, 1, 3_600_000), false, "forward"},
		{"earlier in this boot", state(3, 1, 1), false, "forward"},
		{"the boot before", state(2, 9, 3_599_999), false, "forward"},
		{"a later clock in the same boot", state(3, 1, 3_600_001), false, "backward"},
		{"a later clock in the same boot, not safe", state(3, 1, 3_600_001), true, "backward"},
		{"a later clock in the boot before", state(2, 1, 3_600_001), false, "backward"},
		{"a power cut", state(2, 1, 3_600_001), true, "forward"},
		{"a power cut that lost more than a clock can", state(2, 1, 3_600_000+1<<22+1), true, "backward"},
		{"a later boot", state(4, 0, 1), false, "backward"},
		{"a later restart", state(3, 2, 1), false, "backward"},
		{"a counter that has wrapped", state(1<<32-1, 0, 1), false, "forward"},
	} {
		s := newScene(t, "ECDSA P-256", "ECC EK")
		s.machine.Unsafe, s.input.Anchors.LastSeen = row.unsafe, row.last
		claims := good(t, v, s.build())
		if got := fact(t, claims, "clock_order"); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
		if got := fact(t, claims, "clock_safe"); got != map[bool]string{true: "false", false: "true"}[row.unsafe] {
			t.Errorf("%s: safe is %s", row.name, got)
		}
	}
}

// neg: 78
func TestWithdrawnFirmwareIsSaid(t *testing.T) {
	s := newScene(t, "ECDSA P-256", "ECC EK")
	s.machine.Firmware = 73<<48 | 4<<32
	if got := fact(t, good(t, newVerifier(t), s.build()), "firmware_vulnerable"); got != "true" {
		t.Errorf("ST33 firmware 73.4: %s", got)
	}
}

func TestSaltsOfEveryLength(t *testing.T) {
	v := newVerifier(t)
	s := newScene(t, "RSAPSS", "ECC EK")
	for _, length := range []int{rsa.PSSSaltLengthEqualsHash, rsa.PSSSaltLengthAuto, 20} {
		s.parts = func(e *tpmevidence.Evidence) {
			digest := sha512.Sum512(e.Quote)
			signature, err := s.machine.AK.Signer.Sign(rand.Reader, digest[:],
				&rsa.PSSOptions{SaltLength: length, Hash: crypto.SHA512})
			if err != nil {
				t.Fatal(err)
			}
			e.QuoteSignature = append([]byte{0, 0x16, 0, 0x0d, 1, 0}, signature...)
		}
		good(t, v, s.build())
	}
}

func TestQuestionsThatCannotBeAsked(t *testing.T) {
	v := newVerifier(t)
	input := newScene(t, "ECDSA P-256", "ECC EK").build()
	for name, change := range map[string]func(*attestd.Input){
		"no time": func(i *attestd.Input) { i.At = time.Time{} },
		"nothing": func(i *attestd.Input) { i.Demand = attestd.Demand{} },
	} {
		asked := input
		change(&asked)
		_, err := v.Verify(asked)
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tpm.New(tpm.Config{ChainCacheSize: -1}); err == nil {
		t.Error("a cache for -1 certificates")
	}
	if v.Detect([]byte("x")) || v.Detect(nil) {
		t.Error("Detect takes what is no evidence")
	}
	if v.Format() != attestd.FormatTPM {
		t.Error(v.Format())
	}
}

func TestEvidenceOverALimit(t *testing.T) {
	v := newVerifier(t)
	input := newScene(t, "ECDSA P-256", "ECC EK").build()
	input.Evidence = append(input.Evidence, make([]byte, 9<<20)...)
	refused(t, v, input, "tpm/size", attestd.ClassTooLarge)
	if _, err := v.Inspect(input.Evidence); err == nil {
		t.Error("inspected")
	}
	input.Evidence = input.Evidence[:100]
	refused(t, v, input, "tpm/encoding", attestd.ClassMalformed)
	if _, err := v.Inspect(input.Evidence); err == nil {
		t.Error("inspected")
	}
}

func TestInspectionShowsEveryPart(t *testing.T) {
	v := newVerifier(t)
	s := newScene(t, "RSASSA", "ECC EK")
	s.key = s.world.keys["agent"]
	s.boots(forge.BootOptions{})
	s.parts = both(s.parts, func(e *tpmevidence.Evidence) {
		e.AKCertificate = []byte{1}
		e.AKParents = [][]byte{{1}}
		e.IMA = &tpmevidence.IMALog{Log: []byte{1}}
	})
	seen, err := v.Inspect(s.build().Evidence)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, field := range seen.Fields {
		names = append(names, field.Name)
	}
	for _, want := range []string{"ak.type", "ak.name", "ak.sha256", "ak.parent.0", "quote.signer",
		"quote.extra_data", "quote.pcrs.SHA256", "quote.signature", "pcr.SHA256.7", "ek.type",
		"ek.certificate", "ak.certificate", "intermediate.0", "key.type", "key.certification.certified",
		"event_log", "ima_log"} {
		if !slices.Contains(names, want) {
			t.Errorf("no field %s in %v", want, names)
		}
	}
	// What cannot be read is shown as it is.
	s.parts = func(e *tpmevidence.Evidence) {
		e.AKPublic, e.Quote, e.Key.Signature = []byte{1}, []byte{2}, []byte{3}
	}
	if _, err := v.Inspect(s.build().Evidence); err != nil {
		t.Error(err)
	}
}

func both(first, second func(*tpmevidence.Evidence)) func(*tpmevidence.Evidence) {
	return func(e *tpmevidence.Evidence) {
		first(e)
		second(e)
	}
}
