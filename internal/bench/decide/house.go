package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"testing/fstest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/authn"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cedarset"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/decision/signals"
	"github.com/attestd/attestd/internal/decision/watch"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/plugins/spire/svidext"
)

const (
	domain   = "example.org"
	audience = "attestd://decide"
)

// size is how much there is beside what is asked.
type size struct {
	// Subjects are callers, each on a node of its own; Tenants share them, with so many policies each.
	Subjects, Tenants, Policies int
	// Datasets are how many a record lists.
	Datasets int
}

// house is what decides, put together as the daemon does from the same parts, without SPIRE: entries and
// states are put in as they come from there.
type house struct {
	engine *decision.Engine
	index  *live.Index
	office *issuance.Office
	watch  *watch.Watch
	store  *registry.Store
	key    *ecdsa.PrivateKey
	size   size
	// Cold is an authenticator that remembers one credential.
	cold   *authn.Authenticator
	loaded time.Duration
	stop   func()
}

type nobody struct{}

func (nobody) Challenge(context.Context, service.Wish) (challenge.Reply, error) {
	return challenge.Reply{}, errors.New("no challenges here")
}

func (nobody) Verify(context.Context, service.Submission) (attestd.Appraisal, error) {
	return attestd.Appraisal{}, errors.New("no evidence here")
}

func (nobody) Issue([]byte, string, time.Time) ([][]byte, error) {
	return nil, errors.New("no certificates here")
}

func (nobody) Note(audit.Record) {}

// policies is a folder of the shipped policies and so many more of each tenant's own, of which none speaks
// about what is asked.
func policies(of size) fstest.MapFS {
	files := fstest.MapFS{}
	err := fs.WalkDir(cedarset.Standard(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(cedarset.Standard(), path)
		files[path] = &fstest.MapFile{Data: content}
		return err
	})
	if err != nil {
		panic(err) // they are compiled in
	}
	actions := []string{"data.write", "data.read", "retrieve.query", "model.invoke", "secret.read"}
	for tenant := range of.Tenants {
		if of.Policies == 0 {
			break
		}
		var text []byte
		for i := range of.Policies {
			text = fmt.Appendf(text, "@id(\"own-%d\")\n@reason(\"classification\")\nforbid (principal, action == "+
				"Action::%q, resource) when { resource.classification.contains(\"class-%d\") };\n",
				i, actions[i%len(actions)], i)
		}
		files["tenants/"+tenantOf(tenant)+"/own.cedar"] = &fstest.MapFile{Data: text}
	}
	return files
}

func tenantOf(number int) string { return fmt.Sprintf("t%04d", number) }

func callerOf(number int) string { return fmt.Sprintf("spiffe://%s/agent/%07d", domain, number) }

func (h *house) tenant(caller int) string { return tenantOf(caller % h.size.Tenants) }

// newHouse puts one together in a folder of its own.
func newHouse(of size, folder string) (*house, error) {
	h := &house{size: of, index: live.New()}
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	h.store, err = registry.Open(ctx, registry.Config{
		Path: filepath.Join(folder, "attestd.db"), Clock: registry.SystemClock(), Index: h.index,
		Limits: registry.Limits{
			Outstanding: 100, PerTenant: 100, PerSource: 100, Appraisals: 100, KeepAppraisals: time.Hour,
		},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	h.stop = func() { cancel(); _ = h.store.Close() }
	if err := h.people(ctx); err != nil {
		return nil, err
	}
	started := time.Now()
	set, err := cedarset.Load(policies(of))
	if err != nil {
		return nil, err
	}
	h.loaded = time.Since(started)
	holder := &cedarset.Holder{}
	holder.Replace(set)
	return h, h.decide(ctx, folder, holder)
}

// people puts callers, their nodes and their records in.
func (h *house) people(_ context.Context) error {
	_, snapshot, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	h.office, err = issuance.New(issuance.Config{
		TrustDomain: domain, Index: h.index, Verifier: nobody{}, Keys: json.RawMessage(`{"keys":[]}`),
		Now: time.Now, Unattested: issuance.Deny, Unbound: issuance.Ratchet, Audiences: []string{"*"},
		ExtensionOID: svidext.DefaultOID,
		Lifetimes: issuance.Lifetimes{
			Agent: time.Hour, X509: time.Hour, MaxX509: 2 * time.Hour, Grace: time.Minute,
			JWT: map[attestd.Tier]time.Duration{
				attestd.TierLow: 5 * time.Minute, attestd.TierMedium: time.Minute, attestd.TierUnknown: 30 * time.Second,
			},
			Snapshot: 10 * time.Second, Map: time.Hour,
		},
		Bound:       func(context.Context, subject.ID) (bool, error) { return false, nil },
		SnapshotKey: snapshot, NodeCA: nobody{},
		Workloads: func(string) (map[string]string, string) { return nil, "" },
		Refresh:   func(context.Context, []string) (wire.Map, error) { return wire.Map{}, errors.New("no SPIRE here") },
		Notes:     nobody{}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	now := time.Now()
	whole := wire.Map{At: now}
	const batch = 10_000
	nodes := make([]subject.Subject, 0, batch)
	for i := range h.size.Subjects {
		digest := sha256.Sum256(fmt.Appendf(nil, "ek %d", i))
		instance := attestd.Handle{Kind: attestd.HandleInstance, Value: "ek:" + hex.EncodeToString(digest[:])}
		id, err := subject.AgentID(domain, attestd.FormatTPM, instance)
		if err != nil {
			return err
		}
		nodes = append(nodes, subject.Subject{
			ID: id, Tenant: h.tenant(i), Format: attestd.FormatTPM, Instance: instance, Boot: "b",
			Host: fmt.Sprint("host ", i), Ownership: subject.MethodInventory, State: attestd.StateTrusted,
			Generation: 1, Epoch: 1, Floor: attestd.Risk(10), EvidenceAt: now, DueAt: now.Add(time.Hour),
		})
		whole.Agents = append(whole.Agents, wire.Agent{ID: string(id), Type: "attestd"})
		whole.Entries = append(whole.Entries, wire.Entry{
			ID: fmt.Sprint("e", i), SPIFFEID: callerOf(i), ParentID: string(id),
		})
		if len(nodes) == batch {
			h.index.Publish(nodes, nil)
			nodes = nodes[:0]
		}
	}
	h.index.Publish(nodes, nil)
	return h.office.SetMap(whole)
}

func (h *house) records() iter.Seq2[nhi.Record, error] {
	datasets := make([]string, h.size.Datasets)
	for i := range datasets {
		datasets[i] = fmt.Sprintf("set-%04d", i)
	}
	return func(yield func(nhi.Record, error) bool) {
		for i := range h.size.Subjects {
			if !yield(nhi.Record{
				ID: callerOf(i), Tenant: h.tenant(i), Owner: "team", Purpose: nhi.PurposeRetrieval, Policy: "standard",
				Zone: nhi.ZoneTrusted, Tools: []string{"search"}, Datasets: datasets, Generation: 1,
			}, nil) {
				return
			}
		}
	}
}

// decide makes the engine of the daemon's parts and settings.
func (h *house) decide(ctx context.Context, folder string, holder *cedarset.Holder) error {
	book := nhi.NewBook()
	if err := book.Load(h.records()); err != nil {
		return err
	}
	var err error
	if h.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	td := spiffeid.RequireTrustDomainFromString(domain)
	bundle := spiffebundle.New(td)
	if err := bundle.AddJWTAuthority("k1", h.key.Public()); err != nil {
		return err
	}
	document, err := bundle.Marshal()
	if err != nil {
		return err
	}
	path := filepath.Join(folder, "bundle.json")
	if err := os.WriteFile(path, document, 0o600); err != nil {
		return err
	}
	source, err := authn.ParseSource(td, "file:"+path, "")
	if err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	bundles, err := authn.NewBundles(authn.BundlesConfig{
		Sources: map[spiffeid.TrustDomain]authn.Source{td: source}, MaxAge: time.Hour, Now: time.Now, Logger: quiet,
	})
	if err != nil {
		return err
	}
	if _, err := bundles.Refresh(ctx, td); err != nil {
		return err
	}
	settings := authn.Config{
		Bundles: bundles, Audiences: []string{audience}, Leeway: time.Second, MaxAge: 10 * time.Minute, Entries: 1 << 17,
	}
	identifier, err := authn.New(settings)
	if err != nil {
		return err
	}
	settings.Entries = 1
	if h.cold, err = authn.New(settings); err != nil {
		return err
	}
	desk, err := signals.New(signals.Config{
		Store: h.store, Standings: h.office, Fades: func(subject.Subject) {}, Spike: func(subject.Grounds) {},
		Note: func(audit.Record) {}, Now: time.Now, Bounds: signals.StandardBounds(),
	})
	if err != nil {
		return err
	}
	h.watch, err = watch.New(watch.Config{
		Rate: 1_000_000, Burst: 1_000_000, Subjects: 1 << 20, Bounds: watch.StandardBounds(), Sink: desk, Logger: quiet,
	})
	if err != nil {
		return err
	}
	registerer := prometheus.NewRegistry()
	records, err := journal.New(journal.Config{
		Folder: filepath.Join(folder, "decisions"), Age: time.Hour, Bytes: 4 << 30, Reserve: 1 << 20, Allows: 1,
		Engine: "bench", Now: time.Now, Logger: quiet, Registerer: registerer, Sealed: func(journal.Seal) {},
	})
	if err != nil {
		return err
	}
	if err := records.KeepPolicies(holder.InForce().Digest(), policies(size{})); err != nil {
		return err
	}
	go records.Run(ctx)
	go func() { _ = h.watch.Run(ctx) }()
	h.engine, err = decision.NewEngine(decision.Config{
		Identifier: identifier, Standings: h.office, Records: book, Watch: h.watch, Policies: holder,
		Journal: records, Spike: func(*decision.Input) {}, Deadline: 200 * time.Millisecond, Now: time.Now,
		Rules:      decision.Rules{Fresh: 90 * time.Minute, FreshPrivileged: 15 * time.Minute, MaxChain: 8},
		Registerer: registerer, Logger: quiet,
	})
	return err
}

// token is a JWT-SVID of a caller; another number makes another one.
func (h *house) token(caller, number int) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"sub": callerOf(caller), "aud": []string{audience}, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"jti": fmt.Sprint(number),
	})
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: h.key}, &jose.SignerOptions{
		ExtraHeaders: map[jose.HeaderKey]any{"kid": "k1", "typ": "JWT"},
	})
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// question is a call of a tool by a caller, within its tenant.
func (h *house) question(caller int, token string) decision.Ask {
	return decision.Ask{
		Via: decision.ViaAuthZEN, Enforcer: "token:bench", Credential: decision.Credential{Token: token},
		Action:    decision.Action{Name: decision.ActionToolCall},
		Resource:  decision.Resource{Type: "tool", ID: "search", Tenant: h.tenant(caller)},
		Context:   decision.Context{ExposureScore: -1},
		Sees:      func(*decision.Input) bool { return true },
		Supported: []string{decision.ObligationStepUp},
	}
}
