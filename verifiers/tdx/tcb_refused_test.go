package tdx_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// TestPlatformsThatCollateralRulesOut: no policy has a say about these.
func TestPlatformsThatCollateralRulesOut(t *testing.T) {
	v := forgedVerifier(t)
	revoke := func(change func(*judged)) func(*judged) { return change }
	for _, row := range []struct {
		name      string
		change    func(*judged)
		check     attestd.CheckID
		class     attestd.Class
		got, want string
	}{
		{"a component below every level", func(j *judged) { j.pck.CPUSVN[7] = 3 }, // neg: 127
			"tdx/tcb-level", attestd.ClassTCB, "CPU SVN component 7 is 3", "every level wants 5 or more"},
		{"a PCESVN below every level", func(j *judged) { j.pck.PCESVN = 4 }, // neg: 127
			"tdx/tcb-level", attestd.ClassTCB, "PCESVN is 4", "every level wants 5 or more"},
		{"a loader below every level", func(j *judged) { j.quote.TEETCBSVN[2] = 1 }, // neg: 127
			"tdx/tcb-level", attestd.ClassTCB, "TEE TCB SVN component 2 is 1", "every level wants 2 or more"},
		{"a module of major version 0 below every level", func(j *judged) { // neg: 127
			j.quote.TEETCBSVN = [16]byte{4, 0, 3}
		}, "tdx/tcb-level", attestd.ClassTCB, "TEE TCB SVN component 0 is 4", "every level wants 5 or more"},
		{"two levels that each miss something else", func(j *judged) { // neg: 127
			j.tcb.Levels = j.tcb.Levels[:2]
			j.tcb.Levels[1].SGX, j.tcb.Levels[1].SGX[0] = j.pck.CPUSVN, 2
			j.tcb.Levels[1].SGX[1], j.tcb.Levels[0].SGX[0] = 9, 9
		}, "tdx/tcb-level", attestd.ClassTCB, "CPU SVN component 1 is 3, and no level matches", "9 or more"},
		{"a module below every level", func(j *judged) { j.quote.TEETCBSVN[0] = 3 }, // neg: 127
			"tdx/tcb-level", attestd.ClassTCB, "module TDX_01 with SVN 3", "4 or more"},
		{"a module of another major version", func(j *judged) { j.quote.TEETCBSVN[1] = 2 }, // neg: 124
			"tdx/module-identity", attestd.ClassPlatform, "major version 2", "TDX_00, TDX_03, TDX_01"},
		{"no modules at all", func(j *judged) { j.tcb.Modules = nil }, // neg: 124
			"tdx/module-identity", attestd.ClassPlatform, "major version 1", "TDX_00"},
		{"a module whose signer is another", func(j *judged) { j.tcb.Modules[1].MRSigner[0] = 1 }, // neg: 124
			"tdx/module-identity", attestd.ClassPlatform, "MRSIGNERSEAM", "0100"},
		{"a module that wants another attribute", func(j *judged) { // neg: 124
			j.tcb.Edit = func(s string) string {
				return strings.ReplaceAll(s, `"attributes":"0000000000000000"`, `"attributes":"0100000000000000"`)
			}
		}, "tdx/module-identity", attestd.ClassPlatform, "SEAMATTRIBUTES", "0100"},
		{"a revoked platform", revoke(func(j *judged) { j.tcb.Levels[0].Status = "Revoked" }), // neg: 125
			"tdx/tcb-revoked", attestd.ClassTCB, "the platform of 2024-11-13 is Revoked", "none"},
		{"a revoked module", revoke(func(j *judged) { j.tcb.Modules[1].Levels[0].Status = "Revoked" }), // neg: 125
			"tdx/tcb-revoked", attestd.ClassTCB, "the TDX module of", "none"},
		{"a revoked enclave", revoke(func(j *judged) { j.identity.Levels[0].Status = "Revoked" }), // neg: 125
			"tdx/tcb-revoked", attestd.ClassTCB, "the quoting enclave of", "none"},
		{"a revoked enclave, without TCB information", func(j *judged) { // neg: 125
			j.identity.Levels[0].Status = "Revoked"
			j.given = func(_ testing.TB, input *attestd.Input) {
				input.Endorsements.Documents = input.Endorsements.Documents[1:]
			}
		}, "tdx/tcb-revoked", attestd.ClassTCB, "the quoting enclave of", "none"},
		{"a revoked platform in a document that is stale", func(j *judged) { // neg: 125
			j.tcb.Levels[0].Status = "Revoked"
			j.given = func(_ testing.TB, input *attestd.Input) { input.At = input.At.AddDate(1, 0, 0) }
		}, "tdx/tcb-revoked", attestd.ClassTCB, "Revoked", "none"},
		{"an enclave of another signer", func(j *judged) { j.quote.QE.MRSigner[0]++ }, // neg: 135
			"tdx/qe-identity", attestd.ClassPlatform, "MRSIGNER dd9e", "dc9e"},
		{"another enclave of the signer", func(j *judged) { j.quote.QE.ProdID = 1 }, // neg: 135
			"tdx/qe-identity", attestd.ClassPlatform, "ISVPRODID 1", "2"},
		{"an enclave that can be debugged", func(j *judged) { j.quote.QE.Attributes[0] |= 2 }, // neg: 135
			"tdx/qe-identity", attestd.ClassPlatform, "ATTRIBUTES 17", "under the mask fbff"},
		{"an enclave with another MISCSELECT", func(j *judged) { j.quote.QE.MiscSelect = 1 }, // neg: 135
			"tdx/qe-identity", attestd.ClassPlatform, "MISCSELECT 01000000", "00000000"},
		{"an enclave below every level", func(j *judged) { j.quote.QE.SVN = 1 }, // neg: 135
			"tdx/qe-identity", attestd.ClassPlatform, "ISVSVN 1", "2 or more"},
	} {
		t.Run(row.name, func(t *testing.T) {
			j := newJudged(t, 4)
			row.change(j)
			refused := mustReject(t, v, j.input(t), row.check, row.class)
			if !strings.Contains(refused.Got, row.got) || !strings.Contains(refused.Want, row.want) {
				t.Errorf("got %q, want %q", refused.Got, refused.Want)
			}
		})
	}
	// Bits that the mask leaves out say nothing: MODE64BIT of the enclave's attributes.
	j := newJudged(t, 4)
	j.quote.QE.Attributes[0] &^= 4
	facts(t, mustVerify(t, v, j.input(t)), map[string]string{"tcb_status": "UpToDate"})
}

// TestDocumentsThatAreRefused: who gives a bad document gets no verdict from a good one beside it.
func TestDocumentsThatAreRefused(t *testing.T) {
	v := forgedVerifier(t)
	const invalid = attestd.ClassCollateralInvalid
	authority, stranger := must(intel())(t), must(other())(t)
	give := func(change func(t testing.TB, input *attestd.Input)) func(*judged) {
		return func(j *judged) { j.given = change }
	}
	floor := func(subject string, evaluation uint64, issued time.Time) func(*judged) {
		return give(func(_ testing.TB, input *attestd.Input) {
			input.Anchors.DocumentFloors = []attestd.DocumentFloor{
				{Subject: "tcb-info/TDX/000000000000", Evaluation: 99},
				{Subject: subject, Evaluation: evaluation, IssuedAt: issued},
			}
		})
	}
	const subject = "tcb-info/TDX/b0c06f000000"
	issued := forge.NewTCBInfoConfig().Issued
	for _, row := range []struct {
		name   string
		change func(*judged)
		check  attestd.CheckID
		class  attestd.Class
		got    string
	}{
		{"another PCEID", func(j *judged) { j.tcb.PCEID[1] = 7 }, // neg: 129
			"tdx/tcb-documents", invalid, "PCEID 0007"},
		{"another family behind a word that names this one", func(j *judged) { // neg: 129
			j.tcb.FMSPC[0]++
			j.tcb.Edit = func(s string) string { return `{"of":{"fmspc":"B0C06F000000"},` + s[1:] }
		}, "tdx/tcb-documents", invalid, "tcb-info/TDX/b1c06f000000"},
		{"a document for SGX", func(j *judged) { // neg: 129
			j.tcb.Edit = func(s string) string { return strings.Replace(s, `"TDX"`, `"SGX"`, 1) }
		}, "tdx/tcb-documents", invalid, `"SGX"`},
		{"an edited document", func(j *judged) { // neg: 131
			j.tcb.Rewrite = func(s string) string { return strings.Replace(s, `"OutOfDate"`, `"UpToDate"`, 1) }
		}, "tdx/tcb-documents", invalid, "did not sign"},
		{"an edited identity", func(j *judged) { // neg: 131
			j.identity.Rewrite = func(s string) string { return strings.Replace(s, `"isvsvn":4`, `"isvsvn":5`, 1) }
		}, "tdx/tcb-documents", invalid, "did not sign"},
		{"a document that another key signed", func(j *judged) { j.tcb.Signer = stranger },
			"tdx/tcb-documents", invalid, "did not sign"},
		{"an unknown status", func(j *judged) { j.tcb.Levels[2].Status = "Great" }, // neg: 126
			"tdx/tcb-documents", invalid, `unknown status "Great"`},
		{"an edited document beside a good one", give(func(_ testing.TB, input *attestd.Input) {
			edited := bytes.Replace(input.Endorsements.Documents[0], []byte(`"OutOfDate"`), []byte(`"UpToDate"`), 1)
			input.Endorsements.Documents = append(input.Endorsements.Documents, edited)
		}), "tdx/tcb-documents", invalid, "did not sign"},
		{"what is no document", give(func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.Documents = append(input.Endorsements.Documents, []byte("{}"))
		}), "tdx/tcb-documents", invalid, "no known kind"},
		{"a signer below a self-made root with Intel's name", // neg: 132
			give(func(t testing.TB, input *attestd.Input) {
				config := forge.NewTCBInfoConfig()
				config.Signer = stranger
				input.Endorsements.Certificates = [][]byte{stranger.Signing.Raw, stranger.Root.Raw}
				input.Endorsements.Documents[0] = must(authority.TCBInfo(config))(t)
			}), "tdx/tcb-signer", attestd.ClassChain, "did not sign it"},
		{"a signer that is no certificate", give(func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.Certificates[0] = []byte("Intel SGX TCB Signing")
		}), "tdx/tcb-signer", attestd.ClassChain, "a certificate that is none"},
		{"a document from the future", func(j *judged) { // neg: 130
			j.tcb.Issued = forge.IntelTime.Add(6 * time.Minute)
			j.given = nonce
		}, "tdx/tcb-documents", invalid, "which is in the future"},
		{"a number below one that was seen", floor(subject, 19, time.Time{}), // neg: 130
			"tdx/tcb-documents", invalid, "number 18"},
		{"an older one of the number that was seen", floor(subject, 18, issued.Add(time.Second)), // neg: 130
			"tdx/tcb-documents", invalid, "number 18"},
		{"an identity below one that was seen", floor(pcs.SubjectOfIdentity, 19, time.Time{}), // neg: 130
			"tdx/tcb-documents", invalid, "number 18"},
		{"too many about one subject", give(func(t testing.TB, input *attestd.Input) {
			for number := range 4 {
				config := forge.NewTCBInfoConfig()
				config.Evaluation = number
				input.Endorsements.Documents = append(input.Endorsements.Documents,
					must(authority.TCBInfo(config))(t))
			}
		}), "tdx/tcb-documents", attestd.ClassTooLarge, "one subject"},
		{"too many", give(func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.Documents = make([][]byte, 257)
		}), "tdx/tcb-documents", attestd.ClassTooLarge, "257 documents"},
		{"too large", give(func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.Documents = append(input.Endorsements.Documents, make([]byte, 17<<20))
		}), "tdx/tcb-documents", attestd.ClassTooLarge, "larger documents"},
		{"too many signers", give(func(_ testing.TB, input *attestd.Input) {
			for i := range 5 {
				input.Endorsements.Certificates = append(input.Endorsements.Certificates,
					append([]byte("Intel SGX TCB Signing"), byte(i)))
			}
			input.Endorsements.Certificates = input.Endorsements.Certificates[1:]
		}), "tdx/tcb-signer", attestd.ClassTooLarge, "TCB signing keys"},
	} {
		t.Run(row.name, func(t *testing.T) {
			j := newJudged(t, 4)
			row.change(j)
			if refused := mustReject(t, v, j.input(t), row.check, row.class); !strings.Contains(refused.Got, row.got) {
				t.Errorf("got %q, want %q in it", refused.Got, row.got)
			}
		})
	}
}

// TestSignersHaveTheirTime: a signer's certificate counts at the time, not at any.
func TestSignersHaveTheirTime(t *testing.T) {
	v := forgedVerifier(t)
	j := newJudged(t, 4)
	input := j.input(t)
	input.At = forge.IntelTime.AddDate(5, 0, 0)
	mustReject(t, v, input, "tdx/chain-validity", attestd.ClassCertTime)

	made := must(forge.NewIntel(forge.IntelConfig{EditSigning: shortLived}))(t)
	j.authority = made
	input = j.input(t)
	v = newVerifier(t, made.Root)
	input.At = forge.IntelTime.AddDate(0, 0, 3)
	refused := mustReject(t, v, input, "tdx/tcb-signer", attestd.ClassCertTime)
	if !strings.Contains(refused.Got, "2025-06-02") {
		t.Errorf("got %q", refused.Got)
	}
}

// TestFloorsAtTheDocumentAreMet, and documents of the same minute pass a clock that is behind.
func TestFloorsAtTheDocumentAreMet(t *testing.T) {
	v := forgedVerifier(t)
	j := newJudged(t, 4)
	j.given = func(_ testing.TB, input *attestd.Input) {
		input.Anchors.DocumentFloors = []attestd.DocumentFloor{
			{Subject: "tcb-info/TDX/b0c06f000000", Evaluation: 18, IssuedAt: j.tcb.Issued},
			{Subject: pcs.SubjectOfIdentity, Evaluation: 17, IssuedAt: forge.IntelTime},
		}
	}
	facts(t, mustVerify(t, v, j.input(t)), map[string]string{"collateral": "fresh"})
	j = newJudged(t, 4)
	j.tcb.Issued, j.given = forge.IntelTime.Add(4*time.Minute), nonce
	facts(t, mustVerify(t, v, j.input(t)), map[string]string{"collateral": "fresh"})
	// Recorded evidence is judged by what is known now.
	j = newJudged(t, 4)
	j.tcb.Issued = forge.IntelTime.AddDate(0, 0, 3)
	facts(t, mustVerify(t, v, j.input(t)), map[string]string{"collateral": "fresh"})
}

// TestTheCacheChangesNoAnswer: what was good with its signer is not without, and not under another root.
func TestTheCacheChangesNoAnswer(t *testing.T) {
	v := forgedVerifier(t)
	j := newJudged(t, 4)
	input := j.input(t)
	facts(t, mustVerify(t, v, input), map[string]string{"collateral": "fresh"})
	bare := input
	bare.Endorsements.Certificates = nil
	facts(t, mustVerify(t, v, bare), map[string]string{"collateral": "missing"})

	// Two authorities in a laboratory: the documents of one say nothing about platforms of the other.
	stranger := must(other())(t)
	v = newVerifier(t, j.authority.Root, stranger.Root)
	mustVerify(t, v, input)
	bare.Endorsements.Certificates = [][]byte{stranger.Signing.Raw}
	mustReject(t, v, bare, "tdx/tcb-documents", attestd.ClassCollateralInvalid)
	theirs := newJudged(t, 4)
	theirs.authority = stranger
	mixed := theirs.input(t)
	mixed.Endorsements = input.Endorsements
	mixed.Endorsements.Certificates = append(mixed.Endorsements.Certificates[:2:2],
		j.authority.Platform.Raw)
	facts(t, mustVerify(t, v, mixed), map[string]string{"collateral": "missing", "crl": "missing"})
	mixed.Endorsements.Certificates = append(mixed.Endorsements.Certificates[:2:2],
		stranger.Signing.Raw, j.authority.Platform.Raw)
	own := theirs.input(t).Endorsements
	mixed.Endorsements.Documents = append(mixed.Endorsements.Documents[:2:2], own.Documents...)
	mixed.Endorsements.CRLs = append(mixed.Endorsements.CRLs[:3:3], own.CRLs...)
	facts(t, mustVerify(t, v, mixed), map[string]string{"collateral": "fresh", "crl": "fresh"})
}
