package tpm

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/eventlog"
	"github.com/attestd/attestd/verifiers/eventlog/ima"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Config of a verifier. The zero Config is the one for production.
type Config struct {
	// InsecureRoots are roots to trust beside the pinned ones, for laboratories: swtpm's CA. Claims
	// that rest on one of them say so.
	InsecureRoots []*x509.Certificate
	// ChainCacheSize is how many verified certificates and attestation keys are remembered; 0 means
	// 4,096.
	ChainCacheSize int
}

const defaultCacheSize = 4096

// Verifier verifies TPM evidence. It is safe for concurrent use and holds no state but keys that
// signed and certificates that were verified, which never change an answer.
type Verifier struct {
	store           *tpmtrust.Store
	keys            *lru.Cache[[sha256.Size]byte, *attestationKey]
	endorsementKeys *lru.Cache[[sha256.Size]byte, *endorsementKey]
	signatures      atomic.Uint64
}

var _ verifiers.Verifier = (*Verifier)(nil)

// New returns a verifier.
//
// Errors: a *attestd.CallerError of class CONFIG where the embedded roots are not the pinned ones, or
// an insecure root cannot be one.
func New(config Config) (*Verifier, error) {
	if config.ChainCacheSize == 0 {
		config.ChainCacheSize = defaultCacheSize
	}
	v := &Verifier{}
	var noKeys, noEKs, err error
	v.keys, noKeys = lru.New[[sha256.Size]byte, *attestationKey](config.ChainCacheSize)
	v.endorsementKeys, noEKs = lru.New[[sha256.Size]byte, *endorsementKey](config.ChainCacheSize)
	if cmp.Or(noKeys, noEKs) != nil {
		return nil, &attestd.CallerError{Class: attestd.ClassConfig, Hint: "give 0 for the usual size",
			Err: fmt.Errorf("cache for %d certificates", config.ChainCacheSize)}
	}
	v.store, err = tpmtrust.New(tpmtrust.Config{InsecureRoots: config.InsecureRoots,
		Count: func() { v.signatures.Add(1) }, CacheSize: config.ChainCacheSize})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Format returns attestd.FormatTPM.
func (v *Verifier) Format() attestd.Format { return attestd.FormatTPM }

// SignaturesVerified counts public-key verifications.
func (v *Verifier) SignaturesVerified() uint64 { return v.signatures.Load() }

// Detect implements verifiers.Verifier.
func (v *Verifier) Detect(evidence []byte) bool { return tpmevidence.IsEvidence(evidence) }

// session is one verification.
type session struct {
	verifier *Verifier
	trail    *trail.Trail
	input    attestd.Input
	evidence tpmevidence.Evidence
	quote    quote
	backing  backing
	// grade is that of the key that was demanded; certified the SPKI of a key that came along.
	grade     string
	certified []byte
	// certifiedWeak says that its modulus has the form of CVE-2017-15361.
	certifiedWeak bool
	// boot and ima are logs that were replayed; nil for none.
	boot *eventlog.Boot
	ima  *ima.Log
}

// Verify implements verifiers.Verifier.
func (v *Verifier) Verify(input attestd.Input) (*attestd.Claims, error) {
	if err := askable(input); err != nil {
		return nil, err
	}
	s := &session{verifier: v, trail: trail.New(table), input: input}
	for _, step := range [...]func() *fault{
		s.read, s.endorse, s.checkQuote, s.checkKey, s.checkEventLog, s.checkIMALog,
	} {
		if bad := step(); bad != nil {
			return nil, bad.end(s.trail)
		}
	}
	return s.seal(), nil
}

// askable refuses questions that cannot be answered.
func askable(input attestd.Input) error {
	fail := func(hint, text string) error {
		return &attestd.CallerError{Class: attestd.ClassMalformed, Hint: hint, Err: errors.New(text)}
	}
	if input.At.IsZero() {
		return fail("give the time at which to judge (--at)", "no time to judge at")
	}
	if input.Demand.IsZero() {
		return fail("give --nonce or --challenge, or --recorded", "nothing is demanded of the evidence")
	}
	return nil
}

// read takes the evidence apart and makes the checks of structures.
func (s *session) read() *fault {
	var bad *fault
	if s.evidence, bad = open(s.input.Evidence); bad != nil {
		if bad.check == checkEncoding {
			s.trail.Pass(checkSize, wantSize, wantSize)
		}
		return bad
	}
	s.trail.Pass(checkSize, wantSize, wantSize)
	s.trail.Pass(checkEncoding, wantEncoding, wantEncoding)
	if s.quote.key, bad = s.verifier.readKey(s.evidence.AKPublic); bad != nil {
		return bad
	}
	s.trail.Pass(checkAKPublic, "one TPMT_PUBLIC", "one TPMT_PUBLIC")
	if bad := s.quote.key.check(); bad != nil {
		if bad.check == checkAKAlgorithm {
			s.trail.Pass(checkAKAttributes, wantAttributes, wantAttributes)
		}
		return bad
	}
	s.trail.Pass(checkAKAttributes, wantAttributes, wantAttributes)
	s.trail.Pass(checkAKAlgorithm, "a key and scheme that hold", wantAlgorithm)
	if bad := readQuote(&s.quote, s.evidence.Quote, s.evidence.QuoteSignature); bad != nil {
		return bad
	}
	s.trail.Pass(checkQuoteStructure, "one quote, one signature", "one quote, one signature")
	return nil
}

const (
	wantSize     = "parts within the limits"
	wantEncoding = "the one encoding of its parts"
)

func open(evidence []byte) (tpmevidence.Evidence, *fault) {
	parts, err := tpmevidence.Parse(evidence)
	switch {
	case err == nil:
		return parts, nil
	case errors.Is(err, tpmevidence.ErrTooLarge):
		return parts, refuse(checkSize, "", wantSize).because(err)
	default:
		return parts, refuse(checkEncoding, "", wantEncoding).because(err)
	}
}

// checkQuote makes the checks of what was signed.
func (s *session) checkQuote() *fault {
	q := &s.quote
	if bad := s.verifier.checkSigned(q); bad != nil {
		return bad
	}
	s.remember()
	s.trail.Pass(checkSignature, "the attestation key's signature", "the attestation key's signature")
	if bad := q.checkSigner(s.evidence.AKParents); bad != nil {
		return bad
	}
	s.trail.Pass(checkQualifiedSigner, "the key's Qualified Name", "the key's Qualified Name")
	if want, demanded := s.input.Demand.Freshness(); !demanded {
		s.trail.NotApplicable(checkNonce, "no nonce was demanded: freshness is not shown")
	} else if bad := q.checkFreshness(want); bad != nil {
		return bad
	} else {
		s.trail.Pass(checkNonce, "the value that was demanded", "the value that was demanded")
	}
	for _, step := range [...]struct {
		check  attestd.CheckID
		passed string
		make   func() *fault
	}{
		{checkPCRBank, "SHA-256 or better", q.checkBanks},
		{checkPCRSelection, "the PCRs that the quote selects",
			func() *fault { return q.checkSelection(s.evidence.PCRs) }},
		{checkPCRDigest, "the values that were quoted",
			func() *fault { return q.checkDigest(s.evidence.PCRs) }},
	} {
		if bad := step.make(); bad != nil {
			return bad
		}
		s.trail.Pass(step.check, step.passed, step.passed)
	}
	return nil
}
