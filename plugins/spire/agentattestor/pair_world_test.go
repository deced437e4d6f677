package agentattestor_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	"github.com/spiffe/spire-plugin-sdk/plugintest"
	servernodeattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/nodeattestor/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/nodeca"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/plugins/spire/nodeattestor"
)

// world is a whole attestd without its daemon: store, service and office behind a link, and the
// SPIRE server's plugin before it.
type world struct {
	*testing.T
	store  *registry.Store
	office *issuance.Office
	server servernodeattestorv1.NodeAttestorPluginClient
	policy strings.Builder
	links  string
}

type ears struct{}

func (ears) Note(audit.Record) {}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t}
	judging, err := judge.New(judge.Config{InsecureRoots: []*x509.Certificate{root(t)}})
	must(t, err)
	index := live.New()
	w.store, err = registry.Open(t.Context(), registry.Config{
		Path: filepath.Join(t.TempDir(), "attestd.db"), Clock: registry.SystemClock(), Index: index,
		Limits: registry.Limits{
			Outstanding: 1 << 12, PerTenant: 1 << 12, PerSource: 1 << 12, Appraisals: 1 << 12,
			KeepAppraisals: time.Hour,
		},
	})
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	signer, err := challenge.NewEphemeralSigner()
	must(t, err)
	issuer, err := challenge.NewIssuer(challenge.Config{
		Store: w.store, Signer: signer, TrustDomain: trustDomain, Lifetime: time.Minute,
		NonceBytes: 32,
	})
	must(t, err)
	tenants := []string{"default", "blue", "red"}
	desk, err := enrol.New(enrol.Config{
		Store: w.store, Now: w.store.Now, Tenants: tenants, Rand: rand.Reader,
		Limits: enrol.Limits{PendingPerTenant: 100, PendingPerSource: 100, PendingKeep: time.Hour},
	})
	must(t, err)
	policy := service.Document{Source: "test", Bytes: w.policyOf(judging.Specs())}
	local := service.NewLocal(judging)
	svc, err := service.New(service.Config{
		Store: w.store, Issuer: issuer, Judge: local, Refuse: local, Policy: policy,
		RecordedPolicy: policy,
		Formats:        []attestd.Format{attestd.FormatNitro, attestd.FormatTPM, attestd.FormatSEVSNP},
		Tenants:        tenants, Timeout: 30 * time.Second, Concurrency: 16, Waiting: 1 << 10,
		Subjects: service.Subjects{
			Held: func(...subject.Key) (attestd.State, subject.Key) {
				return attestd.StateUnknown, subject.Key{}
			},
			TrustDomain: trustDomain, Desk: desk, Specs: judging.Specs(), Notes: ears{},
			Grounds: func(context.Context, []subject.Grounds) {},
			Rules:   subject.Rules{Reattest: time.Hour, Grace: time.Minute, Bad: 2, Good: 1},
		},
	})
	must(t, err)
	w.open(svc, index, signer)
	w.serve()
	return w
}

// policyOf takes TPM evidence that is authentic, fresh and of a machine that somebody owns.
func (w *world) policyOf(specs []attestd.CheckSpec) []byte {
	w.policy.WriteString("schema: attestd.policy.v1\nid: tpm\ndescription: test\nformats:\n  tpm:\n")
	for _, spec := range specs {
		if check, ours := strings.CutPrefix(string(spec.ID), "tpm/"); ours &&
			spec.Stage == attestd.StageAppraise {
			fmt.Fprintf(&w.policy, "    %s: any\n", check)
		}
	}
	w.policy.WriteString("    measurement/known: any\n    ownership/known: any\n")
	return []byte(w.policy.String())
}

func (w *world) open(svc *service.Service, index *live.Index, signer *challenge.Signer) {
	w.Helper()
	_, snapshotKey, err := ed25519.GenerateKey(rand.Reader)
	must(w.T, err)
	nodes, err := nodeca.Open(filepath.Join(w.TempDir(), "pki"), w.store.Now)
	must(w.T, err)
	keys, err := signer.KeySet()
	must(w.T, err)
	w.office, err = issuance.New(issuance.Config{
		TrustDomain: trustDomain, Index: index, Verifier: svc, Keys: json.RawMessage(keys),
		Now: w.store.Now,
		Lifetimes: issuance.Lifetimes{
			Agent: time.Hour, X509: time.Hour, MaxX509: time.Hour, Grace: time.Minute,
			Snapshot: 10 * time.Second,
			Map:      time.Minute, JWT: map[attestd.Tier]time.Duration{
				attestd.TierLow: time.Minute, attestd.TierMedium: time.Minute,
				attestd.TierUnknown: time.Minute,
			},
		},
		Unattested: issuance.Deny, Unbound: issuance.Ratchet, Audiences: []string{"*"},
		ExtensionOID: "1.3.6.1.4.1.55555.1.1", SnapshotKey: snapshotKey, NodeCA: nodes,
		Bound:     func(context.Context, subject.ID) (bool, error) { return false, nil },
		Workloads: func(string) (map[string]string, string) { return nil, "" },
		Addresses: []string{"tcp:attestd.example.org:8443"}, ServerCA: nodes.Certificate(),
		Refresh: func(context.Context, []string) (wire.Map, error) {
			return wire.Map{}, errors.New("no controller")
		},
		Notes: ears{}, Logger: slog.New(slog.DiscardHandler),
	})
	must(w.T, err)
}

// serve puts the office behind a link, as the daemon does, and the SPIRE server's plugin before
// that.
func (w *world) serve() {
	w.Helper()
	folder, err := os.MkdirTemp("", "aw")
	must(w.T, err)
	w.Cleanup(func() { _ = os.RemoveAll(folder) })
	w.links = filepath.Join(folder, "attestd.sock")
	listener, err := net.Listen("unix", w.links)
	must(w.T, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- link.Serve(ctx, listener, func(net.Conn) (link.Peer, link.Handler, error) {
			return link.Peer{UID: os.Getuid(), HasUID: true}, w.answer, nil
		}, link.Limits{})
	}()
	w.Cleanup(func() { cancel(); must(w.T, <-done) })
	env, _ := newEnv("nodeattestor-server")
	plugin, err := nodeattestor.New(env)
	must(w.T, err)
	var config configv1.ConfigServiceClient
	plugintest.ServeInBackground(w.T, plugintest.Config{
		PluginServer: plugin.Server, PluginClient: &w.server,
		ServiceServers: plugin.Services, ServiceClients: []pluginsdk.ServiceClient{&config},
	})
	must(w.T, configure(config, `addresses = ["unix:`+w.links+`"]`))
}

// answer says of errors what the daemon's front says.
func (w *world) answer(ctx context.Context, _ link.Peer, method string, body json.RawMessage) (any,
	error) {
	told := func(out any, err error) (any, error) {
		var rejected *issuance.Rejected
		if errors.As(err, &rejected) {
			return nil, &link.Error{
				Class: attestd.ClassPolicyDeny, Message: err.Error(),
				AppraisalID: rejected.AppraisalID,
			}
		}
		return out, err
	}
	switch method {
	case wire.MethodReport:
		return wire.Empty{}, nil
	case wire.MethodNodeBegin:
		var ask wire.NodeBegin
		if err := link.Decode(body, &ask); err != nil {
			return nil, err
		}
		return told(w.office.Begin(ctx, ask, ask.Source))
	case wire.MethodNodeFinish:
		var ask wire.NodeFinish
		if err := link.Decode(body, &ask); err != nil {
			return nil, err
		}
		return told(w.office.Finish(ctx, ask, ask.Source))
	}
	return nil, &attestd.CallerError{Class: attestd.ClassForbidden, Err: errors.New(method)}
}

// own makes the machine a tenant's and returns the name of its endorsement key.
func (w *world) own(m *machine, tenant string) string {
	w.Helper()
	device, err := tpm.Open("swtpm:"+m.tpm.Socket(), tpm.Options{})
	must(w.T, err)
	who, err := device.Identity(w.Context())
	must(w.T, err)
	digest := who.EKSHA256()
	key := subject.Key{Kind: string(subject.BarInstance), Value: "ek:" +
		hex.EncodeToString(digest[:])}
	known, err := w.store.Known(w.Context(), subject.Ask{
		Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: key.Value},
		Owners:   []subject.Key{key}, Bars: []subject.Key{key},
	})
	must(w.T, err)
	expect := uint64(0)
	for _, row := range known.Owners {
		expect = row.Generation
	}
	must(w.T, w.store.Write(w.Context(), subject.Write{
		Owners: []subject.OwnershipWrite{{Key: key, Expect: expect, Next: &subject.Ownership{
			Key: key, Tenant: tenant, Method: subject.MethodInventory,
			Status: subject.StatusApproved, Source: "test",
			CreatedAt: w.store.Now(),
		}}},
		Audit: []audit.Record{w.record("enroll.approve")},
	}))
	return hex.EncodeToString(digest[:])
}

func (w *world) record(action string) audit.Record {
	return audit.Record{
		At: w.store.Now(), Actor: "ann", Tenant: "default", Action: action, Outcome: "done",
	}
}
