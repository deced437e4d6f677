package daemon

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net/http"
	"path/filepath"
	"strings"

	adminapi "github.com/attestd/attestd/internal/admin"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/why"
)

// admin is how operators are answered.
type admin struct {
	handler http.Handler
	book    *operator.Book
	pki     *operator.PKI
	// tls is that of the listener for operators; nil where there is none.
	tls *tls.Config
}

// openOperators opens what operators, and the programs among them, are known by.
func (p *parts) openOperators(options Options) error {
	settings := options.Config
	var err error
	p.admin.pki, err = operator.OpenPKI(filepath.Join(settings.StateDir, "pki"), settings.Admin.Names, p.store.Now)
	if err != nil {
		return err
	}
	token := filepath.Join(settings.StateDir, "admin.token")
	if err := operator.OpenToken(token, rand.Reader); err != nil {
		return err
	}
	p.admin.book, err = operator.NewBook(operator.Config{
		Store: p.store, PKI: p.admin.pki, Now: p.store.Now, TokenPath: token, Rand: rand.Reader,
		CertificateLifetime: settings.Admin.Certificate, LoginLifetime: settings.Admin.LoginToken,
	})
	return err
}

func (p *parts) addAdmin(ctx context.Context, options Options) error {
	settings := options.Config
	var err error
	if settings.Admin.HTTP != config.Off {
		p.admin.tls = p.admin.pki.ServerTLS()
	}
	if p.health, err = p.newHealth(ctx, options); err != nil {
		return err
	}
	asker, err := why.New(why.Config{
		Store: p.store, Index: p.index, Now: p.store.Now,
		SPIRE: spireShown{p, settings.SPIRE, settings.TrustDomain},
	})
	if err != nil {
		return err
	}
	var records adminapi.Decisions
	if p.decisions.replayer != nil {
		records = p.decisions.replayer
	}
	inventory, err := p.openDesk(settings.Tenants)
	if err != nil {
		return err
	}
	p.admin.handler, err = adminapi.New(adminapi.Config{
		Decisions: records, Inventory: inventory,
		Book: p.admin.book, Orders: p.orders(), Enrolments: p.desk, Reappraisals: p.engine,
		Nodes: nodes{p}, Keys: keyOffice{p.rings()},
		Subjects: p.store, Index: p.index, Explainer: asker,
		Audit:      adminapi.Ledger{Keeper: p.keeper, Log: p.log},
		Conditions: p.health.set, Now: p.store.Now, Logger: options.Logger, Level: options.Level,
		Registerer: p.metrics, Gatherer: p.metrics, Version: orUnknown(options.Version),
		Store: "sqlite", Started: p.store.Now(), Policies: p.service.Policies, Settings: settings,
	})
	return err
}

func orUnknown(version string) string {
	if version == "" {
		return "unknown"
	}
	return version
}

// adminPrefix begins every path of the admin API.
const adminPrefix = "/v1/admin"

// either sends requests of operators to the admin API and all others to the public one. Paths are
// compared as they came, as both do.
func either(operators, public http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, adminPrefix) {
			operators.ServeHTTP(w, r)
			return
		}
		public.ServeHTTP(w, r)
	})
}
