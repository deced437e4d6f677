package service

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
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
}

// standard is a set of documents as it is in force, read once.
type standard struct {
	documents Documents
	policy    *appraisal.Policy
	tenants   map[string]*appraisal.Policy
}

// readStandard reads documents whole. What a policy does not say right is found here, before it is in
// force, and not with the first evidence.
func readStandard(documents Documents, known []string) (*standard, error) {
	read := &standard{
		documents: Documents{
			Policy: documents.Policy, Recorded: documents.Recorded,
			Tenants: maps.Clone(documents.Tenants), References: slices.Clone(documents.References),
		},
		tenants: make(map[string]*appraisal.Policy, len(documents.Tenants)),
	}
	var err error
	if read.policy, err = readPolicy(documents.Policy); err != nil {
		return nil, err
	}
	if _, err := readPolicy(documents.Recorded); err != nil {
		return nil, err
	}
	for tenant, document := range documents.Tenants {
		if !slices.Contains(known, tenant) {
			return nil, unfit(fmt.Errorf("a policy for tenant %q, which is not known here",
				attestd.Excerpt(tenant, 40)))
		}
		if read.tenants[tenant], err = readPolicy(document); err != nil {
			return nil, err
		}
	}
	sets := make([]*measurements.Set, 0, len(documents.References))
	for _, document := range documents.References {
		set, err := measurements.Parse(document.Source, document.Bytes)
		if err != nil {
			return nil, unfit(fmt.Errorf("reference values: %w", err))
		}
		sets = append(sets, set)
	}
	if _, err := measurements.NewIndex(sets...); err != nil {
		return nil, unfit(fmt.Errorf("reference values: %w", err))
	}
	return read, nil
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

// of returns the policy that judges a tenant's fresh evidence, as a document and as it was read.
func (s *standard) of(tenant string) (Document, *appraisal.Policy) {
	if document, own := s.documents.Tenants[tenant]; own {
		return document, s.tenants[tenant]
	}
	return s.documents.Policy, s.policy
}

// InForce returns the documents that new verdicts are reached by.
func (s *Service) InForce() Documents {
	current := s.standard.Load().documents
	current.Tenants = maps.Clone(current.Tenants)
	current.References = slices.Clone(current.References)
	return current
}

// Policies names the policies in force: the general one first, then those of tenants in their order.
func (s *Service) Policies() []string {
	current := s.standard.Load()
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

// Replace puts other documents in force, all of them at once. Verdicts that are being reached are
// reached by the ones before. The judge is asked by the new ones first: documents that this process
// can read and a worker cannot would leave every caller without an answer.
//
// Errors: a [*attestd.CallerError] of class CONFIG where a document will not do, or the judge's; the
// documents before stay in force then.
func (s *Service) Replace(ctx context.Context, documents Documents) error {
	next, err := readStandard(documents, s.config.Tenants)
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
	s.standard.Store(next)
	return nil
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
