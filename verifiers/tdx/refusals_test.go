package tdx_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tdxevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx"
)

const spentWords = "too many signatures to verify"

// mustBeSpent wants the check to say that no verification was left for it.
func mustBeSpent(t *testing.T, input attestd.Input, check attestd.CheckID) {
	t.Helper()
	refused := mustReject(t, forgedVerifier(t), input, check, attestd.ClassTooLarge)
	if refused.Got != spentWords {
		t.Errorf("got %q, want %q", refused.Got, spentWords)
	}
}

// TestAQuoteWithoutBudget: each verification that a quote costs is asked for before it is made. The
// CA of a root that was loaded by hand is one of them.
func TestAQuoteWithoutBudget(t *testing.T) {
	for left, check := range []attestd.CheckID{
		"tdx/chain", "tdx/chain", "tdx/qe-signature", "tdx/signature",
	} {
		tdx.WithBudget(t, left, 16)
		mustBeSpent(t, newScene(t, 4).input(t), check)
	}
	tdx.WithBudget(t, 4, 16)
	mustVerify(t, forgedVerifier(t), newScene(t, 4).input(t))

	// A CA that was not looked at must not be called bad.
	s := newScene(t, 4)
	authority := must(intel())(t)
	stranger := &scene{authority: must(other())(t), pck: s.pck, quote: s.quote}
	var chain []byte
	stranger.edit = func(p *forge.TDParts, _ forge.PCK) { chain = bytes.Clone(p.Chain) }
	stranger.bytes(t)
	leaf, rest := pem.Decode(chain)
	ca, _ := pem.Decode(rest)
	root := &pem.Block{Type: "CERTIFICATE", Bytes: authority.Root.Raw}
	s.edit = func(p *forge.TDParts, _ forge.PCK) {
		p.Chain = slices.Concat(pem.EncodeToMemory(leaf), pem.EncodeToMemory(ca), pem.EncodeToMemory(root))
	}
	refused := mustReject(t, forgedVerifier(t), s.input(t), "tdx/chain", attestd.ClassChain)
	if !strings.Contains(refused.Got, "does not stand over") {
		t.Errorf("got %q", refused.Got)
	}
	tdx.WithBudget(t, 0, 16)
	mustBeSpent(t, s.input(t), "tdx/chain")
}

// TestCollateralWithoutBudget: so does each certificate, document and list, which have a budget for
// each root that is known: here Intel's and the tests' own.
func TestCollateralWithoutBudget(t *testing.T) {
	lists := func(_ testing.TB, input *attestd.Input) {
		input.Endorsements.Documents, input.Endorsements.Certificates = nil, nil
	}
	tdx.WithBudget(t, 4, 0)
	signer := newJudged(t, 4)
	mustBeSpent(t, signer.input(t), "tdx/tcb-signer")
	onLists := newJudged(t, 4)
	onLists.given = lists
	mustBeSpent(t, onLists.input(t), "tdx/revocation-list")

	tdx.WithBudget(t, 4, 1)
	// One for the signing key, one for the TCB information, none for the enclave's identity.
	mustBeSpent(t, newJudged(t, 4).input(t), "tdx/tcb-documents")
	mustVerify(t, forgedVerifier(t), onLists.input(t))

	// One for the root's list and the last for another's in the CA's name: nothing is left to find out
	// whose that is.
	onLists.given = func(t testing.TB, input *attestd.Input) {
		lists(t, input)
		input.Endorsements.CRLs[2] = list(t, must(intel())(t), forge.IntelCRLConfig{
			CA: forge.IntelPlatformCA, Signer: must(other())(t),
		})
	}
	mustBeSpent(t, onLists.input(t), "tdx/revocation-list")
}

// TestWhatFailedIsTheLastThatRan: a check behind the one that failed did not run, and none passes that
// failed.
func TestWhatFailedIsTheLastThatRan(t *testing.T) {
	v := forgedVerifier(t)
	for check, change := range map[attestd.CheckID]func(*forge.TDParts){
		"tdx/attestation-key": func(p *forge.TDParts) { p.Key = [64]byte{} },
		"tdx/chain-form":      func(p *forge.TDParts) { p.Chain = append(p.Chain, "\n\n"...) },
		"tdx/qe-signature":    func(p *forge.TDParts) { p.QEReport[100] ^= 1 },
	} {
		s := newScene(t, 4)
		s.edit = func(p *forge.TDParts, _ forge.PCK) { change(p) }
		_, err := v.Verify(s.input(t))
		var refused *attestd.EvidenceError
		if !errors.As(err, &refused) || refused.Check != check {
			t.Fatalf("got %v, want %s", err, check)
		}
		for i, one := range refused.Checks {
			failed := i == len(refused.Checks)-1
			if failed != (one.ID == check) || failed != (one.Result == attestd.ResultFail) {
				t.Errorf("%s: check %d is %s, %s", check, i, one.ID, one.Result)
			}
		}
	}
}

// TestRefusalsInTheirOwnWords: what stands behind these refuses as well, and says something else that
// would send people to look in another place.
func TestRefusalsInTheirOwnWords(t *testing.T) {
	v := forgedVerifier(t)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: must(intel())(t).Root.Raw})
	for _, row := range []struct {
		words   string
		version uint16
		change  func(*scene)
		check   attestd.CheckID
		class   attestd.Class
	}{
		{"more than three certificates", 4, parts(func(p *forge.TDParts) {
			p.Chain = append(bytes.TrimRight(p.Chain, "\x00"), root...)
		}), "tdx/chain-form", attestd.ClassChain},
		{"the report of an SGX enclave", 5, sent(func(b []byte) []byte { b[48] = 1; return b }),
			"tdx/body", attestd.ClassUnsupported},
	} {
		s := newScene(t, row.version)
		row.change(s)
		if got := mustReject(t, v, s.input(t), row.check, row.class).Got; got != row.words {
			t.Errorf("got %q, want %q", got, row.words)
		}
	}

	s := newScene(t, 4)
	input := s.input(t)
	input.Demand = must(attestd.Fresh(s.quote.ReportData[:32]))(t)
	got := mustReject(t, v, input, "tdx/report-data", attestd.ClassBinding)
	if got.Got != "REPORTDATA of 64 bytes" || got.Want != "32 bytes" {
		t.Errorf("got %q, want %q", got.Got, got.Want)
	}
}

// TestInspectionOfAContainerThatCannotBeOpened says so, and not that a quote is too short.
func TestInspectionOfAContainerThatCannotBeOpened(t *testing.T) {
	evidence := must(tdxevidence.Evidence{Quote: newScene(t, 4).bytes(t)}.Marshal())(t)
	_, err := forgedVerifier(t).Inspect(append(evidence, 0))
	var refused *attestd.EvidenceError
	if !errors.As(err, &refused) || refused.Check != "tdx/container" {
		t.Errorf("got %v, want a rejection by tdx/container", err)
	}
}

// TestADamagedBuildVerifiesNothing: neither a verifier nor a list of what is pinned comes out of bytes
// that are not those that were compared with Intel's.
func TestADamagedBuildVerifiesNothing(t *testing.T) {
	if _, err := tdx.PinnedIntermediates(); err != nil {
		t.Fatal(err)
	}
	tdx.WithPlatformCA(t, func(der []byte) []byte { der[len(der)-1] ^= 1; return der })
	_, noVerifier := tdx.New(tdx.Config{})
	given, noList := tdx.PinnedIntermediates()
	if given != nil {
		t.Error("certificates that are not the pinned ones")
	}
	for name, err := range map[string]error{"New": noVerifier, "PinnedIntermediates": noList} {
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig ||
			!strings.Contains(err.Error(), "its digest is not the pinned one") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestACacheOfNoSize: a size below 0 is a mistake of the configuration.
func TestACacheOfNoSize(t *testing.T) {
	v, err := tdx.New(tdx.Config{EnclaveCacheSize: -1})
	var caller *attestd.CallerError
	if v != nil || !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
		t.Errorf("got %v, want an error of class CONFIG", err)
	}
}
