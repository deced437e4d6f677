package daemon

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
)

// subjectsOf says what is made of verdicts. What speaks for a quarantine is logged.
func subjectsOf(
	options Options, store *registry.Store, specs []attestd.CheckSpec,
) (service.Subjects, error) {
	settings := options.Config
	desk, err := enrol.New(enrol.Config{
		Store: store, Now: store.Now, Tenants: settings.Tenants, Rules: settings.Enrolment.Rules,
		Rand: rand.Reader, Limits: enrol.Limits{
			PendingPerTenant: settings.Enrolment.PendingPerTenant,
			PendingPerSource: settings.Enrolment.PendingPerSource,
			PendingKeep:      settings.Enrolment.PendingKeep,
		},
	})
	if err != nil {
		return service.Subjects{}, err
	}
	rules := subject.Rules{
		Reattest: settings.Subjects.Reattest, Grace: settings.Subjects.Grace,
		Bad: settings.Automation.Bad, Good: settings.Automation.Good,
	}
	for _, code := range settings.Automation.Codes {
		rules.Codes = append(rules.Codes, subject.Code(code))
	}
	return service.Subjects{
		TrustDomain: settings.TrustDomain, Desk: desk, Rules: rules, Specs: specs,
		Notes: &noting{flood: audit.NewFlood(), store: store, logger: options.Logger},
		Grounds: func(ctx context.Context, grounds []subject.Grounds) {
			for _, ground := range grounds {
				options.Logger.WarnContext(ctx, "grounds for a quarantine", "subject", string(ground.ID),
					"tenant", ground.Tenant, "deny_reason", string(ground.Code))
			}
		},
	}, nil
}

// noting writes what a flood leaves to be written.
type noting struct {
	flood  *audit.Flood
	store  *registry.Store
	logger *slog.Logger
}

// Note implements [service.Notes].
func (n *noting) Note(record audit.Record) {
	if due := n.flood.Note(record); len(due) != 0 {
		go func() {
			if err := n.store.Audit(context.Background(), due); err != nil {
				n.logger.Error("refusals were not recorded", "err", attestd.Excerpt(err.Error(), 400))
			}
		}()
	}
}

// tenantPolicies reads the policies of tenants: "TENANT=NAME or path".
func tenantPolicies(verify config.Verify) (map[string]service.Document, []error) {
	read := make(map[string]service.Document, len(verify.TenantPolicies))
	var errs []error
	for _, entry := range verify.TenantPolicies {
		tenant, path, _ := strings.Cut(entry, "=")
		document, err := readPolicy(path)
		errs = append(errs, err)
		read[tenant] = document
	}
	return read, errs
}

// readPolicy returns the policy that is built in under a name, or that a file holds.
func readPolicy(name string) (service.Document, error) {
	for _, known := range appraisal.BuiltinNames() {
		if known == name {
			builtin, err := appraisal.Builtin(name)
			if err != nil {
				return service.Document{}, err
			}
			return service.Document{Source: name, Bytes: builtin.Document()}, nil
		}
	}
	document, err := readFile(name)
	if err == nil {
		_, err = appraisal.ParsePolicy(name, document.Bytes)
	}
	return document, err
}
