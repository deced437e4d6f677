package daemon

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/condition"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// health looks after attestd itself.
type health struct {
	parts    *parts
	settings config.Config
	set      *condition.Set

	mu sync.Mutex
	// signed and signing are of the last checkpoint, read and whole of the last reading of the whole
	// log, reload of the last reading of policies.
	signed, read           time.Time
	signing, whole, reload error
}

// How often attestd looks at itself, and how long a look can take.
const (
	lookEvery = 10 * time.Second
	lookFor   = 5 * time.Second
	// readLogEvery is how often the whole audit log is read: an entry that was changed on disk shows
	// then.
	readLogEvery = time.Hour
)

// newHealth looks at everything once.
func (p *parts) newHealth(ctx context.Context, options Options) (*health, error) {
	h := &health{
		parts: p, settings: options.Config, set: condition.New(p.store.Now), signed: p.store.Now(),
	}
	h.readLog(ctx)
	h.set.Refresh(ctx, lookFor, h.sources()...)
	return h, p.metrics.Register(h.set)
}

func (h *health) sources() []condition.Source {
	return []condition.Source{
		{IDs: condition.StoreIDs, Look: h.store},
		{IDs: []condition.ID{condition.WorkersAnswer}, Look: h.workers},
		{IDs: condition.SettingIDs, Look: h.switches},
		{IDs: condition.AuditIDs, Look: h.audit},
		h.fleetSource(),
		{IDs: condition.CollateralIDs, Look: func(context.Context) []condition.Finding {
			return h.parts.collateral.findings(h.settings.Collateral, h.parts.store.Now())
		}},
		{IDs: condition.SPIREIDs, Look: func(context.Context) []condition.Finding {
			return h.parts.spireFindings(h.settings.SPIRE)
		}},
		{IDs: condition.DecisionIDs, Look: h.decisions},
		{
			IDs: []condition.ID{
				condition.TLSCertificate, condition.AdminCertificate, condition.AdminToken,
				condition.OperatorCertificates,
			},
			Look: h.certificates,
		},
	}
}

// run looks after everything until ctx ends.
func (h *health) run(ctx context.Context) { h.set.Run(ctx, lookEvery, lookFor, h.sources()...) }

// runLog reads the whole audit log every so often until ctx ends.
func (h *health) runLog(ctx context.Context) {
	ticker := time.NewTicker(readLogEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			h.readLog(ctx)
		}
	}
}

func (h *health) readLog(ctx context.Context) {
	err := h.parts.log.Verify(ctx)
	if ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.whole, h.read = err, h.parts.store.Now()
}

// sign takes up how signing the log went.
func (h *health) sign(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.signing = err; err == nil {
		h.signed = h.parts.store.Now()
	}
}

// reloaded takes up how reading the policies went, so that whoever asks next is told.
func (h *health) reloaded(ctx context.Context, err error) {
	h.mu.Lock()
	h.reload = err
	h.mu.Unlock()
	h.set.Refresh(ctx, lookFor, h.fleetSource())
}

func (h *health) fleetSource() condition.Source {
	return condition.Source{IDs: condition.FleetIDs, Look: h.fleet}
}

func (h *health) store(ctx context.Context) []condition.Finding {
	store := h.parts.store
	pulse := store.Pulse(ctx)
	figures := store.Health()
	return condition.StoreFigures{
		Pulse: pulse, Free: figures.Free, Reserve: figures.Reserve, Low: figures.Low, WAL: figures.WAL,
		P99: figures.P99, RolledBack: figures.RolledBack, Guard: figures.Guard, Behind: figures.Behind,
	}.Findings()
}

func (h *health) workers(ctx context.Context) []condition.Finding {
	return []condition.Finding{condition.Workers(h.parts.service.SelfTest(ctx))}
}

func (h *health) switches(context.Context) []condition.Finding {
	verify := h.settings.Verify
	settings := condition.Settings{
		Isolated: verify.Isolation == config.IsolateProcess, Recorded: verify.AllowRecorded,
		Roots: len(verify.InsecureRoots), Automation: h.settings.Automation.Mode,
	}
	if verify.Policy == appraisal.Laboratory {
		settings.Laboratory = append(settings.Laboratory, "all")
	}
	for _, entry := range verify.TenantPolicies {
		if tenant, policy, _ := strings.Cut(entry, "="); policy == appraisal.Laboratory {
			settings.Laboratory = append(settings.Laboratory, tenant)
		}
	}
	return settings.Findings()
}

func (h *health) audit(context.Context) []condition.Finding {
	h.mu.Lock()
	defer h.mu.Unlock()
	return condition.AuditFigures{
		Ready: h.parts.keeper.Ready(), Signed: h.signed, SignError: h.signing, Whole: h.whole,
		Read: h.read, Size: h.parts.store.AuditTree().Size(), Now: h.parts.store.Now(),
	}.Findings()
}

func (h *health) fleet(ctx context.Context) []condition.Finding {
	now := h.parts.store.Now()
	counts := h.parts.index.Counts([]string{operator.AllTenants}, now)
	h.mu.Lock()
	figures := condition.Fleet{
		Journaled: h.parts.authority.Journaled(), Subjects: counts.Subjects, Overdue: counts.Overdue,
		Room: h.settings.Enrolment.PendingPerTenant, Reload: h.reload,
	}
	h.mu.Unlock()
	if capped, last := h.parts.authority.Capped(); now.Sub(last) < time.Hour {
		figures.Capped = capped
	}
	for _, tenant := range h.settings.Tenants {
		waiting, err := h.pending(ctx, tenant)
		if err != nil {
			return nil // what is not answered for is unknown
		}
		figures.Pending = max(figures.Pending, waiting)
	}
	last, any, err := h.parts.engine.Find(ctx, operator.Principal{
		Name: subject.SourceSelf, Tenants: []string{operator.AllTenants},
	}, "")
	if err == nil && any && last.Error != "" {
		figures.Reappraisal = errors.New(last.Error)
	}
	return figures.Findings()
}

func (h *health) pending(ctx context.Context, tenant string) (int, error) {
	filter := subject.Filter{Tenants: []string{tenant}, Status: subject.StatusPending, Limit: 1000}
	count := 0
	for {
		page, next, err := h.parts.store.Ownerships(ctx, filter)
		if err != nil {
			return 0, err
		}
		if count += len(page); next == "" || count >= h.settings.Enrolment.PendingPerTenant {
			return count, nil
		}
		filter.After = next
	}
}

func (h *health) decisions(context.Context) []condition.Finding {
	d := &h.parts.decisions
	figures := condition.DecisionFigures{Enabled: d.engine != nil, Now: h.parts.store.Now()}
	if figures.Enabled {
		figures.Records, figures.Bundles = d.journal.Ready(), d.bundles.Freshness()
	}
	return figures.Findings()
}

func (h *health) certificates(ctx context.Context) []condition.Finding {
	now := h.parts.store.Now()
	found := []condition.Finding{h.tlsCertificate(now)}
	ca, _ := h.parts.admin.pki.Ends()
	found = append(found, condition.Certificate(condition.AdminCertificate, time.Time{}, ca, now))
	records, err := h.parts.store.Operators(ctx)
	if err != nil {
		return found // what is not answered for is unknown
	}
	named, latest := 0, time.Time{}
	for _, record := range records {
		if record.RevokedAt.IsZero() {
			named++
			if record.CertificateUntil.After(latest) {
				latest = record.CertificateUntil
			}
		}
	}
	return append(found, condition.Operators(
		named, latest.Add(-h.settings.Admin.Certificate), latest, now)...)
}

// tlsCertificate looks at the certificate of the public listener.
func (h *health) tlsCertificate(now time.Time) condition.Finding {
	if !h.settings.Listen.TLS.Enabled() {
		return condition.Certificate(condition.TLSCertificate, time.Time{}, time.Time{}, now)
	}
	content, err := os.ReadFile(h.settings.Listen.TLS.Certificate)
	if err == nil {
		block, _ := pem.Decode(content)
		if block == nil {
			err = errors.New("the certificate of listen.tls is no PEM")
		} else {
			var leaf *x509.Certificate
			if leaf, err = x509.ParseCertificate(block.Bytes); err == nil {
				return condition.Certificate(condition.TLSCertificate, leaf.NotBefore, leaf.NotAfter, now)
			}
		}
	}
	return condition.Finding{ID: condition.TLSCertificate, Severity: condition.Failure, Detail: err.Error()}
}
