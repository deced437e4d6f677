package issuance_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// TestAMeasuredNodeGetsItsSVIDForTheKeyItBound: and for no other. neg: 141
func TestAMeasuredNodeGetsItsSVIDForTheKeyItBound(t *testing.T) {
	f := newFleet(t, nil)
	key, spki := newKey(t)
	_, other := newKey(t)
	f.refused(agentSVID(f.id, spki), attestd.ClassPolicyDeny) // before any evidence
	verdict := f.attested(spki, key)
	if verdict.AgentID != string(f.id) || verdict.Grade != wire.GradeResident || verdict.AppraisalID == "" {
		t.Errorf("got %+v, want %s, resident", verdict, f.id)
	}
	want := []string{
		"format:tpm", "tenant:blue", "state:trusted", "tier:low", "key:resident", "residency:activated",
	}
	if !slices.Equal(verdict.Selectors, want) {
		t.Errorf("got selectors %v, want %v", verdict.Selectors, want)
	}
	enlist := verdict.Enlist
	if enlist == nil || string(enlist.Certificates[0]) != string(spki) ||
		string(enlist.Certificates[1]) != string(f.id) || enlist.AgentID != string(f.id) ||
		string(enlist.CA) != "ca" || len(enlist.SnapshotKey) != 32 || len(enlist.Addresses) != 1 {
		t.Errorf("got %+v, want a certificate for the key", enlist)
	}
	for range 2 { // SPIRE repeats what was lost
		info := f.said(f.granted(agentSVID(f.id, spki)))
		if !info.Attested || info.KeyGrade != "resident" {
			t.Errorf("the extension says %+v", info)
		}
	}
	f.refused(agentSVID(f.id, other), attestd.ClassPolicyDeny)
	f.refused(agentSVID(node(1).ID, spki), attestd.ClassPolicyDeny)
	if n, _ := f.index.Outstanding(f.id, f.store.Now()); n != 2 {
		t.Errorf("%d grants are counted, want the 2 that were given", n)
	}
	second := f.attested(other, nil) // a key that the TPM did not certify
	if second.Grade != wire.GradeBound {
		t.Errorf("got grade %s, want bound", second.Grade)
	}
	f.granted(agentSVID(f.id, other))
	f.granted(agentSVID(f.id, spki)) // several keys of one id
}

// TestACertifiedKeyThatIsNotTheAgentsMakesItNoBetter.
func TestACertifiedKeyThatIsNotTheAgentsMakesItNoBetter(t *testing.T) {
	f := newFleet(t, nil)
	certified, _ := newKey(t)
	_, spki := newKey(t)
	if got := f.attested(spki, certified); got.Grade != wire.GradeBound {
		t.Errorf("got grade %s, want bound", got.Grade)
	}
}

// TestATicketIsGoodForAMinute: neg: 150
func TestATicketIsGoodForAMinute(t *testing.T) {
	var late time.Duration
	f := newFleet(t, nil)
	store := f.store
	config := f.config()
	config.Verifier, config.Bound = f.service, f.everBound
	config.Now = func() time.Time { return store.Now().Add(late) }
	var err error
	f.office, err = issuance.New(config)
	must(t, err)
	key, spki := newKey(t)
	f.attested(spki, key)
	late = 59 * time.Second
	f.granted(agentSVID(f.id, spki))
	late = time.Minute + time.Second
	f.refused(agentSVID(f.id, spki), attestd.ClassPolicyDeny)
}

// TestAQuarantinedNodeGetsNothingWhateverItHas: a ticket from before, fresh evidence. neg: 197
func TestAQuarantinedNodeGetsNothingWhateverItHas(t *testing.T) {
	f := newFleet(t, nil)
	key, spki := newKey(t)
	f.attested(spki, key)
	waiting := f.answer(spki, key)
	f.hold(f.id)
	f.refused(agentSVID(f.id, spki), attestd.ClassQuarantined)
	_, err := f.finish(waiting)
	f.failed(err, attestd.ClassQuarantined)
	f.refused(agentSVID(f.id, spki), attestd.ClassQuarantined)
}

// TestOnceANodeBoundItsKeyEvidenceWithoutOneIsRefused: also after a restart.
func TestOnceANodeBoundItsKeyEvidenceWithoutOneIsRefused(t *testing.T) {
	f := newFleet(t, nil)
	first := f.attested(nil, nil)
	if first.Grade != wire.GradeNone || first.Enlist != nil {
		t.Errorf("got %+v of a node that bound no key", first)
	}
	_, any := newKey(t)
	f.granted(agentSVID(f.id, any))
	key, spki := newKey(t)
	f.attested(spki, key)
	f.granted(agentSVID(f.id, spki))
	f.refused(agentSVID(f.id, any), attestd.ClassPolicyDeny) // the ticket for whatever key is over
	_, err := f.finish(f.answer(nil, nil))
	f.failed(err, attestd.ClassPolicyDeny)
	config := f.config()
	config.Verifier, config.Now, config.Bound = f.service, f.store.Now, f.everBound
	f.office, err = issuance.New(config)
	must(t, err)
	_, err = f.finish(f.answer(nil, nil))
	f.failed(err, attestd.ClassPolicyDeny)
	f.refused(agentSVID(f.id, any), attestd.ClassPolicyDeny)
	config.Bound = func(context.Context, subject.ID) (bool, error) { return false, errors.New("disk") }
	f.office, err = issuance.New(config)
	must(t, err)
	_, err = f.finish(f.answer(nil, nil))
	f.undecided(err)
	f.refused(agentSVID(f.id, any), attestd.ClassPolicyDeny)
}

// TestWhatWasBoundJustNowIsBoundBeforeTheStoreSaysSo.
func TestWhatWasBoundJustNowIsBoundBeforeTheStoreSaysSo(t *testing.T) {
	f := newFleet(t, func(c *issuance.Config) {
		c.Bound = func(context.Context, subject.ID) (bool, error) { return false, nil }
	})
	key, spki := newKey(t)
	f.attested(spki, key)
	_, err := f.finish(f.answer(nil, nil))
	f.failed(err, attestd.ClassPolicyDeny)
	_, other := newKey(t)
	f.refused(agentSVID(f.id, other), attestd.ClassPolicyDeny)
}

func TestWhereEveryKeyMustBeBoundNoOtherEvidenceIsJudged(t *testing.T) {
	f := newFleet(t, func(c *issuance.Config) { c.Unbound, c.Verifier = issuance.Refuse, nobody{} })
	_, err := f.finish(wire.NodeFinish{Format: attestd.FormatTPM, Tenant: "blue"})
	f.failed(err, attestd.ClassPolicyDeny)
}

// TestRelayedEvidenceAttestsNobody: evidence of one machine with another's key, and of another purpose.
// neg: 141
func TestRelayedEvidenceAttestsNobody(t *testing.T) {
	f := newFleet(t, nil)
	key, spki := newKey(t)
	_, other := newKey(t)
	for name, relay := range map[string]func() wire.NodeFinish{
		"with another key": func() wire.NodeFinish {
			ask := f.answer(spki, key)
			ask.KeySPKI = other
			return ask
		},
		"without its key": func() wire.NodeFinish {
			ask := f.answer(spki, key)
			ask.KeySPKI = nil
			return ask
		},
		"a second time": func() wire.NodeFinish {
			ask := f.answer(spki, key)
			_, err := f.finish(ask)
			must(t, err)
			return ask
		},
		"a challenge for something else": func() wire.NodeFinish {
			reply, err := f.service.Challenge(context.Background(), service.Wish{Wish: challenge.Wish{
				Format: attestd.FormatTPM, Tenant: "blue", Purpose: "verify", Source: "192.0.2.1",
			}})
			must(t, err)
			digest, err := reply.Challenge.Binding(other).Digest()
			must(t, err)
			evidence, err := f.machine.Evidence(digest, nil)
			must(t, err)
			raw, err := evidence.Marshal()
			must(t, err)
			return wire.NodeFinish{
				ChallengeID: reply.Challenge.ID, Format: attestd.FormatTPM, Tenant: "blue", Evidence: raw,
				KeySPKI: other,
			}
		},
		"garbage": func() wire.NodeFinish {
			ask := f.answer(other, nil)
			ask.Evidence = []byte("garbage")
			return ask
		},
	} {
		t.Run(name, func(t *testing.T) {
			f.TB = t
			var rejected *issuance.Rejected
			got, err := f.finish(relay())
			if !errors.As(err, &rejected) || got.AgentID != "" || got.Selectors != nil || got.Enlist != nil {
				t.Errorf("got %+v, %v, want a rejection and nothing beside it", got, err)
			}
			f.refused(agentSVID(f.id, other), attestd.ClassPolicyDeny)
		})
	}
}

// TestTwoAgentsOnOneMachineAreOneNode: whoever comes second has the same id, and each key is good for
// itself alone. neg: 194
func TestTwoAgentsOnOneMachineAreOneNode(t *testing.T) {
	f := newFleet(t, nil)
	var asks []wire.NodeFinish
	var keys [][]byte
	for range 2 {
		key, spki := newKey(t)
		asks, keys = append(asks, f.answer(spki, key)), append(keys, spki)
	}
	var group sync.WaitGroup
	verdicts, errs := make([]wire.NodeVerdict, 2), make([]error, 2)
	for i, ask := range asks {
		group.Go(func() { verdicts[i], errs[i] = f.finish(ask) })
	}
	group.Wait()
	for i := range asks {
		if errs[i] != nil || verdicts[i].AgentID != string(f.id) ||
			string(verdicts[i].Enlist.Certificates[0]) != string(keys[i]) {
			t.Errorf("got %+v, %v, want %s with its own key", verdicts[i], errs[i], f.id)
		}
		f.granted(agentSVID(f.id, keys[i]))
	}
}

// TestKeysThatNoCertificateIsMadeFor: neg: 151
func TestKeysThatNoCertificateIsMadeFor(t *testing.T) {
	f := newFleet(t, func(c *issuance.Config) { c.Verifier = nobody{} })
	encode := func(key any, err error) []byte {
		t.Helper()
		must(t, err)
		der, err := x509.MarshalPKIXPublicKey(key)
		must(t, err)
		return der
	}
	weak := func(bits, e int) []byte {
		small, err := rsa.GenerateKey(rand.Reader, 2048)
		must(t, err)
		n := small.N
		if bits > 2048 {
			n = n.Lsh(n, uint(bits-2048))
			n.SetBit(n, 0, 1)
		}
		return encode(&rsa.PublicKey{N: n, E: e}, nil)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(t, err)
	_, good := newKey(t)
	for name, row := range map[string]struct {
		spki  []byte
		class attestd.Class
	}{
		"RSA of 16,384 bits":   {weak(16384, 65537), attestd.ClassTooLarge},
		"RSA of 4,097 bits":    {weak(4097, 65537), attestd.ClassTooLarge},
		"an exponent of 3":     {weak(2048, 3), attestd.ClassKeyProperties},
		"an exponent of 2^31":  {weak(2048, 1<<31-2), attestd.ClassKeyProperties},
		"P-224":                {encode(&p224.PublicKey, nil), attestd.ClassKeyProperties},
		"no key":               {[]byte("key"), attestd.ClassMalformed},
		"bytes behind the key": {append(slices.Clone(good), 0), attestd.ClassMalformed},
		"a megabyte":           {make([]byte, 1<<20), attestd.ClassTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			f.TB = t
			_, err := f.finish(wire.NodeFinish{Format: attestd.FormatTPM, Tenant: "blue", KeySPKI: row.spki})
			f.failed(err, row.class)
		})
	}
}

// oracle answers with an appraisal as it is told.
type oracle struct {
	nobody
	given attestd.Appraisal
	err   error
}

func (o oracle) Verify(context.Context, service.Submission) (attestd.Appraisal, error) {
	return o.given, o.err
}

// TestAVerdictThatIsNoneIsNoPass: whatever comes from the verifier that is not the acceptance of this
// very node gives no id, no selector, no ticket. neg: 195
func TestAVerdictThatIsNoneIsNoPass(t *testing.T) {
	const enclaved = "spiffe://example.org/spire/agent/attestd/nitro/x"
	good := func() attestd.Appraisal {
		return attestd.Appraisal{
			ID: "a1", Verdict: attestd.VerdictAccepted, Format: attestd.FormatTPM, Tier: attestd.TierLow,
			Freshness: attestd.FreshnessBinding, Claims: []byte(`{}`), Standing: &attestd.Standing{
				Subject: string(node(1).ID), Tenant: "blue", Ownership: "inventory", State: attestd.StateTrusted,
			},
		}
	}
	_, spki := newKey(t)
	attempt := func(t *testing.T, given attestd.Appraisal, verifier error) (*world, wire.NodeVerdict, error) {
		w := newWorld(t, func(c *issuance.Config) { c.Verifier = oracle{given: given, err: verifier} })
		w.publish(nil, 1)
		w.publish(func(s *subject.Subject) { s.ID, s.Format = enclaved, attestd.FormatNitro }, 2)
		w.publish(func(s *subject.Subject) { s.ID = node(1).ID + "/x" }, 3)
		verdict, err := w.office.Finish(context.Background(), wire.NodeFinish{
			Format: attestd.FormatTPM, Tenant: "blue", KeySPKI: spki,
		}, "192.0.2.1")
		return w, verdict, err
	}
	if _, verdict, err := attempt(t, good(), nil); err != nil || verdict.AgentID != string(node(1).ID) {
		t.Fatalf("got %+v, %v, want the node attested", verdict, err)
	}
	for name, change := range map[string]func(*attestd.Appraisal){
		"nothing at all": func(a *attestd.Appraisal) { *a = attestd.Appraisal{} },
		"undecided":      func(a *attestd.Appraisal) { a.Verdict = attestd.VerdictUndecided },
		"a verdict of 7": func(a *attestd.Appraisal) { a.Verdict = 7 },
		"rejected":       func(a *attestd.Appraisal) { a.Verdict = attestd.VerdictRejected },
		"another format": func(a *attestd.Appraisal) { a.Format = attestd.FormatNitro },
		"another format's node": func(a *attestd.Appraisal) {
			a.Format, a.Standing.Subject = attestd.FormatNitro, enclaved
		},
		"no freshness":        func(a *attestd.Appraisal) { a.Freshness = attestd.FreshnessNotShown },
		"a nonce, no binding": func(a *attestd.Appraisal) { a.Freshness = attestd.FreshnessNonce },
		"no standing":         func(a *attestd.Appraisal) { a.Standing = nil },
		"nobody's":            func(a *attestd.Appraisal) { a.Standing.Tenant = "" },
		"another tenant's":    func(a *attestd.Appraisal) { a.Standing.Tenant = "red" },
		"no instance":         func(a *attestd.Appraisal) { a.Standing.Subject = "" },
		// neg: 142
		"a workload's id":     func(a *attestd.Appraisal) { a.Standing.Subject = workload },
		"the server's id":     func(a *attestd.Appraisal) { a.Standing.Subject = server },
		"another plugin's id": func(a *attestd.Appraisal) { a.Standing.Subject = "spiffe://example.org/spire/agent/tpm/x" },
		"another format's id": func(a *attestd.Appraisal) {
			a.Standing.Subject = enclaved
		},
		"a path below its id":       func(a *attestd.Appraisal) { a.Standing.Subject += "/x" },
		"another trust domain's id": func(a *attestd.Appraisal) { a.Standing.Subject = "spiffe://example.net/spire/agent/attestd/tpm/x" },
		"an id that climbs": func(a *attestd.Appraisal) {
			a.Standing.Subject = "spiffe://example.org/spire/agent/attestd/tpm/.."
		},
		"a node that the registry does not have": func(a *attestd.Appraisal) {
			a.Standing.Subject = string(node(9).ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			given := good()
			change(&given)
			w, verdict, err := attempt(t, given, nil)
			if err == nil || verdict.AgentID != "" || verdict.Selectors != nil || verdict.Enlist != nil {
				t.Errorf("got %+v, %v, want an error alone", verdict, err)
			}
			w.refused(agentSVID(node(1).ID, spki), attestd.ClassPolicyDeny)
		})
	}
	broken := errors.New("no verifier")
	if _, verdict, err := attempt(t, good(), broken); !errors.Is(err, broken) || verdict.AgentID != "" {
		t.Errorf("got %+v, %v, want the verifier's error", verdict, err)
	}
}

// TestNothingOfTheRequestReachesTheIdentity: who the node is and what is said of it comes from what was
// verified. neg: 149, 193
func TestNothingOfTheRequestReachesTheIdentity(t *testing.T) {
	f := newFleet(t, nil)
	key, spki := newKey(t)
	plain := f.attested(spki, key)
	ask := f.answer(spki, key)
	ask.EnrolmentToken = "risk_score=0"
	got, err := f.finish(ask)
	must(t, err)
	if got.AgentID != plain.AgentID || !slices.Equal(got.Selectors, plain.Selectors) {
		t.Errorf("got %+v, want %+v", got, plain)
	}
	// Claims of evidence that are called like ours are not ours.
	w := newWorld(t, func(c *issuance.Config) {
		c.Verifier = oracle{given: attestd.Appraisal{
			ID: "a1", Verdict: attestd.VerdictAccepted, Format: attestd.FormatTPM, Risk: attestd.Risk(0),
			Freshness: attestd.FreshnessBinding, At: start,
			Claims: []byte(`{"risk_score":0,"key_grade":"resident","tenant":"red","tier":"low",` +
				`"certified_key":"00","ak_residency":"x:y\ntier:low"}`),
			Checks: []attestd.Check{
				{ID: "measurement/known", Result: attestd.ResultPass, Got: "evil\nattestd:tier:low / v"},
			},
			Standing: &attestd.Standing{Subject: string(node(1).ID), Tenant: "blue"},
		}}
	})
	w.publish(func(s *subject.Subject) { s.Floor = attestd.Risk(55) }, 1)
	verdict, err := w.office.Finish(context.Background(), wire.NodeFinish{
		Format: attestd.FormatTPM, Tenant: "blue", KeySPKI: spki,
	}, "192.0.2.1")
	must(t, err)
	want := []string{
		"format:tpm", "tenant:blue", "state:trusted", "tier:medium", "key:bound",
		// neg: 199
		"residency:x%3Ay%0Atier%3Alow", "measurement:evil%0Aattestd%3Atier%3Alow",
	}
	if !slices.Equal(verdict.Selectors, want) {
		t.Errorf("got %v, want %v", verdict.Selectors, want)
	}
	w.on(1)
	claims := w.granted(jwt(workload)).Claims
	if claims["risk_score"] != 55 || claims["tenant"] != "blue" || claims["key_grade"] != "bound" ||
		claims["measurement"] != "evil%0Aattestd%3Atier%3Alow" {
		t.Errorf("got claims %v", claims)
	}
}
