package sevsnp

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/internal/crl"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Config of a verifier. The zero Config is the one for production.
type Config struct {
	// InsecureRoots are ARKs to trust beside AMD's, for tests. The ASK below one comes with the
	// endorsements. Certificates that are not called ARK-Milan, ARK-Genoa or ARK-Turin are left alone.
	InsecureRoots []*x509.Certificate
	// ChainCacheSize is how many verified VCEKs and VLEKs are remembered; 0 means 1,024.
	ChainCacheSize int
}

const defaultCacheSize = 1024

// Verifier verifies SEV-SNP reports. It is safe for concurrent use and holds no state but verified
// VCEK and VLEK certificates and revocation lists, which never change an answer.
type Verifier struct {
	pinned     []*authority
	insecure   map[line]*x509.Certificate
	cache      *lru.Cache[[sha256.Size]byte, *vcek]
	lists      *crl.Cache
	signatures atomic.Uint64
}

var _ verifiers.Verifier = (*Verifier)(nil)

// New returns a verifier.
//
// Errors: a *attestd.CallerError of class CONFIG where AMD's embedded roots are not the pinned ones,
// or an insecure root cannot be one.
func New(config Config) (*Verifier, error) {
	if config.ChainCacheSize == 0 {
		config.ChainCacheSize = defaultCacheSize
	}
	out := &Verifier{lists: newListCache()}
	count := &counter{total: &out.signatures, left: -1}
	var err error
	if out.pinned, err = pinnedAuthorities(pinnedChains, count); err != nil {
		return nil, err
	}
	if out.insecure, err = insecureRoots(config.InsecureRoots, count); err != nil {
		return nil, badConfig(err)
	}
	if out.cache, err = lru.New[[sha256.Size]byte, *vcek](config.ChainCacheSize); err != nil {
		return nil, badConfig(fmt.Errorf("cache for %d certificates: %w", config.ChainCacheSize, err))
	}
	return out, nil
}

func badConfig(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "give an ARK made like AMD's, or none", Err: err,
	}
}

// Format returns attestd.FormatSEVSNP.
func (v *Verifier) Format() attestd.Format { return attestd.FormatSEVSNP }

// SignaturesVerified counts public-key verifications, those of New included.
func (v *Verifier) SignaturesVerified() uint64 { return v.signatures.Load() }

func (v *Verifier) pinnedIssuers() []*authority { return v.pinned }

// Verify implements verifiers.Verifier.
func (v *Verifier) Verify(input attestd.Input) (*attestd.Claims, error) {
	if err := askable(input); err != nil {
		return nil, err
	}
	t := trail.New(table)
	rep, certs, bad := read(t, input.Evidence)
	if bad != nil {
		return nil, bad.end(t)
	}
	key, revoked, bad := v.findVCEK(t, rep, certs, input)
	if bad != nil {
		return nil, bad.end(t)
	}
	if bad := checkFreshness(t, rep, input.Demand); bad != nil {
		return nil, bad.end(t)
	}
	return seal(t, rep, key, revoked, input), nil
}

// askable refuses questions that this format cannot answer.
func askable(input attestd.Input) error {
	fail := func(class attestd.Class, hint, text string) error {
		return &attestd.CallerError{Class: class, Hint: hint, Err: errors.New(text)}
	}
	if input.At.IsZero() {
		return fail(attestd.ClassMalformed, "give the time at which to judge (--at)",
			"no time to judge at")
	}
	if input.Demand.IsZero() {
		return fail(attestd.ClassMalformed, "give --nonce or --challenge, or --recorded",
			"nothing is demanded of the evidence")
	}
	if _, demanded := input.Demand.Key(); demanded && !input.Demand.IsBinding() {
		return fail(attestd.ClassUnsupported,
			"bind the key through a challenge (POST /v1/challenges, then --challenge FILE --key)",
			"an SEV-SNP report has no field for a key")
	}
	return nil
}

// read parses evidence as far as it can be judged without a certificate.
func read(t *trail.Trail, evidence []byte) (report, certTable, *fault) {
	if len(evidence) < reportSize {
		return report{}, certTable{}, refuse(checkSize, fmt.Sprintf("%d bytes", len(evidence)),
			"1184 bytes, with or without a certificate table")
	}
	if len(evidence) > limits.evidence {
		return report{}, certTable{}, refuseAs(checkSize, attestd.ClassTooLarge,
			fmt.Sprintf("%d bytes", len(evidence)), fmt.Sprintf("at most %d bytes", limits.evidence))
	}
	rep := report{raw: evidence[:reportSize:reportSize]}
	rep.version = rep.u32(0)
	t.Pass(checkSize, "a report of 1184 bytes", "1184 bytes, with or without a certificate table")
	if bad := rep.fields(t); bad != nil {
		return report{}, certTable{}, bad
	}
	certs, bad := readTable(t, evidence[reportSize:])
	return rep, certs, bad
}

// fields makes the checks of the report's own fields.
func (r *report) fields(t *trail.Trail) *fault {
	if bad := r.checkReportVersion(); bad != nil {
		return bad
	}
	t.Pass(checkVersion, "a known version", "version 2, 3, 4 or 5")
	if bad := r.checkProductKnown(); bad != nil {
		return bad
	}
	if r.hasCPUID() {
		t.Pass(checkProduct, r.model.name, wantProducts)
	} else {
		t.NotApplicable(checkProduct, "version 2 has no CPUID; the VCEK names the product")
	}
	if bad := r.checkSigningKey(); bad != nil {
		return bad
	}
	t.Pass(checkSigningKey, signingKeys[r.kind()], wantSigningKey)
	if bad := r.layout(); bad != nil {
		return bad
	}
	t.Pass(checkLayout, "reserved bytes are zero", "reserved bytes are zero")
	if bad := r.checkSignatureEncoding(); bad != nil {
		return bad
	}
	t.Pass(checkSignatureFormat, "one ECDSA P-384 signature", "one ECDSA P-384 signature")
	return nil
}

func readTable(t *trail.Trail, rest []byte) (certTable, *fault) {
	if len(rest) == 0 {
		t.NotApplicable(checkTable, "the report came without a certificate table")
		return certTable{}, nil
	}
	certs, bad := parseTable(rest)
	if bad == nil {
		t.Pass(checkTable, "a well-formed table", "a well-formed table")
	}
	return certs, bad
}

// signingKeys are the values of SIGNING_KEY as messages show them.
var signingKeys = [keyKinds]string{"0 (VCEK)", "1 (VLEK)"}

// findVCEK returns the VCEK or VLEK that signed the report.
func (v *Verifier) findVCEK(
	t *trail.Trail, rep report, certs certTable, input attestd.Input,
) (*vcek, revocation, *fault) {
	candidates, fit, bad := rep.candidates(certs, input.Endorsements.Certificates)
	if bad != nil {
		return nil, revocation{}, bad
	}
	t.Pass(checkEndorsements, "within the limits", "within the limits")
	if len(candidates) == 0 {
		return nil, revocation{}, &fault{check: checkVCEKPresent, undecided: true,
			got:  "no " + rep.kind().String() + " certificate",
			want: rep.wantedKey() + " at " + rep.tcb(offReportedTCB).String()}
	}
	t.Pass(checkVCEKPresent, haveKey[rep.kind()], haveKey[rep.kind()])
	if !fit && len(input.Endorsements.Certificates) >= limits.flood {
		if bad := rep.contradicts(candidates[0]); bad != nil {
			return nil, revocation{}, bad
		}
	}

	s := &search{v: v, at: input.At, kind: rep.kind(), table: certs, given: input.Endorsements.Certificates,
		crls: input.Endorsements.CRLs, floors: input.Anchors.CRLFloors,
		count: &counter{total: &v.signatures, left: limits.signatures}}
	var first *fault
	for _, der := range candidates {
		key, bad := s.accept(rep, der)
		if bad == nil {
			passUntil(t, noCheck, rep, key.issuer.insecure)
			s.revocation.pass(t, key)
			return key, s.revocation, nil
		}
		if first == nil || errors.Is(bad.err, errBudget) {
			first = bad // what was not looked at must not be called bad
		}
	}
	passUntil(t, first.check, rep, false)
	if first.check == checkRevoked {
		t.Pass(checkRevocationList, "authentic lists", "whole lists that the ARK signed")
	}
	return nil, revocation{}, first
}

var haveKey = [keyKinds]string{"a VCEK certificate", "a VLEK certificate"}

// wantedKey names the key whose certificate is missing.
func (r report) wantedKey() string {
	if r.kind() == kindVLEK {
		return "the VLEK of the host's cloud"
	}
	return "the VCEK of chip " + shortChip(r.chipID())
}

// accept makes every check of one candidate, in the order of chainChecks, revocation
// last. Where several certificates fit the report, one that does not hold never hides one that does.
func (s *search) accept(rep report, der []byte) (*vcek, *fault) {
	key, bad := s.admit(der)
	if bad != nil {
		return nil, bad
	}
	for _, step := range [...]func(report, *vcek) *fault{
		s.checkIncluded, s.checkValidity, checkLines, checkChip, checkTCBAgrees, s.checkSigned,
		s.checkRevocation,
	} {
		if bad := step(rep, key); bad != nil {
			return nil, bad
		}
	}
	return key, nil
}

// checkIncluded demands that an ASK or ARK in the evidence's own table is the one of the chain. They
// are not needed, but bytes of the evidence that could be anything would let one statement be
// presented as many.
func (s *search) checkIncluded(_ report, key *vcek) *fault {
	const want = "the pinned certificate, or none"
	if s.table.ark != nil && !bytes.Equal(s.table.ark, key.issuer.ark.Raw) {
		return refuse(checkChain, "the table's ARK is not the one of the "+s.kind.String()+"'s chain", want)
	}
	if s.table.ask == nil || bytes.Equal(s.table.ask, key.issuer.ask.Raw) {
		return nil
	}
	for _, sibling := range s.v.pinned {
		// Hosts load the line's ASK beside a VLEK too: the table has one place for ASK and ASVK.
		if sibling.ark == key.issuer.ark && bytes.Equal(s.table.ask, sibling.ask.Raw) {
			return nil
		}
	}
	return refuse(checkChain, "the table's ASK is not the one of the "+s.kind.String()+"'s chain", want)
}

func (s *search) checkValidity(_ report, key *vcek) *fault {
	name, cert := outsideValidity(s.at, key)
	if cert == nil {
		return nil
	}
	return refuse(checkChainValidity, name+" valid from "+cert.NotBefore.UTC().Format(time.RFC3339)+
		" to "+cert.NotAfter.UTC().Format(time.RFC3339), "valid at "+s.at.UTC().Format(time.RFC3339))
}

func checkLines(rep report, key *vcek) *fault { return checkVCEKProductAgrees(&rep, key) }

// checkChip demands the report's chip. A VCEK of another chip would let that chip's owner speak for
// this one. Where the report masks its chip, or a VLEK signed, nothing can be compared.
func checkChip(rep report, key *vcek) *fault {
	if !rep.namesChip() || bytes.Equal(key.hwid, rep.chipID()) {
		return nil
	}
	got := "VCEK of chip " + shortChip(key.hwid)
	if len(key.hwid) != len(rep.chipID()) {
		got += fmt.Sprintf(" (%d bytes)", len(key.hwid))
	} else {
		at := 0
		for key.hwid[at] == rep.chipID()[at] {
			at++
		}
		got += fmt.Sprintf(" (byte %d differs)", at)
	}
	return refuse(checkVCEKChip, got, "chip "+shortChip(rep.chipID()))
}

// checkTCBAgrees demands that the VCEK was derived for the TCB that the report states, component by
// component. Otherwise old firmware's key would vouch for a report that claims new firmware.
func checkTCBAgrees(rep report, key *vcek) *fault {
	if reported := rep.tcb(offReportedTCB); key.tcb != reported {
		return refuse(checkVCEKTCB, key.kind.String()+" for "+key.tcb.String(), "REPORTED_TCB "+reported.String())
	}
	return nil
}

func (s *search) checkSigned(rep report, key *vcek) *fault {
	if !s.count.take() {
		return refuseAs(checkSignature, attestd.ClassTooLarge, "too many signatures to verify",
			fmt.Sprintf("at most %d", limits.signatures)).because(errBudget)
	}
	if !rep.signedBy(key.key) {
		return refuse(checkSignature, "a signature that the "+s.kind.String()+" did not make",
			"the "+s.kind.String()+"'s signature")
	}
	return nil
}

// chainChecks are the checks of a candidate in their order.
var chainChecks = []struct {
	check     attestd.CheckID
	got, want [keyKinds]string // for a VCEK and for a VLEK
}{
	{checkChain, [...]string{"VCEK, ASK, ARK", "VLEK, ASVK, ARK"}, both("a chain to a pinned AMD root")},
	{checkVCEKProfile, both("an ECDSA key on P-384 with AMD's extensions"),
		[...]string{"a VCEK", "a VLEK"}},
	{checkChainValidity, both("all three valid"), both("valid at the given time")},
	{checkVCEKProduct, both("the same product line"), both("the same product line")},
	{checkVCEKChip, both("HWID equals CHIP_ID"), both("HWID equals CHIP_ID")},
	{checkVCEKTCB, both("levels equal REPORTED_TCB"), both("levels equal REPORTED_TCB")},
	{checkSignature, [...]string{"the VCEK's signature", "the VLEK's signature"},
		[...]string{"the VCEK's signature", "the VLEK's signature"}},
}

func both(text string) [keyKinds]string { return [keyKinds]string{text, text} }

// noCheck says that none failed.
const noCheck attestd.CheckID = ""

var insecureChain = [keyKinds]string{
	"VCEK, ASK, and an ARK that was loaded by hand", "VLEK, ASVK, and an ARK that was loaded by hand",
}

// passUntil records the checks before the one that failed, or all of them where none did.
func passUntil(t *trail.Trail, failed attestd.CheckID, rep report, insecure bool) {
	kind := rep.kind()
	for _, step := range chainChecks {
		switch {
		case step.check == failed:
			return
		case step.check == checkVCEKChip && kind == kindVLEK:
			t.NotApplicable(checkVCEKChip, "a VLEK is a cloud's key: nothing names the chip")
		case step.check == checkVCEKChip && rep.chipIDMasked():
			t.NotApplicable(checkVCEKChip, "the report masks CHIP_ID; the signature alone names the chip")
		case step.check == checkChain && insecure:
			t.Pass(checkChain, insecureChain[kind], step.want[kind])
		default:
			t.Pass(step.check, step.got[kind], step.want[kind])
		}
	}
}

// checkFreshness compares REPORT_DATA with what was demanded, in full length and constant time.
// Comparing only the first 32 bytes would leave the rest to the attacker.
func checkFreshness(t *trail.Trail, rep report, demand attestd.Demand) *fault {
	want, demanded := demand.Freshness()
	if !demanded {
		t.NotApplicable(checkReportData, "no nonce was demanded: freshness is not shown")
		return nil
	}
	if len(want) != offMeasurement-offReportData {
		return refuse(checkReportData, "REPORT_DATA of 64 bytes", fmt.Sprintf("%d bytes", len(want)))
	}
	if subtle.ConstantTimeCompare(rep.reportData(), want) != 1 {
		return refuse(checkReportData, "other bytes", "the 64 bytes that were demanded")
	}
	t.Pass(checkReportData, "the 64 bytes that were demanded", "the 64 bytes that were demanded")
	return nil
}

// shortChip names a chip in a message; the whole CHIP_ID is a fact.
func shortChip(id []byte) string {
	if allBytes(id, 0) {
		return "(masked)"
	}
	return hex.EncodeToString(id[:4]) + ".." + hex.EncodeToString(id[len(id)-4:])
}
