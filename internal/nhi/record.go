package nhi

import "time"

// Purpose is what an identity is for. Those below are known to the shipped policies; others may be
// named in an installation's own.
type Purpose string

// Purposes.
const (
	PurposeFeatureExtraction Purpose = "feature-extraction"
	PurposeInference         Purpose = "inference"
	PurposeEvaluation        Purpose = "evaluation"
	PurposeTraining          Purpose = "training"
	PurposeRetrieval         Purpose = "retrieval"
	PurposeIngestion         Purpose = "ingestion"
	PurposeOrchestration     Purpose = "orchestration"
	PurposeCI                Purpose = "ci"
	PurposeBatch             Purpose = "batch"
)

// Zone says how much the place is trusted that an identity acts from.
type Zone string

// Zones.
const (
	ZoneTrusted     Zone = "trusted"
	ZoneSemiTrusted Zone = "semi-trusted"
	ZoneUntrusted   Zone = "untrusted"
)

// CredentialKind says what an identity authenticates with.
type CredentialKind string

// Kinds of credentials.
const (
	// CredentialPermanent does not end by itself: an API key, a long-lived token.
	CredentialPermanent CredentialKind = "permanent"
	// CredentialShortLived ends within a day, and says nothing of hardware.
	CredentialShortLived CredentialKind = "short-lived"
	// CredentialAttested is an SVID behind evidence of hardware.
	CredentialAttested CredentialKind = "attested"
)

// Lifecycle is where an identity is in its life, as its owner says.
type Lifecycle string

// Steps of a life.
const (
	LifecycleEnrolled Lifecycle = "enrolled"
	LifecycleActive   Lifecycle = "active"
	LifecycleRetired  Lifecycle = "retired"
)

// Record is what is known of one identity. Empty fields are not known: [Lint] lists them, and
// decisions that need one deny.
type Record struct {
	// ID is a SPIFFE ID, or KIND:NAME for an identity without one, as in "github:acme/train.yml".
	ID string `json:"id"`
	// Tenant and Project it was launched for.
	Tenant  string `json:"tenant,omitempty"`
	Project string `json:"project,omitempty"`
	// Owner is a person or a team that answers for it.
	Owner   string  `json:"owner,omitempty"`
	Purpose Purpose `json:"purpose,omitempty"`
	// Stage of a pipeline, as in "ranking".
	Stage string `json:"stage,omitempty"`
	// Ring is the deployment ring: "canary", "early", "stable".
	Ring string `json:"ring,omitempty"`
	Zone Zone   `json:"zone,omitempty"`
	// Tools and Datasets are the blast radius: the ids that it may reach, sorted; a last "*"
	// matches the rest of an id. An empty list is no tool, and no dataset.
	Tools    []string `json:"tools,omitempty"`
	Datasets []string `json:"datasets,omitempty"`
	// Policy names the policies that it is bound to; empty is none, and denies.
	Policy     string         `json:"policy,omitempty"`
	Credential CredentialKind `json:"credential,omitempty"`
	Lifecycle  Lifecycle      `json:"lifecycle,omitempty"`
	// Source is where the record came from, as in "file:inventory.yaml" or "spire".
	Source string `json:"source,omitempty"`
	// Updated is when it was last written; Generation is for compare-and-swap.
	Updated    time.Time `json:"updated,omitzero"`
	Generation uint64    `json:"generation,omitempty"`
}

// Reaches reports whether an id is within a list of a blast radius. An empty id is within none.
func Reaches(list []string, id string) bool {
	if id == "" {
		return false
	}
	for _, one := range list {
		if one == id {
			return true
		}
		if n := len(one) - 1; n >= 0 && one[n] == '*' && len(id) >= n && id[:n] == one[:n] {
			return true
		}
	}
	return false
}
