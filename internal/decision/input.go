package decision

import (
	"net/netip"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/subject"
)

// InputSchema is the form of a stored [Input].
const InputSchema = "attestd.decision-input.v1"

// Input is everything that a decision rests on, its policies apart: it is stored with the decision, and
// judged again by a replay. It holds no token, no prompt and no nonce.
type Input struct {
	Schema string `json:"schema"`
	// At is the time that the decision is for.
	At       time.Time `json:"at"`
	Via      Via       `json:"via"`
	Enforcer string    `json:"enforcer"`
	// Who the caller is, as its credential showed.
	Who Who `json:"who"`
	// Source is the address that it connected from, as the enforcement point says.
	Source netip.Addr `json:"source,omitzero"`
	// Standing is how it stood when its state was read.
	Standing Standing `json:"standing"`
	// Record is its record of the inventory; nil for none.
	Record *nhi.Record `json:"record,omitempty"`
	// Foreign says that the enforcement point does not speak for the caller's tenant: what it says about the
	// caller's ways is another tenant's word.
	Foreign   bool     `json:"foreign,omitempty"`
	Action    Action   `json:"action"`
	Resource  Resource `json:"resource"`
	Context   Context  `json:"context"`
	Supported []string `json:"supported_obligations,omitempty"`
	// Findings are what detectors say of this question.
	Findings Findings `json:"findings"`
	// Rules are the bounds that gates go by.
	Rules Rules `json:"rules"`
	// Sequence is the number of the last change of state that was in force when the state was read.
	Sequence uint64 `json:"sequence"`
	// Refused is why the interface refused what came, in words too; empty for a question.
	Refused       Code   `json:"refused,omitempty"`
	RefusedDetail string `json:"refused_detail,omitempty"`
	// Oversized says that the question had more than a record may hold, and that the rest was cut off.
	Oversized bool `json:"oversized,omitempty"`
	// Late says that the deadline had passed when the decision was made.
	Late bool `json:"late,omitempty"`
}

// Rules are the bounds of an installation.
type Rules struct {
	// Fresh is how old evidence may be; FreshPrivileged for privileged actions.
	Fresh           time.Duration `json:"fresh"`
	FreshPrivileged time.Duration `json:"fresh_privileged"`
	// MaxChain is how many links a subject chain may have.
	MaxChain int `json:"max_chain"`
}

// Methods of authentication.
const (
	MethodJWT  = "jwt-svid"
	MethodX509 = "x509-svid"
)

// Who is the caller, as its credential showed. The zero Who is nobody.
type Who struct {
	ID          subject.ID `json:"id,omitempty"`
	TrustDomain string     `json:"trust_domain,omitempty"`
	// Method is [MethodJWT] or [MethodX509]; empty where nothing was verified.
	Method   string    `json:"method,omitempty"`
	Audience []string  `json:"audience,omitempty"`
	IssuedAt time.Time `json:"issued_at,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
	// Credential is the SHA-256 of the token or the leaf certificate, in hex.
	Credential string `json:"credential_sha256,omitempty"`
	// Cached says that the credential was verified before and that nothing changed since.
	Cached bool `json:"cached"`
	// VerifiedAt is when its signature was verified.
	VerifiedAt time.Time `json:"verified_at,omitzero"`
	// Fault is why nobody was identified; empty where somebody was.
	Fault       Code   `json:"fault,omitempty"`
	FaultDetail string `json:"fault_detail,omitempty"`
}

// Standing is how a caller stands at one moment, over its own name and the nodes that it runs on. The
// zero Standing is unknown, and allows nothing.
type Standing struct {
	// Attested says that every node that could have obtained the identity was attested and is good now.
	Attested bool `json:"attested"`
	// State is the worst of the name's own and of every bar on it.
	State attestd.State `json:"state"`
	// Tenant follows from the ownership of the hardware; empty where it does not, or for several.
	Tenant string            `json:"tenant,omitempty"`
	Risk   attestd.RiskScore `json:"risk_score"`
	Tier   attestd.Tier      `json:"risk_tier"`
	// Epoch changes whenever the answer to anything can: it is compared and not counted with.
	Epoch      uint64    `json:"risk_epoch"`
	Status     string    `json:"ear_status"`
	AttestedAt time.Time `json:"attested_at,omitzero"`
	// DueAt is when fresh evidence is due.
	DueAt time.Time `json:"due_at,omitzero"`
	// TEE, Measurement, KeyGrade, Devices and Edge are as in the claims of an SVID.
	TEE         string `json:"tee,omitempty"`
	Measurement string `json:"measurement,omitempty"`
	KeyGrade    string `json:"key_grade,omitempty"`
	Devices     string `json:"devices,omitempty"`
	Edge        string `json:"weakest_edge,omitempty"`
	// Fault is why the state could not be told; empty where it could.
	Fault Code `json:"fault,omitempty"`
}

// Findings are what detectors and limits say of one question. The zero Findings say that nobody looked:
// Looked must be set.
type Findings struct {
	Looked bool `json:"looked"`
	// Throttled says that the caller's limit is used up; RetryAfter is when to ask again.
	Throttled  bool          `json:"throttled,omitempty"`
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	// Novel is the share of the asked datasets and tools that are new for this caller, in percent.
	Novel int `json:"novel"`
	// NovelIDs are some of them.
	NovelIDs []string `json:"novel_ids,omitempty"`
	// Raised are the codes of detectors that fired at this question.
	Raised []Code `json:"raised,omitempty"`
}
