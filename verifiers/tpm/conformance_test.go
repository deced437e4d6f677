package tpm_test

import (
	"bytes"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/tpm"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

const timeless = "an operator named the key; no certificate came along"

// logRange returns where a part lies in evidence.
func logRange(t *testing.T, evidence, part []byte, section string) verifiertest.ByteRange {
	t.Helper()
	from := bytes.Index(evidence, part)
	if from < 0 {
		t.Fatal("the part is not in the evidence")
	}
	return verifiertest.ByteRange{From: from, To: from + len(part), Section: section}
}

const logSection = "TCG PC Client Platform Firmware Profile 1.06, section 10.2.2: a register is extended " +
	"with digests alone; types, unmeasured data and digests of other banks are text"

func TestConformanceOfPublishedQuotes(t *testing.T) {
	build := func() verifiers.Verifier {
		v, err := tpm.New(tpm.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	verifiertest.Vectors(t, attestd.FormatTPM, build, func(v testvectors.Vector, c *verifiertest.Case) {
		if v.TrustedAK != nil {
			c.Input.Anchors.AttestationKeys = [][32]byte{*v.TrustedAK}
			c.Timeless, c.OtherTimes = timeless, nil
		}
		parts, err := tpmevidence.Parse(v.Evidence)
		if err != nil {
			t.Fatal(err)
		}
		if parts.EventLog != nil {
			c.Either = append(c.Either, logRange(t, v.Evidence, parts.EventLog, logSection))
		}
	})
}

func TestConformanceOfForgedEvidence(t *testing.T) {
	build := func() verifiers.Verifier { return newVerifier(t) }
	conform := func(name string, s *scene, change func(*verifiertest.Case, tpmevidence.Evidence)) {
		input := s.build()
		c := verifiertest.Case{New: build, Input: input, Nonce: nonce,
			OtherTimes: verifiertest.OutsideValidity()}
		parts, err := tpmevidence.Parse(input.Evidence)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&c, parts)
		}
		t.Run(name, func(t *testing.T) { verifiertest.Conformance(t, c) })
	}

	conform("ECDSA P-256, ECC EK, activated", newScene(t, "ECDSA P-256", "ECC EK"), nil)

	s := newScene(t, "RSAPSS", "RSA EK")
	s.key = s.world.keys["agent"]
	conform("RSAPSS, RSA EK, activated, with a certified key", s,
		func(c *verifiertest.Case, _ tpmevidence.Evidence) {
			c.Signatures, c.KeySPKI = 2, der(t, s.key)
		})

	cloud := newScene(t, "RSASSA", "")
	cloud.machine.EK, cloud.input.Anchors.Activation = nil, nil
	certificate, err := cloud.world.ca.GCECertificate(cloud.machine.AK.Signer.Public(),
		forge.GCECertificateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	cloud.parts = func(e *tpmevidence.Evidence) {
		e.AKCertificate, e.Intermediates = certificate, cloud.world.ca.Bundle()
	}
	conform("RSASSA with a certificate of its cloud", cloud, nil)

	logs := newScene(t, "ECDSA P-384", "")
	logs.machine.EK = nil
	logs.name(logs.machine.AK)
	boot := logs.boots(forge.BootOptions{SecureBoot: true, CommandLine: "quiet"})
	conform("ECDSA P-384, named, with a boot log", logs,
		func(c *verifiertest.Case, parts tpmevidence.Evidence) {
			c.Timeless, c.OtherTimes = timeless, nil
			c.Either = append(c.Either, logRange(t, c.Input.Evidence, parts.EventLog, logSection))
			if len(boot.Log()) != len(parts.EventLog) {
				t.Error("another log")
			}
		})
}
