package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// Entry is a registration entry in the form that "spire-server entry create -data" and "entry update
// -data" read.
type Entry struct {
	ID         string          `json:"entry_id,omitempty"`
	SPIFFEID   string          `json:"spiffe_id"`
	ParentID   string          `json:"parent_id"`
	Selectors  []wire.Selector `json:"selectors"`
	X509TTL    int32           `json:"x509_svid_ttl,omitempty"`
	JWTTTL     int32           `json:"jwt_svid_ttl,omitempty"`
	Federates  []string        `json:"federates_with,omitempty"`
	DNSNames   []string        `json:"dns_names,omitempty"`
	Admin      bool            `json:"admin,omitempty"`
	Downstream bool            `json:"downstream,omitempty"`
	StoreSVID  bool            `json:"store_svid,omitempty"`
	Expiry     int64           `json:"entryExpiry,omitempty"`
	Hint       string          `json:"hint,omitempty"`
}

// Entries is the document of those commands.
type Entries struct {
	Entries []Entry `json:"entries"`
}

// World is what a SPIRE server has.
type World struct {
	Entries []Entry
	Agents  []wire.Agent
}

// Bounds of saved lists.
const (
	// MaxDocument is in bytes; it has a fleet of 20,000 agents with 30 entries each.
	MaxDocument = 512 << 20
	agentPath   = "/spire/agent/"
	ourPath     = "/spire/agent/attestd/"
	serverPath  = "/spire/server"
	ourType     = "attestd"
)

// ParseEntries reads what "spire-server entry show -output json" printed.
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func ParseEntries(document []byte) ([]Entry, error) {
	var list struct {
		Entries []json.RawMessage `json:"entries"`
	}
	if err := json.Unmarshal(document, &list); err != nil || list.Entries == nil {
		return nil, unread("spire-server entry show -output json > FILE", "no list of entries", err)
	}
	out := make([]Entry, 0, len(list.Entries))
	for number, text := range list.Entries {
		var one types.Entry
		if err := protojson.Unmarshal(text, &one); err != nil {
			return nil, unread("spire-server entry show -output json > FILE", fmt.Sprintf("entry %d", number), err)
		}
		entry := entryOf(&one)
		if entry.SPIFFEID == "" || entry.ParentID == "" {
			return nil, unread("spire-server entry show -output json > FILE", fmt.Sprintf("entry %d", number),
				errors.New("it has no SPIFFE ID or no parent"))
		}
		out = append(out, entry)
	}
	return out, nil
}

// ParseAgents reads what "spire-server agent list -output json" printed.
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func ParseAgents(document []byte) ([]wire.Agent, error) {
	var list struct {
		Agents []json.RawMessage `json:"agents"`
	}
	if err := json.Unmarshal(document, &list); err != nil || list.Agents == nil {
		return nil, unread("spire-server agent list -output json > FILE", "no list of agents", err)
	}
	out := make([]wire.Agent, 0, len(list.Agents))
	for number, text := range list.Agents {
		var one types.Agent
		if err := protojson.Unmarshal(text, &one); err != nil || idOf(one.GetId()) == "" {
			return nil, unread("spire-server agent list -output json > FILE", fmt.Sprintf("agent %d", number), err)
		}
		out = append(out, agentOf(&one))
	}
	return out, nil
}

func unread(hint, what string, err error) error {
	if err == nil {
		err = errors.New("something is missing")
	}
	return &attestd.CallerError{
		Class: attestd.ClassMalformed, Hint: hint,
		Err: fmt.Errorf("%s cannot be read: %s", what, attestd.Excerpt(err.Error(), 200)),
	}
}

func idOf(id *types.SPIFFEID) string {
	if id.GetTrustDomain() == "" || !strings.HasPrefix(id.GetPath(), "/") {
		return ""
	}
	return "spiffe://" + id.GetTrustDomain() + id.GetPath()
}

func selectorsOf(from []*types.Selector) []wire.Selector {
	out := make([]wire.Selector, 0, len(from))
	for _, one := range from {
		out = append(out, wire.Selector{Type: one.GetType(), Value: one.GetValue()})
	}
	return out
}

func entryOf(e *types.Entry) Entry {
	return Entry{
		ID: e.GetId(), SPIFFEID: idOf(e.GetSpiffeId()), ParentID: idOf(e.GetParentId()),
		Selectors: selectorsOf(e.GetSelectors()), X509TTL: e.GetX509SvidTtl(), JWTTTL: e.GetJwtSvidTtl(),
		Federates: e.GetFederatesWith(), DNSNames: e.GetDnsNames(), Admin: e.GetAdmin(),
		Downstream: e.GetDownstream(), StoreSVID: e.GetStoreSvid(), Expiry: e.GetExpiresAt(), Hint: e.GetHint(),
	}
}

func agentOf(a *types.Agent) wire.Agent {
	return wire.Agent{
		ID: idOf(a.GetId()), Type: a.GetAttestationType(), Selectors: selectorsOf(a.GetSelectors()),
		Banned: a.GetBanned(), ExpiresAt: a.GetX509SvidExpiresAt(),
	}
}

func pathOf(id string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(id, "spiffe://"), "/")
	return "/" + rest
}

func isAgent(id string) bool { return strings.HasPrefix(pathOf(id), agentPath) }
func isOurs(id string) bool  { return strings.HasPrefix(pathOf(id), ourPath) }

// alias reports whether the entry is for nodes: its parent is the server.
func (e Entry) alias() bool { return pathOf(e.ParentID) == serverPath }

// ours reports whether every selector is of attestd's type.
func (e Entry) ours() bool {
	return len(e.Selectors) != 0 && !slices.ContainsFunc(e.Selectors, func(one wire.Selector) bool {
		return one.Type != ourType
	})
}

// hasAll reports whether each of the selectors that are wanted is there.
func hasAll(has, want []wire.Selector) bool {
	return !slices.ContainsFunc(want, func(one wire.Selector) bool { return !slices.Contains(has, one) })
}

// reach answers which agents can obtain an entry.
type reach struct {
	world World
	byID  map[string][]Entry
	// above are the answers for parents.
	above  map[string][]string
	banned map[string]bool
	// judged are the verdicts for parents: what they say of nodes is the same for all entries below.
	judged map[string]Verdict
}

func newReach(world World) *reach {
	r := &reach{
		world: world, byID: map[string][]Entry{}, above: map[string][]string{}, banned: map[string]bool{},
		judged: map[string]Verdict{},
	}
	for _, one := range world.Entries {
		r.byID[one.SPIFFEID] = append(r.byID[one.SPIFFEID], one)
	}
	for _, one := range world.Agents {
		if one.Banned {
			r.banned[one.ID] = true
		}
	}
	return r
}

// nodes are the agents that can obtain what has this parent: the parent itself, and those above it, over
// any number of levels of aliases and entries.
func (r *reach) nodes(parent string) []string {
	if found, done := r.above[parent]; done {
		return found
	}
	found, seen := map[string]bool{}, map[string]bool{}
	var climb func(parent string)
	climb = func(parent string) {
		if seen[parent] {
			return
		}
		seen[parent] = true
		if isAgent(parent) {
			found[parent] = true
		}
		for _, one := range r.byID[parent] {
			if !one.alias() {
				climb(one.ParentID)
				continue
			}
			for _, agent := range r.world.Agents {
				if len(one.Selectors) != 0 && hasAll(agent.Selectors, one.Selectors) {
					found[agent.ID] = true
				}
			}
		}
	}
	climb(parent)
	r.above[parent] = slices.Sorted(maps.Keys(found))
	return r.above[parent]
}
