package attestd

import (
	"encoding/json"
	"time"
)

// VerdictSchema names the published JSON schema of an [Appraisal].
const VerdictSchema = "attestd.verdict.v1"

// Appraisal is a verdict with everything that led to it. It is a result, not a proof: unlike
// [Claims] it can be stored and read back, and nothing may be re-appraised from it.
type Appraisal struct {
	// Schema is VerdictSchema.
	Schema string `json:"schema"`
	// ID names the appraisal where one was stored; empty otherwise.
	ID      string  `json:"id,omitempty"`
	Verdict Verdict `json:"verdict"`
	Format  Format  `json:"format"`
	// Summary names product and version for people; empty where evidence was not authentic.
	Summary string    `json:"summary,omitempty"`
	Tier    Tier      `json:"tier"`
	Risk    RiskScore `json:"risk_score"`
	// Freshness is "not-shown", "nonce" or "binding".
	Freshness Freshness `json:"freshness"`
	// Nonce is [NonceClientChosen] where whoever asked chose the nonce; empty otherwise. Such a verdict
	// shows them that the evidence is fresh, and nobody else.
	Nonce string `json:"nonce,omitempty"`
	// At is the time as of which everything was judged.
	At time.Time `json:"at"`
	// Reasons explain the risk, worst first.
	Reasons []Reason `json:"reasons"`
	// Checks in the order in which they ran.
	Checks []Check `json:"checks"`
	// Claims is a view of the verified facts as a JSON object; null where nothing was verified.
	Claims json.RawMessage `json:"claims"`
	// Handles are the names that the hardware gave; empty where nothing was verified.
	Handles []Handle `json:"handles,omitempty"`
	// Devices are the parts of composed evidence in the order of their paths' appearance, and Edges what
	// ties them together; empty where the evidence is of one device.
	Devices []DeviceAppraisal `json:"devices,omitempty"`
	Edges   []Edge            `json:"edges,omitempty"`
	// Standing says who it is, whose it is and in which state; nil where no registry was asked.
	Standing *Standing `json:"standing,omitempty"`
	// Trust is the EAR trustworthiness vector.
	Trust TrustVector `json:"trust_vector"`
	// Policy that was applied.
	Policy PolicyRef `json:"policy"`
	// EvidenceSHA256 is the digest of the evidence as received, in hex.
	EvidenceSHA256 string `json:"evidence_sha256"`
}

// DeviceAppraisal is what the verdict has on one device of composed evidence. Its checks and reasons
// stand among those of the whole, under its path.
type DeviceAppraisal struct {
	// Path names the device within the evidence, as in "cpu" or "vtpm".
	Path    string `json:"path"`
	Format  Format `json:"format"`
	Summary string `json:"summary,omitempty"`
	// Verdict, Tier and Risk are what the device's own checks make; the whole is never better.
	Verdict Verdict   `json:"verdict"`
	Tier    Tier      `json:"tier"`
	Risk    RiskScore `json:"risk_score"`
	// Freshness of the device's own evidence.
	Freshness Freshness       `json:"freshness"`
	Claims    json.RawMessage `json:"claims"`
	Handles   []Handle        `json:"handles,omitempty"`
	Trust     TrustVector     `json:"trust_vector"`
}

// NonceClientChosen labels a verdict on evidence that answers a nonce which the client chose. Who knows
// old evidence can choose the nonce that is in it.
const NonceClientChosen = "client-chosen"

// Standing is what the registry had about a subject when its verdict was stored.
type Standing struct {
	// Subject is its SPIFFE ID; empty where the evidence names no instance or the machine is nobody's.
	Subject string `json:"subject,omitempty"`
	// Tenant that the machine belongs to; empty for none.
	Tenant string `json:"tenant,omitempty"`
	// Ownership is "none", "inventory", "cloud-account" or "enrolment"; Enrolment says how it stands
	// where it is none: "pending", "denied" or "not-asked".
	Ownership string `json:"ownership"`
	Enrolment string `json:"enrolment,omitempty"`
	State     State  `json:"state"`
	// Epoch rises whenever a decision about the subject can change.
	Epoch uint64 `json:"risk_epoch"`
	// Risk is the verdict's and that of the signals against the subject.
	Risk RiskScore `json:"risk_score"`
	// DueAt is when fresh evidence is due.
	DueAt time.Time `json:"due_at,omitzero"`
}

// Reason is one contribution to the risk.
type Reason struct {
	Check CheckID `json:"check"`
	// Device is the path of the device that the reason is about, as in [Check].
	Device string `json:"device,omitempty"`
	// Group is the root cause; within a group only the most points count.
	Group Group `json:"group"`
	// Points from 0 to 100; a reason that rejects or leaves undecided has 100.
	Points int `json:"points"`
	// Effect says what the policy makes of it: "rejects", "undecided" or "scored".
	Effect Effect `json:"effect"`
	Detail string `json:"detail"`
	// Remedy says what lowers the risk again.
	Remedy string `json:"remedy"`
}

// Effect of a reason. The zero Effect rejects.
type Effect uint8

// Effects of a reason.
const (
	EffectRejects Effect = iota
	EffectUndecided
	EffectScored
)

var effectNames = [...]string{"rejects", "undecided", "scored"}

// String returns "rejects", "undecided" or "scored".
func (e Effect) String() string { return nameOf(effectNames[:], int(e)) }

// MarshalText implements [encoding.TextMarshaler].
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; unknown names are errors.
func (e *Effect) UnmarshalText(text []byte) error {
	index, err := indexOf(effectNames[:], "effect", text)
	*e = Effect(index) //nolint:gosec // index of an array of three
	return err
}

// PolicyRef names a policy document by its id and the digest of its bytes ("sha256:…").
type PolicyRef struct {
	ID     string `json:"id"`
	Digest string `json:"digest"`
}

// TrustVector is the trustworthiness vector of draft-ietf-rats-ar4si: 0 says nothing, 2 to 31
// affirms, 32 to 95 warns, 96 to 127 contraindicates, 99 says that the evidence's cryptography
// failed.
type TrustVector struct {
	InstanceIdentity int8 `json:"instance-identity"`
	Configuration    int8 `json:"configuration"`
	Executables      int8 `json:"executables"`
	FileSystem       int8 `json:"file-system"`
	Hardware         int8 `json:"hardware"`
	RuntimeOpaque    int8 `json:"runtime-opaque"`
	StorageOpaque    int8 `json:"storage-opaque"`
	SourcedData      int8 `json:"sourced-data"`
}
