package subject

import "time"

// Method says how a machine is known to be ours. The names are those of the fact "ownership".
type Method string

// Methods of ownership. Anything else counts as none.
const (
	MethodNone      Method = "none"
	MethodInventory Method = "inventory"
	MethodCloud     Method = "cloud-account"
	MethodEnrolment Method = "enrolment"
)

// Status of an ownership. The zero Status owns nothing.
type Status string

// Statuses of an ownership.
const (
	StatusPending  Status = "pending"
	StatusApproved Status = "approved"
	StatusDenied   Status = "denied"
)

// Ownership says whose hardware of that key is.
type Ownership struct {
	Key    Key    `json:"key"`
	Tenant string `json:"tenant"`
	Method Method `json:"method"`
	Status Status `json:"status"`
	// Label is the operator's name for the machine.
	Label string `json:"label,omitempty"`
	// Source says where it is from: the import, the token, the evidence that asked.
	Source string `json:"source"`
	// Format of the evidence that asked, for a pending one.
	Format string `json:"format,omitempty"`
	// By is who approved, denied or imported it.
	By        string    `json:"by,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	DecidedAt time.Time `json:"decided_at,omitzero"`
	// SeenAt and Seen say when and how often evidence asked, for a pending one.
	SeenAt time.Time `json:"seen_at,omitzero"`
	Seen   int       `json:"seen,omitempty"`
	// ExpiresAt ends it; zero for never.
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	Generation uint64    `json:"generation"`
}

// Owns reports whether the machine is the tenant's at that time: approved and not expired.
func (o Ownership) Owns(at time.Time) bool {
	return o.Status == StatusApproved && o.Tenant != "" && (o.ExpiresAt.IsZero() || at.Before(o.ExpiresAt))
}

// Token is a one-time enrolment token as it is kept: nothing that could be handed in again.
type Token struct {
	// ID is public; Secret is the SHA-256 of the secret half.
	ID     string   `json:"id"`
	Secret [32]byte `json:"-"`
	Tenant string   `json:"tenant"`
	Label  string   `json:"label,omitempty"`
	// Formats that it may enrol; empty is refused by whoever makes one.
	Formats   []string  `json:"formats"`
	By        string    `json:"by"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	UsedAt    time.Time `json:"used_at,omitzero"`
	// UsedBy is the key of the machine that used it.
	UsedBy string `json:"used_by,omitempty"`
}
