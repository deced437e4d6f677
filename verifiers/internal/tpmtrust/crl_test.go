package tpmtrust_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

var (
	oidDelta = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
)

const here = "http://crl.example/ek.crl"

// point is an IssuingDistributionPoint with one URI and whatever stands behind it.
func point(uri string, behind ...byte) []byte {
	name := forge.DER(0xa0, forge.DER(0xa0, forge.DER(0x86, []byte(uri))))
	return forge.DER(0x30, append(name, behind...))
}

// TestRevocation looks at what CRLs say of a chain: leaf 4711, intermediate 2.
func TestRevocation(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	other := authority(t, forge.TPMCAConfig{})
	stranger := authority(t, forge.TPMCAConfig{Name: "Stranger"})
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{
		Edit: func(c *x509.Certificate) {
			c.SerialNumber, c.CRLDistributionPoints = big.NewInt(4711), []string{here}
		},
	}))(t)
	list := func(config forge.TPMCRLConfig) []byte { return must(ca.CRL(config))(t) }
	root := list(forge.TPMCRLConfig{Issuer: forge.TPMRoot})
	leaf := list(forge.TPMCRLConfig{})
	old := forge.TPMTime.AddDate(-1, 0, 0)
	extended := func(id asn1.ObjectIdentifier, critical bool, value []byte) []byte {
		return list(forge.TPMCRLConfig{Edit: func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: value}}
		}})
	}
	revoking := func(serial int64, at time.Time, issuer string) []byte {
		return list(forge.TPMCRLConfig{Serials: []*big.Int{big.NewInt(1), big.NewInt(serial)}, At: at,
			Issuer: issuer})
	}
	for name, row := range map[string]struct {
		crls  [][]byte
		state string
		class attestd.Class
	}{
		"none":                     {nil, tpmtrust.CRLMissing, ""},
		"both issuers', fresh":     {[][]byte{root, leaf}, tpmtrust.CRLFresh, ""},
		"the root's alone":         {[][]byte{root}, tpmtrust.CRLMissing, ""},
		"the intermediate's alone": {[][]byte{leaf}, tpmtrust.CRLMissing, ""},
		"one of them ended": {
			[][]byte{root, list(forge.TPMCRLConfig{At: old})}, tpmtrust.CRLStale, "",
		},
		"an ended one and a fresh one": {
			[][]byte{root, list(forge.TPMCRLConfig{At: old}), leaf}, tpmtrust.CRLFresh, "",
		},
		"one from after the time": {
			[][]byte{root, list(forge.TPMCRLConfig{At: forge.TPMTime.AddDate(0, 0, 1)})},
			tpmtrust.CRLFresh, "",
		},
		"one from after the leaf's end": {
			[][]byte{root, list(forge.TPMCRLConfig{At: forge.TPMTime.AddDate(90, 0, 0)})},
			tpmtrust.CRLStale, "",
		},
		"a stranger's beside": {
			[][]byte{must(stranger.CRL(forge.TPMCRLConfig{}))(t), root, leaf}, tpmtrust.CRLFresh, "",
		},
		"others' serials": {
			[][]byte{root, revoking(4712, time.Time{}, "")}, tpmtrust.CRLFresh, "",
		},
		"another point's": {
			[][]byte{root, extended(oidPoint, true, point("http://other"))}, tpmtrust.CRLMissing, "",
		},
		"revoked for another point": {
			[][]byte{list(forge.TPMCRLConfig{Serials: []*big.Int{big.NewInt(4711)},
				Edit: func(l *x509.RevocationList) {
					l.ExtraExtensions = []pkix.Extension{
						{Id: oidPoint, Critical: true, Value: point("http://other")}}
				}})}, "", attestd.ClassRevokedCert,
		},
		"its own point's": {
			[][]byte{root, extended(oidPoint, true, point(here))}, tpmtrust.CRLFresh, "",
		},
		"the leaf is revoked": {
			[][]byte{revoking(4711, time.Time{}, "")}, "", attestd.ClassRevokedCert,
		},
		"the leaf was revoked long ago": {
			[][]byte{revoking(4711, old, "")}, "", attestd.ClassRevokedCert,
		},
		"the intermediate is revoked": {
			[][]byte{leaf, revoking(2, time.Time{}, forge.TPMRoot)}, "", attestd.ClassRevokedCert,
		},
		"revoked by one of two": {
			[][]byte{leaf, revoking(4711, old, "")}, "", attestd.ClassRevokedCert,
		},
		"somebody else's signature": {[][]byte{must(ca.CRL(forge.TPMCRLConfig{Impostor: other}))(t)}, "",
			attestd.ClassCollateralInvalid},
		"a flipped bit": {[][]byte{flip(leaf)}, "", attestd.ClassCollateralInvalid},
		"a delta CRL": {
			[][]byte{extended(oidDelta, true, []byte{2, 1, 1})}, "", attestd.ClassCollateralInvalid,
		},
		"a delta CRL that is not critical": {
			[][]byte{extended(oidDelta, false, []byte{2, 1, 1})}, "", attestd.ClassCollateralInvalid,
		},
		"an indirect CRL": {
			[][]byte{extended(oidPoint, true, point(here, 0x84, 1, 0xff))}, "", attestd.ClassCollateralInvalid,
		},
		"for CAs alone": {
			[][]byte{extended(oidPoint, true, point(here, 0x82, 1, 0xff))}, "", attestd.ClassCollateralInvalid,
		},
		"a point with none": {
			[][]byte{extended(oidPoint, true, []byte{0x30, 0})}, "", attestd.ClassCollateralInvalid,
		},
		"an unknown critical extension": {[][]byte{extended(asn1.ObjectIdentifier{1, 2, 3}, true, []byte{5, 0})}, "",
			attestd.ClassCollateralInvalid},
		"an entry of another issuer": {[][]byte{list(forge.TPMCRLConfig{Edit: func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: big.NewInt(9), RevocationTime: old,
				ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true,
					Value: []byte{0x30, 0}}},
			}}
		}})}, "", attestd.ClassCollateralInvalid},
		"bytes that are none": {[][]byte{{1, 2, 3}}, "", attestd.ClassCollateralInvalid},
		"one of 2 MiB":        {[][]byte{make([]byte, 2<<20)}, "", attestd.ClassTooLarge},
		"sixty-five": {
			slices.Repeat([][]byte{must(stranger.CRL(forge.TPMCRLConfig{}))(t)}, 65), "", attestd.ClassTooLarge,
		},
		"sixteen of one": {slices.Repeat([][]byte{leaf}, 16), "", attestd.ClassTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			s := trusting(t, ca.Root)
			for range 2 { // read, and from the cache
				ek, fault := s.Endorsement(tpmtrust.EKQuery{
					Certificate: raw, Intermediates: ca.Bundle(), CRLs: row.crls, At: forge.TPMTime,
				})
				if row.class != "" {
					wantFault(t, fault, row.class)
				} else if fault != nil || ek.CRL != row.state {
					t.Errorf("%q, %v", ek.CRL, fault)
				}
			}
		})
	}
}

// TestACRLNeedsTheRightToSignOne: RFC 5280 section 6.3.3 (f).
func TestACRLNeedsTheRightToSignOne(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{Edit: func(role string, template *x509.Certificate) {
		if role == forge.TPMIntermediate {
			template.KeyUsage = x509.KeyUsageCertSign
		}
	}})
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t)
	// Go's writer asks for the key usage, too, so that the CRL is written in the name of a twin
	// with it.
	twin := *ca
	allowed := *ca.Intermediate
	allowed.KeyUsage |= x509.KeyUsageCRLSign
	twin.Intermediate = &allowed
	_, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
		Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime,
		CRLs: [][]byte{must(twin.CRL(forge.TPMCRLConfig{}))(t)},
	})
	wantFault(t, fault, attestd.ClassCollateralInvalid)
}

// TestACRLIsVerifiedOnce counts signatures.
func TestACRLIsVerifiedOnce(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t)
	count := 0
	s := store(t, tpmtrust.Config{
		InsecureRoots: []*x509.Certificate{ca.Root}, Count: func() { count++ },
	})
	query := tpmtrust.EKQuery{
		Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime, CRLs: [][]byte{
			must(ca.CRL(forge.TPMCRLConfig{}))(t), must(ca.CRL(forge.TPMCRLConfig{Issuer: forge.TPMRoot}))(t),
		},
	}
	for range 3 {
		if ek, fault := s.Endorsement(query); fault != nil || ek.CRL != tpmtrust.CRLFresh || count != 4 {
			t.Errorf("%q, %v, %d signatures, want 4", ek.CRL, fault, count)
		}
	}
	// The same CRL a week later covers nothing any more.
	query.At = forge.TPMTime.AddDate(0, 1, 0)
	if ek, fault := s.Endorsement(query); fault != nil || ek.CRL != tpmtrust.CRLStale {
		t.Errorf("%q, %v", ek.CRL, fault)
	}
}

func flip(raw []byte) []byte {
	out := bytes.Clone(raw)
	out[len(out)-1] ^= 1
	return out
}

// TestAKeyOfAnInstanceIsRevoked: what holds for endorsement keys holds for attestation keys.
func TestAKeyOfAnInstanceIsRevoked(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	raw := must(ca.GCECertificate(p256(t).Public(), forge.GCECertificateConfig{
		Edit: func(c *x509.Certificate) { c.SerialNumber = big.NewInt(4711) },
	}))(t)
	query := attestationQuery(ca, raw)
	query.CRLs = [][]byte{must(ca.CRL(forge.TPMCRLConfig{Serials: []*big.Int{big.NewInt(4711)}}))(t)}
	_, fault := trusting(t, ca.Root).AttestationKey(query)
	wantFault(t, fault, attestd.ClassRevokedCert)
	query.CRLs = nil
	query.Certificate = make([]byte, 1<<16)
	_, fault = trusting(t, ca.Root).AttestationKey(query)
	wantFault(t, fault, attestd.ClassTooLarge)
	for _, empty := range []func(s *tpmtrust.Store) *tpmtrust.Fault{
		func(s *tpmtrust.Store) *tpmtrust.Fault {
			_, fault := s.AttestationKey(tpmtrust.AKQuery{})
			return fault
		},
		func(s *tpmtrust.Store) *tpmtrust.Fault {
			_, fault := s.Endorsement(tpmtrust.EKQuery{})
			return fault
		},
	} {
		if fault := empty(trusting(t, ca.Root)); fault == nil || fault.Got != "no certificate" {
			t.Errorf("no certificate: got %v", fault)
		}
	}
}

// TestAListThatIsWholeOnTheOutsideOnly: the name on the front of a list is read before anything else
// of it.
func TestAListThatIsWholeOnTheOutsideOnly(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	broken := bytes.Replace(must(ca.CRL(forge.TPMCRLConfig{}))(t), []byte{asn1.TagUTCTime, 13},
		[]byte{asn1.TagIA5String, 13}, 1)
	leaf := must(ca.GCECertificate(p256(t).Public(), forge.GCECertificateConfig{}))(t)
	query := attestationQuery(ca, leaf)
	query.CRLs = [][]byte{broken}
	_, fault := trusting(t, ca.Root).AttestationKey(query)
	wantFault(t, fault, attestd.ClassCollateralInvalid)
}
