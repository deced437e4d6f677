package decision

import (
	"crypto/x509"
	"net/netip"
	"time"
)

// Via is the interface that a question came through.
type Via string

// Interfaces.
const (
	ViaAuthZEN  Via = "authzen"
	ViaExtAuthz Via = "ext_authz"
	ViaForward  Via = "forward-auth"
)

// Ask is one question. Who the caller is comes from its credential alone; what it wants, and all context,
// is what the enforcement point says.
type Ask struct {
	Via Via
	// Enforcer is the enforcement point that asks, as it was authenticated: a SPIFFE ID, "user:NAME" for a
	// local process, "token:NAME".
	Enforcer   string
	Credential Credential
	Action     Action
	Resource   Resource
	Context    Context
	// Supported are the types of obligations that the enforcement point can carry out.
	Supported []string
	// Sees says whether the enforcement point may know how the caller stands ([Input].Foreign); nil is no.
	Sees func(*Input) bool
	// Refused is why an interface refuses what came, and RefusedDetail says it to people: it is no question,
	// or not the enforcement point's to put. Nobody is identified then; that it was denied is recorded.
	Refused       Code
	RefusedDetail string
	// Received is when the question came; Deadline is when its asker stops waiting, zero for the
	// configured time after Received.
	Received, Deadline time.Time
}

// Credential is what a caller shows. Exactly one of Token and Chain is set; it is never stored.
type Credential struct {
	// Token is a JWT-SVID.
	Token string
	// Chain is the caller's certificate chain, leaf first, of a TLS connection that the enforcement point,
	// or attestd, ended.
	Chain []*x509.Certificate
	// Source is the address that the caller connected from, as the enforcement point says; zero for none.
	Source netip.Addr
}

// Names of actions. Others may be named: what no policy permits is denied.
const (
	ActionPromptAssemble = "prompt.assemble"
	ActionRetrieveQuery  = "retrieve.query"
	ActionToolCall       = "tool.call"
	ActionToolList       = "tool.list"
	ActionModelInvoke    = "model.invoke"
	ActionSecretRead     = "secret.read"
	ActionDataRead       = "data.read"
	ActionDataWrite      = "data.write"
	ActionHTTPRead       = "http.read"
	ActionHTTPWrite      = "http.write"
)

// Action is what the caller wants to do.
type Action struct {
	Name string `json:"name"`
}

// Resource is what it wants to do it to.
type Resource struct {
	// Type as in "tool", "dataset", "index", "model", "secret", "route".
	Type string `json:"type"`
	ID   string `json:"id"`
	// Tenant and Project that it belongs to; an empty tenant is not known, and denies.
	Tenant  string `json:"tenant,omitempty"`
	Project string `json:"project,omitempty"`
	// Datasets are what is asked for of it (dataset_scope).
	Datasets []Dataset `json:"dataset_scope,omitempty"`
	// Ring that it is deployed to; empty for every ring.
	Ring string `json:"ring,omitempty"`
	// Privileged says that the action needs fresh evidence of hardware.
	Privileged bool `json:"privileged,omitempty"`
}

// Dataset is one dataset with how it is classified.
type Dataset struct {
	ID             string   `json:"id"`
	Classification []string `json:"classification,omitempty"`
}

// Connectivity says whether what assembled the prompt could reach a network.
type Connectivity string

// Connectivities.
const (
	ConnectivityUnknown   Connectivity = "unknown"
	ConnectivityAirGapped Connectivity = "air-gapped"
	ConnectivityConnected Connectivity = "connected"
)

// Context is what the enforcement point says around the question. None of it can make the caller more
// trusted than its credential and its evidence do.
type Context struct {
	// PromptID is a keyed hash of the sanitized prompt (client/promptid), never the prompt.
	PromptID string `json:"prompt_id,omitempty"`
	// Chain is who has had a part in the request, the origin first (subject_chain).
	Chain []Link `json:"subject_chain,omitempty"`
	// Classification, Intent and ExposureScore are labels of whoever enriched the prompt. The score is 0
	// to 100; -1 is none.
	Classification []string     `json:"classification,omitempty"`
	Intent         string       `json:"intent,omitempty"`
	ExposureScore  int          `json:"exposure_score"`
	Connectivity   Connectivity `json:"connectivity,omitempty"`
	// LabelsFrom is who asserted the labels, where the enforcement point names somebody else than itself.
	LabelsFrom string `json:"labels_from,omitempty"`
	// RequestID and Trace (a W3C traceparent) join the record with other logs.
	RequestID string `json:"request_id,omitempty"`
	Trace     string `json:"traceparent,omitempty"`
}

// Link is one of a request's subject chain.
type Link struct {
	// Token is a JWT-SVID of the link, where the enforcement point has one. It is never stored.
	Token string `json:"-"`
	// Type is "human" or "nhi".
	Type   string `json:"type"`
	ID     string `json:"id"`
	Issuer string `json:"iss,omitempty"`
	// Verified says that attestd saw a credential of it or has it as attested now; every other link is only
	// asserted by the one behind it.
	Verified bool   `json:"verified"`
	Attested bool   `json:"attested"`
	RiskTier string `json:"risk_tier,omitempty"`
}
