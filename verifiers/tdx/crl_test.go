package tdx_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// shortLived makes a certificate end the day after forge.IntelTime.
func shortLived(template *x509.Certificate) { template.NotAfter = forge.IntelTime.AddDate(0, 0, 1) }

// TestWhatIsRevoked: any authentic list counts, however old. neg: 133
func TestWhatIsRevoked(t *testing.T) {
	v := forgedVerifier(t)
	authority := must(intel())(t)
	old := forge.IntelTime.AddDate(-1, 0, 0)
	for _, row := range []struct {
		name      string
		config    forge.IntelCRLConfig
		processor bool
		got       string
	}{
		{"a PCK of a platform", forge.IntelCRLConfig{CA: forge.IntelPlatformCA,
			Serials: []int64{7, forge.SerialPCK}}, false, "PCK with serial number 3e8"},
		{"a PCK of a processor", forge.IntelCRLConfig{CA: forge.IntelProcessorCA,
			Serials: []int64{forge.SerialPCK}}, true, "PCK with serial number 3e8"},
		{"a PCK on a list of last year", forge.IntelCRLConfig{CA: forge.IntelPlatformCA, At: old,
			Serials: []int64{forge.SerialPCK}}, false, "on the list of 2024-06-01"},
		{"the CA over platforms", forge.IntelCRLConfig{Serials: []int64{forge.SerialIntelPlatform}}, false,
			"CA over PCKs with serial number 3"},
		{"the CA over processors", forge.IntelCRLConfig{Serials: []int64{forge.SerialIntelProcessor}}, true,
			"CA over PCKs with serial number 2"},
		{"the TCB signing key", forge.IntelCRLConfig{Serials: []int64{forge.SerialIntelSigning}}, false,
			"TCB signing key with serial number 4"},
		{"the root by itself", forge.IntelCRLConfig{Serials: []int64{forge.SerialIntelRoot}}, false, "root"},
	} {
		t.Run(row.name, func(t *testing.T) {
			j := newJudged(t, 4)
			j.pck.Processor = row.processor
			j.given = func(t testing.TB, input *attestd.Input) {
				input.Endorsements.CRLs = append(input.Endorsements.CRLs, list(t, authority, row.config))
			}
			refused := mustReject(t, v, j.input(t), "tdx/revoked", attestd.ClassRevokedCert)
			if !strings.Contains(refused.Got, row.got) {
				t.Errorf("got %q", refused.Got)
			}
			// Also where nothing else is given, and warm.
			j.given = func(t testing.TB, input *attestd.Input) {
				input.Endorsements.CRLs = [][]byte{list(t, authority, row.config)}
				if !strings.HasPrefix(row.name, "the TCB") {
					input.Endorsements.Documents = nil
				}
			}
			mustReject(t, v, j.input(t), "tdx/revoked", attestd.ClassRevokedCert)
		})
	}
	// The other CA's serial number on the root's list is not in this chain.
	j := newJudged(t, 4)
	j.given = func(t testing.TB, input *attestd.Input) {
		input.Endorsements.CRLs = append(input.Endorsements.CRLs, list(t, authority,
			forge.IntelCRLConfig{Serials: []int64{forge.SerialIntelProcessor, 99}}))
	}
	facts(t, mustVerify(t, v, j.input(t)), map[string]string{"crl": "fresh"})
}

func TestListsThatAreRefused(t *testing.T) {
	v := forgedVerifier(t)
	authority, stranger := must(intel())(t), must(other())(t)
	const invalid = attestd.ClassCollateralInvalid
	edited := func(edit func(*x509.RevocationList)) func(testing.TB, *attestd.Input) {
		return func(t testing.TB, input *attestd.Input) {
			input.Endorsements.CRLs[2] = list(t, authority, forge.IntelCRLConfig{
				CA: forge.IntelPlatformCA, Edit: edit,
			})
		}
	}
	floor := func(issuer *x509.Certificate, days int) func(testing.TB, *attestd.Input) {
		return func(_ testing.TB, input *attestd.Input) {
			input.Anchors.DocumentFloors = []attestd.DocumentFloor{{
				Subject:  pcs.SubjectOfCRL(issuer.RawSubjectPublicKeyInfo),
				IssuedAt: forge.NewTCBInfoConfig().Issued.AddDate(0, 0, days),
			}}
		}
	}
	for _, row := range []struct {
		name  string
		given func(testing.TB, *attestd.Input)
		class attestd.Class
		got   string
	}{
		{"a list that another key signed", func(t testing.TB, input *attestd.Input) {
			input.Endorsements.CRLs[2] = list(t, authority, forge.IntelCRLConfig{
				CA: forge.IntelPlatformCA, Signer: stranger,
			})
		}, invalid, "its signature is not the issuer's"},
		{"what is no list", func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.CRLs[0] = []byte("list")
		}, invalid, "list 1 of those given"},
		{"a list with something behind", func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.CRLs[0] = append(input.Endorsements.CRLs[0], 0)
		}, invalid, "list 1 of those given"},
		{"a list cut short", func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.CRLs[0] = input.Endorsements.CRLs[0][:100]
		}, invalid, "list 1 of those given"},
		{"a list for one distribution point", edited(func(template *x509.RevocationList) {
			point := forge.DER(0x30, forge.DER(0xa0, forge.DER(0xa0, forge.DER(0x86, []byte("http://a")))))
			template.ExtraExtensions = append(template.ExtraExtensions, extension([]int{2, 5, 29, 28}, point))
		}), invalid, "one distribution point"},
		{"a list with an unknown critical extension", edited(func(template *x509.RevocationList) {
			template.ExtraExtensions = append(template.ExtraExtensions, extension([]int{2, 5, 29, 99}, []byte{5, 0}))
		}), invalid, "critical extension"},
		{"a list signed with another algorithm", edited(func(template *x509.RevocationList) {
			template.SignatureAlgorithm = x509.ECDSAWithSHA384
		}), invalid, "ECDSA-SHA384"},
		{"a list without a number", func(t testing.TB, input *attestd.Input) {
			input.Endorsements.CRLs[2] = list(t, authority, forge.IntelCRLConfig{
				CA: forge.IntelPlatformCA, Rewrite: func(tbs []byte) []byte {
					return bytes.Replace(tbs, []byte{6, 3, 0x55, 0x1d, 20}, []byte{6, 3, 0x55, 0x1d, 99}, 1)
				},
			})
		}, invalid, "no CRL number"},
		{"an older list of the root than was seen", floor(authority.Root, 1), invalid, "as the newest"}, // neg: 133
		{"an older list of the CA than was seen", floor(authority.Platform, 1), invalid, "as the newest"},
		{"a lower number than was seen", func(_ testing.TB, input *attestd.Input) {
			input.Anchors.CRLFloors = []attestd.CRLFloor{{
				Issuer: sha256.Sum256(authority.Platform.RawSubjectPublicKeyInfo), Number: []byte{0, 2},
			}}
		}, invalid, "as the newest"},
		{"too many lists", func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.CRLs = make([][]byte, 65)
		}, attestd.ClassTooLarge, "65 revocation lists"},
		{"too many lists of one issuer", func(t testing.TB, input *attestd.Input) {
			for number := range int64(4) {
				input.Endorsements.CRLs = append(input.Endorsements.CRLs, list(t, authority, forge.IntelCRLConfig{
					Edit: func(template *x509.RevocationList) { template.Number = big.NewInt(number + 5) },
				}))
			}
		}, attestd.ClassTooLarge, "more lists of Intel SGX Root CA"},
	} {
		t.Run(row.name, func(t *testing.T) {
			j := newJudged(t, 4)
			j.given = row.given
			refused := mustReject(t, v, j.input(t), "tdx/revocation-list", row.class)
			if !strings.Contains(refused.Got, row.got) {
				t.Errorf("got %q", refused.Got)
			}
		})
	}
	for _, given := range []func(testing.TB, *attestd.Input){floor(authority.Root, 0), floor(stranger.Root, 9)} {
		j := newJudged(t, 4)
		j.given = given
		facts(t, mustVerify(t, v, j.input(t)), map[string]string{"crl": "fresh"})
	}
}

// TestOfEqualNumbersTheLaterListCounts: Intel's lists all have the number 1. neg: 133
func TestOfEqualNumbersTheLaterListCounts(t *testing.T) {
	v := forgedVerifier(t)
	authority := must(intel())(t)
	stale := list(t, authority, forge.IntelCRLConfig{
		CA: forge.IntelPlatformCA, At: forge.IntelTime.AddDate(0, -3, 0),
	})
	j := newJudged(t, 4)
	for _, first := range []bool{true, false} {
		j.given = func(_ testing.TB, input *attestd.Input) {
			if first {
				input.Endorsements.CRLs = append([][]byte{stale}, input.Endorsements.CRLs...)
			} else {
				input.Endorsements.CRLs = append(input.Endorsements.CRLs, stale)
			}
		}
		facts(t, mustVerify(t, v, j.input(t)), map[string]string{
			"crl": "fresh", "crl_issue_date": "2025-05-31T12:00:00Z",
		})
	}
	recent := list(t, authority, forge.IntelCRLConfig{
		CA: forge.IntelPlatformCA, At: forge.IntelTime.AddDate(0, 0, -9),
	})
	for _, first := range []bool{true, false} {
		j.given = func(_ testing.TB, input *attestd.Input) {
			if first {
				input.Endorsements.CRLs = append([][]byte{recent}, input.Endorsements.CRLs...)
			} else {
				input.Endorsements.CRLs = append(input.Endorsements.CRLs, recent)
			}
		}
		facts(t, mustVerify(t, v, j.input(t)), map[string]string{"crl_issue_date": "2025-05-31T12:00:00Z"})
	}
	j.given = func(_ testing.TB, input *attestd.Input) { input.Endorsements.CRLs[2] = stale }
	facts(t, mustVerify(t, v, j.input(t)), map[string]string{
		"crl": "stale", "crl_stale": "true", "crl_issue_date": "2025-03-01T12:00:00Z",
	})
}

func extension(id []int, value []byte) pkix.Extension {
	return pkix.Extension{Id: id, Critical: true, Value: value}
}
