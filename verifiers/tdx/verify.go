package tdx

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tdxevidence"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/eventlog"
	"github.com/attestd/attestd/verifiers/internal/trail"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// Config of a verifier. The zero Config is the one for production.
type Config struct {
	// InsecureRoots are roots to trust beside Intel's, for tests, each made as Intel's is.
	InsecureRoots []*x509.Certificate
	// EnclaveCacheSize is how many verified quoting enclaves are remembered, one for each machine; 0
	// means 1,024.
	EnclaveCacheSize int
}

const defaultCacheSize = 1024

// Verifier verifies TD quotes. It is safe for concurrent use and holds no state but what was verified
// before (enclaves, signed documents, revocation lists), which never changes an answer.
type Verifier struct {
	// roots are Intel's and behind it those that were loaded by hand.
	roots      []*x509.Certificate
	platform   *x509.Certificate
	enclaves   *lru.Cache[[sha256.Size]byte, *enclave]
	collateral collateralCache
	signatures atomic.Uint64
}

var _ verifiers.Verifier = (*Verifier)(nil)

// New returns a verifier.
//
// Errors: a *attestd.CallerError of class CONFIG where the embedded root is not the pinned one, or an
// insecure root cannot be one.
func New(config Config) (*Verifier, error) {
	if config.EnclaveCacheSize == 0 {
		config.EnclaveCacheSize = defaultCacheSize
	}
	root, err := pcs.Root()
	if err != nil {
		return nil, err
	}
	out := &Verifier{roots: []*x509.Certificate{root}, collateral: newCollateralCache()}
	count := &counter{total: &out.signatures, left: -1}
	if out.platform, err = openPlatformCA(root, count); err != nil {
		return nil, damaged(err)
	}
	for _, insecure := range config.InsecureRoots {
		count.take()
		if insecure == nil {
			return nil, badConfig(errors.New("an insecure root is missing"))
		}
		if err := pcs.CheckRoot(insecure); err != nil {
			return nil, badConfig(fmt.Errorf("insecure root: %w", err))
		}
		out.roots = append(out.roots, insecure)
	}
	out.enclaves, err = lru.New[[sha256.Size]byte, *enclave](config.EnclaveCacheSize)
	if err != nil {
		return nil, badConfig(fmt.Errorf("cache for %d enclaves: %w", config.EnclaveCacheSize, err))
	}
	return out, nil
}

func badConfig(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "give a root made like Intel's, or none", Err: err,
	}
}

// Format returns attestd.FormatTDX.
func (v *Verifier) Format() attestd.Format { return attestd.FormatTDX }

// SignaturesVerified counts public-key verifications, those of New included.
func (v *Verifier) SignaturesVerified() uint64 { return v.signatures.Load() }

// Verify implements verifiers.Verifier.
func (v *Verifier) Verify(input attestd.Input) (*attestd.Claims, error) {
	if err := askable(input); err != nil {
		return nil, err
	}
	t := trail.New(table)
	out, bad := v.verify(t, input)
	if bad != nil {
		return nil, bad.end(t)
	}
	return out.seal(t, input), nil
}

// outcome is everything that a verification found.
type outcome struct {
	quote   *quote
	enclave *enclave
	tcb     tcbFacts
	boot    *eventlog.Boot // nil where no log came along
}

func (v *Verifier) verify(t *trail.Trail, input attestd.Input) (*outcome, *fault) {
	q, log, bad := read(t, input.Evidence)
	if bad != nil {
		return nil, bad
	}
	if bad := tooMany(input.Endorsements.Certificates); bad != nil {
		return nil, bad
	}
	t.Pass(checkEndorsements, "within the limits", "within the limits")
	out := &outcome{quote: q}
	count := &counter{total: &v.signatures, left: limits.signatures}
	if out.enclave, bad = v.findEnclave(t, q, input.At, count); bad != nil {
		return nil, bad
	}
	if bad := checkQuoteSignature(t, q, out.enclave, count); bad != nil {
		return nil, bad
	}
	if bad := q.checkModule(t); bad != nil {
		return nil, bad
	}
	if out.tcb, bad = v.judgeTCB(t, q, out.enclave, input); bad != nil {
		return nil, bad
	}
	if bad := checkFreshness(t, q, input.Demand); bad != nil {
		return nil, bad
	}
	out.boot, bad = checkLog(t, q, log)
	return out, bad
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
			"a TD quote has no field for a key")
	}
	return nil
}

// read parses evidence as far as it can be judged by itself.
func read(t *trail.Trail, evidence []byte) (*quote, []byte, *fault) {
	raw, log, padding, bad := open(t, evidence)
	if bad != nil {
		return nil, nil, bad
	}
	q, bad := parseQuote(t, raw, padding)
	if bad != nil {
		return nil, nil, bad
	}
	if len(q.qeAuth) > limits.auth {
		return nil, nil, refuseAs(checkLayout, attestd.ClassTooLarge,
			fmt.Sprintf("authentication data of %d bytes", len(q.qeAuth)),
			fmt.Sprintf("at most %d", limits.auth))
	}
	for _, one := range []struct {
		whose string
		raw   []byte
	}{{"the quote's signature", q.signature}, {"the enclave's signature", q.qeSignature}} {
		if bad := checkSignatureEncoding(one.whose, one.raw); bad != nil {
			return nil, nil, bad
		}
	}
	t.Pass(checkSignatureFormat, wantSignatures, wantSignatures)
	return q, log, nil
}

const (
	wantContainer  = "one encoding of a quote and its log"
	wantSignatures = "two ECDSA P-256 signatures"
	wantKey        = "a point of P-256"
)

// open takes evidence out of its container. A quote in a container has no padding: there is one
// encoding of it.
func open(t *trail.Trail, evidence []byte) (raw, log []byte, padding bool, bad *fault) {
	if !tdxevidence.IsEvidence(evidence) {
		t.NotApplicable(checkContainer, "a quote without a container")
		return evidence, nil, true, nil
	}
	parts, err := tdxevidence.Parse(evidence)
	switch {
	case errors.Is(err, tdxevidence.ErrTooLarge):
		return nil, nil, false, refuseAs(checkContainer, attestd.ClassTooLarge, "too much",
			wantContainer).because(err)
	case err != nil:
		return nil, nil, false, refuse(checkContainer, "another encoding", wantContainer).because(err)
	}
	t.Pass(checkContainer, wantContainer, wantContainer)
	return parts.Quote, parts.EventLog, false, nil
}

func tooMany(given [][]byte) *fault {
	if len(given) > limits.endorsements {
		return refuse(checkEndorsements, fmt.Sprintf("%d certificates", len(given)),
			fmt.Sprintf("at most %d", limits.endorsements))
	}
	total := 0
	for _, der := range given {
		total += len(der)
	}
	if total > limits.certificates {
		return refuse(checkEndorsements, fmt.Sprintf("certificates of %d bytes", total),
			fmt.Sprintf("at most %d", limits.certificates))
	}
	return nil
}

func checkQuoteSignature(t *trail.Trail, q *quote, from *enclave, count *counter) *fault {
	const want = "the attestation key's signature"
	if !count.take() {
		return spent(checkSignature)
	}
	if !signed(from.key, q.signed, q.signature) {
		return refuse(checkSignature, "a signature that the attestation key did not make", want)
	}
	t.Pass(checkSignature, want, want)
	return nil
}

// checkModule demands that Intel signed the TDX module and that it is no debug module. MRSIGNERSEAM is
// zero for Intel's own modules, and SEAMATTRIBUTES has no bit that a production module may set
// (Architecture Specification: Intel TDX Module 1.5, TEE_TCB_INFO).
func (q *quote) checkModule(t *trail.Trail) *fault {
	const want = "a module that Intel signed (MRSIGNERSEAM and SEAMATTRIBUTES zero)"
	if signer := q.mrSignerSEAM(); !allZero(signer[:]) {
		return refuse(checkModule, fmt.Sprintf("MRSIGNERSEAM %x..", signer[:8]), want)
	}
	if attributes := q.seamAttributes(); !allZero(attributes[:]) {
		return refuse(checkModule, fmt.Sprintf("SEAMATTRIBUTES %x", attributes), want)
	}
	t.Pass(checkModule, want, want)
	return nil
}

// checkFreshness compares REPORTDATA with what was demanded, in full length and constant time.
// Comparing only the first 32 bytes would leave the rest to the attacker.
func checkFreshness(t *trail.Trail, q *quote, demand attestd.Demand) *fault {
	want, demanded := demand.Freshness()
	if !demanded {
		t.NotApplicable(checkReportData, "no nonce was demanded: freshness is not shown")
		return nil
	}
	if len(want) != len(q.reportData()) {
		return refuse(checkReportData, "REPORTDATA of 64 bytes", fmt.Sprintf("%d bytes", len(want)))
	}
	if subtle.ConstantTimeCompare(q.reportData(), want) != 1 {
		return refuse(checkReportData, "other bytes", "the 64 bytes that were demanded")
	}
	t.Pass(checkReportData, "the 64 bytes that were demanded", "the 64 bytes that were demanded")
	return nil
}

// checkLog replays the event log. Nothing of a log is believed before it led to the RTMRs.
func checkLog(t *trail.Trail, q *quote, log []byte) (*eventlog.Boot, *fault) {
	if log == nil {
		t.NotApplicable(checkEventLog, "no event log came along")
		return nil, nil
	}
	var registers eventlog.RTMRs
	for i := range registers {
		registers[i] = q.rtmr(i)
	}
	boot, bad := eventlog.ReplayCCEL(log, registers)
	if bad != nil {
		return nil, refuseAs(checkEventLog, bad.Class, bad.Got, bad.Want)
	}
	for range boot.Events() {
		t.Pass(checkEventLog, "leads to the RTMRs", "leads to the RTMRs")
		return &boot, nil
	}
	return nil, refuse(checkEventLog, "a log of which no event is in an RTMR",
		"a log that leads to the RTMRs")
}
