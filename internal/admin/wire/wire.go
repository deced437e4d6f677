// Package wire has the documents of the admin API, as server and client both write and read them.
package wire

import (
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/subject"
)

// Whoami answers GET /v1/admin/whoami.
type Whoami struct {
	Schema  string   `json:"schema"` // attestd.whoami.v1
	Name    string   `json:"name"`
	Roles   []string `json:"roles"`
	Tenants []string `json:"tenants"`
	Via     string   `json:"via"`
}

// Order asks for a quarantine, a release or a revocation: POST /v1/admin/quarantine, /release,
// /revoke.
type Order struct {
	// Target is a SPIFFE ID, the unique beginning of an instance's value of at least 6 characters, or
	// "instance:VALUE", "host:VALUE".
	Target string `json:"target"`
	// Scope is "subject" (the name and its instance; the default) or "instance" (the hardware alone).
	Scope string `json:"scope,omitempty"`
	// Host holds the subject's host as well, and with it every subject on it.
	Host   bool   `json:"host,omitempty"`
	Reason string `json:"reason"`
	Ticket string `json:"ticket,omitempty"`
	// Reimaged is the ticket of a re-image that stands for a rebirth; for release alone.
	Reimaged string `json:"reimaged,omitempty"`
	DryRun   bool   `json:"dry_run,omitempty"`
	// Direct holds in memory and in the journal without waiting for store or audit; for quarantine and
	// revoke alone.
	Direct bool `json:"direct,omitempty"`
	// Tenant of a name that was never seen; needed for that alone.
	Tenant string `json:"tenant,omitempty"`
}

// Receipt answers an Order: what changed, when it takes effect where, and what lives on.
type Receipt struct {
	Schema string `json:"schema"` // attestd.receipt.v1
	Action string `json:"action"`
	DryRun bool   `json:"dry_run"`
	// Subjects that the order changes or would change.
	Subjects []Changed `json:"subjects"`
	// Bars laid or lifted, as "kind:value".
	Bars []string `json:"bars"`
	// Shared counts the subjects that stay as they are though they run on the same host.
	Shared int `json:"shared_host_subjects"`
	// Channels in the order of time.
	Channels []Channel `json:"channels"`
	// Grants given before that are still in force: how many, and until when the last one.
	Grants      int       `json:"grants_outstanding"`
	GrantsUntil time.Time `json:"grants_until,omitzero"`
	// GrantsSince is since when grants are counted: a restart forgets those before it.
	GrantsSince time.Time `json:"grants_counted_since"`
	// Sequence is a number of the daemon's changes at which the order was in effect, counted since it
	// started: what is decided at this number or a later one goes by the order. Not there for a dry run.
	Sequence uint64 `json:"sequence,omitempty"`
	// Hostile says in words what a hostile node can still do.
	Hostile string `json:"hostile"`
	// Undo is the command that takes it back; empty where nothing does.
	Undo string `json:"undo,omitempty"`
}

// Changed is one subject before and after.
type Changed struct {
	ID     subject.ID    `json:"id"`
	Tenant string        `json:"tenant"`
	From   attestd.State `json:"from"`
	To     attestd.State `json:"to"`
	Epoch  uint64        `json:"risk_epoch"`
}

// Channel is one place where an order takes effect.
type Channel struct {
	Name string `json:"name"`
	// State is "durable", "effective", "journaled", "pending" or "failed".
	State string `json:"state"`
	// After is how long after the order it was so, in microseconds.
	After  int64  `json:"after_us"`
	Detail string `json:"detail,omitempty"`
}

// Subject is a subject as the API shows it.
type Subject struct {
	Schema     string            `json:"schema,omitempty"` // attestd.subject.v1 where it stands alone
	ID         subject.ID        `json:"id"`
	Tenant     string            `json:"tenant"`
	State      attestd.State     `json:"state"`
	Tier       attestd.Tier      `json:"tier"`
	Risk       attestd.RiskScore `json:"risk_score"`
	Epoch      uint64            `json:"risk_epoch"`
	Generation uint64            `json:"generation"`
	Format     attestd.Format    `json:"format,omitempty"`
	Instance   string            `json:"instance,omitempty"`
	Boot       string            `json:"boot,omitempty"`
	Host       string            `json:"host,omitempty"`
	Ownership  subject.Method    `json:"ownership"`
	Signals    []subject.Signal  `json:"signals"`
	Appraisal  string            `json:"appraisal_id,omitempty"`
	Evidence   string            `json:"evidence_sha256,omitempty"`
	FirstSeen  time.Time         `json:"first_seen_at,omitzero"`
	EvidenceAt time.Time         `json:"evidence_at,omitzero"`
	ChangedAt  time.Time         `json:"changed_at,omitzero"`
	DueAt      time.Time         `json:"due_at,omitzero"`
	Bars       []Bar             `json:"bars,omitempty"`
	Risks      []attestd.Reason  `json:"reasons,omitempty"`
}

// Bar is a hold as the API shows it.
type Bar struct {
	Key       string        `json:"key"`
	State     attestd.State `json:"state"`
	Code      subject.Code  `json:"code"`
	Reason    string        `json:"reason"`
	Ticket    string        `json:"ticket,omitempty"`
	By        string        `json:"by"`
	Automatic bool          `json:"automatic"`
	At        time.Time     `json:"at"`
}

// Subjects answers GET /v1/admin/subjects.
type Subjects struct {
	Schema   string    `json:"schema"` // attestd.subjects.v1
	Subjects []Subject `json:"subjects"`
	// Next is the parameter "after" of the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

// History answers GET /v1/admin/subject/history.
type History struct {
	Schema string  `json:"schema"` // attestd.history.v1
	Events []Event `json:"events"`
	Next   string  `json:"next,omitempty"`
}

// Event is one line of a history.
type Event struct {
	At        time.Time         `json:"at"`
	Kind      string            `json:"kind"`
	From      attestd.State     `json:"from"`
	To        attestd.State     `json:"to"`
	Risk      attestd.RiskScore `json:"risk_score"`
	Epoch     uint64            `json:"risk_epoch"`
	Actor     string            `json:"actor"`
	Detail    string            `json:"detail,omitempty"`
	Appraisal string            `json:"appraisal_id,omitempty"`
}

// Why answers GET /v1/admin/why: the steps to an identity in order, the first that is missing, and
// what to do about it.
type Why struct {
	Schema string `json:"schema"` // attestd.why.v1
	Target string `json:"target"`
	// Subject is whose evidence it was, where Target is an appraisal's id and that is known.
	Subject subject.ID `json:"subject,omitempty"`
	// Granted says whether a grant would be given now.
	Granted bool      `json:"granted"`
	Steps   []WhyStep `json:"steps"`
	Cause   string    `json:"cause"`
	// Code names the cause for programs, as in "quarantined", "not-enrolled", "overdue".
	Code string `json:"code"`
	Fix  string `json:"fix,omitempty"`
	// Entries are SPIRE's for a workload's id, or those that a node can obtain; not all where there are
	// many.
	Entries []WhyEntry `json:"entries,omitempty"`
}

// WhyEntry is a registration entry of SPIRE's.
type WhyEntry struct {
	ID        string   `json:"id"`
	SPIFFEID  string   `json:"spiffe_id"`
	ParentID  string   `json:"parent_id"`
	Selectors []string `json:"selectors"` // "type:value"
}

// WhyStep is one step of a Why.
type WhyStep struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// ReattestOrder asks that a node attests itself again: POST /v1/admin/reattest, role operator.
type ReattestOrder struct {
	Target string `json:"target"`
}

// Reattest answers a ReattestOrder.
type Reattest struct {
	Schema string     `json:"schema"` // attestd.reattest.v1
	ID     subject.ID `json:"id"`
	// State is "done" where SPIRE was told, "waiting" for its turn, or "refused".
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Waiting is how many nodes wait, this one among them, PerMinute how many have their turn in a
	// minute, and Turn when this one's is at the latest.
	Waiting   int       `json:"waiting,omitempty"`
	PerMinute int       `json:"per_minute,omitempty"`
	Turn      time.Time `json:"turn,omitzero"`
}

// GrantRequest asks for a grant: POST /v1/admin/grants, role issuer.
type GrantRequest struct {
	ID subject.ID `json:"id"`
	// Seconds that what is issued on the grant can live, 1 to 86400.
	Seconds int    `json:"seconds"`
	For     string `json:"for"` // what is issued, as in "x509-svid"
}

// Grant answers a GrantRequest that was granted; one that was not is a problem of class QUARANTINED,
// REVOKED_SUBJECT or POLICY_DENY.
type Grant struct {
	Schema string            `json:"schema"` // attestd.grant.v1
	ID     subject.ID        `json:"id"`
	Tenant string            `json:"tenant"`
	State  attestd.State     `json:"state"`
	Tier   attestd.Tier      `json:"tier"`
	Risk   attestd.RiskScore `json:"risk_score"`
	Epoch  uint64            `json:"risk_epoch"`
	Until  time.Time         `json:"until"`
}

// Enrolments answers GET /v1/admin/enrolments.
type Enrolments struct {
	Schema     string              `json:"schema"` // attestd.enrolments.v1
	Enrolments []subject.Ownership `json:"enrolments"`
	Next       string              `json:"next,omitempty"`
}

// Import asks to enrol a list: POST /v1/admin/enrolments/import.
type Import struct {
	// Kind is "csv", "ek-certificates", "platform-certificates", "aws", "gce" or "azure".
	Kind   string `json:"kind"`
	Tenant string `json:"tenant"`
	// Document is the list as it was read.
	Document  []byte    `json:"document"`
	Source    string    `json:"source"` // name of the file, for the record
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	DryRun    bool      `json:"dry_run,omitempty"`
}

// Imported answers an Import.
type Imported struct {
	Schema   string   `json:"schema"` // attestd.imported.v1
	DryRun   bool     `json:"dry_run"`
	Added    int      `json:"added"`
	Updated  int      `json:"updated"`
	Same     int      `json:"unchanged"`
	Problems []string `json:"problems"`
	// Entries are the first 100 that were added or changed.
	Entries []subject.Ownership `json:"entries"`
}

// Decide asks to approve, deny or remove an enrolment: POST /v1/admin/enrolments/approve, /deny,
// /remove.
type Decide struct {
	// Key is "kind:value", or the unique beginning of the value of at least 6 characters.
	Key       string    `json:"key"`
	Tenant    string    `json:"tenant,omitempty"`
	Label     string    `json:"label,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	DryRun    bool      `json:"dry_run,omitempty"`
}

// Decided answers a Decide.
type Decided struct {
	Schema    string            `json:"schema"` // attestd.enrolment.v1
	DryRun    bool              `json:"dry_run"`
	Enrolment subject.Ownership `json:"enrolment"`
}

// TokenRequest asks for a one-time enrolment token: POST /v1/admin/enrolments/tokens.
type TokenRequest struct {
	Tenant  string   `json:"tenant"`
	Label   string   `json:"label,omitempty"`
	Formats []string `json:"formats"`
	Seconds int      `json:"seconds"`
}

// Token answers a TokenRequest, once.
type Token struct {
	Schema    string    `json:"schema"` // attestd.enrolment-token.v1
	ID        string    `json:"id"`
	Token     string    `json:"token"`
	Tenant    string    `json:"tenant"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Operator is somebody who may use the admin API.
type Operator struct {
	Name      string    `json:"name"`
	Roles     []string  `json:"roles"`
	Tenants   []string  `json:"tenants"`
	By        string    `json:"by"`
	CreatedAt time.Time `json:"created_at"`
	// RevokedAt ends every certificate and token of the operator.
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	// CertificateUntil is when the newest certificate ends; zero for none yet.
	CertificateUntil time.Time `json:"certificate_until,omitzero"`
}

// Operators answers GET /v1/admin/operators.
type Operators struct {
	Schema    string     `json:"schema"` // attestd.operators.v1
	Operators []Operator `json:"operators"`
}

// OperatorAdded answers POST /v1/admin/operators (body: Operator with name, roles and tenants): the
// one-time token that the operator logs in with.
type OperatorAdded struct {
	Schema    string    `json:"schema"` // attestd.operator-added.v1
	Operator  Operator  `json:"operator"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// OperatorName names one: POST /v1/admin/operators/revoke, answered with Operators.
type OperatorName struct {
	Name string `json:"name"`
}

// Login asks for a client certificate: POST /v1/admin/login, with a one-time token as bearer.
type Login struct {
	// CSR is a PKCS #10 request in DER; only its key is taken.
	CSR []byte `json:"csr"`
}

// LoggedIn answers a Login.
type LoggedIn struct {
	Schema string `json:"schema"` // attestd.login.v1
	// Certificates is the chain in DER, leaf first; CA is attestd's own, to know the server by.
	Certificates [][]byte  `json:"certificates"`
	CA           []byte    `json:"ca"`
	Name         string    `json:"name"`
	NotAfter     time.Time `json:"not_after"`
}

// ReappraisalRequest asks to judge stored evidence again: POST /v1/admin/reappraisals.
type ReappraisalRequest struct {
	// Policy and References replace the ones in force; empty keeps those. Only a dry run can replace.
	Policy     []byte   `json:"policy,omitempty"`
	References [][]byte `json:"references,omitempty"`
	// CRLs and Certificates, in DER, and signed documents are added to the collateral in force. Only a dry
	// run can add.
	CRLs         [][]byte `json:"crls,omitempty"`
	Certificates [][]byte `json:"certificates,omitempty"`
	Documents    [][]byte `json:"documents,omitempty"`
	// At judges as of that time; zero as of when the evidence was given.
	At time.Time `json:"at,omitzero"`
	// Tenant narrows it down; empty is every one that the asker may act for.
	Tenant string `json:"tenant,omitempty"`
	DryRun bool   `json:"dry_run"`
}

// Reappraisal is the state of one: answer to the POST and to GET /v1/admin/reappraisals?id=.
type Reappraisal struct {
	Schema  string    `json:"schema"` // attestd.reappraisal.v1
	ID      string    `json:"id"`
	DryRun  bool      `json:"dry_run"`
	State   string    `json:"state"` // running, done, failed
	Total   int       `json:"total"`
	Done    int       `json:"done"`
	Failed  int       `json:"failed"`
	Started time.Time `json:"started_at"`
	Ended   time.Time `json:"ended_at,omitzero"`
	// Changes are the subjects whose verdict or tier would be another, at most 1,000; Changed counts all.
	Changed int                 `json:"changed"`
	Changes []ReappraisalChange `json:"changes"`
	Error   string              `json:"error,omitempty"`
}

// ReappraisalChange is one subject whose verdict changes.
type ReappraisalChange struct {
	ID     subject.ID      `json:"id"`
	Tenant string          `json:"tenant"`
	From   ReappraisalSide `json:"from"`
	To     ReappraisalSide `json:"to"`
	// Why names the checks that make the difference.
	Why []string `json:"why"`
}

// ReappraisalSide is a verdict in short.
type ReappraisalSide struct {
	Verdict attestd.Verdict   `json:"verdict"`
	Tier    attestd.Tier      `json:"tier"`
	Risk    attestd.RiskScore `json:"risk_score"`
}

// Status answers GET /v1/admin/status.
type Status struct {
	Schema   string    `json:"schema"` // attestd.status.v1
	Version  string    `json:"version"`
	Ready    bool      `json:"ready"`
	Now      time.Time `json:"now"`
	Started  time.Time `json:"started_at"`
	Store    string    `json:"store"`
	Policies []string  `json:"policies"` // "production sha256:9f2c41d7…"
	// States, Tiers and Formats count the subjects that the asker may see.
	States  map[string]int `json:"states"`
	Tiers   map[string]int `json:"tiers"`
	Formats map[string]int `json:"formats"`
	// Pending enrolments, overdue subjects, and the oldest evidence of a trusted one.
	Pending int       `json:"pending_enrolments"`
	Overdue int       `json:"overdue"`
	Oldest  time.Time `json:"oldest_evidence_at,omitzero"`
	// Channels with their last measured effect.
	Channels   []Channel   `json:"channels"`
	Conditions []Condition `json:"conditions"`
}

// Condition is one thing that is not as it should be, or that was looked at and is well.
type Condition struct {
	// ID as in "store/space-low"; attestd explain ID says more.
	ID string `json:"id"`
	// Severity is "ok", "warning", "failure" or "unknown".
	Severity string    `json:"severity"`
	Detail   string    `json:"detail"`
	Effect   string    `json:"effect,omitempty"`
	Fix      string    `json:"fix,omitempty"`
	Since    time.Time `json:"since,omitzero"`
}

// Conditions answers GET /v1/admin/conditions.
type Conditions struct {
	Schema     string      `json:"schema"` // attestd.conditions.v1
	Conditions []Condition `json:"conditions"`
}

// AuditEntries answers GET /v1/admin/audit/entries?start=&limit=.
type AuditEntries struct {
	Schema string `json:"schema"` // attestd.audit-entries.v1
	// Start is the index of the first leaf; Leaves are as they were hashed, and Records what they say.
	Start   int64          `json:"start"`
	Leaves  [][]byte       `json:"leaves"`
	Records []audit.Record `json:"records"`
	Size    int64          `json:"size"`
	// Checkpoint is the newest signed one (a signed note, C2SP tlog-checkpoint), and Key the public key
	// it is signed by (C2SP signed-note): whoever asks can pin it, or compare it with what was pinned.
	Checkpoint string `json:"checkpoint"`
	Key        string `json:"key,omitempty"`
}

// LogLevel is GET and POST /v1/admin/log-level.
type LogLevel struct {
	Schema string `json:"schema"` // attestd.log-level.v1
	Level  string `json:"level"`
	// Until is when it falls back to the configured one; zero for never.
	Until time.Time `json:"until,omitzero"`
}
