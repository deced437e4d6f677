package interop

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx"
)

// stricterTDX are the checks by which mutants are refused here that google/go-tdx-guest takes, and why
// that is meant. A row that no mutant needs fails the test, so that the list stays true.
var stricterTDX = map[string]string{
	"tcb-status": "it takes the module's status for that of the whole: convergence is the worst of " +
		"platform, module and enclave",
	"tdx/tcb-revoked": "the same, with a platform that Intel revoked",
	"tdx/layout":      "it reads a quote and ignores what follows",
	"tdx/chain-form":  "it takes certificates in any spelling of PEM",
	"tdx/pck-profile": "it does not look at basic constraints, key usage and all of the extension",
	"tdx/qe-vendor":   "it does not compare the vendor of the quoting enclave",
	"tdx/module":      "without collateral it does not look at who signed the module, and whether it is a debug module",
	"tdx/revoked":     "it looks up PCK, CA and signer, and not the root",
	"tdx/tcb-documents": "it takes double keys, levels out of order and of any type, identities of any name, " +
		"and documents from the future",
}

// laxerTDX are answers of google/go-tdx-guest to what is accepted here, by a part of their text, and
// why they are wrong. A row that no mutant needs fails the test, too.
var laxerTDX = map[string]string{
	`Expected "Intel SGX PCK Platform CA"`: "it knows no PCK of the CA over single processors",
	`is not equal to TdxModule.Mrsigner`: "it compares the signer of every module with that of version 0, also " +
		"where the document has an identity for the module's version",
}

// mutantRounds is how many mutants are tried; ATTESTD_MUTANTS sets it.
func mutantRounds(t *testing.T, standard int) int {
	t.Helper()
	if text := os.Getenv("ATTESTD_MUTANTS"); text != "" {
		count, err := strconv.Atoi(text)
		if err != nil || count < 1 {
			t.Fatalf("ATTESTD_MUTANTS is %q, want a count", text)
		}
		return count
	}
	if testing.Short() {
		return standard / 20
	}
	return standard
}

// build lays the mutant out. A mutant that signs nothing because its parts do not fit is no mutant.
func (m *tdxMill) build(out tdxMutant) []byte {
	m.t.Helper()
	parts, err := out.quote.Parts(out.pck.PCK)
	if err == nil {
		err = out.parts(&parts)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return out.sent(parts.Bytes())
}

func (c collateral) endorsements() attestd.Endorsements {
	var out attestd.Endorsements
	put := func(into *[][]byte, given []byte) {
		if len(given) > 0 {
			*into = append(*into, given)
		}
	}
	put(&out.Documents, c.tcbInfo)
	put(&out.Documents, c.identity)
	put(&out.Certificates, c.signer)
	put(&out.CRLs, c.rootList)
	put(&out.CRLs, c.pckList)
	return out
}

// judgedTDX returns the check that refused, and why. Where collateral was given, accepted means up to
// date by fresh documents, and where lists were, by fresh lists: go-tdx-guest knows no other answer.
func judgedTDX(have collateral, claims *attestd.Claims, err error) (string, error) {
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	switch {
	case errors.As(err, &rejected):
		return string(rejected.Check), err
	case errors.As(err, &undecided):
		return string(undecided.Check), err
	case err != nil:
		return "caller", err
	}
	fact := func(name string) string {
		value, _ := claims.Fact(name)
		return value.String()
	}
	if len(have.tcbInfo) > 0 {
		if state := fact("collateral"); state != "fresh" {
			return "collateral " + state, errors.New("collateral is " + state)
		}
		if status := fact("tcb_status"); status != "UpToDate" {
			return "tcb-status", fmt.Errorf("%s (platform %s, module %s, enclave %s)", status,
				fact("tcb_status_platform"), fact("tcb_status_module"), fact("tcb_status_qe"))
		}
	}
	if len(have.rootList) > 0 {
		if state := fact("crl"); state != "fresh" {
			return "crl " + state, errors.New("revocation lists are " + state)
		}
	}
	return "", nil
}

// TestMutantsAgainstGoTDXGuest: whatever is accepted here, go-tdx-guest accepts, too, but where it is
// named as wrong. Mutants are signed again after they were changed, so that what is compared is what a
// verifier reads and not that it verifies a signature. ATTESTD_MUTANTS sets their number.
func TestMutantsAgainstGoTDXGuest(t *testing.T) {
	rounds := mutantRounds(t, 10_000)
	m := newTDXMill(t, 240)
	verifier, err := tdx.New(tdx.Config{InsecureRoots: []*x509.Certificate{m.authority.Root}})
	if err != nil {
		t.Fatal(err)
	}
	both, neither, unexplained := 0, 0, 0
	stricter, laxer, panics := map[string]int{}, map[string]int{}, 0
	for round := range rounds {
		out := m.next()
		quote := m.build(out)
		claims, err := verifier.Verify(attestd.Input{
			Evidence: quote, At: out.at, Demand: attestd.Recorded(), Endorsements: out.have.endorsements(),
		})
		check, ours := judgedTDX(out.have, claims, err)
		theirs := askGoTDXGuest(quote, out.have, out.at, m.authority.Root)
		if theirs != nil && strings.HasPrefix(theirs.Error(), "panic: ") {
			panics++
		}
		switch {
		case ours == nil && theirs == nil:
			both++
		case ours != nil && theirs != nil:
			neither++
		case ours == nil:
			row := explained(theirs)
			laxer[row]++
			if row == "" {
				if unexplained++; unexplained <= 5 {
					t.Errorf("mutant %d is accepted here, and go-tdx-guest says: %v\n%s", round, theirs,
						describe(out, quote))
				}
			}
		default:
			if stricterTDX[check] == "" && stricter[check] == 0 {
				t.Errorf("mutant %d is refused here alone by %q: %v\n%s", round, check, ours,
					describe(out, quote))
			}
			stricter[check]++
		}
	}
	t.Logf("%d mutants: both accept %d, both refuse %d, it panics on %d", rounds, both, neither, panics)
	for check, why := range stricterTDX {
		t.Logf("%6d refused here alone by %s: %s", stricter[check], check, why)
		if stricter[check] == 0 && rounds >= 10_000 {
			t.Errorf("no mutant is refused here alone by %s", check)
		}
	}
	for text, why := range laxerTDX {
		t.Logf("%6d accepted here alone: %s", laxer[text], why)
		if laxer[text] == 0 && rounds >= 10_000 {
			t.Errorf("no mutant is refused there alone by %q", text)
		}
	}
	if both < rounds/10 || neither < rounds/10 {
		t.Error("the mutants are too good or too bad to show anything")
	}
}

func explained(theirs error) string {
	for text := range laxerTDX {
		if strings.Contains(theirs.Error(), text) {
			return text
		}
	}
	return ""
}

// describe says what went into a mutant.
func describe(out tdxMutant, quote []byte) string {
	return fmt.Sprintf("at %s, processor %t, TEE_TCB_SVN %x, enclave %d, quote of %d bytes, TCB information "+
		"%.300s, identity %.300s, %d and %d bytes of lists", out.at, out.pck.processor,
		out.quote.TEETCBSVN, out.quote.QE.SVN, len(quote), out.have.tcbInfo, out.have.identity,
		len(out.have.rootList), len(out.have.pckList))
}

// TestAGoodQuoteIsGoodToBoth shows that what is not changed is good to either side, so that
// the mutants are refused for what was changed.
func TestAGoodQuoteIsGoodToBoth(t *testing.T) {
	m := newTDXMill(t, 1)
	verifier, err := tdx.New(tdx.Config{InsecureRoots: []*x509.Certificate{m.authority.Root}})
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{4, 5} {
		out := m.base()
		out.quote = forge.NewTDQuote(version)
		out.have = collateral{
			tcbInfo: m.tcbInfos[0], identity: m.identities[0], signer: m.signers[0],
			issuer: out.pck.Issuer.Raw, root: m.authority.Root.Raw,
			rootList: m.rootLists[0], pckList: m.pckLists[0],
		}
		quote := m.build(out)
		claims, err := verifier.Verify(attestd.Input{
			Evidence: quote, At: out.at, Demand: attestd.Recorded(), Endorsements: out.have.endorsements(),
		})
		if check, err := judgedTDX(out.have, claims, err); err != nil {
			t.Errorf("version %d: %s: %v", version, check, err)
		}
		if err := askGoTDXGuest(quote, out.have, out.at, m.authority.Root); err != nil {
			t.Errorf("version %d: go-tdx-guest: %v", version, err)
		}
	}
}
