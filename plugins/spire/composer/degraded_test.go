package composer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
)

const (
	started   = 1795000000 // as the iat of the tokens
	agentID   = "spiffe://example.org/spire/agent/attestd/tpm/0a"
	enclaveID = "spiffe://example.org/enclave/blue/job"
)

// outage is a keeper, an attestd that it hears or does not, and the clock of both.
type outage struct {
	*testing.T
	key  ed25519.PrivateKey
	kept *keeper
	log  bytes.Buffer
	mu   sync.Mutex
	time time.Time
	// answer is what attestd says to a question; where both are zero nobody answers.
	granted *wire.Granted
	err     error
	// meanwhile happens while it is asked.
	meanwhile func()
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &outage{T: t, key: key, time: time.Unix(started, 0)}
	o.kept = newKeeper(host.Env{
		Counts: &host.Counts{}, Logger: hclog.New(&hclog.LoggerOptions{Output: &o.log}),
	}, "example.org")
	o.kept.now = o.now
	return o
}

func (o *outage) now() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.time
}

func (o *outage) wait(by time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.time = o.time.Add(by)
}

// call is attestd's end of the link.
func (o *outage) call(_ context.Context, method string, _, out any) error {
	if o.meanwhile != nil {
		o.meanwhile()
	}
	o.wait(2 * time.Second)
	into, ok := out.(*wire.Granted)
	switch {
	case method != wire.MethodGrant || !ok:
		return errors.New("asked something else")
	case o.err != nil:
		return o.err
	case o.granted != nil:
		*into = *o.granted
		return nil
	default:
		return fmt.Errorf("nobody there: %w", link.ErrUnreached)
	}
}

// handout is what attestd hands out now, as change makes it.
func (o *outage) handout(change func(*wire.Holdover)) wire.HoldoverAnswer {
	o.Helper()
	now := o.now().UTC()
	said := wire.Holdover{
		TrustDomain: "example.org", Number: 7, Part: 1, Parts: 1, IssuedAt: now,
		ExpiresAt: now.Add(time.Minute), Audiences: []string{"*"},
		RiskClaims: []string{"risk_score"},
		Rows: []wire.HoldoverRow{{
			ID: id, ExpiresAt: now.Add(time.Minute).Unix(), LivesSeconds: 300,
			Claims: map[string]any{"attested": true, "risk_score": 12, "tenant": "a"},
		}},
	}
	if change != nil {
		change(&said)
	}
	return o.sign(said, o.key)
}

func (o *outage) sign(said wire.Holdover, key ed25519.PrivateKey) wire.HoldoverAnswer {
	o.Helper()
	payload, err := json.Marshal(said)
	o.must(err)
	signed := append([]byte(wire.HoldoverLabel), payload...)
	public, _ := key.Public().(ed25519.PublicKey)
	return wire.HoldoverAnswer{
		Key: public, Now: o.now().UTC(),
		Signed: wire.Signed{Payload: payload, Signature: ed25519.Sign(key, signed)},
	}
}

// take has the keeper take in what it is given.
func (o *outage) take(answers ...wire.HoldoverAnswer) error {
	o.Helper()
	var parts []wire.Holdover
	for _, answer := range answers {
		var err error
		if parts, err = o.kept.take(answer, parts); err != nil {
			return err
		}
	}
	return nil
}

func (o *outage) must(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o *outage) grant(request wire.GrantRequest) (wire.Granted, error) {
	ctx, cancel := context.WithTimeout(o.Context(), time.Minute)
	defer cancel()
	return attestdGranter{o.call, o.kept}.grant(ctx, request)
}

func jwtOf(id string) wire.GrantRequest {
	return wire.GrantRequest{
		Kind: wire.GrantWorkloadJWT, ID: id, Audience: []string{"peer"}, ExpiresAt: started + 300,
	}
}

// issues demands a grant that ends then.
func (o *outage) issues(ends int64) {
	o.Helper()
	got, err := o.grant(jwtOf(id))
	if err != nil {
		o.Fatal(err)
	}
	want := wire.Granted{ExpiresAt: ends, Claims: map[string]any{
		"attested": true, "risk_score": 12.0, "tenant": "a", "attestd_degraded": true,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		o.Error(diff)
	}
}

// refuses demands that nothing is issued, and that the answer is that nobody could decide.
func (o *outage) refuses(request wire.GrantRequest) {
	o.Helper()
	got, err := o.grant(request)
	if !errors.Is(err, link.ErrUnreached) || got.Claims != nil || got.ExpiresAt != 0 {
		o.Errorf("%s %s: got %+v, %v", request.Kind, request.ID, got, err)
	}
}

// TestWithoutAttestdItGoesOnForAMinute by what was handed out, and no token outlives that.
func TestWithoutAttestdItGoesOnForAMinute(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	o.refuses(jwtOf(id)) // nothing was handed out yet; two seconds are over
	o.must(o.take(o.handout(nil)))
	o.issues(started + 62)
	o.wait(50 * time.Second)
	o.issues(started + 62) // 56 s after it was handed out
	o.wait(5 * time.Second)
	o.refuses(jwtOf(id)) // 61 s
	if got := o.kept.counts.All()["degraded_"+wire.GrantWorkloadJWT]; got != 2 {
		t.Errorf("%d are counted", got)
	}
	if got := strings.Count(o.log.String(), "attestd does not answer"); got != 1 {
		t.Errorf("%d lines: %s", got, &o.log)
	}
}

// TestOnlyWhatWasHandedOutGoesOn: no agent's SVID, no X.509-SVID, nothing for evidence alone,
// nobody who was not in it, as whoever is held is not.
func TestOnlyWhatWasHandedOutGoesOn(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	o.must(o.take(o.handout(func(h *list) {
		h.Rows = append(h.Rows, wire.HoldoverRow{
			ID: agentID, ExpiresAt: h.ExpiresAt.Unix(), LivesSeconds: 60,
			Claims: map[string]any{"attested": true},
		})
	})))
	key := make([]byte, 32)
	for _, request := range []wire.GrantRequest{
		jwtOf("spiffe://example.org/wl/held"), jwtOf(enclaveID), jwtOf(strings.ToUpper(id)),
		{Kind: wire.GrantWorkloadX509, ID: id, KeySHA256: key, ExpiresAt: started + 60},
		{Kind: wire.GrantAgentX509, ID: agentID, KeySHA256: key, ExpiresAt: started + 60},
	} {
		o.refuses(request)
	}
	o.issues(started + 60)
}

// TestWhileAttestdAnswersNothingElseDoes: whatever it answers, and also where another question was
// answered while this one was not.
func TestWhileAttestdAnswersNothingElseDoes(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{
		"held":      &link.Error{Class: attestd.ClassQuarantined},
		"denied":    &link.Error{Class: attestd.ClassPolicyDeny},
		"undecided": &link.Error{Class: attestd.ClassStoreUnavailable},
		"broken":    &link.Error{Class: attestd.ClassInternal},
	} {
		o := newOutage(t)
		o.must(o.take(o.handout(nil)))
		o.err = answer
		if got, err := o.grant(jwtOf(id)); !errors.Is(err, answer) || got.Claims != nil {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		// And after that it does not go on by what was handed out before, whatever comes of
		// attestd.
		o.err = nil
		o.refuses(jwtOf(id))
		o.must(o.take(o.handout(func(h *list) { h.Number++ })))
		o.refuses(jwtOf(id))
		o.granted = &wire.Granted{ExpiresAt: started + 30}
		got, err := o.grant(jwtOf(id))
		if err != nil || got.ExpiresAt != started+30 || got.Claims != nil {
			t.Errorf("%s: attestd grants again: got %+v, %v", name, got, err)
		}
		o.granted = nil
		o.wait(time.Second)
		o.issues(o.kept.held.ExpiresAt.Unix())
	}
	o := newOutage(t)
	o.must(o.take(o.handout(nil)))
	o.meanwhile = func() { o.wait(time.Second); o.kept.hear() }
	o.refuses(jwtOf(id))
	o.meanwhile = nil
	o.issues(started + 60)
}

// TestACallerThatHasGoneGetsNothing: nobody knows whether attestd would have answered.
func TestACallerThatHasGoneGetsNothing(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	o.must(o.take(o.handout(nil)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := attestdGranter{o.call, o.kept}.grant(ctx, jwtOf(id))
	if err == nil || got.Claims != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestRisksAreForTheirAudiencesWithoutAttestdToo.
func TestRisksAreForTheirAudiencesWithoutAttestdToo(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	o.must(o.take(o.handout(func(h *list) { h.Audiences = []string{"peer"} })))
	for _, row := range []struct {
		audience []string
		told     bool
	}{
		{[]string{"peer"}, true}, {[]string{"peer", "other"}, false}, {[]string{"other"}, false}, {nil, false},
	} {
		ask := jwtOf(id)
		ask.Audience = row.audience
		got, err := o.grant(ask)
		_, told := got.Claims["risk_score"]
		if err != nil || told != row.told || got.Claims["attestd_degraded"] != true {
			t.Errorf("%v: got %v, %v", row.audience, got.Claims, err)
		}
	}
}

// TestATokenIsShorterWhereItsRowSaysSo.
func TestATokenIsShorterWhereItsRowSaysSo(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	o.must(o.take(o.handout(func(h *list) { h.Rows[0].LivesSeconds = 10 })))
	o.issues(started + 2 + 10)
	o.must(o.take(o.handout(func(h *list) {
		h.Number++
		h.Rows[0].ExpiresAt = started + 5
	})))
	o.issues(started + 5) // at 4 s
	o.refuses(jwtOf(id))  // at 6 s
	ask := jwtOf(id)
	o.must(o.take(o.handout(func(h *list) { h.Number += 2 })))
	ask.ExpiresAt = started + 20
	if got, err := o.grant(ask); err != nil || got.ExpiresAt != started+20 {
		t.Errorf("got %+v, %v, want no later end than SPIRE's", got, err)
	}
}

// TestAClockThatIsSetBackGivesNoMoreTime: the machine's own passing of time counts, too.
func TestAClockThatIsSetBackGivesNoMoreTime(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	answer := o.handout(nil)
	answer.Now = answer.Now.Add(50 * time.Second) // held up at attestd's, or made before
	o.must(o.take(answer))
	o.wait(9 * time.Second) // and two for the question
	o.refuses(jwtOf(id))
}

// TestTheKeeperFollowsAttestd: it asks for the next, drops what it has where attestd hands out no
// more, and ends.
func TestTheKeeperFollowsAttestd(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan wire.HoldoverRequest)
	answers := make(chan wire.HoldoverAnswer)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o.kept.run(ctx, func(ctx context.Context, ask wire.HoldoverRequest) (
			wire.HoldoverAnswer, error,
		) {
			if _, limited := ctx.Deadline(); !limited {
				t.Error("asked without a deadline")
			}
			select {
			case asked <- ask:
				return <-answers, nil
			case <-ctx.Done():
				return wire.HoldoverAnswer{}, link.ErrUnreached
			}
		})
	}()
	if ask := <-asked; ask != (wire.HoldoverRequest{}) {
		t.Errorf("asked %+v at first", ask)
	}
	answers <- o.handout(nil)
	if ask := <-asked; ask != (wire.HoldoverRequest{Number: 7}) {
		t.Errorf("asked %+v then", ask)
	}
	o.wait(time.Second)
	o.issues(started + 60)
	answers <- wire.HoldoverAnswer{Off: true}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		o.kept.mu.Lock()
		gone := o.kept.held == nil
		o.kept.mu.Unlock()
		if gone {
			break
		}
		if time.Since(began) > 5*time.Second {
			t.Fatal("what there was is kept")
		}
	}
	o.wait(time.Second)
	o.refuses(jwtOf(id))
	cancel()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("it does not end")
	}
}

// TestATokenSaysThatAttestdWasNotAsked, as SPIRE gets it.
func TestATokenSaysThatAttestdWasNotAsked(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	o.must(o.take(o.handout(nil)))
	composer := configured(t, attestdGranter{o.call, o.kept}, &o.log)
	got, err := jwt(t, composer, claims(t, nil))
	if err != nil || got["attestd_degraded"] != true || got["exp"] != float64(started+60) ||
		got["risk_score"] != 12.0 {
		t.Errorf("got %v, %v", got, err)
	}
	o.wait(time.Minute)
	if _, err := jwt(t, composer, claims(t, nil)); status.Code(err) != codes.Unavailable {
		t.Errorf("after a minute: %v", err)
	}
}
