package service

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/collateral/set"
	"github.com/attestd/attestd/measurements"
)

// Documents are everything that evidence is judged by. They are in force together or not at all: a
// verdict is by the documents of one moment, and names the one policy of them that it applied.
type Documents struct {
	// Policy judges evidence that answers a challenge, Recorded evidence that does not.
	Policy, Recorded Document
	// Tenants are in place of Policy for the tenants that they are named by.
	Tenants map[string]Document
	// References are the reference values; none is a valid answer, never "anything goes".
	References []Document
	// Collateral is what is kept for each format, as package set writes it. A format that is not named
	// has none.
	Collateral map[attestd.Format]Document
}

// Standard is a set of documents, read once and whole.
type Standard struct {
	documents Documents
	policy    *appraisal.Policy
	tenants   map[string]*appraisal.Policy
}

// Read reads documents for the tenants that there are. What a policy does not say right is found here,
// before it is in force, and not with the first evidence.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func (d Documents) Read(tenants []string) (*Standard, error) {
	read := &Standard{documents: d.clone(), tenants: make(map[string]*appraisal.Policy, len(d.Tenants))}
	var err error
	if read.policy, err = readPolicy(d.Policy); err != nil {
		return nil, err
	}
	if _, err := readPolicy(d.Recorded); err != nil {
		return nil, err
	}
	for tenant, document := range d.Tenants {
		if !slices.Contains(tenants, tenant) {
			return nil, unfit(fmt.Errorf("a policy for tenant %q, which is not known here",
				attestd.Excerpt(tenant, 40)))
		}
		if read.tenants[tenant], err = readPolicy(document); err != nil {
			return nil, err
		}
	}
	sets := make([]*measurements.Set, 0, len(d.References))
	for _, document := range d.References {
		set, err := measurements.Parse(document.Source, document.Bytes)
		if err != nil {
			return nil, unfit(fmt.Errorf("reference values: %w", err))
		}
		sets = append(sets, set)
	}
	if _, err := measurements.NewIndex(sets...); err != nil {
		return nil, unfit(fmt.Errorf("reference values: %w", err))
	}
	for format, document := range d.Collateral {
		if _, err := set.Parse(document.Bytes); err != nil || !slices.Contains(attestd.Formats(), format) {
			return nil, unfit(fmt.Errorf("collateral for %q: %w", attestd.Excerpt(string(format), 40),
				cmp.Or(err, errors.New("no such format"))))
		}
	}
	return read, nil
}

func (d Documents) clone() Documents {
	d.Tenants, d.References = maps.Clone(d.Tenants), slices.Clone(d.References)
	d.Collateral = maps.Clone(d.Collateral)
	return d
}

func readPolicy(document Document) (*appraisal.Policy, error) {
	parsed, err := appraisal.ParsePolicy(document.Source, document.Bytes)
	if err != nil {
		return nil, unfit(fmt.Errorf("policy: %w", err))
	}
	return parsed, nil
}

func unfit(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Err: err,
		Hint: "mend the document; what was in force before stays in force. docs/policy.md has the form",
	}
}

// Of returns the policy that judges a tenant's fresh evidence, as a document and as it was read.
func (s *Standard) Of(tenant string) (Document, *appraisal.Policy) {
	if document, own := s.documents.Tenants[tenant]; own {
		return document, s.tenants[tenant]
	}
	return s.documents.Policy, s.policy
}

// collateralOf returns what is kept for a format. Evidence whose format is not named is given everything:
// it is the judge that detects what it is, and verifiers leave alone what is not of their maker.
func (s *Standard) collateralOf(format attestd.Format) Document {
	if format == "" {
		format = attestd.FormatComposite // its set holds that of every format
	}
	return s.documents.Collateral[format]
}

// digest names the documents by which a tenant's evidence of a format is judged: those of another tenant
// or format are not among them, so that their change touches nobody else.
func (s *Standard) digest(tenant string, format attestd.Format) string {
	policy, _ := s.Of(tenant)
	sum := sha256.New()
	_, _ = sum.Write([]byte(policy.Digest()))
	for _, reference := range s.documents.References {
		_, _ = sum.Write([]byte(reference.Digest()))
	}
	if document := s.documents.Collateral[format]; len(document.Bytes) != 0 {
		_, _ = sum.Write([]byte("collateral" + document.Digest()))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Documents returns what was read.
func (s *Standard) Documents() Documents { return s.documents.clone() }

// force is the standard that new verdicts are reached by, and who still reaches one by it.
type force struct {
	mu      sync.Mutex
	current *inForce
}

type inForce struct {
	*Standard
	users   int
	retired bool
	idle    chan struct{} // closed when it is retired and nobody reaches a verdict by it any more
}

func newInForce(standard *Standard) *inForce {
	return &inForce{Standard: standard, idle: make(chan struct{})}
}

// enter returns the standard for one verdict, which ends with leave.
func (f *force) enter() (standard *Standard, leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	mine := f.current
	mine.users++
	return mine.Standard, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		mine.users--
		mine.closeIfIdle()
	}
}

func (f *force) load() *Standard {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current.Standard
}

// replace puts another standard in force and returns a channel that is closed when the last verdict by
// the one before is kept.
func (f *force) replace(next *Standard) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.current
	f.current, before.retired = newInForce(next), true
	before.closeIfIdle()
	return before.idle
}

func (i *inForce) closeIfIdle() {
	if i.retired && i.users == 0 {
		close(i.idle)
	}
}

// InForce returns the documents that new verdicts are reached by.
func (s *Service) InForce() *Standard { return s.force.load() }

// Policies names the policies in force: the general one first, then those of tenants in their order.
func (s *Service) Policies() []string {
	current := s.force.load()
	name := func(tenant string, policy *appraisal.Policy) string {
		ref := policy.Ref()
		if tenant != "" {
			return tenant + "=" + ref.ID + " " + ref.Digest
		}
		return ref.ID + " " + ref.Digest
	}
	names := []string{name("", current.policy)}
	for _, tenant := range slices.Sorted(maps.Keys(current.tenants)) {
		names = append(names, name(tenant, current.tenants[tenant]))
	}
	return names
}

// Replace puts other documents in force, all of them at once. The judge is asked by them first:
// documents that this process can read and a worker cannot would leave every caller without an answer.
// Verdicts that are being reached are reached by the ones before; when Replace returns nil, all of those
// are kept, so that whoever judges stored evidence again from then on misses none.
//
// Errors: a [*attestd.CallerError] of class CONFIG where a document will not do, or the judge's; the
// documents before stay in force then. Where ctx ends while the last verdicts by them are awaited, the
// new ones are in force, and the error is that of ctx.
func (s *Service) Replace(ctx context.Context, documents Documents) error {
	next, err := documents.Read(s.config.Tenants)
	if err != nil {
		return err
	}
	policies := []Document{documents.Policy}
	for _, tenant := range slices.Sorted(maps.Keys(documents.Tenants)) {
		policies = append(policies, documents.Tenants[tenant])
	}
	for _, policy := range policies {
		if err := s.selfTest(ctx, policy, documents.References); err != nil {
			return err
		}
	}
	select {
	case <-s.force.replace(next):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SelfTest asks the judge, by the documents in force, about evidence that must be rejected.
func (s *Service) SelfTest(ctx context.Context) error {
	current := s.force.load()
	return s.selfTest(ctx, current.documents.Policy, current.documents.References)
}

// selfTest asks the judge about evidence that must be rejected.
func (s *Service) selfTest(ctx context.Context, policy Document, references []Document) error {
	given, err := s.judge(ctx, Job{
		Format: attestd.FormatNitro, Evidence: []byte("attestd self-test"), At: s.config.Store.Now(),
		Demand: DemandSpec{Mode: DemandRecorded}, Policy: policy, References: references,
	})
	switch {
	case err != nil:
		return fmt.Errorf("judge: %w", err)
	case given.Verdict != attestd.VerdictRejected:
		return fmt.Errorf("judge: self-test evidence is %s, want rejected", given.Verdict)
	}
	return nil
}
