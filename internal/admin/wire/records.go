package wire

import (
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/nhi"
)

// Records answers GET /v1/admin/records.
type Records struct {
	Schema  string       `json:"schema"` // attestd.records.v1
	Records []nhi.Record `json:"records"`
	// Next is where the next page begins; empty at the end.
	Next string `json:"next,omitempty"`
}

// Record answers GET /v1/admin/record: what the inventory says of an identity, and how it stands
// now.
type Record struct {
	Schema string     `json:"schema"` // attestd.record.v1
	Record nhi.Record `json:"record"`
	Seen   Seen       `json:"seen"`
	// Findings are what lint says of it, the worst first.
	Findings []nhi.Finding `json:"findings"`
}

// Seen is how an identity stands now.
type Seen struct {
	// Known says that it could be told; the rest means nothing otherwise.
	Known    bool          `json:"known"`
	Attested bool          `json:"attested"`
	State    attestd.State `json:"state"`
	// Tenant follows from the hardware; it is shown to those alone who may see that tenant.
	Tenant     string            `json:"tenant,omitempty"`
	Risk       attestd.RiskScore `json:"risk_score"`
	Tier       attestd.Tier      `json:"risk_tier"`
	AttestedAt time.Time         `json:"attested_at,omitzero"`
}

// RecordsImport asks to take up records: POST /v1/admin/records/import.
type RecordsImport struct {
	Records []nhi.Record `json:"records"`
	// Tenant is given to records that name none.
	Tenant string `json:"tenant,omitempty"`
	// Source is the name of the file, for the audit log.
	Source string `json:"source"`
	// Whole says that a record is everything there is to say: what it leaves empty becomes empty.
	// Otherwise that stays as it is.
	Whole  bool `json:"whole,omitempty"`
	DryRun bool `json:"dry_run,omitempty"`
}

// RecordsChanged answers what changes records. Where there are problems nothing was changed.
type RecordsChanged struct {
	Schema   string   `json:"schema"` // attestd.records-changed.v1
	DryRun   bool     `json:"dry_run"`
	Added    int      `json:"added"`
	Updated  int      `json:"updated"`
	Same     int      `json:"unchanged"`
	Removed  int      `json:"removed"`
	Problems []string `json:"problems"`
	// Changes are the first 100.
	Changes []RecordChange `json:"changes"`
}

// RecordChange is what becomes of one record.
type RecordChange struct {
	ID     string `json:"id"`
	Tenant string `json:"tenant,omitempty"`
	// Kind is "added", "updated" or "removed".
	Kind   string        `json:"kind"`
	Fields []RecordField `json:"fields,omitempty"`
}

// RecordField is one field that changes. Lists are written with spaces between their members.
type RecordField struct {
	Field string `json:"field"`
	Was   string `json:"was"`
	Is    string `json:"is"`
}

// RecordOrder asks to retire a record or to remove it: POST /v1/admin/records/retire, /remove.
type RecordOrder struct {
	ID     string `json:"id"`
	Reason string `json:"reason,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// InventoryLint answers GET /v1/admin/records/lint.
type InventoryLint struct {
	Schema string    `json:"schema"` // attestd.inventory-lint.v1
	At     time.Time `json:"at"`
	// Records is how many were looked at, Counts how often each finding was made, the worst first.
	Records int         `json:"records"`
	Counts  []nhi.Count `json:"counts"`
	// Findings are the first 1000; More is how many there are besides.
	Findings []nhi.Finding `json:"findings"`
	More     int           `json:"more"`
	// PoliciesKnown says whether the names of policies could be compared with those in force.
	PoliciesKnown bool `json:"policies_known"`
}
