package nhi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// agentPath begins the paths of nodes that attestd attests.
const agentPath = "/spire/agent/attestd/"

// spireID is a SPIFFE ID as SPIRE's API writes it (spire-api-sdk, types.SPIFFEID).
type spireID struct {
	TrustDomain string `json:"trust_domain"`
	Path        string `json:"path"`
}

func (s spireID) String() string { return "spiffe://" + s.TrustDomain + s.Path }

type spireList struct {
	Entries *[]struct {
		SPIFFEID spireID `json:"spiffe_id"`
		ParentID spireID `json:"parent_id"`
	} `json:"entries"`
	Agents *[]struct {
		ID     spireID `json:"id"`
		Banned bool    `json:"banned"`
	} `json:"agents"`
}

// spireDepth is how deep the lists of SPIRE nest, and some.
const spireDepth = 16

// ParseSPIRE reads what "spire-server entry show -output json" and "spire-server agent list -output
// json" print. Entries whose parent is SPIRE's server are aliases of nodes and no workloads: they
// are left out. Several entries of one id are one record. What is behind an agent that attestd
// attests has an attested credential, everything else a short-lived one; a banned agent is retired.
//
// Errors: as those of [ParseYAML].
func ParseSPIRE(source string, document []byte) ([]Record, error) {
	if err := tooLarge(source, document); err != nil {
		return nil, err
	}
	f := &faults{source: sourceName(source)}
	var tree map[string]any
	limits := strict.JSONLimits{Bytes: MaxDocument, Depth: spireDepth}
	err := strict.DecodeJSON(document, limits, &tree)
	var list spireList
	if err == nil {
		err = json.Unmarshal(document, &list)
	}
	switch {
	case err != nil:
		f.add(0, 0, "", attestd.Excerpt(err.Error(), 160))
	case list.Entries == nil && list.Agents == nil:
		f.add(0, 0, "", `has neither "entries" nor "agents": want what spire-server prints with `+
			`-output json`)
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.records(list)
}

func (f *faults) records(list spireList) ([]Record, error) {
	found := map[string]Record{}
	take := func(where string, id spireID, kind CredentialKind, banned bool) {
		one := Record{ID: id.String(), Credential: kind, Source: "spire:" + f.source}
		if banned {
			one.Lifecycle = LifecycleRetired
		}
		for _, fault := range one.Check() {
			f.add(0, 0, join(where, fault.Field), fault.Text)
		}
		fold := Fold(one.ID)
		before, there := found[fold]
		if !there || before.Credential == CredentialAttested {
			// One way around hardware is enough: the weaker of several is what the identity has.
			found[fold] = one
		}
	}
	if list.Entries != nil {
		for i, one := range *list.Entries {
			if one.ParentID.Path == "/spire/server" {
				continue
			}
			take(fmt.Sprintf("entries[%d]", i), one.SPIFFEID, behind(one.ParentID), false)
		}
	}
	if list.Agents != nil {
		for i, one := range *list.Agents {
			take(fmt.Sprintf("agents[%d]", i), one.ID, behind(one.ID), one.Banned)
		}
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	out := make([]Record, 0, len(found))
	for _, one := range found {
		out = append(out, one)
	}
	if len(out) == 0 {
		f.add(0, 0, "", "has no record of anybody")
		return nil, f.err()
	}
	slices.SortFunc(out, func(a, b Record) int { return strings.Compare(Fold(a.ID), Fold(b.ID)) })
	return out, nil
}

func behind(parent spireID) CredentialKind {
	if strings.HasPrefix(parent.Path, agentPath) {
		return CredentialAttested
	}
	return CredentialShortLived
}
