package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/condition"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/spire/front"
	"github.com/attestd/attestd/internal/spire/nodeca"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/measurements/workloads"
)

// spire is how identities are issued through SPIRE; its zero value is that none are.
type spire struct {
	office     *issuance.Office
	front      *front.Front
	controller *front.Controller
	// reached is how far the newest orders have come in SPIRE.
	reached atomic.Pointer[wire.Reached]
	// handedBefore is until when composers can issue by what an attestd before this one handed out.
	handedBefore time.Time
	// names are the executables that have a name; SIGHUP replaces them.
	names atomic.Pointer[workloads.Index]
}

// snapshotLife is how long a node believes what it was told, and goes on giving selectors by it, while
// attestd is out of its reach.
const snapshotLife = 10 * time.Second

// mapLife is how long attestd believes what SPIRE had: a restart of the controller or of SPIRE's server
// stops nobody, and an entry that was deleted meanwhile is no way to an identity for longer.
const mapLife = 5 * time.Minute

// unattestedLife is how long a JWT-SVID lives that says that nothing was attested.
const unattestedLife = time.Minute

// maxX509 is the longest that an entry of SPIRE's may ask for an X509-SVID to live: nothing of
// attestd's can shorten one, and what lives longer than a day cannot be counted.
const maxX509 = 24 * time.Hour

func (p *parts) addSPIRE(options Options) error {
	settings := options.Config
	// Whatever this one does: composers may still have something of the one before it.
	p.spire.handedBefore = handedIn(settings.StateDir).until(p.store.Now())
	p.index.Presume(p.spire.handedBefore)
	if !settings.SPIRE.Enabled() {
		return nil
	}
	names, err := readWorkloads(settings.SPIRE.Workloads, settings.Tenants)
	if err != nil {
		return err
	}
	p.spire.names.Store(names)
	p.spire.controller = front.NewController()
	key, err := challenge.OpenKey(filepath.Join(settings.StateDir, "snapshot.key"))
	if err != nil {
		return err
	}
	nodes, err := nodeca.Open(filepath.Join(settings.StateDir, "pki", "nodes"), p.store.Now)
	if err != nil {
		return err
	}
	users, err := userNumbers(settings.SPIRE.Users)
	if err != nil {
		return err
	}
	var serverCA []byte
	if settings.SPIRE.Listen != config.Off {
		serverCA = p.admin.pki.CA()
	}
	p.spire.office, err = issuance.New(issuance.Config{
		TrustDomain: settings.TrustDomain, Index: p.index, Verifier: p.service,
		Keys: json.RawMessage(p.keys), Now: p.store.Now, Lifetimes: lifetimes(settings),
		Unattested: settings.SPIRE.Unattested, Unbound: settings.SPIRE.Unbound,
		AttestedOnly: settings.SPIRE.AttestedOnly, Bound: p.everBound,
		Audiences: settings.SPIRE.Audiences, ExtensionOID: settings.SPIRE.ExtensionOID,
		SnapshotKey: key, NodeCA: nodes, Degraded: degraded(settings),
		Workloads: func(tenant string) (map[string]string, string) {
			return p.spire.names.Load().Names(tenant)
		},
		Addresses: reach(settings.SPIRE), ServerCA: serverCA,
		Refresh: p.spire.controller.Refresh, Notes: p.keeper, Logger: options.Logger,
	})
	if err != nil {
		return err
	}
	p.spire.front, err = front.New(front.Config{
		Office: p.spire.office, Book: p.admin.book, NodeCA: nodes, Controller: p.spire.controller,
		Users: users, TLS: p.admin.pki.ServerTLS(), Unix: settings.SPIRESocketPath(),
		Listen: settings.SPIRE.Listen, Gate: settings.SPIRE.Gate,
		StatePath: filepath.Join(settings.StateDir, "controller.json"), Now: p.store.Now,
		Reached: func(reached wire.Reached) { p.spire.reached.Store(&reached) },
		Note:    p.noteRefusal, Logger: options.Logger,
	})
	if err != nil {
		return fmt.Errorf("spire: %w", err)
	}
	p.closers = append(p.closers, p.spire.front)
	return p.metrics.Register(newSPIREMetrics(p.spire.front.Status))
}

// orders returns what carries out the orders of operators: through SPIRE, too, where it is in use.
func (p *parts) orders() orders {
	if p.spire.front == nil {
		return p.authority
	}
	return spireOrders{
		orders: p.authority, standing: p.spire.office.Orders, enforce: p.spire.controller.Enforce,
		heldOver: p.spire.heldOver, now: p.store.Now,
	}
}

// runSPIRE answers plugins, and keeps the controller running, until ctx ends.
func (p *parts) runSPIRE(options Options) []func(context.Context) {
	if p.spire.front == nil {
		return nil
	}
	return []func(context.Context){
		func(ctx context.Context) {
			if err := p.spire.front.Run(ctx); err != nil {
				options.Logger.ErrorContext(ctx, "plugins are no longer answered",
					"err", attestd.Excerpt(err.Error(), 400))
			}
		},
		func(ctx context.Context) { runController(ctx, options) },
		p.recall(options.Logger),
	}
}

// spireFindings looks at what SPIRE and the plugins in it say of themselves.
func (p *parts) spireFindings(settings config.SPIRE) []condition.Finding {
	figures := condition.SPIREFigures{
		Enabled: settings.Enabled(), Controlled: settings.Server != config.Off,
		Observed: settings.Unattested == config.UnattestedObserve, OID: settings.ExtensionOID,
		Now: p.store.Now(), Starts: map[string]int{},
	}
	if p.spire.front == nil {
		return figures.Findings()
	}
	status := p.spire.front.Status()
	figures.Connected, figures.MapAt = status.Controller, status.MapAt
	for _, plugin := range status.Plugins {
		figures.Starts[plugin.Report.Plugin] = max(figures.Starts[plugin.Report.Plugin], plugin.Report.Starts)
	}
	for _, canary := range status.Canaries {
		seen := condition.Canary{
			OK: canary.Result.OK, At: canary.At, Took: time.Duration(canary.Result.Took) * time.Microsecond,
			Error: attestd.Excerpt(canary.Result.Error, 200),
		}
		switch canary.Result.Name {
		case "mint":
			figures.Mint = seen
		case "attestation":
			figures.Attestation = seen
		}
	}
	if reached := p.spire.reached.Load(); reached != nil {
		for _, one := range reached.Open {
			figures.Open = append(figures.Open, attestd.Excerpt(one.What+" "+one.ID+": "+one.Detail, 200))
		}
	}
	return figures.Findings()
}

// noteRefusal writes into the audit log that somebody asked as a plugin who is none. There can be many:
// alike ones are folded.
func (p *parts) noteRefusal(refusal front.Refusal) {
	p.keeper.Note(audit.Record{
		At: refusal.At, Actor: attestd.Excerpt(refusal.Who, 100), Action: "spire.refused",
		Target: attestd.Excerpt(refusal.Method, 40), Tenant: operator.AllTenants, Outcome: "refused",
		Class: string(attestd.ClassForbidden), Reason: attestd.Excerpt(refusal.Reason, 200),
	})
}

func lifetimes(settings config.Config) issuance.Lifetimes {
	s := settings.SPIRE
	jwt := map[attestd.Tier]time.Duration{
		attestd.TierLow: s.JWTTTL, attestd.TierMedium: s.JWTTTL,
		attestd.TierUnknown: min(s.JWTTTL, unattestedLife),
	}
	for tier, most := range s.JWTCaps() {
		jwt[tier] = min(most, s.JWTTTL)
	}
	return issuance.Lifetimes{
		Agent: s.AgentTTL, X509: s.X509TTL, MaxX509: maxX509, JWT: jwt,
		Grace: settings.Subjects.Grace, Snapshot: snapshotLife, Map: max(mapLife, 6*s.Poll),
	}
}

// reach returns where nodes are told to reach attestd.
func reach(s config.SPIRE) []string {
	if s.Listen == config.Off {
		return nil
	}
	if len(s.Reach) == 0 {
		return []string{"tcp:" + s.Listen}
	}
	addresses := make([]string, 0, len(s.Reach))
	for _, one := range s.Reach {
		addresses = append(addresses, "tcp:"+one)
	}
	return addresses
}

// everBound reports whether the evidence of a node ever bound a key of its agent.
func (p *parts) everBound(ctx context.Context, id subject.ID) (bool, error) {
	one, found, err := p.store.Subject(ctx, id)
	if err != nil || !found {
		return false, err
	}
	return one.EverBound(), nil
}

// readWorkloads reads the files that name executables, for the tenants that there are.
func readWorkloads(paths, tenants []string) (*workloads.Index, error) {
	sets := make([]*workloads.Set, 0, len(paths))
	for _, path := range paths {
		doc, err := os.ReadFile(path)
		if err != nil {
			return nil, unfit(err, "look at spire.workloads")
		}
		set, err := workloads.Parse(path, doc)
		if err != nil {
			return nil, err
		}
		if set.Tenant != "" && !slices.Contains(tenants, set.Tenant) {
			return nil, unfit(fmt.Errorf("%s is for the tenant %q, which is none of tenants", path,
				attestd.Excerpt(set.Tenant, 40)), "name one of tenants, or none for all of them")
		}
		sets = append(sets, set)
	}
	return workloads.NewIndex(sets...)
}

// reloadWorkloads reads the names of executables anew; nodes are told with their next snapshot.
func (p *parts) reloadWorkloads(options Options) error {
	if p.spire.front == nil {
		return nil
	}
	names, err := readWorkloads(options.Config.SPIRE.Workloads, options.Config.Tenants)
	if err == nil {
		p.spire.names.Store(names)
	}
	return err
}

// userNumbers looks up the users whose processes are answered as plugins.
func userNumbers(names []string) ([]uint32, error) {
	numbers := make([]uint32, 0, len(names))
	for _, name := range names {
		text := name
		if _, err := strconv.ParseUint(name, 10, 32); err != nil {
			found, err := user.Lookup(name)
			if err != nil {
				return nil, unfit(fmt.Errorf("spire.users: %w", err), "make the user, or name it by its number")
			}
			text = found.Uid
		}
		number, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, unfit(fmt.Errorf("spire.users: %q has no number", attestd.Excerpt(name, 40)),
				"name the user by its number")
		}
		numbers = append(numbers, uint32(number))
	}
	return numbers, nil
}
