package tpm_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"testing"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// rejectRow is evidence that is good but for one thing.
type rejectRow struct {
	name   string
	change func(*scene)
	check  attestd.CheckID
	class  attestd.Class
}

func runRejectRows(t *testing.T, rows []rejectRow) {
	t.Helper()
	v := newVerifier(t)
	good(t, v, newScene(t, "ECDSA P-256", "ECC EK").build())
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newScene(t, "ECDSA P-256", "ECC EK")
			row.change(s)
			refused(t, v, s.build(), row.check, row.class)
		})
	}
}

// withAK gives the scene an attestation key of its own making, activated like any other, so that
// nothing but the key itself is wrong.
func withAK(s *scene, config forge.TPMKeyConfig) {
	s.t.Helper()
	key, err := forge.NewTPMKey(config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.machine.AK = key
	s.activate(key, s.machine.EK)
	s.input.Anchors.AttestationKeys = [][32]byte{spki(s.t, key)}
}

func attributes(change func(*reference.TPMAObject)) func(*scene) {
	return func(s *scene) {
		withAK(s, forge.TPMKeyConfig{Edit: func(p *reference.TPMTPublic) { change(&p.ObjectAttributes) }})
	}
}

func TestAttestationKeysThatAreRefused(t *testing.T) {
	const properties = attestd.ClassKeyProperties
	rsa := theWorld(t).keys["RSASSA"]
	runRejectRows(t, []rejectRow{
		// neg: 57
		{"a key that signs anything", attributes(func(a *reference.TPMAObject) { a.Restricted = false }),
			"tpm/ak-attributes", properties},
		// neg: 55
		{"a quote without the magic, by a key that signs anything", func(s *scene) {
			attributes(func(a *reference.TPMAObject) { a.Restricted = false })(s)
			s.edit = func(a *reference.TPMSAttest, _ *reference.TPMSQuoteInfo) { a.Magic = 0xff544348 }
		}, "tpm/ak-attributes", properties},
		// neg: 58
		{"a key that can leave its TPM", attributes(func(a *reference.TPMAObject) { a.FixedTPM = false }),
			"tpm/ak-attributes", properties},
		{"a key that can have another parent",
			attributes(func(a *reference.TPMAObject) { a.FixedParent = false }),
			"tpm/ak-attributes", properties},
		{"a key that was made outside",
			attributes(func(a *reference.TPMAObject) { a.SensitiveDataOrigin = false }),
			"tpm/ak-attributes", properties},
		{"a key that decrypts", attributes(func(a *reference.TPMAObject) { a.Decrypt = true }),
			"tpm/ak-attributes", properties},
		{"a key that was imported", attributes(func(a *reference.TPMAObject) {
			a.FixedTPM, a.FixedParent, a.EncryptedDuplication = false, false, true
		}), "tpm/ak-attributes", properties},
		{"a key that does not sign",
			attributes(func(a *reference.TPMAObject) { a.SignEncrypt = false }),
			"tpm/ak-attributes", properties},
		{"a key that stays and may leave encrypted",
			attributes(func(a *reference.TPMAObject) { a.EncryptedDuplication = true }),
			"tpm/ak-attributes", properties},
		{"a key that signs certificates",
			attributes(func(a *reference.TPMAObject) { a.X509Sign = true }),
			"tpm/ak-attributes", properties},
		// neg: 59
		{"RSA of 1024 bits", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{Scheme: reference.TPMAlgRSASSA, Bits: 1024})
		}, "tpm/ak-algorithm", properties},
		{"RSA with exponent 3", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{Scheme: reference.TPMAlgRSASSA, Signer: rsa.Signer,
				Edit: func(p *reference.TPMTPublic) {
					parameters, _ := p.Parameters.RSADetail()
					parameters.Exponent = 3
				}})
		}, "tpm/ak-algorithm", properties},
		{"RSA with exponent 1", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{Scheme: reference.TPMAlgRSASSA, Signer: rsa.Signer,
				Edit: func(p *reference.TPMTPublic) {
					parameters, _ := p.Parameters.RSADetail()
					parameters.Exponent = 1
				}})
		}, "tpm/ak-algorithm", properties},
		{"P-224", func(s *scene) { withAK(s, forge.TPMKeyConfig{Curve: elliptic.P224()}) },
			"tpm/ak-algorithm", properties},
		{"P-521", func(s *scene) { withAK(s, forge.TPMKeyConfig{Curve: elliptic.P521()}) },
			"tpm/ak-algorithm", properties},
		{"an unknown curve", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{Edit: func(p *reference.TPMTPublic) {
				parameters, _ := p.Parameters.ECCDetail()
				parameters.CurveID = 0x77
			}})
		}, "tpm/ak-algorithm", properties},
		{"an ECC key without a scheme", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{Edit: func(p *reference.TPMTPublic) {
				parameters, _ := p.Parameters.ECCDetail()
				parameters.Scheme = reference.TPMTECCScheme{}
			}})
		}, "tpm/ak-algorithm", properties},
		{"an RSA key without a scheme", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{Scheme: reference.TPMAlgRSASSA, Signer: rsa.Signer,
				Edit: func(p *reference.TPMTPublic) {
					parameters, _ := p.Parameters.RSADetail()
					parameters.Scheme = reference.TPMTRSAScheme{}
				}})
		}, "tpm/ak-algorithm", properties},
		{"a scheme of SHA-1", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{Hash: reference.TPMAlgSHA1})
		}, "tpm/ak-algorithm", properties},
		{"a Name of SHA-1", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{NameAlg: reference.TPMAlgSHA1})
		}, "tpm/ak-algorithm", properties},
		{"a cipher in a signing key", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{Edit: func(p *reference.TPMTPublic) {
				parameters, _ := p.Parameters.ECCDetail()
				from, _ := reference.ECCEKTemplate.Parameters.ECCDetail()
				parameters.Symmetric = from.Symmetric
			}})
		}, "tpm/ak-algorithm", properties},
		// neg: 90
		{"a byte behind the public area", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) { e.AKPublic = append(bytes.Clone(e.AKPublic), 0) }
		}, "tpm/ak-public", attestd.ClassMalformed},
		{"a size before the public area", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) {
				e.AKPublic = append([]byte{0, byte(len(e.AKPublic))}, e.AKPublic...)
			}
		}, "tpm/ak-public", attestd.ClassMalformed},
	})
}

func TestQuotesThatAreRefused(t *testing.T) {
	type attest = reference.TPMSAttest
	type info = reference.TPMSQuoteInfo
	edit := func(change func(*attest, *info)) func(*scene) {
		return func(s *scene) { s.edit = change }
	}
	runRejectRows(t, []rejectRow{
		// neg: 55
		{"another magic, signed by the attestation key", edit(func(a *attest, _ *info) {
			a.Magic = 0xff544348
		}), "tpm/quote-structure", attestd.ClassSignature},
		// neg: 56
		{"a certification in a quote's place", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) {
				key, err := s.machine.Certify(s.world.keys["agent"], nonce, nil)
				if err != nil {
					s.t.Fatal(err)
				}
				e.Quote, e.QuoteSignature = key.Attest, key.Signature
			}
		}, "tpm/quote-structure", attestd.ClassMalformed},
		{"a quote called a time", func(s *scene) {
			s.quote = func(q []byte) []byte { q[5] = 0x19; return q }
		}, "tpm/quote-structure", attestd.ClassMalformed},
		{"a quote called a creation", func(s *scene) {
			s.quote = func(q []byte) []byte { q[5] = 0x1a; return q }
		}, "tpm/quote-structure", attestd.ClassMalformed},
		{"a quote called one of NV memory", func(s *scene) {
			s.quote = func(q []byte) []byte { q[5] = 0x14; return q }
		}, "tpm/quote-structure", attestd.ClassMalformed},
		// neg: 62
		{"a bank selected twice", edit(func(_ *attest, q *info) {
			q.PCRSelect.PCRSelections = append(q.PCRSelect.PCRSelections, q.PCRSelect.PCRSelections[0])
		}), "tpm/quote-structure", attestd.ClassMalformed},
		{"a bitmap of 2 bytes", edit(func(_ *attest, q *info) {
			q.PCRSelect.PCRSelections[0].PCRSelect = []byte{255, 0}
		}), "tpm/quote-structure", attestd.ClassMalformed},
		// neg: 90
		{"a byte behind the quote", func(s *scene) {
			s.quote = func(q []byte) []byte { return append(q, 0) }
		}, "tpm/quote-structure", attestd.ClassMalformed},
		{"a byte behind the signature", func(s *scene) {
			s.signature = func(sig []byte) []byte { return append(sig, 0) }
		}, "tpm/quote-structure", attestd.ClassMalformed},
		// neg: 75
		{"an RSA signature for an ECC key", func(s *scene) {
			s.signature = func([]byte) []byte { return rsaSignature(s, "RSASSA") }
		}, "tpm/signature", attestd.ClassSignature},
		{"a signature of scheme NULL", func(s *scene) {
			s.signature = func([]byte) []byte { return []byte{0, 0x10} }
		}, "tpm/quote-structure", attestd.ClassSignature},
		{"an HMAC", func(s *scene) {
			s.signature = func([]byte) []byte { return append([]byte{0, 5, 0, 11}, make([]byte, 32)...) }
		}, "tpm/quote-structure", attestd.ClassSignature},
		{"another digest than the key's", func(s *scene) {
			s.signature = func(sig []byte) []byte { sig[3] = 0x0c; return sig }
		}, "tpm/signature", attestd.ClassSignature},
		{"an empty r", func(s *scene) {
			s.signature = func(sig []byte) []byte {
				return append([]byte{0, 0x18, 0, 0x0b, 0, 0}, sig[4+34:]...)
			}
		}, "tpm/signature", attestd.ClassSignature},
		{"r is zero", func(s *scene) {
			s.signature = func(sig []byte) []byte { copy(sig[6:], make([]byte, 32)); return sig }
		}, "tpm/signature", attestd.ClassSignature},
		{"r of 66 bytes", func(s *scene) {
			s.signature = func(sig []byte) []byte {
				head := append([]byte{0, 0x18, 0, 0x0b, 0, 66}, make([]byte, 34)...)
				return append(append(head, sig[6:6+32]...), sig[6+32:]...)
			}
		}, "tpm/signature", attestd.ClassSignature},
		{"a quote changed behind its signature", func(s *scene) {
			s.quote = func(q []byte) []byte { q[len(q)-1] ^= 1; return q }
		}, "tpm/signature", attestd.ClassSignature},
		{"a quote of the same TPM by another key", func(s *scene) {
			s.machine.AK = s.world.keys["another AK"]
			s.parts = func(e *tpmevidence.Evidence) { e.AKPublic = s.world.keys["ECDSA P-256"].Public }
		}, "tpm/signature", attestd.ClassSignature},
		{"the Qualified Name of the null hierarchy", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{Hierarchy: reference.TPMRHNull})
		}, "tpm/qualified-signer", attestd.ClassBinding},
		{"the Qualified Name of a child, without its parent", func(s *scene) {
			withAK(s, forge.TPMKeyConfig{Parents: [][]byte{s.world.keys["ECC EK"].Name}})
			s.parts = func(e *tpmevidence.Evidence) { e.AKParents = nil }
		}, "tpm/qualified-signer", attestd.ClassBinding},
		{"a parent that a primary key does not have", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) { e.AKParents = [][]byte{s.world.keys["ECC EK"].Name} }
		}, "tpm/qualified-signer", attestd.ClassBinding},
		{"a parent that is no Name", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) { e.AKParents = [][]byte{{1, 2, 3}} }
		}, "tpm/qualified-signer", attestd.ClassBinding},
		{"the signer's Name in place of its Qualified Name", edit(func(a *attest, _ *info) {
			a.QualifiedSigner.Buffer = theWorld(t).keys["ECDSA P-256"].Name
		}), "tpm/qualified-signer", attestd.ClassBinding},
		// neg: 73
		{"another nonce", func(s *scene) {
			s.input.Demand = fresh(s.t, bytes.Repeat([]byte{7}, 32))
		}, "tpm/nonce", attestd.ClassBinding},
		{"the first 20 bytes of the nonce", func(s *scene) {
			s.fresh()
			s.edit = func(a *attest, _ *info) { a.ExtraData.Buffer = nonce[:20] }
		}, "tpm/nonce", attestd.ClassBinding},
		{"a nonce that agrees in its first 20 bytes", func(s *scene) {
			s.input.Demand = fresh(s.t, append(bytes.Clone(nonce[:20]), make([]byte, 12)...))
		}, "tpm/nonce", attestd.ClassBinding},
		{"no nonce in the quote", func(s *scene) {
			s.fresh()
			s.edit = func(a *attest, _ *info) { a.ExtraData.Buffer = nil }
		}, "tpm/nonce", attestd.ClassBinding},
	})
}

// rsaSignature returns an RSA signature of something.
func rsaSignature(s *scene, key string) []byte {
	out, err := s.world.keys[key].Sign([]byte("something"))
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func TestPCRsThatAreRefused(t *testing.T) {
	sha1 := func(s *scene) {
		values := map[uint8][]byte{0: make([]byte, 20), 7: make([]byte, 20)}
		s.machine.PCRs = append(s.machine.PCRs,
			forge.TPMBank{Algorithm: reference.TPMAlgSHA1, Values: values})
	}
	values := func(change func(*tpmevidence.Bank)) func(*scene) {
		return func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) { change(&e.PCRs[0]) }
		}
	}
	runRejectRows(t, []rejectRow{
		// neg: 60
		{"a quote over no PCR, with values beside it", func(s *scene) {
			sent := s.machine.Values()
			s.machine.PCRs[0].Values = nil
			s.parts = func(e *tpmevidence.Evidence) { e.PCRs = sent }
		}, "tpm/pcr-selection", attestd.ClassBinding},
		{"a quote over no bank, with values beside it", func(s *scene) {
			sent := s.machine.Values()
			s.machine.PCRs = nil
			s.parts = func(e *tpmevidence.Evidence) { e.PCRs = sent }
		}, "tpm/pcr-selection", attestd.ClassBinding},
		// neg: 61
		{"PCR 11 beside a quote of PCRs 0 to 7", values(func(b *tpmevidence.Bank) {
			b.PCRs = append(b.PCRs, tpmevidence.PCR{Index: 11, Value: make([]byte, 32)})
		}), "tpm/pcr-selection", attestd.ClassMeasurement},
		{"PCR 31 beside a quote of PCRs 0 to 7", values(func(b *tpmevidence.Bank) {
			b.PCRs = append(b.PCRs, tpmevidence.PCR{Index: 31, Value: make([]byte, 32)})
		}), "tpm/pcr-selection", attestd.ClassMeasurement},
		{"a bank that was not quoted", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) {
				e.PCRs = append(e.PCRs, tpmevidence.Bank{Algorithm: 0x0c,
					PCRs: []tpmevidence.PCR{{Index: 0, Value: make([]byte, 48)}}})
			}
		}, "tpm/pcr-selection", attestd.ClassMeasurement},
		{"a quoted PCR without its value", values(func(b *tpmevidence.Bank) { b.PCRs = b.PCRs[1:] }),
			"tpm/pcr-selection", attestd.ClassMeasurement},
		{"a value of 20 bytes", values(func(b *tpmevidence.Bank) {
			b.PCRs[0].Value = b.PCRs[0].Value[:20]
		}), "tpm/pcr-selection", attestd.ClassMeasurement},
		{"no values", func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) { e.PCRs = nil }
		}, "tpm/pcr-selection", attestd.ClassMeasurement},
		// neg: 62
		{"values of banks in another order than the quote's", func(s *scene) {
			s.machine.PCRs = []forge.TPMBank{
				{Algorithm: reference.TPMAlgSHA384, Values: map[uint8][]byte{7: make([]byte, 48)}},
				s.machine.PCRs[0],
			}
			s.edit = func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
				list := q.PCRSelect.PCRSelections
				list[0], list[1] = list[1], list[0]
			}
		}, "tpm/pcr-digest", attestd.ClassBinding},
		// neg: 63
		{"SHA-1 beside SHA-256", sha1, "tpm/pcr-bank", attestd.ClassPolicyDeny},
		{"SHA-1 alone", func(s *scene) {
			sha1(s)
			s.machine.PCRs = s.machine.PCRs[1:]
		}, "tpm/pcr-bank", attestd.ClassPolicyDeny},
		{"a bank of SM3", func(s *scene) {
			s.edit = func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
				q.PCRSelect.PCRSelections[0].Hash = 0x12
			}
		}, "tpm/pcr-bank", attestd.ClassPolicyDeny},
		{"another value", values(func(b *tpmevidence.Bank) {
			b.PCRs[7].Value = bytes.Repeat([]byte{1}, 32)
		}), "tpm/pcr-digest", attestd.ClassBinding},
		{"a digest that was cut", func(s *scene) {
			s.edit = func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
				q.PCRDigest.Buffer = q.PCRDigest.Buffer[:20]
			}
		}, "tpm/pcr-digest", attestd.ClassBinding},
		{"a digest of another algorithm than the scheme's", func(s *scene) {
			s.machine.AK = s.world.keys["ECDSA P-384"]
			s.activate(s.machine.AK, s.machine.EK)
			s.edit = func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
				digest := sha256.New()
				for _, pcr := range s.machine.Values()[0].PCRs {
					digest.Write(pcr.Value)
				}
				q.PCRDigest.Buffer = digest.Sum(nil)
			}
		}, "tpm/pcr-digest", attestd.ClassBinding},
	})
}
