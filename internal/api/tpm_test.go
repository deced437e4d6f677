package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/service"
)

func TestAMachineAnswersItsCredentialOnceAndIsKnownFromThen(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 2)
	for i, machine := range machines {
		reply := w.credential(machine)
		if reply.Activated || reply.Activation == nil {
			t.Fatalf("machine %d: got %+v, want a credential", i, reply)
		}
		secret := w.opened(machine, reply)
		if len(secret) != service.SecretSize {
			t.Fatalf("machine %d: the secret has %d bytes", i, len(secret))
		}
		got := w.post("/v1/verify", answering(reply.Challenge, w.evidence(machine, reply.Challenge), secret))
		given := w.verdict(got)
		if given.Verdict != attestd.VerdictAccepted || given.Freshness != attestd.FreshnessBinding {
			t.Fatalf("machine %d: got %s", i, got.body)
		}
		if bytes.Contains(got.body, []byte(base64.StdEncoding.EncodeToString(secret))) ||
			strings.Contains(w.log.String(), base64.StdEncoding.EncodeToString(secret)) {
			t.Error("the secret is in the answer or in the log")
		}
		for range 3 {
			reply := w.credential(machine)
			if !reply.Activated || reply.Activation != nil {
				t.Fatalf("machine %d: got %+v, want that the key is known", i, reply)
			}
			given := w.verdict(w.post("/v1/verify",
				answering(reply.Challenge, w.evidence(machine, reply.Challenge), nil)))
			if given.Verdict != attestd.VerdictAccepted {
				t.Fatalf("machine %d: got %s by %q", i, given.Verdict, failed(given))
			}
		}
	}
}

func TestTheSignatureOfAChallengeHoldsBesideACredential(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	keys := w.do(http.MethodGet, "/v1/keys", "", nil)
	if err := w.credential(machines[0]).VerifySignature(keys.body); err != nil {
		t.Error(err)
	}
}

func TestNoTwoCredentialsAreTheSame(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	first, second := w.credential(machines[0]), w.credential(machines[0])
	if bytes.Equal(first.Activation.CredentialBlob, second.Activation.CredentialBlob) ||
		bytes.Equal(first.Activation.EncryptedSecret, second.Activation.EncryptedSecret) ||
		bytes.Equal(w.opened(machines[0], first), w.opened(machines[0], second)) {
		t.Error("two credentials share a part")
	}
}

func TestAnotherAttestationKeyOfTheSameMachineAnswersForItself(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	w.enrol(machines[0])
	machines[0].AK = newAK(t)
	if reply := w.credential(machines[0]); reply.Activated {
		t.Fatal("a new key is taken for one that is known")
	}
	w.enrol(machines[0])
}

// neg: 76
func TestATPMThatWentBackIsRejectedAndStaysWhereItWas(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	machine := machines[0]
	w.enrol(machine)
	then := *machine
	machine.Clock += 1000
	w.enrol(machine)
	for name, back := range map[string]func(){
		"an earlier clock": func() { machine.Clock = then.Clock },
		"fewer resets":     func() { machine.Clock, machine.ResetCount = machine.Clock+5000, then.ResetCount-1 },
	} {
		t.Run(name, func(t *testing.T) {
			w, now := w.in(t), *machine
			defer func() { *machine = now }()
			back()
			reply := w.credential(machine)
			request := answering(reply.Challenge, w.evidence(machine, reply.Challenge), nil)
			w.rejectedBy(w.post("/v1/verify", request), "tpm/clock-order")
		})
	}
	w.enrol(machine) // neither moved what is known of it
}

// neg: 77
func TestAfterAResetTheTPMIsJudgedAnew(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	machine := machines[0]
	w.enrol(machine)
	// A power cut: the clock may go back by what was not yet stored, and says so.
	machine.ResetCount, machine.RestartCount, machine.Clock = machine.ResetCount+1, 0, machine.Clock-100
	machine.Unsafe = true
	w.enrol(machine)
	machine.Clock -= 50 // within the new boot it counts
	reply := w.credential(machine)
	w.rejectedBy(w.post("/v1/verify", answering(reply.Challenge, w.evidence(machine, reply.Challenge), nil)),
		"tpm/clock-order")
}

func TestOnlyWhatIsAcceptedIsRemembered(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	machine := machines[0]
	reply := w.credential(machine)
	evidence := w.evidence(machine, w.challenge(attestd.FormatTPM, nil).Challenge) // for another challenge
	w.rejectedBy(w.post("/v1/verify", answering(reply.Challenge, evidence, w.opened(machine, reply))), "tpm/nonce")
	if again := w.credential(machine); again.Activated {
		t.Error("a key is known from evidence that was rejected")
	}
	w.enrol(machine)
	machine.Clock += 1_000_000 // far ahead, in evidence that is rejected
	reply = w.credential(machine)
	w.rejectedBy(w.post("/v1/verify", answering(reply.Challenge, evidence, nil)), "tpm/nonce")
	machine.Clock -= 1_000_000 - 10
	w.enrol(machine)
}

// neg: 76
func TestOfTwoVerdictsAtATimeTheOneBehindIsJudgedAgain(t *testing.T) {
	var hold atomic.Bool
	held, free := make(chan struct{}), make(chan struct{})
	w, machines := tpmWorld(t, options{judge: func(real service.Judge) service.Judge {
		return hookedJudge{inner: real, judging: func() {
			if hold.CompareAndSwap(true, false) {
				close(held)
				<-free
			}
		}}
	}}, 1)
	machine := machines[0]
	w.enrol(machine)
	slow, fast := w.credential(machine), w.credential(machine)
	early := w.evidence(machine, slow.Challenge)
	late := w.evidence(machine, fast.Challenge)
	hold.Store(true)
	var group sync.WaitGroup
	var got answer
	group.Go(func() { got = w.post("/v1/verify", answering(slow.Challenge, early, nil)) })
	<-held
	given := w.verdict(w.post("/v1/verify", answering(fast.Challenge, late, nil)))
	if given.Verdict != attestd.VerdictAccepted {
		t.Errorf("the fast one: got %s by %q", given.Verdict, failed(given))
	}
	close(free)
	group.Wait()
	w.rejectedBy(got, "tpm/clock-order")
}

// hookedJudge calls what it has before the judge behind it is asked.
type hookedJudge struct {
	inner           service.Judge
	judging, making func()
}

// Judge implements [service.Judge].
func (h hookedJudge) Judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	if h.judging != nil {
		h.judging()
	}
	return h.inner.Judge(ctx, job)
}

// Credential implements [service.Judge].
func (h hookedJudge) Credential(
	ctx context.Context, job service.CredentialJob,
) (service.CredentialReply, error) {
	if h.making != nil {
		h.making()
	}
	return h.inner.Credential(ctx, job)
}

func TestManyExchangesOfOneMachineAtATimeEndInItsFurthestState(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	machine := machines[0]
	w.enrol(machine)
	var requests []object
	for range 32 {
		reply := w.credential(machine)
		requests = append(requests, answering(reply.Challenge, w.evidence(machine, reply.Challenge), nil))
	}
	var group sync.WaitGroup
	var accepted atomic.Int64
	for _, request := range requests {
		group.Go(func() {
			got := w.post("/v1/verify", request)
			if got.status == http.StatusTooManyRequests { // overtaken twice
				return
			}
			if given := w.verdict(got); given.Verdict == attestd.VerdictAccepted {
				accepted.Add(1)
			}
		})
	}
	group.Wait()
	if accepted.Load() == 0 {
		t.Error("none was accepted, want the one with the latest clock at least")
	}
	machine.Clock-- // where the furthest of them was
	reply := w.credential(machine)
	taken, outcome, err := w.store.Consume(t.Context(), challenge.Use{
		ID: reply.Challenge.ID, Tenant: "default", Purpose: "verify", Format: attestd.FormatTPM,
	})
	w.must(err)
	if outcome != challenge.Consumed || taken.Key == nil || taken.Key.State.Clock != machine.Clock+1 {
		t.Errorf("got %+v, want clock %d", taken.Key, machine.Clock+1)
	}
}

func TestTheStoreKeepsNoSecret(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	reply := w.credential(machines[0])
	secret := w.opened(machines[0], reply)
	taken, outcome, err := w.store.Consume(t.Context(), challenge.Use{
		ID: reply.Challenge.ID, Tenant: "default", Purpose: "verify", Format: attestd.FormatTPM,
	})
	w.must(err)
	credential := taken.Credential
	if outcome != challenge.Consumed || credential == nil || credential.Secret != sha256.Sum256(secret) ||
		!bytes.Equal(credential.AKName, machines[0].AK.Name) {
		t.Errorf("got %d, %+v", outcome, credential)
	}
}

// neg: 84
func TestAnAnswerAfterTheChallengesEndIsRefused(t *testing.T) {
	var ahead atomic.Int64
	start := time.Now()
	w, machines := tpmWorld(t, options{clock: registry.NewClock(
		func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		func() time.Duration { return time.Since(start) },
	)}, 1)
	reply := w.credential(machines[0])
	request := answering(reply.Challenge, w.evidence(machines[0], reply.Challenge), w.opened(machines[0], reply))
	ahead.Store(int64(61 * time.Second))
	w.rejectedBy(w.post("/v1/verify", request), challenge.CheckExpired)
	if w.credential(machines[0]).Activated {
		t.Error("an answer that came too late was remembered")
	}
}

// TestTheExamplesOfADocumentedExchangeAreWhatIsSaid: requests and replies have the members that
// docs/api.md shows, no more and no fewer.
func TestTheExamplesOfADocumentedExchangeAreWhatIsSaid(t *testing.T) {
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	w, machines := tpmWorld(t, options{}, 1)
	request := keysOf(machines[0])
	request["format"] = "tpm"
	first := w.post("/v1/challenges", request)
	reply, err := challenge.ParseReply(first.body)
	w.must(err)
	verify := answering(reply.Challenge, w.evidence(machines[0], reply.Challenge), w.opened(machines[0], reply))
	delete(verify, "tenant")
	if given := w.verdict(w.post("/v1/verify", verify)); given.Verdict != attestd.VerdictAccepted {
		t.Fatalf("got %s by %q", given.Verdict, failed(given))
	}
	known := w.post("/v1/challenges", request)
	asJSON := func(value object) []byte {
		document, err := json.Marshal(value)
		w.must(err)
		return document
	}
	for name, said := range map[string][]byte{
		"tpm-challenge": asJSON(request), "tpm-reply": first.body, "tpm-verify": asJSON(verify),
		"tpm-known": known.body,
	} {
		_, rest, found := strings.Cut(string(page), "<!-- example: "+name+" -->\n```json\n")
		shown, _, ends := strings.Cut(rest, "```")
		if !found || !ends {
			t.Errorf("docs/api.md has no example %q", name)
			continue
		}
		if got, want := members(t, []byte(shown)), members(t, said); got != want {
			t.Errorf("%s: the page has %s, the exchange %s", name, got, want)
		}
	}
}

// members lists the names in a JSON object, and in the objects in it that are not left empty.
func members(t *testing.T, document []byte) string {
	t.Helper()
	var read map[string]any
	if err := json.Unmarshal(document, &read); err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	if inner, whole := read["challenge"].(map[string]any); whole && read["activated"] == true && len(inner) != 0 {
		read["challenge"] = map[string]any{} // shown once is enough
	}
	var names []string
	for name, value := range read {
		if inner, ok := value.(map[string]any); ok {
			for below := range inner {
				names = append(names, name+"."+below)
			}
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
