// Package wire has the documents that attestd, its SPIRE plugins and its controller exchange over a
// link, as both sides write and read them. Times are RFC 3339 in UTC, bytes base64.
//
// What is true of a document here: nothing. Whoever reads one knows who sent it from the link it came
// over, and decides what that peer may say.
package wire

import (
	"encoding/json"
	"time"

	"github.com/attestd/attestd"
)

// Methods that attestd answers to the plugins of a SPIRE server (role issuer).
const (
	MethodNodeBegin  = "node.begin"  // NodeBegin -> NodeChallenge
	MethodNodeFinish = "node.finish" // NodeFinish -> NodeVerdict
	MethodGrant      = "grant"       // GrantRequest -> Granted
	MethodReport     = "report"      // PluginReport -> Empty
)

// Methods that attestd answers to its controller, and those that the controller answers.
const (
	MethodMap       = "map"        // controller to attestd: Map -> Empty
	MethodOrders    = "orders"     // controller to attestd: Empty -> Orders: what must hold now
	MethodReached   = "reached"    // controller to attestd: Reached -> Empty
	MethodEnforce   = "enforce"    // attestd to controller: Orders -> Reached: carry out at once
	MethodRefresh   = "refresh"    // attestd to controller: RefreshRequest -> Map: entries of these ids
	MethodReattest  = "reattest"   // attestd to controller: ReattestRequest -> Reattested
	MethodMintX509  = "mint.x509"  // attestd to controller: MintX509 -> MintedX509
	MethodMintJWT   = "mint.jwt"   // attestd to controller: MintJWT -> MintedJWT
	MethodCanary    = "canary"     // controller to attestd: CanaryResult -> Empty
	MethodTakeState = "take-state" // controller to attestd: Empty -> ControllerState
	MethodKeepState = "keep-state" // controller to attestd: ControllerState -> Empty
)

// Methods between attestd and the plugins on a node, whose client certificate names the node's subject.
const (
	MethodWatch    = "watch"    // agent to attestd: WatchRequest -> Watching; Snapshots follow
	MethodSnapshot = "snapshot" // attestd to agent, a notice without an answer: Signed over Snapshot
)

// The mint canary is a JWT-SVID of this path for this audience: it grants nothing anywhere.
const (
	CanaryPath     = "/attestd/canary"
	CanaryAudience = "attestd-canary"
)

// Empty is a document without content.
type Empty struct{}

// NodeBegin asks for a challenge for a node that attests itself through SPIRE.
type NodeBegin struct {
	Format attestd.Format `json:"format"`
	// Tenant that the node's configuration names. Whose the machine is follows from its ownership; a
	// name that does not agree with that is refused.
	Tenant string `json:"tenant"`
	// AttestationKey and EndorsementKey are the TPMT_PUBLIC of a TPM's keys; both or none.
	AttestationKey []byte `json:"attestation_key,omitempty"`
	EndorsementKey []byte `json:"endorsement_key,omitempty"`
	// Source is the address that the node reached the SPIRE server from, as that server saw it: failed
	// evidence counts against it. Empty where SPIRE did not say.
	Source string `json:"source,omitempty"`
}

// NodeChallenge answers a NodeBegin.
type NodeChallenge struct {
	// Challenge is the reply of POST /v1/challenges, as attester.Verifier.Accept reads it.
	Challenge json.RawMessage `json:"challenge"`
	// Keys is the JWK set that the challenge is signed by.
	Keys json.RawMessage `json:"keys"`
}

// NodeFinish hands in the evidence that answers a challenge.
type NodeFinish struct {
	ChallengeID  string               `json:"challenge_id"`
	Format       attestd.Format       `json:"format"`
	Tenant       string               `json:"tenant"`
	Evidence     []byte               `json:"evidence"`
	Endorsements attestd.Endorsements `json:"endorsements"`
	// KeySPKI is the DER SubjectPublicKeyInfo of the agent's key that the evidence binds; empty where
	// the agent has no key manager of attestd's.
	KeySPKI          []byte `json:"key_spki,omitempty"`
	ActivationSecret []byte `json:"activation_secret,omitempty"`
	EnrolmentToken   string `json:"enrolment_token,omitempty"`
	// Source as in NodeBegin.
	Source string `json:"source,omitempty"`
}

// Grade says how the agent's key and the machine belong together.
type Grade string

// Grades. The zero Grade counts as none.
const (
	// GradeResident: made inside the TPM, never leaves it, and certified by the attestation key.
	GradeResident Grade = "resident"
	// GradeBound: named in the evidence; where it lives was not shown.
	GradeBound Grade = "bound"
	// GradeNone: the evidence names no key.
	GradeNone Grade = "none"
)

// NodeVerdict answers a NodeFinish that was accepted. What was not is an error of the link: of class
// [attestd.Class] with the id of the appraisal, and undecided classes are Unavailable for SPIRE.
type NodeVerdict struct {
	// AgentID is the SPIFFE ID for the node, and Selectors its selector values without the type, as in
	// "tier:low". Both come from what was verified, never from the request.
	AgentID     string   `json:"agent_id"`
	Selectors   []string `json:"selectors"`
	AppraisalID string   `json:"appraisal_id"`
	Grade       Grade    `json:"grade"`
	// Enlist is for the node's own plugins, as the last challenge; nil where the evidence binds no key.
	Enlist *Enlist `json:"enlist,omitempty"`
}

// Enlist lets the plugins on a node reach attestd: a client certificate for the key that the evidence
// binds, and whom to trust.
type Enlist struct {
	// Certificates is the chain in DER, leaf first, over the bound key.
	Certificates [][]byte  `json:"certificates"`
	NotAfter     time.Time `json:"not_after"`
	// CA is what attestd's own certificate chains to, in DER, and Addresses where it answers nodes.
	CA        []byte   `json:"ca"`
	Addresses []string `json:"addresses"`
	// SnapshotKey is the Ed25519 public key (32 bytes) that snapshots are signed by.
	SnapshotKey []byte `json:"snapshot_key"`
	AgentID     string `json:"agent_id"`
}

// Kinds of grants.
const (
	GrantAgentX509    = "agent-x509-svid"
	GrantWorkloadX509 = "x509-svid"
	GrantWorkloadJWT  = "jwt-svid"
)

// GrantRequest asks whether a credential may be issued now, and counts it where it may.
type GrantRequest struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// KeySHA256 is that of the DER SubjectPublicKeyInfo to be certified; empty for a JWT-SVID.
	KeySHA256 []byte `json:"key_sha256,omitempty"`
	// Audience and ExpiresAt (Unix seconds) are those of the JWT-SVID that is asked for.
	Audience  []string `json:"audience,omitempty"`
	ExpiresAt int64    `json:"expires_at,omitempty"`
}

// Granted answers a GrantRequest that was granted.
type Granted struct {
	// Claims to add to a JWT-SVID, in the order of docs/svid-claims.md. Numbers are integers below 10^6.
	Claims map[string]any `json:"claims,omitempty"`
	// ExpiresAt (Unix seconds) is when a JWT-SVID must end at the latest: never later than was asked.
	ExpiresAt int64 `json:"expires_at,omitempty"`
	// ExtensionOID and Extension (DER) are the X.509 extension to add; it is not critical.
	ExtensionOID string `json:"extension_oid,omitempty"`
	Extension    []byte `json:"extension,omitempty"`
}

// PluginReport says that a plugin runs, and what it counted since it started.
type PluginReport struct {
	Plugin  string            `json:"plugin"` // as in "composer"
	PID     int               `json:"pid"`
	Version string            `json:"version"`
	Started time.Time         `json:"started_at"`
	Starts  int               `json:"starts"` // how often its supervisor has started it
	Counts  map[string]uint64 `json:"counts"`
}

// Selector is one selector of SPIRE's.
type Selector struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// Entry is a registration entry of SPIRE's, as far as attestd looks at it.
type Entry struct {
	ID        string     `json:"id"`
	SPIFFEID  string     `json:"spiffe_id"`
	ParentID  string     `json:"parent_id"`
	Selectors []Selector `json:"selectors"`
	// X509TTL and JWTTTL are in seconds; 0 for the server's default.
	X509TTL int  `json:"x509_ttl,omitempty"`
	JWTTTL  int  `json:"jwt_ttl,omitempty"`
	Admin   bool `json:"admin,omitempty"`
	// Downstream says that whoever has the id may ask for a CA, as a SPIRE server below this one.
	Downstream bool  `json:"downstream,omitempty"`
	Expires    int64 `json:"expires,omitempty"`
	Revision   int64 `json:"revision"`
}

// Agent is an agent as SPIRE knows it.
type Agent struct {
	ID        string     `json:"id"`
	Type      string     `json:"type"` // of its attestation, as in "attestd"
	Selectors []Selector `json:"selectors"`
	Banned    bool       `json:"banned,omitempty"`
	// ExpiresAt (Unix seconds) is when its X509-SVID ends.
	ExpiresAt int64 `json:"expires_at"`
}

// Map is what SPIRE has, whole, or the entries that a RefreshRequest asked for.
type Map struct {
	Entries []Entry   `json:"entries"`
	Agents  []Agent   `json:"agents"`
	At      time.Time `json:"at"`
	// Part and Parts number the frames that a large map is handed over in, in order and from 1; 0 where
	// it came in one. Parts of one map have the same At, and it is a map with the last of them only.
	Part  int `json:"part,omitempty"`
	Parts int `json:"parts,omitempty"`
}

// RefreshRequest asks for the entries of SPIFFE IDs that the last Map did not have.
type RefreshRequest struct {
	IDs []string `json:"ids"`
}

// Orders is everything that must hold in SPIRE: a whole, not a difference.
type Orders struct {
	// Number rises with each change, so that an older one that arrives late is told.
	Number uint64 `json:"number"`
	// Bans are agents that must be banned, Holds SPIFFE IDs whose entries must match nothing.
	Bans  []string `json:"bans"`
	Holds []string `json:"holds"`
	// Since names the newest change, for the channels of a receipt.
	Since time.Time `json:"since"`
}

// Reached says how far an order has come in SPIRE.
type Reached struct {
	Number uint64 `json:"number"`
	// Done are the ids that are as ordered, with the time it took since the order arrived; Open those
	// that are not, and why.
	Done []ReachedOne `json:"done"`
	Open []ReachedOne `json:"open"`
}

// ReachedOne is one id of a Reached.
type ReachedOne struct {
	ID string `json:"id"`
	// What is "ban", "unban", "hold" or "unhold"; After in microseconds.
	What   string `json:"what"`
	After  int64  `json:"after_us"`
	Detail string `json:"detail,omitempty"`
}

// ReattestRequest asks that agents attest again at their next contact.
type ReattestRequest struct {
	IDs []string `json:"ids"`
}

// Reattested answers a ReattestRequest: when each one's turn is, within the pace.
type Reattested struct {
	Done    []string `json:"done"`
	Waiting []string `json:"waiting"`
	Refused []string `json:"refused"`
	Reason  string   `json:"reason,omitempty"`
	// Queue is how many agents wait now, PerMinute how many are let attest again in a minute.
	Queue     int `json:"queue,omitempty"`
	PerMinute int `json:"per_minute,omitempty"`
}

// MintX509 asks SPIRE for an X509-SVID over the key of a CSR.
type MintX509 struct {
	CSR        []byte `json:"csr"` // DER
	TTLSeconds int    `json:"ttl_seconds"`
}

// MintedX509 answers it.
type MintedX509 struct {
	ID           string   `json:"id"`
	Certificates [][]byte `json:"certificates"`
	ExpiresAt    int64    `json:"expires_at"`
	// Roots are the trust domain's X.509 authorities in DER.
	Roots [][]byte `json:"roots"`
}

// MintJWT asks SPIRE for a JWT-SVID.
type MintJWT struct {
	ID         string   `json:"id"`
	Audience   []string `json:"audience"`
	TTLSeconds int      `json:"ttl_seconds"`
}

// MintedJWT answers it.
type MintedJWT struct {
	Token     string `json:"token"`
	ExpiresAt int64  `json:"expires_at"`
}

// CanaryResult is the outcome of one canary.
type CanaryResult struct {
	// Name is "mint" or "attestation".
	Name  string    `json:"name"`
	OK    bool      `json:"ok"`
	Took  int64     `json:"took_us"`
	At    time.Time `json:"at"`
	Error string    `json:"error,omitempty"`
}

// ControllerState is what the controller must remember over a restart: which bans and holds in SPIRE
// are attestd's own, so that it never lifts a person's.
type ControllerState struct {
	Bans  []string `json:"bans"`
	Holds []string `json:"holds"`
}

// WatchRequest begins a push stream for the node that the client certificate names.
type WatchRequest struct {
	// Plugin and its version, for the status.
	Plugin  string `json:"plugin"`
	Version string `json:"version"`
}

// Watching answers a WatchRequest.
type Watching struct {
	AgentID string `json:"agent_id"`
	// EverySeconds is how often a snapshot comes where nothing changes.
	EverySeconds int `json:"every_seconds"`
	// Now is attestd's clock while it answered, the clock of IssuedAt: the node knows when it asked, so
	// it can tell a snapshot that was held up on the way from one that was issued just now. A node asks
	// again on the same connection now and then, since no two clocks run alike.
	Now time.Time `json:"now"`
}

// Signed is a document with its signature: whoever carried it did not change it.
type Signed struct {
	Payload []byte `json:"payload"`
	// Signature is Ed25519 over "attestd snapshot v1\n" and Payload.
	Signature []byte `json:"signature"`
}

// Snapshot is what holds for a node at IssuedAt.
type Snapshot struct {
	AgentID string            `json:"agent_id"`
	State   attestd.State     `json:"state"`
	Tier    attestd.Tier      `json:"tier"`
	Risk    attestd.RiskScore `json:"risk_score"`
	Epoch   uint64            `json:"risk_epoch"`
	Tenant  string            `json:"tenant"`
	// Admitted says that the node is granted identities now. Without it no selector is given.
	Admitted bool `json:"admitted"`
	// Workloads are the executables with a name for the node's tenant: SHA-256 in hex to name. Nil where
	// they are as in the snapshot of the same WorkloadsRevision.
	Workloads         map[string]string `json:"workloads,omitempty"`
	WorkloadsRevision string            `json:"workloads_revision"`
	// By attestd's clock.
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
}
