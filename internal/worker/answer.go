package worker

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/collateral/set"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/measurements"
)

// maxIndexes bounds the combinations of reference values that a worker keeps indexed.
const maxIndexes = 8

// answers judges questions with the product's judge and keeps what documents were parsed into. It is
// for one goroutine.
type answers struct {
	judge    *judge.Judge
	policies map[digest]*appraisal.Policy
	sets     map[digest]*measurements.Set
	indexes  map[string]*measurements.Index
	kept     map[digest]set.Set
}

// buildJudge is the builder of every real worker.
func buildJudge(s setup) (answerer, error) {
	roots := make([]*x509.Certificate, 0, len(s.roots))
	for _, der := range s.roots {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("insecure root: %w", err)
		}
		roots = append(roots, root)
	}
	judge, err := judge.New(judge.Config{InsecureRoots: roots})
	if err != nil {
		return nil, err
	}
	a := &answers{
		judge: judge, policies: make(map[digest]*appraisal.Policy),
		sets: make(map[digest]*measurements.Set), indexes: make(map[string]*measurements.Index),
		kept: make(map[digest]set.Set),
	}
	return a, a.warm()
}

// warm judges nonsense once in every format, so that whatever is set up at first use is set up
// before the lock and not in the first request's time.
func (a *answers) warm() error {
	policy, err := appraisal.Builtin(appraisal.Recorded)
	if err != nil {
		return err
	}
	index, err := measurements.NewIndex()
	if err != nil {
		return err
	}
	for _, format := range a.judge.Formats() {
		// Every outcome will do: the evidence is a single zero byte.
		_, _ = a.judge.Judge(judge.Request{
			Format: format, Evidence: []byte{0}, At: time.Unix(1, 0), Demand: attestd.Recorded(),
			Policy: policy, References: index,
		})
	}
	_, _ = a.credential(service.CredentialJob{AKPublic: []byte{0}, EKPublic: []byte{0}})
	return nil
}

func (a *answers) answer(q question) (attestd.Appraisal, error) {
	demand, err := q.job.Demand.Demand()
	if err != nil {
		return attestd.Appraisal{}, err
	}
	policy, err := a.policy(q)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	index, err := a.index(q)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	kept, err := a.collateral(q)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	return a.judge.Judge(judge.Request{
		Format: q.job.Format, Evidence: q.job.Evidence, Endorsements: q.job.Beside(kept),
		At: q.job.At, Demand: demand, ChallengeExpiresAt: q.job.ChallengeExpiresAt,
		Anchors: q.job.Anchors(kept), Policy: policy, References: index,
	})
}

func (a *answers) collateral(q question) (set.Set, error) {
	if q.collateral == (digest{}) {
		return set.Set{}, nil
	}
	if kept, known := a.kept[q.collateral]; known {
		return kept, nil
	}
	kept, err := set.Parse(q.job.Collateral.Bytes)
	if err != nil {
		return set.Set{}, configured(err)
	}
	a.kept[q.collateral] = kept // bounded by maxDocuments
	return kept, nil
}

func (a *answers) credential(job service.CredentialJob) (service.CredentialReply, error) {
	made, err := a.judge.Credential(judge.CredentialRequest{
		AKPublic: job.AKPublic, EKPublic: job.EKPublic, Secret: job.Secret, Entropy: job.Entropy,
	})
	return service.CredentialReply(made), err
}

func (a *answers) policy(q question) (*appraisal.Policy, error) {
	if policy, known := a.policies[q.policy]; known {
		return policy, nil
	}
	policy, err := appraisal.ParsePolicy(q.job.Policy.Source, q.job.Policy.Bytes)
	if err != nil {
		return nil, configured(err)
	}
	a.policies[q.policy] = policy // bounded by maxDocuments
	return policy, nil
}

func (a *answers) index(q question) (*measurements.Index, error) {
	var key []byte
	for _, reference := range q.references {
		key = append(key, reference[:]...)
	}
	if index, known := a.indexes[string(key)]; known {
		return index, nil
	}
	sets := make([]*measurements.Set, 0, len(q.references))
	for i, reference := range q.references {
		set, known := a.sets[reference]
		if !known {
			var err error
			if set, err = measurements.Parse(q.job.References[i].Source, q.job.References[i].Bytes); err != nil {
				return nil, configured(err)
			}
			a.sets[reference] = set // bounded by maxDocuments
		}
		sets = append(sets, set)
	}
	index, err := measurements.NewIndex(sets...)
	if err != nil {
		return nil, configured(err)
	}
	if len(a.indexes) == maxIndexes {
		clear(a.indexes)
	}
	a.indexes[string(key)] = index
	return index, nil
}

// configured says that a document will not do, which is for whoever configured it to mend and no
// fault of the worker.
func configured(err error) error {
	var caller *attestd.CallerError
	if errors.As(err, &caller) {
		return err
	}
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "mend the policy or the reference values that attestd serves with; docs/policy.md",
		Err: err,
	}
}
