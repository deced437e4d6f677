package tpm_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tpm"
)

func TestKeysThatNobodyVouchesForAreRefused(t *testing.T) {
	certificate := func(config forge.EKCertificateConfig) func(*scene) {
		return func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) {
				e.EKCertificate = ekCertificate(s.t, s.world.ca, s.machine.EK.Signer.Public(), config)
			}
		}
	}
	foreign := func(s *scene) {
		s.parts = func(e *tpmevidence.Evidence) {
			e.EKCertificate = ekCertificate(s.t, s.world.other, s.machine.EK.Signer.Public(),
				forge.EKCertificateConfig{})
			e.Intermediates = s.world.other.Bundle()
		}
	}
	template := func(change func(*reference.TPMTPublic)) func(*scene) {
		return func(s *scene) {
			ek, err := forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true, Edit: change})
			if err != nil {
				s.t.Fatal(err)
			}
			s.machine.EK = ek
			s.activate(s.machine.AK, ek)
		}
	}
	activation := func(change func(*scene, *attestd.Activation)) func(*scene) {
		return func(s *scene) { change(s, s.input.Anchors.Activation) }
	}
	runRejectRows(t, []rejectRow{
		{"nobody says anything", func(s *scene) { s.input.Anchors = attestd.Anchors{} },
			"tpm/ak-trusted", attestd.ClassChain},
		{"another key is named", func(s *scene) { s.name(s.world.keys["another AK"]) },
			"tpm/ak-trusted", attestd.ClassChain},
		{"the endorsement key is named as attestation key", func(s *scene) { s.name(s.machine.EK) },
			"tpm/ak-trusted", attestd.ClassChain},
		// neg: 82
		{"an endorsement key without the policy", template(func(p *reference.TPMTPublic) {
			p.AuthPolicy.Buffer = nil
		}), "tpm/ek-public", attestd.ClassKeyProperties},
		{"an endorsement key that signs", template(func(p *reference.TPMTPublic) {
			p.ObjectAttributes.SignEncrypt, p.ObjectAttributes.Decrypt = true, false
		}), "tpm/ek-public", attestd.ClassKeyProperties},
		{"an endorsement key that is not restricted", template(func(p *reference.TPMTPublic) {
			p.ObjectAttributes.Restricted = false
		}), "tpm/ek-public", attestd.ClassKeyProperties},
		{"the attestation key as endorsement key", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) { e.EKPublic = e.AKPublic }
		}, "tpm/ek-public", attestd.ClassKeyProperties},
		{"a byte behind the endorsement key", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) { e.EKPublic = append(bytes.Clone(e.EKPublic), 0) }
		}, "tpm/ek-public", attestd.ClassMalformed},
		// neg: 79, 87
		{"an EK certificate below a root that was not loaded", foreign, "tpm/ek-chain",
			attestd.ClassChain},
		{"an EK certificate without the EK purpose", certificate(forge.EKCertificateConfig{
			Edit: func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil },
		}), "tpm/ek-certificate", attestd.ClassChain},
		{"an EK certificate that may issue others", certificate(forge.EKCertificateConfig{
			Edit: func(c *x509.Certificate) { c.IsCA = true },
		}), "tpm/ek-certificate", attestd.ClassChain},
		{"an EK certificate that is not valid yet", certificate(forge.EKCertificateConfig{
			Edit: func(c *x509.Certificate) { c.NotBefore = forge.TPMTime.AddDate(0, 0, 1) },
		}), "tpm/ek-chain", attestd.ClassCertTime},
		{"an EK certificate that is none", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) { e.EKCertificate = []byte{0x30, 0} }
		}, "tpm/ek-certificate", attestd.ClassMalformed},
		{"an EK certificate that was revoked", func(s *scene) { revoke(s) }, "tpm/ek-chain",
			attestd.ClassRevokedCert},
		// neg: 80
		{"an EK certificate of another key", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) {
				e.EKCertificate = ekCertificate(s.t, s.world.ca,
					s.world.keys["another agent"].Signer.Public(), forge.EKCertificateConfig{})
			}
		}, "tpm/ek-match", attestd.ClassBinding},
		{"an endorsement key without certificate or entry", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) { e.EKCertificate, e.Intermediates = nil, nil }
		}, "tpm/ek-trusted", attestd.ClassChain},
		{"an intermediate that no path uses", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) {
				e.Intermediates = append(e.Intermediates, s.world.other.Intermediate.Raw)
			}
		}, "tpm/ak-trusted", attestd.ClassChain},
		{"an intermediate twice", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) {
				e.Intermediates = append(e.Intermediates, e.Intermediates[0])
			}
		}, "tpm/ak-trusted", attestd.ClassChain},
		// neg: 74
		{"a quote by one key and an activation of another", activation(
			func(s *scene, a *attestd.Activation) { a.AKName = s.world.keys["another AK"].Name }),
			"tpm/activation", attestd.ClassBinding},
		// neg: 83
		{"a credential for a Name that the attester chose", activation(
			func(s *scene, a *attestd.Activation) { a.AKName = append([]byte{0, 0x0b}, nonce...) }),
			"tpm/activation", attestd.ClassBinding},
		{"a credential without a Name", activation(
			func(_ *scene, a *attestd.Activation) { a.AKName = nil }),
			"tpm/activation", attestd.ClassBinding},
		{"a credential under another endorsement key", activation(
			func(s *scene, a *attestd.Activation) { a.EK = spki(s.t, s.world.keys["RSA EK"]) }),
			"tpm/activation", attestd.ClassBinding},
		{"an earlier activation under another endorsement key", activation(
			func(s *scene, a *attestd.Activation) {
				*a = attestd.Activation{AKName: a.AKName, EK: spki(s.t, s.world.keys["RSA EK"]), Earlier: true}
			}), "tpm/activation", attestd.ClassBinding},
		{"an activation and no endorsement key", func(s *scene) {
			s.machine.EK = nil
		}, "tpm/activation", attestd.ClassBinding},
		// neg: 84
		{"another secret", activation(
			func(_ *scene, a *attestd.Activation) { a.Answer = bytes.Repeat([]byte{1}, 32) }),
			"tpm/activation", attestd.ClassReplay},
		{"the secret and a byte", activation(
			func(_ *scene, a *attestd.Activation) { a.Answer = append(a.Answer, 0) }),
			"tpm/activation", attestd.ClassReplay},
		{"no answer", activation(func(_ *scene, a *attestd.Activation) { a.Answer = nil }),
			"tpm/activation", attestd.ClassReplay},
		{"a secret of 15 bytes", activation(func(_ *scene, a *attestd.Activation) {
			a.Answer = a.Answer[:15]
			a.Secret = sha256.Sum256(a.Answer)
		}), "tpm/activation", attestd.ClassReplay},
		{"a secret that nobody drew", activation(func(_ *scene, a *attestd.Activation) {
			a.Secret = [32]byte{}
		}), "tpm/activation", attestd.ClassReplay},
	})
}

func revoke(s *scene) {
	der := ekCertificate(s.t, s.world.ca, s.machine.EK.Signer.Public(), forge.EKCertificateConfig{})
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	crl, err := s.world.ca.CRL(forge.TPMCRLConfig{Serials: serials(parsed)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.parts = func(e *tpmevidence.Evidence) { e.EKCertificate = der }
	s.input.Endorsements.CRLs = [][]byte{crl}
}

// TestNobodyFillsTheCachesWithoutAKey: certificates of endorsement keys are public, and with anything
// beside them each would be another entry. What is remembered was sent by somebody who signs with a
// key that is vouched for.
func TestNobodyFillsTheCachesWithoutAKey(t *testing.T) {
	v := newVerifier(t)
	s := newScene(t, "ECDSA P-256", "ECC EK")
	cloud := newScene(t, "RSASSA", "")
	cloud.machine.EK = nil
	certificate, err := s.world.ca.GCECertificate(cloud.machine.AK.Signer.Public(),
		forge.GCECertificateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	cloud.parts = func(e *tpmevidence.Evidence) {
		e.AKCertificate, e.Intermediates = certificate, s.world.ca.Bundle()
	}
	for _, s := range []*scene{s, cloud} {
		s.signature = func(made []byte) []byte {
			made[len(made)-1] ^= 1
			return made
		}
		refused(t, v, s.build(), "tpm/signature", attestd.ClassSignature)
		if kept := tpm.Kept(v); kept != 0 {
			t.Errorf("%d entries after a refusal", kept)
		}
	}
	s.signature, cloud.signature = same, same
	good(t, v, s.build())
	good(t, v, cloud.build())
	if kept := tpm.Kept(v); kept != 5 { // two AKs, an EK, a certificate of each kind
		t.Errorf("%d entries, want 5", kept)
	}
}

// TestACopiedCertificateSaysNothing puts a genuine certificate of a maker beside a key that an operator
// named: nothing ties the one to the other, so that none of it is the machine's.
func TestACopiedCertificateSaysNothing(t *testing.T) {
	text, err := os.ReadFile("../internal/tpmtrust/testdata/ek-infineon-slb9665.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	v, err := tpm.New(tpm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, "ECDSA P-256", "")
	s.machine.EK = nil
	s.name(s.machine.AK)
	s.parts = func(e *tpmevidence.Evidence) { e.EKCertificate = block.Bytes }
	claims := good(t, v, s.build())
	for name, want := range map[string]string{"protection": "unknown", "ek_trust": "none",
		"manufacturer": "not visible", "ek_sha256": "(absent)", "ak_residency": "none"} {
		if got := fact(t, claims, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if claims.Product() != "" {
		t.Errorf("product %q", claims.Product())
	}
	for handle := range claims.Handles() {
		t.Errorf("handle %v", handle)
	}
}

// TestACloudsCertificateUnderALoadedRootIsInsecure: where nothing but that certificate vouches, its
// root decides.
func TestACloudsCertificateUnderALoadedRootIsInsecure(t *testing.T) {
	s := newScene(t, "RSASSA", "")
	s.machine.EK = nil
	certificate, err := s.world.ca.GCECertificate(s.machine.AK.Signer.Public(),
		forge.GCECertificateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s.parts = func(e *tpmevidence.Evidence) {
		e.AKCertificate, e.Intermediates = certificate, s.world.ca.Bundle()
	}
	claims := good(t, newVerifier(t), s.build())
	if got := fact(t, claims, "protection"); got != "insecure" || !claims.InsecureRoots() {
		t.Errorf("protection %s, insecure roots %t", got, claims.InsecureRoots())
	}
}
