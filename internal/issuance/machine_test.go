package issuance_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/testvectors/forge"
)

// fleet is an office over a real verifier, with its store and machines with a TPM.
type fleet struct {
	*world
	store   *registry.Store
	service *service.Service
	machine *forge.TPM
	id      subject.ID
	path    string
}

// newFleet returns one with a machine that is in the inventory of the tenant blue.
func newFleet(t testing.TB, change func(*issuance.Config)) *fleet {
	t.Helper()
	f := &fleet{world: &world{
		TB: t, index: live.New(), entries: map[string][]wire.Entry{}, bound: map[subject.ID]bool{},
	}, path: filepath.Join(t.TempDir(), "attestd.db")}
	ek, err := forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true})
	must(t, err)
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	must(t, err)
	f.machine = forge.NewTPM(ak, ek)
	spki, err := ek.SPKI()
	must(t, err)
	digest := sha256.Sum256(spki)
	handle := attestd.Handle{Kind: attestd.HandleInstance, Value: "ek:" + hex.EncodeToString(digest[:])}
	f.id, err = subject.AgentID(domain, attestd.FormatTPM, handle)
	must(t, err)
	f.open(hex.EncodeToString(digest[:]))
	must(t, f.store.Write(context.Background(), subject.Write{
		Owners: []subject.OwnershipWrite{{
			Key: subject.Key{Kind: string(subject.BarInstance), Value: handle.Value},
			Next: &subject.Ownership{
				Key:    subject.Key{Kind: string(subject.BarInstance), Value: handle.Value},
				Tenant: "blue", Method: subject.MethodInventory, Status: subject.StatusApproved, Source: "test",
				CreatedAt: f.store.Now(),
			},
		}},
		Audit: []audit.Record{{At: f.store.Now(), Actor: "ann", Tenant: "blue", Action: "enroll.approve",
			Outcome: "done"}},
	}))
	config := f.config()
	config.Verifier, config.Now, config.Bound = f.service, f.store.Now, f.everBound
	if change != nil {
		change(&config)
	}
	f.office, err = issuance.New(config)
	must(t, err)
	return f
}

// everBound asks the store, as the daemon does.
func (f *fleet) everBound(ctx context.Context, id subject.ID) (bool, error) {
	known, err := f.store.Known(ctx, subject.Ask{ID: id})
	if err != nil || known.Subject == nil {
		return false, err
	}
	return known.Subject.EverBound(), nil
}

func (f *fleet) open(endorsement string) {
	f.Helper()
	var err error
	f.store, err = registry.Open(context.Background(), registry.Config{
		Path: f.path, Clock: registry.SystemClock(), Index: f.index, Limits: registry.Limits{
			Outstanding: 1 << 16, PerTenant: 1 << 16, PerSource: 1 << 16, Appraisals: 1 << 16,
			KeepAppraisals: time.Hour,
		},
	})
	must(f, err)
	f.Cleanup(func() { _ = f.store.Close() })
	signer, err := challenge.NewEphemeralSigner()
	must(f, err)
	issuer, err := challenge.NewIssuer(challenge.Config{
		Store: f.store, Signer: signer, TrustDomain: domain, Lifetime: time.Minute, NonceBytes: 32,
	})
	must(f, err)
	tenants := []string{"blue", "red"}
	desk, err := enrol.New(enrol.Config{
		Store: f.store, Now: f.store.Now, Tenants: tenants, Rand: rand.Reader,
		Limits: enrol.Limits{PendingPerTenant: 100, PendingPerSource: 100, PendingKeep: time.Hour},
	})
	must(f, err)
	judging, err := judge.New(judge.Config{})
	must(f, err)
	local := service.NewLocal(judging)
	recorded, err := appraisal.Builtin(appraisal.Recorded)
	must(f, err)
	f.service, err = service.New(service.Config{
		Store: f.store, Issuer: issuer, Judge: local, Refuse: local,
		Policy:         service.Document{Source: "tpm", Bytes: tpmPolicy(judging.Specs(), nil)},
		RecordedPolicy: service.Document{Source: "recorded", Bytes: recorded.Document()},
		References: []service.Document{{Source: "inventory", Bytes: []byte(
			"schema: attestd.reference-values.v1\nname: inventory\nformat: tpm\n" +
				"endorsement-keys: {m: \"" + endorsement + "\"}\n")}},
		Formats: []attestd.Format{attestd.FormatTPM}, Tenants: tenants, Timeout: time.Minute,
		Concurrency: 8, Waiting: 64,
		Subjects: service.Subjects{
			Held: f.index.Held, TrustDomain: domain, Desk: desk, Specs: judging.Specs(), Notes: notes{},
			Grounds: func(context.Context, []subject.Grounds) {},
			Rules:   subject.Rules{Reattest: time.Hour, Grace: time.Minute, Bad: 2, Good: 1},
		},
	})
	must(f, err)
}

// tpmPolicy accepts what is authentic and fresh of a TPM, save what rules say of a check.
func tpmPolicy(specs []attestd.CheckSpec, rules map[string]string) []byte {
	var policy strings.Builder
	policy.WriteString("schema: attestd.policy.v1\nid: tpm\ndescription: test\nformats:\n  tpm:\n")
	for _, spec := range specs {
		check, ours := strings.CutPrefix(string(spec.ID), "tpm/")
		if ours && spec.Stage == attestd.StageAppraise {
			fmt.Fprintf(&policy, "    %s: %s\n", check, cmp.Or(rules[check], "any"))
		}
	}
	policy.WriteString("    measurement/known: any\n    ownership/known: any\n")
	return []byte(policy.String())
}

// newKey is a key that the machine's TPM could have made.
func newKey(tb testing.TB) (*forge.TPMKey, []byte) {
	tb.Helper()
	key, err := forge.NewTPMKey(forge.TPMKeyConfig{Ordinary: true})
	must(tb, err)
	spki, err := key.SPKI()
	must(tb, err)
	return key, spki
}

// answer begins an attestation of the machine and answers the challenge for the key; change sees the
// evidence before it is written.
func (f *fleet) answer(spki []byte, certified *forge.TPMKey) wire.NodeFinish {
	f.Helper()
	begun, err := f.office.Begin(context.Background(), wire.NodeBegin{
		Format: attestd.FormatTPM, Tenant: "blue", AttestationKey: f.machine.AK.Public,
		EndorsementKey: f.machine.EK.Public,
	}, "192.0.2.1")
	must(f, err)
	reply, err := challenge.ParseReply(begun.Challenge)
	must(f, err)
	if reply.Challenge.Purpose != issuance.Purpose || !json.Valid(begun.Keys) {
		f.Fatalf("got a challenge for %q and keys %s", reply.Challenge.Purpose, begun.Keys)
	}
	out := wire.NodeFinish{
		ChallengeID: reply.Challenge.ID, Format: attestd.FormatTPM, Tenant: "blue", KeySPKI: spki,
	}
	if reply.Activation != nil {
		out.ActivationSecret, err = f.machine.Activate(
			reply.Activation.CredentialBlob, reply.Activation.EncryptedSecret)
		must(f, err)
	}
	digest, err := reply.Challenge.Binding(spki).Digest()
	must(f, err)
	f.machine.Clock += 1000
	evidence, err := f.machine.Evidence(digest, nil)
	must(f, err)
	if certified != nil {
		evidence.Key, err = f.machine.Certify(certified, digest, nil)
		must(f, err)
	}
	out.Evidence, err = evidence.Marshal()
	must(f, err)
	return out
}

func (f *fleet) finish(ask wire.NodeFinish) (wire.NodeVerdict, error) {
	return f.office.Finish(context.Background(), ask, "192.0.2.1")
}

// attested is a whole attestation of the machine.
func (f *fleet) attested(spki []byte, certified *forge.TPMKey) wire.NodeVerdict {
	f.Helper()
	verdict, err := f.finish(f.answer(spki, certified))
	must(f, err)
	return verdict
}
