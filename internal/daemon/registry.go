package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/revocation"
	"github.com/attestd/attestd/internal/subject"
)

// kept is what a daemon knows over time: the store, the index that grants are given by, the audit log,
// and who acts on them.
type kept struct {
	store     *registry.Store
	index     *live.Index
	log       *audit.Log
	keeper    *audit.Keeper
	authority *revocation.Authority
	desk      *enrol.Desk
	inventory *nhi.Book
}

// openKept opens everything below state_dir that outlives the process.
func (p *parts) openKept(ctx context.Context, options Options) (kept, error) {
	settings := options.Config
	clock := options.Clock
	if clock == nil {
		clock = registry.SystemClock()
	}
	k := kept{index: live.New(), inventory: nhi.NewBook()}
	var err error
	k.store, err = registry.Open(ctx, registry.Config{
		Path: filepath.Join(settings.StateDir, "attestd.db"), Clock: clock, Index: k.index,
		Inventory: k.inventory,
		Limits: registry.Limits{
			Outstanding: settings.Challenges.Outstanding, PerTenant: settings.Challenges.PerTenant,
			PerSource: settings.Challenges.PerSource, Appraisals: settings.Appraisals.Most,
			KeepAppraisals: settings.Appraisals.Keep,
		},
		Reserve:        uint64(settings.Store.Reserve), //nolint:gosec // checked to be above zero
		AcceptRollback: settings.Store.AcceptRollback,
	})
	if err != nil {
		return kept{}, err
	}
	p.closers = append(p.closers, k.store)
	if err := k.openAudit(ctx, options); err != nil {
		return kept{}, err
	}
	k.authority, err = revocation.New(revocation.Config{
		Store: k.store, Index: k.index, Now: k.store.Now, TrustDomain: settings.TrustDomain,
		JournalPath: filepath.Join(settings.StateDir, "holds.journal"), Logger: options.Logger,
		Rules: revocation.Rules{
			Rules: subjectRules(settings), Mode: subject.Mode(settings.Automation.Mode),
			PerHour: settings.Automation.PerHour, Spikes: subject.Mode(settings.Decisions.Quarantine),
		},
	})
	if err != nil {
		return kept{}, err
	}
	p.closers = append(p.closers, k.authority)
	k.desk, err = enrol.New(enrol.Config{
		Store: k.store, Now: k.store.Now, Tenants: settings.Tenants, Rules: settings.Enrolment.Rules,
		Rand: rand.Reader,
		Limits: enrol.Limits{
			PendingPerTenant: settings.Enrolment.PendingPerTenant,
			PendingPerSource: settings.Enrolment.PendingPerSource,
			PendingKeep:      settings.Enrolment.PendingKeep,
		},
	})
	return k, err
}

func subjectRules(settings config.Config) subject.Rules {
	rules := subject.Rules{
		Reattest: settings.Subjects.Reattest, Grace: settings.Subjects.Grace,
		Bad: settings.Automation.Bad, Good: settings.Automation.Good,
	}
	for _, code := range settings.Automation.Codes {
		rules.Codes = append(rules.Codes, subject.Code(code))
	}
	return rules
}

// auditStore is the registry as the audit log reads it.
type auditStore struct{ *registry.Store }

// AuditSize implements [audit.Store].
func (s auditStore) AuditSize(context.Context) (int64, error) { return s.AuditTree().Size(), nil }

// openAudit opens the log that lies in the store. Its key and its newest checkpoint lie beside the
// database: whoever puts back an old copy of the database does not put back those. Where an operator
// confirmed that the database was put back, the old key is set aside and a new log begins.
func (k *kept) openAudit(ctx context.Context, options Options) error {
	err := k.openLog(ctx, options.Config)
	if errors.Is(err, audit.ErrOtherHistory) && k.store.Health().RolledBack {
		options.Logger.WarnContext(ctx, "the audit log begins anew: the database was put back",
			"key", "store.accept_rollback")
		paths := auditPaths(options.Config)
		if err := audit.SetAside(paths.key, paths.checkpoint, k.store.Now()); err != nil {
			return err
		}
		err = k.openLog(ctx, options.Config)
	}
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	k.keeper, err = audit.NewKeeper(audit.KeeperConfig{Write: k.store.Audit, Now: k.store.Now})
	return err
}

// auditFiles are the two files of the log that lie beside the database.
type auditFiles struct{ key, checkpoint string }

func auditPaths(settings config.Config) auditFiles {
	return auditFiles{
		key:        filepath.Join(settings.StateDir, "audit.key"),
		checkpoint: filepath.Join(settings.StateDir, "audit.checkpoint"),
	}
}

func (k *kept) openLog(ctx context.Context, settings config.Config) error {
	paths := auditPaths(settings)
	key, err := audit.OpenKey(paths.key, audit.Origin(settings.TrustDomain))
	if err != nil {
		return err
	}
	k.log, err = audit.Open(ctx, audit.Config{
		Store: auditStore{k.store}, Signer: key, Path: paths.checkpoint,
	})
	return err
}

// sweepQueueEvery is how often machines that waited too long for approval are forgotten.
const sweepQueueEvery = time.Minute

func (k *kept) sweepQueue(logger *slog.Logger) func(context.Context) {
	return func(ctx context.Context) {
		ticker := time.NewTicker(sweepQueueEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if _, err := k.desk.Sweep(ctx); err != nil && ctx.Err() == nil {
				logger.ErrorContext(ctx, "machines that waited too long for approval are still queued",
					"err", attestd.Excerpt(err.Error(), 400))
			}
		}
	}
}

// checkpointEvery is how often the audit log is signed: what was appended since could be cut off
// unseen by whoever has the disk.
const checkpointEvery = 10 * time.Second
