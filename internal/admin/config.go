package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/condition"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// Orders carries out holds. It writes its own entries of the audit log for what it has done, in the
// transaction that does it.
type Orders interface {
	Quarantine(ctx context.Context, who operator.Principal, order wire.Order) (wire.Receipt, error)
	Release(ctx context.Context, who operator.Principal, order wire.Order) (wire.Receipt, error)
	Revoke(ctx context.Context, who operator.Principal, order wire.Order) (wire.Receipt, error)
}

// Enrolments says whose machines are. It writes its own entries of the audit log, too.
type Enrolments interface {
	Import(ctx context.Context, who operator.Principal, ask wire.Import) (wire.Imported, error)
	Approve(ctx context.Context, who operator.Principal, ask wire.Decide) (wire.Decided, error)
	Deny(ctx context.Context, who operator.Principal, ask wire.Decide) (wire.Decided, error)
	Remove(ctx context.Context, who operator.Principal, ask wire.Decide) (wire.Decided, error)
	List(ctx context.Context, who operator.Principal, filter subject.Filter) (wire.Enrolments, error)
	NewToken(ctx context.Context, who operator.Principal, ask wire.TokenRequest) (wire.Token, error)
}

// Reappraisals judges stored evidence again, in the background.
type Reappraisals interface {
	Start(ctx context.Context, who operator.Principal, ask wire.ReappraisalRequest) (wire.Reappraisal, error)
	// Find returns one that who may see, false where there is none.
	Find(ctx context.Context, who operator.Principal, id string) (wire.Reappraisal, bool, error)
}

// Nodes has nodes attest themselves again.
type Nodes interface {
	// Reattest says what came of it for a node that is there. It is paced.
	Reattest(ctx context.Context, id subject.ID) (wire.Reattest, error)
}

// Subjects reads the registry.
type Subjects interface {
	// Find returns at most two subjects of the tenants that have the id, or an instance that begins so.
	Find(ctx context.Context, tenants []string, prefix string) ([]subject.Subject, error)
	Subjects(ctx context.Context, filter subject.Filter) (list []subject.Subject, next string, err error)
	Known(ctx context.Context, ask subject.Ask) (subject.Known, error)
	// History returns events, the newest first, those before the number after; 0 is from the newest.
	History(ctx context.Context, id subject.ID, after int64, limit int) ([]subject.Event, error)
}

// Index knows every subject's state now, and gives grants.
type Index interface {
	Check(id subject.ID, now time.Time) live.Standing
	Grant(id subject.ID, seconds int, what string, now time.Time) (live.Standing, error)
	Counts(tenants []string, now time.Time) live.Counts
}

// Explainer says what stands between a target and an identity. It answers for another tenant's target
// as for one that was never seen.
type Explainer interface {
	Why(ctx context.Context, who operator.Principal, target string) (wire.Why, error)
}

// Book says who a request is from, and names operators.
type Book interface {
	ByToken(bearer string) (operator.Principal, error)
	ByCertificate(ctx context.Context, state *tls.ConnectionState) (operator.Principal, error)
	Login(ctx context.Context, bearer string, csr []byte) (operator.Certificate, error)
	Add(
		ctx context.Context, by operator.Principal, name string, roles []operator.Role, tenants []string,
	) (operator.Record, operator.LoginToken, error)
	Revoke(ctx context.Context, by operator.Principal, name string) (operator.Record, error)
	List(ctx context.Context, by operator.Principal) ([]operator.Record, error)
}

// Audit takes up what was asked.
type Audit interface {
	// Record writes one entry durably. Where it fails, what it is about is not answered.
	Record(ctx context.Context, record audit.Record) error
	// Note takes up an entry that can be many: alike ones are counted and written together.
	Note(record audit.Record)
	// Ready returns nil where entries can be written: what is noted later is not lost.
	Ready() error
	// Entries reads leaves from start, at most limit.
	Entries(ctx context.Context, start int64, limit int) (wire.AuditEntries, error)
}

// Conditions says how attestd itself is.
type Conditions interface {
	Snapshot() []condition.State
	// Ready returns nil where attestd decides.
	Ready() error
}

// Config says what the API is made of. Every field is required but Settings, Decisions and Inventory.
type Config struct {
	Book         Book
	Orders       Orders
	Enrolments   Enrolments
	Reappraisals Reappraisals
	Nodes        Nodes
	Subjects     Subjects
	Index        Index
	Explainer    Explainer
	Keys         Keys
	Audit        Audit
	Conditions   Conditions
	// Decisions are nil where nobody is decided about.
	Decisions Decisions
	// Inventory is nil where no records of identities are kept.
	Inventory Inventory
	// Now is the store's clock.
	Now    func() time.Time
	Logger *slog.Logger
	// Level is the log's; what it is now is the level to fall back to.
	Level *slog.LevelVar
	// Registerer takes the metrics of this API; Gatherer has all metrics, for the support bundle.
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer

	// Version, Store and Started are for the status.
	Version, Store string
	Started        time.Time
	// Policies names the policies in force, as in "production sha256:9f2c41d7"; before one that is a
	// tenant's own stands "TENANT=".
	Policies func() []string
	// Settings is the configuration, a struct; the support bundle has it without its secrets.
	Settings any
}

func (c Config) check() error {
	switch {
	case c.Book == nil, c.Orders == nil, c.Enrolments == nil, c.Reappraisals == nil, c.Subjects == nil,
		c.Nodes == nil, c.Keys == nil, c.Index == nil, c.Explainer == nil, c.Audit == nil, c.Conditions == nil:
		return errors.New("an admin API needs each of the parts that it asks")
	case c.Now == nil, c.Logger == nil, c.Level == nil, c.Registerer == nil, c.Gatherer == nil,
		c.Policies == nil, c.Version == "", c.Store == "", c.Started.IsZero():
		return errors.New("an admin API needs a clock, a logger with its level, metrics, and what to say of itself")
	}
	return nil
}
