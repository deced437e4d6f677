package nodeattestor_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/attestwire"
)

func TestANodeGetsWhatAttestdSaid(t *testing.T) {
	o := newOffice(t, answers{})
	p := serverPlugin(t, o)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "X-Forwarded-Client-IP", "192.0.2.7")
	stream, err := p.Attest(ctx)
	must(t, err)
	n := &node{t, stream}
	n.payload(opening(t))
	var asked attestwire.Challenge
	must(t, n.hear(&asked))
	n.respond(written(t, &attestwire.Answer{
		V: 1, Evidence: []byte("evidence"), KeySPKI: []byte("key"),
		ActivationSecret: []byte("secret"),
		EnrolmentToken:   "token", Endorsements: attestwire.Endorsements{Certificates: [][]byte{{9}}},
	}))
	var outcome attestwire.Outcome
	must(t, n.hear(&outcome))
	if outcome.AgentID != agentID || outcome.Grade != wire.GradeBound || outcome.Enlist == nil ||
		outcome.AppraisalID != "0191" {
		t.Errorf("outcome %+v", outcome)
	}
	n.respond(receipt(t))
	got, err := n.attributes()
	must(t, err)
	if got.GetSpiffeId() != agentID || !got.GetCanReattest() ||
		strings.Join(got.GetSelectorValues(), " ") != "format:tpm tenant:blue tier:low" {
		t.Errorf("attributes %v", got)
	}
	if _, err := n.attributes(); !errors.Is(err, io.EOF) {
		t.Errorf("after the attributes: %v, want the end", err)
	}
	if len(o.asked) != 1 || o.asked[0].Source != "192.0.2.7" || o.asked[0].Tenant != "blue" {
		t.Errorf("asked %+v", o.asked)
	}
	handed := o.ended[0]
	if handed.ChallengeID != "0190" || handed.Tenant != "blue" ||
		handed.Format != attestd.FormatTPM ||
		string(handed.Evidence) != "evidence" || string(handed.KeySPKI) != "key" ||
		handed.Source != "192.0.2.7" ||
		string(handed.ActivationSecret) != "secret" || handed.EnrolmentToken != "token" ||
		len(handed.Endorsements.Certificates) != 1 {
		t.Errorf("handed in %+v", handed)
	}
}

func TestASourceThatIsNoAddressIsNone(t *testing.T) {
	o := newOffice(t, answers{})
	p := serverPlugin(t, o)
	for _, given := range []string{"", "evil line", "host.example.org", "::ffff:192.0.2.7",
		"fe80::1%eth0"} {
		stream, err := p.Attest(metadata.AppendToOutgoingContext(t.Context(),
			"X-Forwarded-Client-IP", given))
		must(t, err)
		n := &node{t, stream}
		n.payload(opening(t))
		must(t, n.hear(&attestwire.Challenge{}))
		want := map[string]string{"::ffff:192.0.2.7": "192.0.2.7", "fe80::1%eth0": "fe80::1"}[given]
		if got := o.asked[len(o.asked)-1].Source; got != want {
			t.Errorf("%q became %q, want %q", given, got, want)
		}
	}
}

// TestAnAnswerThatIsNoneGivesNothing: whatever stands at attestd's place, a node never gets
// attributes that attestd did not give it, and is never told that its evidence was refused. neg:
// 195
func TestAnAnswerThatIsNoneGivesNothing(t *testing.T) {
	var o *office
	changed := func(change func(*attestd.Challenge)) answers {
		return answers{begin: func(ask wire.NodeBegin) (any,
			error) {
			return o.challenge(ask, change), nil
		}}
	}
	judged := func(change func(*wire.NodeVerdict)) answers {
		return answers{finish: func(ask wire.NodeFinish) (any, error) {
			return verdict(ask, change),
				nil
		}}
	}
	for _, row := range []struct {
		name  string
		given answers
	}{
		{"a challenge for another tenant",
			changed(func(c *attestd.Challenge) { c.Tenant = "red" })},
		{"a challenge of another trust domain",
			changed(func(c *attestd.Challenge) { c.TrustDomain = "example.com" })},
		{"a challenge for another format",
			changed(func(c *attestd.Challenge) { c.Format = attestd.FormatNitro })},
		{"a challenge that is over",
			changed(func(c *attestd.Challenge) { c.ExpiresAt = c.IssuedAt.Add(-time.Second) })},
		{"a challenge without keys", answers{begin: func(ask wire.NodeBegin) (any, error) {
			given := o.challenge(ask, nil)
			given.Keys = nil
			return given, nil
		}}},
		{"a challenge under another's keys", answers{begin: func(ask wire.NodeBegin) (any, error) {
			given := o.challenge(ask, nil)
			other, err := challenge.NewEphemeralSigner()
			must(t, err)
			given.Keys, err = other.KeySet()
			must(t, err)
			return given, nil
		}}},
		{"garbage for a challenge", answers{begin: func(wire.NodeBegin) (any, error) {
			return json.RawMessage(`"ok"`), nil
		}}},
		{"nothing for a challenge", answers{begin: func(wire.NodeBegin) (any,
			error) {
			return wire.Empty{}, nil
		}}},
		{"a challenge with more in it", answers{begin: func(ask wire.NodeBegin) (any, error) {
			return map[string]any{"challenge": map[string]any{}, "keys": map[string]any{},
				"agent_id": agentID}, nil
		}}},
		{"nothing for a verdict", answers{finish: func(wire.NodeFinish) (any,
			error) {
			return wire.Empty{}, nil
		}}},
		{"garbage for a verdict", answers{finish: func(wire.NodeFinish) (any,
			error) {
			return []int{1}, nil
		}}},
		{"a verdict of another tenant",
			judged(func(v *wire.NodeVerdict) { v.Selectors[1] = "tenant:red" })},
		{"a verdict of no tenant",
			judged(func(v *wire.NodeVerdict) { v.Selectors = v.Selectors[:1] })},
		{"a verdict without selectors", judged(func(v *wire.NodeVerdict) { v.Selectors = nil })},
		{"a verdict without an appraisal",
			judged(func(v *wire.NodeVerdict) { v.AppraisalID = "" })},
		{"a verdict without an agent", judged(func(v *wire.NodeVerdict) { v.AgentID = "" })},
		{"a verdict of an unknown grade", judged(func(v *wire.NodeVerdict) { v.Grade = "best" })},
		{"a grade for a key that was not named",
			judged(func(v *wire.NodeVerdict) { v.Grade = wire.GradeResident })},
		{"a certificate for a key that was not named", judged(func(v *wire.NodeVerdict) {
			v.Enlist = &wire.Enlist{AgentID: agentID}
		})},
		// neg: 142
		{"a workload's id",
			judged(func(v *wire.NodeVerdict) { v.AgentID = "spiffe://example.org/web" })},
		{"an agent of another attestor", judged(func(v *wire.NodeVerdict) {
			v.AgentID = "spiffe://example.org/spire/agent/join_token/x"
		})},
		{"a way up in the id", judged(func(v *wire.NodeVerdict) {
			v.AgentID = agentID +
				"/../../../../web"
		})},
		{"an escaped way up in the id", judged(func(v *wire.NodeVerdict) {
			v.AgentID = agentID +
				"/%2e%2e"
		})},
		{"an id of another trust domain", judged(func(v *wire.NodeVerdict) {
			v.AgentID = strings.Replace(agentID, "example.org", "example.com", 1)
		})},
		{"an id of 2,049 bytes", judged(func(v *wire.NodeVerdict) {
			v.AgentID = agentID + strings.Repeat("a", 2049-len(agentID))
		})},
		// neg: 199
		{"a selector that forges another", judged(func(v *wire.NodeVerdict) {
			v.Selectors = append(v.Selectors, "measurement:x\nattestd:tier:low")
		})},
		{"a selector of another form", judged(func(v *wire.NodeVerdict) {
			v.Selectors = append(v.Selectors, "measurement:x:tier:low")
		})},
		{"an error without a class", answers{finish: func(wire.NodeFinish) (any, error) {
			return nil, &attestd.UndecidedError{Check: "x", Class: attestd.ClassStoreUnavailable,
				Err: io.ErrUnexpectedEOF}
		}}},
		{"attestd has too much to do", answers{begin: func(wire.NodeBegin) (any, error) {
			return nil, &link.Error{Class: attestd.ClassRateLimited, Message: "slow down"}
		}}},
		{"the plugin is not known to attestd", answers{begin: func(wire.NodeBegin) (any, error) {
			return nil, &link.Error{Class: attestd.ClassUnauthenticated, Message: "who?"}
		}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			o = newOffice(t, row.given)
			got, err := serverPlugin(t, o).whole(t)
			if got != nil || status.Code(err) != codes.Unavailable {
				t.Errorf("got %v, %v; want Unavailable and nothing else", got, err)
			}
			if text := status.Convert(err).Message(); strings.ContainsAny(text, "\n") ||
				strings.Contains(text, "evil") {
				t.Errorf("the node is told %q", text)
			}
		})
	}
}

// neg: 195
func TestWithoutAttestdThereIsNoAnswer(t *testing.T) {
	o := newOffice(t, answers{})
	p := load(t, newPlugin)
	must(t, p.configure(`addresses = ["unix:`+shortDir(t)+`/nobody.sock"]
timeout = "150ms"`))
	began := time.Now()
	if got, err := p.whole(t); got != nil || status.Code(err) != codes.Unavailable {
		t.Errorf("unreachable: %v, %v", got, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to say so", took)
	}
	must(t, p.configure(`addresses = ["`+o.address+`"]
timeout = "150ms"`))
	if got, err := p.whole(t); err != nil || got.GetSpiffeId() != agentID {
		t.Errorf("once it is there: %v, %v", got, err)
	}
	slow := make(chan struct{})
	defer close(slow)
	o.mu.Lock()
	o.given.finish = func(wire.NodeFinish) (any, error) { <-slow; return nil, io.EOF }
	o.mu.Unlock()
	if got, err := p.whole(t); got != nil || status.Code(err) != codes.Unavailable {
		t.Errorf("slow: %v, %v", got, err)
	}
}

// TestRefusedEvidenceIsSaidNeutrally: the node's log learns the appraisal to ask for, and no
// reason.
func TestRefusedEvidenceIsSaidNeutrally(t *testing.T) {
	for _, row := range []struct {
		class attestd.Class
		code  codes.Code
	}{
		{attestd.ClassBinding, codes.PermissionDenied}, // neg: 141
		{attestd.ClassMeasurement, codes.PermissionDenied},
		{attestd.ClassQuarantined, codes.PermissionDenied},
		{attestd.ClassPolicyDeny, codes.PermissionDenied},
		{attestd.ClassConflict, codes.PermissionDenied}, // neg: 194
		{attestd.ClassMalformed, codes.PermissionDenied},
		{attestd.ClassCollateralStale, codes.Unavailable},
		{attestd.ClassInternal, codes.Internal},
	} {
		t.Run(string(row.class), func(t *testing.T) {
			o := newOffice(t, answers{finish: func(wire.NodeFinish) (any, error) {
				return nil, &link.Error{Class: row.class, Message: "pcr 4 is of kernel-evil",
					AppraisalID: "0192-abc"}
			}})
			p := serverPlugin(t, o)
			got, err := p.whole(t)
			said := status.Convert(err).Message()
			if got != nil || status.Code(err) != row.code ||
				strings.Contains(said, "kernel-evil") ||
				!strings.Contains(said, "0192-abc") {
				t.Errorf("got %v, %v; want %s with the appraisal and no reason", got, err, row.code)
			}
			if log := p.log.String(); !strings.Contains(log, "kernel-evil") ||
				!strings.Contains(log, "0192-abc") {
				t.Errorf("the server's log lacks the reason: %s", log)
			}
		})
	}
}

func TestACanaryGoesToAttestdAndIssuesNothing(t *testing.T) {
	canary := []byte(`{"v":1,"canary":"c-1"}`)
	ask := func(p *plugin) error {
		n := p.attest(t)
		n.payload(canary)
		got, err := n.attributes()
		if got != nil {
			t.Fatalf("a canary got %v", got)
		}
		return err
	}
	o := newOffice(t, answers{})
	p := serverPlugin(t, o, `canary_tenant = "blue"`)
	if err := ask(p); status.Code(err) != codes.FailedPrecondition ||
		status.Convert(err).Message() != "attestd: canary: ok" {
		t.Errorf("all is well: %v", err)
	}
	if len(o.asked) != 1 || o.asked[0].Tenant != "blue" || o.asked[0].Format != attestd.FormatTPM ||
		len(o.ended) != 0 {
		t.Errorf("asked %+v, handed in %+v", o.asked, o.ended)
	}
	o.mu.Lock()
	o.given.begin = func(wire.NodeBegin) (any, error) { return wire.Empty{}, nil }
	o.mu.Unlock()
	if err := ask(p); status.Code(err) != codes.Unavailable {
		t.Errorf("garbage: %v, want Unavailable", err)
	}
	o.mu.Lock()
	o.given.begin = func(ask wire.NodeBegin) (any, error) {
		return map[string]any{"challenge": o.challenge(ask, nil).Challenge}, nil
	}
	o.mu.Unlock()
	if err := ask(p); status.Code(err) != codes.Unavailable {
		t.Errorf("a challenge without keys: %v, want Unavailable", err)
	}
}

// faulty stands for a bug on the way to attestd.
type faulty struct{ panics bool }

func (f *faulty) Call(context.Context, string, any, any) error {
	if f.panics {
		panic("index out of range, with \x1b[31m evil")
	}
	return context.DeadlineExceeded
}

// neg: 190
func TestAPanicEndsOneAttestation(t *testing.T) {
	way := &faulty{panics: true}
	p := configured(t, over(way), newOffice(t, answers{}))
	for range 3 {
		got, err := p.whole(t)
		if got != nil || status.Code(err) != codes.Internal ||
			strings.Contains(err.Error(), "evil") {
			t.Fatalf("got %v, %v; want Internal", got, err)
		}
	}
	way.panics = false
	if _, err := p.whole(t); status.Code(err) != codes.Unavailable {
		t.Errorf("afterwards: %v, want Unavailable", err)
	}
	if log := p.log.String(); !strings.Contains(log, "goes on") || strings.Contains(log, "\x1b") {
		t.Errorf("log: %s", log)
	}
}
