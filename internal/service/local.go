package service

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/collateral/set"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/measurements"
)

// Local judges within this process. It isolates nothing: a bug in a verifier is a bug in the part
// that holds keys. It is what a worker process runs inside itself, and what development uses.
type Local struct {
	judge *judge.Judge
	forms forms
}

// NewLocal returns a Judge over j.
func NewLocal(j *judge.Judge) *Local {
	return &Local{judge: j, forms: forms{
		policies: map[string]*appraisal.Policy{}, indexes: map[string]*measurements.Index{},
		sets: map[string]set.Set{},
	}}
}

// Judge implements [Judge]. A verification cannot be interrupted; ctx is looked at before it begins,
// and the verifiers' own limits bound how long it takes.
func (l *Local) Judge(ctx context.Context, job Job) (attestd.Appraisal, error) {
	if err := ctx.Err(); err != nil {
		return attestd.Appraisal{}, err
	}
	request, err := l.request(job)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	if request.Demand, err = job.Demand.Demand(); err != nil {
		return attestd.Appraisal{}, err
	}
	return l.judge.Judge(request)
}

// Credential implements [Judge].
func (l *Local) Credential(ctx context.Context, job CredentialJob) (CredentialReply, error) {
	if err := ctx.Err(); err != nil {
		return CredentialReply{}, err
	}
	made, err := l.judge.Credential(judge.CredentialRequest{
		AKPublic: job.AKPublic, EKPublic: job.EKPublic, Secret: job.Secret, Entropy: job.Entropy,
	})
	return CredentialReply(made), err
}

// Refuse implements [Refuser].
func (l *Local) Refuse(job Job, check attestd.CheckID, got, want string) (attestd.Appraisal, error) {
	request, err := l.request(job)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	// The weakest demand will do: the evidence is not looked at.
	request.Demand = attestd.Recorded()
	return l.judge.Refuse(request, check, got, want)
}

// request makes everything of a request but its demand.
func (l *Local) request(job Job) (judge.Request, error) {
	policy, err := l.forms.policy(job.Policy)
	if err != nil {
		return judge.Request{}, err
	}
	index, err := l.forms.index(job.References)
	if err != nil {
		return judge.Request{}, err
	}
	kept, err := l.forms.collateral(job.Collateral)
	if err != nil {
		return judge.Request{}, err
	}
	return judge.Request{
		Format: job.Format, Evidence: job.Evidence, Endorsements: job.Beside(kept), At: job.At,
		ChallengeExpiresAt: job.ChallengeExpiresAt, Policy: policy, References: index,
		Anchors: job.Anchors(kept),
	}, nil
}

// maxForms bounds how many parsed documents are kept. Configured ones are few; where more come, all
// are forgotten and read again.
const maxForms = 64

// forms keeps the parsed forms of documents by the digest of their bytes.
type forms struct {
	mu       sync.Mutex
	policies map[string]*appraisal.Policy
	indexes  map[string]*measurements.Index
	sets     map[string]set.Set
}

func (f *forms) collateral(document Document) (set.Set, error) {
	if len(document.Bytes) == 0 {
		return set.Set{}, nil
	}
	key := document.Digest()
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.sets[key]; ok {
		return known, nil
	}
	parsed, err := set.Parse(bytes.Clone(document.Bytes))
	if err != nil {
		return set.Set{}, fmt.Errorf("collateral: %w", err)
	}
	if len(f.sets) >= maxForms {
		clear(f.sets)
	}
	f.sets[key] = parsed
	return parsed, nil
}

func (f *forms) policy(document Document) (*appraisal.Policy, error) {
	key := document.Digest()
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.policies[key]; ok {
		return known, nil
	}
	parsed, err := appraisal.ParsePolicy(document.Source, document.Bytes)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if len(f.policies) >= maxForms {
		clear(f.policies)
	}
	f.policies[key] = parsed
	return parsed, nil
}

func (f *forms) index(documents []Document) (*measurements.Index, error) {
	var key string
	for _, document := range documents {
		key += document.Digest()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.indexes[key]; ok {
		return known, nil
	}
	sets := make([]*measurements.Set, 0, len(documents))
	for _, document := range documents {
		set, err := measurements.Parse(document.Source, document.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reference values: %w", err)
		}
		sets = append(sets, set)
	}
	index, err := measurements.NewIndex(sets...)
	if err != nil {
		return nil, fmt.Errorf("reference values: %w", err)
	}
	if len(f.indexes) >= maxForms {
		clear(f.indexes)
	}
	f.indexes[key] = index
	return index, nil
}
