package awsdoc

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
	"github.com/attestd/attestd/verifiers/internal/crl"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// DefaultChainCache is the number of leaves kept, and of CA certificates, where the configuration names
// none: some thousand enclaves below their instances and zones, about 8 MB, and 6 KB more for each leaf
// that is seen again (see package p384).
const DefaultChainCache = 2048

// Config of an engine.
type Config struct {
	Profile Profile
	// InsecureRoots are accepted beside the pinned root; claims that end in one say so.
	InsecureRoots []*x509.Certificate
	// ChainCacheSize is the number of leaves to keep, and the number of CA certificates beside them; 0
	// for DefaultChainCache.
	ChainCacheSize int
}

// Engine verifies documents of one profile. It is safe for concurrent use.
type Engine struct {
	profile Profile
	roots   []root
	table   trail.Table
	// Leaves and the CA certificates above them are kept apart: a leaf lives for hours and there are
	// many, and however many somebody shows, they push no authority out.
	leaves, authorities *lru.Cache[[sha256.Size]byte, *node]
	signatures          signatures
	lists               *crl.Cache
}

// New returns an engine.
//
// Errors: a [*attestd.CallerError] of class CONFIG where a root or the cache size will not do.
func New(config Config) (*Engine, error) {
	roots, err := newRoots(config.InsecureRoots)
	if err != nil {
		return nil, err
	}
	if config.ChainCacheSize == 0 {
		config.ChainCacheSize = DefaultChainCache
	}
	leaves, err := lru.New[[sha256.Size]byte, *node](config.ChainCacheSize)
	authorities, secondErr := lru.New[[sha256.Size]byte, *node](config.ChainCacheSize)
	if err = errors.Join(err, secondErr); err != nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "give a cache size above 0, or 0 for the default", Err: err,
		}
	}
	return &Engine{
		profile: config.Profile, roots: roots, table: trail.NewTable(config.Profile.Checks),
		leaves: leaves, authorities: authorities,
		lists: crl.NewCache(crlLimits.cached, crlLimits.bytes),
	}, nil
}

// SignaturesVerified counts public-key operations since New.
func (e *Engine) SignaturesVerified() uint64 { return e.signatures.made.Load() }

// Verified is a document that passed. Its Document still aliases the input: whoever makes Claims of
// it copies.
type Verified struct {
	Document *Document
	Trail    *trail.Trail
	SignedAt time.Time
	// Insecure says that the chain ends in a root that was loaded by hand.
	Insecure                    bool
	LeafName                    string
	LeafNotBefore, LeafNotAfter time.Time
	Freshness                   attestd.Freshness
	// CRL says how far revocation was looked at: CRLFresh, CRLStale or CRLMissing.
	CRL string
	// KeySPKI is the demanded key, which the document carries; nil where none was demanded.
	KeySPKI []byte
}

// Verify makes every check of doc.go in the order of the profile's table and stops at the first that
// fails.
func (e *Engine) Verify(input attestd.Input) (*Verified, error) {
	if input.Demand.IsZero() {
		return nil, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "say what the evidence must be bound to",
			Err: errors.New("nothing was demanded of the evidence"),
		}
	}
	if input.At.IsZero() {
		return nil, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "give the time as of which to judge",
			Err: errors.New("no time was given"),
		}
	}
	steps := trail.New(e.table)
	document, sealed, err := e.read(steps, input.Evidence)
	if err != nil {
		return nil, err
	}
	path, err := e.verifyChain(steps, document, input.At)
	if err != nil {
		return nil, err
	}
	if err := e.verifySignature(steps, path, sealed); err != nil {
		return nil, err
	}
	state, err := e.verifyRevocation(steps, path, input)
	if err != nil {
		return nil, err
	}
	signedAt, err := e.verifyTimestamp(steps, document, path, input)
	if err != nil {
		return nil, err
	}
	if err := e.verifyBinding(steps, document, input.Demand); err != nil {
		return nil, err
	}
	verified := &Verified{
		Document: document, Trail: steps, SignedAt: signedAt, Insecure: path.insecure,
		LeafName: path.leaf.leaf.commonName, LeafNotBefore: path.leaf.leaf.from,
		LeafNotAfter: path.leaf.leaf.until, Freshness: freshnessOf(input.Demand),
		CRL: state,
	}
	if _, demanded := input.Demand.Key(); demanded {
		verified.KeySPKI = append([]byte(nil), document.PublicKey...)
	}
	return verified, nil
}

func freshnessOf(demand attestd.Demand) attestd.Freshness {
	switch {
	case demand.IsBinding():
		return attestd.FreshnessBinding
	case demand.IsRecorded():
		return attestd.FreshnessNotShown
	default:
		return attestd.FreshnessNonce
	}
}

// reject turns a problem into the error that ends the verification.
func (e *Engine) reject(steps *trail.Trail, found *problem) error {
	id := e.profile.id(found.check)
	if found.class == "" {
		return steps.Reject(id, found.got, found.want, found.err)
	}
	return steps.RejectAs(id, found.class, found.got, found.want, found.err)
}

// read makes the checks that need the bytes alone.
func (e *Engine) read(steps *trail.Trail, evidence []byte) (*Document, envelope, error) {
	var sealed envelope
	got := size(len(evidence))
	if len(evidence) > limits.document {
		return nil, sealed, e.reject(steps, &problem{
			check: checkSize, got: got, want: "at most " + size(limits.document),
		})
	}
	steps.Pass(e.profile.id(checkSize), got, "")
	cursor := strict.NewCBOR(evidence)
	protected, found := openEnvelope(&cursor)
	if found != nil {
		return nil, sealed, e.reject(steps, found)
	}
	steps.Pass(e.profile.id(checkEnvelope), "an untagged COSE_Sign1", "")
	if found = readHeaders(&cursor, protected); found != nil {
		return nil, sealed, e.reject(steps, found)
	}
	steps.Pass(e.profile.id(checkHeader), "ES384, nothing unprotected", "")
	if sealed, found = closeEnvelope(&cursor); found != nil {
		return nil, sealed, e.reject(steps, found)
	}
	document, err := parseDocument(sealed.payload)
	if err != nil {
		if errors.Is(err, errBothTypes) {
			steps.Pass(e.profile.id(checkEncoding), "strict up to its registers", "")
			return nil, sealed, e.reject(steps, e.profile.mixedType("both register fields"))
		}
		return nil, sealed, e.reject(steps, &problem{
			check: checkEncoding, want: wantStrict, err: err,
		})
	}
	got = "strict CBOR"
	if document.openEnded {
		got = "strict CBOR, the outermost map open-ended"
	}
	steps.Pass(e.profile.id(checkEncoding), got, "")
	if err := e.readContent(steps, document); err != nil {
		return nil, sealed, err
	}
	return document, sealed, nil
}

// readContent makes the checks of what the fields hold.
func (e *Engine) readContent(steps *trail.Trail, document *Document) error {
	if found := e.profile.checkType(document); found != nil {
		return e.reject(steps, found)
	}
	steps.Pass(e.profile.id(checkType), e.profile.RegisterField, "")
	if found := document.checkFields(); found != nil {
		return e.reject(steps, found)
	}
	steps.Pass(e.profile.id(checkFields), "all mandatory fields, sizes within limits", "")
	if string(document.Digest) != "SHA384" {
		return e.reject(steps, &problem{
			check: checkDigest, got: strconv.Quote(attestd.Excerpt(string(document.Digest), 20)),
			want: `"SHA384"`,
		})
	}
	steps.Pass(e.profile.id(checkDigest), "SHA384", "")
	if found := e.checkBundle(document); found != nil {
		return e.reject(steps, found)
	}
	steps.Pass(e.profile.id(checkBundleSize), strconv.Itoa(document.BundleSize+1)+" certificates", "")
	return nil
}

// verifyChain makes the checks of the certificates. They run together, since a chain that is known
// passes them all at once; they fail one by one.
func (e *Engine) verifyChain(steps *trail.Trail, document *Document, at time.Time) (chain, error) {
	path, found := e.findChain(document, at)
	order := [...]struct{ check, got string }{
		{checkCertificates, "X.509 version 3"},
		{checkRoot, "the pinned root"},
		{checkKey, "P-384 throughout"},
		{checkValidity, "every certificate valid at the time"},
		{checkChain, "in order, constraints kept, signed by the one before"},
	}
	for _, step := range order {
		if found != nil && found.check == step.check {
			break
		}
		if step.check == checkRoot && path.insecure {
			step.got = "a root that was loaded by hand"
		}
		if found == nil || chainStepPassed(found.check, step.check) {
			steps.Pass(e.profile.id(step.check), step.got, "")
		}
	}
	if found != nil {
		return chain{}, e.reject(steps, found)
	}
	return path, nil
}

// chainStepPassed reports whether step had passed when failed failed. Certificates are parsed on both
// sides of the search for the root, so nothing is said of them where one could not be read.
func chainStepPassed(failed, step string) bool {
	switch failed {
	case checkKey:
		return step == checkCertificates || step == checkRoot
	case checkValidity, checkChain:
		return true
	default:
		return false
	}
}

// verifySignature is RFC 9052 section 4.4 with RFC 9053 section 2.1. Behind it the chain is worth
// keeping: documents that somebody else signed leave nothing in the cache.
func (e *Engine) verifySignature(steps *trail.Trail, path chain, sealed envelope) error {
	const want = "96 bytes r || s by the leaf's key over the exact bytes"
	if len(sealed.signature) != signatureSize {
		return e.reject(steps, &problem{
			check: checkSignature, got: size(len(sealed.signature)), want: want,
		})
	}
	if !e.signatures.verifyDigest(path.leaf.key, sealed.digest(), sealed.signature) {
		return e.reject(steps, &problem{
			check: checkSignature, got: "a signature that does not fit", want: want,
		})
	}
	for index, fresh := range path.fresh {
		if index == len(path.fresh)-1 {
			e.leaves.Add(fresh.digest, fresh)
		} else {
			e.authorities.Add(fresh.digest, fresh)
		}
	}
	steps.Pass(e.profile.id(checkSignature), "ES384 by the leaf", "")
	return nil
}

// latestMillisecond is the last one of the year 9999; above it time.Time no longer prints.
const latestMillisecond = 253402300799999

// verifyTimestamp demands that the document was signed in the leaf's life time, not after the time
// given and, where freshness is demanded, not long before it. Without the lower limit a document that
// was kept back would be good as long as its leaf; the leaf's limits refuse seconds in place of
// milliseconds whatever the demand.
func (e *Engine) verifyTimestamp(
	steps *trail.Trail, document *Document, path chain, input attestd.Input,
) (time.Time, error) {
	wrong := func(got, want string) (time.Time, error) {
		return time.Time{}, e.reject(steps, &problem{check: checkTimestamp, got: got, want: want})
	}
	if document.Timestamp > latestMillisecond {
		return wrong(strconv.FormatUint(document.Timestamp, 10)+" ms", "a time before the year 10000")
	}
	signed := time.UnixMilli(int64(document.Timestamp)).UTC() //nolint:gosec // below latestMillisecond
	got := signed.Format(time.RFC3339)
	life := path.leaf.leaf
	switch {
	case signed.Before(life.from.Add(-MaxSkew)) || signed.After(life.until.Add(MaxSkew)):
		return wrong(got, "within the leaf's life time, from "+life.from.UTC().Format(time.RFC3339)+
			" to "+life.until.UTC().Format(time.RFC3339))
	case signed.After(input.At.Add(MaxSkew)):
		return wrong(got, "at most 60 s after "+input.At.UTC().Format(time.RFC3339))
	case !input.Demand.IsRecorded() && signed.Before(input.At.Add(-MaxAge)):
		return wrong(got, "at most 5 minutes before "+input.At.UTC().Format(time.RFC3339))
	}
	steps.Pass(e.profile.id(checkTimestamp), got, "")
	return signed, nil
}

// verifyBinding compares nonce and key with what was demanded.
func (e *Engine) verifyBinding(
	steps *trail.Trail, document *Document, demand attestd.Demand,
) error {
	want, demanded := demand.Freshness()
	if err := e.compare(steps, checkNonce, "nonce", document.Nonce, want, demanded); err != nil {
		return err
	}
	want, demanded = demand.Key()
	return e.compare(steps, checkKeyBinding, "public_key", document.PublicKey, want, demanded)
}

// compare demands the whole value, in time that does not depend on where it differs. The values stay
// out of messages: a nonce in a log is a nonce that somebody else can use.
func (e *Engine) compare(
	steps *trail.Trail, check, name string, got, want []byte, demanded bool,
) error {
	switch {
	case !demanded:
		steps.NotApplicable(e.profile.id(check), "none demanded")
		return nil
	case got == nil:
		return e.reject(steps, &problem{check: check, got: "no " + name, want: "the one demanded"})
	case len(got) != len(want):
		return e.reject(steps, &problem{
			check: check, got: "a " + name + " of " + size(len(got)),
			want: "the one demanded, " + size(len(want)),
		})
	case subtle.ConstantTimeCompare(got, want) != 1:
		return e.reject(steps, &problem{check: check, got: "another " + name, want: "the one demanded"})
	}
	steps.Pass(e.profile.id(check), "the one demanded", "")
	return nil
}

// InstanceOf returns the EC2 instance id in a module id ("i-0123...-enc0123...").
func InstanceOf(moduleID string) (string, bool) {
	instance, rest, ok := strings.Cut(strings.TrimPrefix(moduleID, "i-"), "-")
	if !ok || !strings.HasPrefix(moduleID, "i-") || instance == "" || rest == "" {
		return "", false
	}
	for _, digit := range instance {
		if !strings.ContainsRune("0123456789abcdef", digit) {
			return "", false
		}
	}
	return moduleID[:len("i-")+len(instance)], true
}

// RegionOf returns the AWS region in the leaf's common name, "<module id>.<region>.aws".
func RegionOf(leafName, moduleID string) (string, bool) {
	rest, ok := strings.CutPrefix(leafName, moduleID)
	if !ok || !strings.HasPrefix(rest, ".") {
		return "", false
	}
	region, partition, ok := strings.Cut(rest[1:], ".")
	if !ok || region == "" || partition != "aws" {
		return "", false
	}
	return region, true
}
