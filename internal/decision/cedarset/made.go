package cedarset

import (
	"github.com/cedar-policy/cedar-go/types"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/subject"
)

// What is remembered of what questions were made into. Cedar's records are dear to make and never
// change, and callers ask the same of the same.
const (
	madePrincipals = 1 << 16
	madeResources  = 1 << 14
	madeContexts   = 1 << 12
)

// made are Cedar's values of questions that were asked before.
type made struct {
	principals *lru.Cache[subject.ID, *principal]
	resources  *lru.Cache[plain, types.Entity]
	contexts   *lru.Cache[circumstances, types.Record]
}

// principal is a caller, and everything that it was made of.
type principal struct {
	standing    decision.Standing
	words       words
	method      string
	trustDomain string
	entity      types.Entity
}

// words are what policies can ask of a record. They are compared, and not the record: it is made anew for
// each question.
type words struct {
	project, owner, stage, ring, policy string
	purpose                             nhi.Purpose
	zone                                nhi.Zone
	credential                          nhi.CredentialKind
}

func wordsOf(r *nhi.Record) words {
	return words{r.Project, r.Owner, r.Stage, r.Ring, r.Policy, r.Purpose, r.Zone, r.Credential}
}

// plain is a resource without datasets.
type plain struct {
	kind, id, tenant, project, ring string
	privileged                      bool
}

func newMade() *made {
	return &made{
		principals: sized[subject.ID, *principal](madePrincipals),
		resources:  sized[plain, types.Entity](madeResources),
		contexts:   sized[circumstances, types.Record](madeContexts),
	}
}

func sized[K comparable, V any](size int) *lru.Cache[K, V] {
	out, err := lru.New[K, V](size)
	if err != nil {
		panic(err) // the sizes are constants above zero
	}
	return out
}

func (m *made) principal(in *decision.Input) types.Entity {
	says := wordsOf(in.Record)
	if found, ok := m.principals.Get(in.Who.ID); ok && found.standing == in.Standing && found.words == says && found.method == in.Who.Method && found.trustDomain == in.Who.TrustDomain {
		return found.entity
	}
	entity := principalOf(in)
	m.principals.Add(in.Who.ID, &principal{
		standing: in.Standing, words: says, method: in.Who.Method, trustDomain: in.Who.TrustDomain,
		entity: entity,
	})
	return entity
}

func (m *made) resource(in *decision.Input) types.Entity {
	r := &in.Resource
	if len(r.Datasets) != 0 {
		return resourceOf(in)
	}
	key := plain{r.Type, r.ID, r.Tenant, r.Project, r.Ring, r.Privileged}
	if found, ok := m.resources.Get(key); ok {
		return found
	}
	entity := resourceOf(in)
	m.resources.Add(key, entity)
	return entity
}

func (m *made) context(in *decision.Input) types.Record {
	key := circumstancesOf(in)
	if len(in.Context.Classification)+len(in.Findings.Raised) != 0 {
		return key.record(in)
	}
	if found, ok := m.contexts.Get(key); ok {
		return found
	}
	record := key.record(in)
	m.contexts.Add(key, record)
	return record
}
