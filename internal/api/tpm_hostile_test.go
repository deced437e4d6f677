package api_test

import (
	"bytes"
	"database/sql"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestAnAnswerCountsForItsOwnChallengeKeyAndTPMOnly: what a machine, or whoever sits between, can mix.
//
// neg: 83, 84, 85
func TestAnAnswerCountsForItsOwnChallengeKeyAndTPMOnly(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 2)
	mine, theirs := machines[0], machines[1]
	second := *mine // a second key in my own TPM
	second.AK = newAK(t)
	for name, row := range map[string]struct {
		// request answers the reply to a challenge for my keys.
		request func(w *world, reply challenge.Reply) object
		check   attestd.CheckID
	}{
		"no answer": {func(w *world, reply challenge.Reply) object {
			return answering(reply.Challenge, w.evidence(mine, reply.Challenge), nil)
		}, "tpm/activation"},
		"a wrong answer": {func(w *world, reply challenge.Reply) object {
			secret := w.opened(mine, reply)
			secret[31] ^= 1
			return answering(reply.Challenge, w.evidence(mine, reply.Challenge), secret)
		}, "tpm/activation"},
		"half of the answer": {func(w *world, reply challenge.Reply) object {
			return answering(reply.Challenge, w.evidence(mine, reply.Challenge), w.opened(mine, reply)[:16])
		}, "tpm/activation"},
		"the answer, and more": {func(w *world, reply challenge.Reply) object {
			return answering(reply.Challenge, w.evidence(mine, reply.Challenge), append(w.opened(mine, reply), 0))
		}, "tpm/activation"},
		"the digest of the answer's kind, zeros": {func(w *world, reply challenge.Reply) object {
			return answering(reply.Challenge, w.evidence(mine, reply.Challenge), make([]byte, 32))
		}, "tpm/activation"},
		"the answer to another challenge": {func(w *world, reply challenge.Reply) object {
			other := w.opened(mine, w.credential(mine))
			return answering(reply.Challenge, w.evidence(mine, reply.Challenge), other)
		}, "tpm/activation"},
		"the answer to a credential for another key of the same TPM": {func(w *world, reply challenge.Reply) object {
			other := w.opened(&second, w.credential(&second))
			return answering(reply.Challenge, w.evidence(mine, reply.Challenge), other)
		}, "tpm/activation"},
		"the answer of another machine to its own": {func(w *world, reply challenge.Reply) object {
			other := w.opened(theirs, w.credential(theirs))
			return answering(reply.Challenge, w.evidence(mine, reply.Challenge), other)
		}, "tpm/activation"},
		"my answer, with the quote of another key of my TPM": {func(w *world, reply challenge.Reply) object {
			return answering(reply.Challenge, w.evidence(&second, reply.Challenge), w.opened(mine, reply))
		}, "tpm/activation"},
		"my answer, with the quote of another machine": {func(w *world, reply challenge.Reply) object {
			return answering(reply.Challenge, w.evidence(theirs, reply.Challenge), w.opened(mine, reply))
		}, "tpm/activation"},
		"my answer, with the endorsement key of another machine": {func(w *world, reply challenge.Reply) object {
			evidence := w.encoded(mine, reply.Challenge, func(e *tpmevidence.Evidence) { e.EKPublic = theirs.EK.Public })
			return answering(reply.Challenge, evidence, w.opened(mine, reply))
		}, "tpm/activation"},
		"my answer, without an endorsement key": {func(w *world, reply challenge.Reply) object {
			evidence := w.encoded(mine, reply.Challenge, func(e *tpmevidence.Evidence) { e.EKPublic = nil })
			return answering(reply.Challenge, evidence, w.opened(mine, reply))
		}, "tpm/activation"},
		"my answer, with a quote for another challenge": {func(w *world, reply challenge.Reply) object {
			return answering(reply.Challenge, w.evidence(mine, w.credential(mine).Challenge), w.opened(mine, reply))
		}, "tpm/nonce"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			reply := w.credential(mine)
			w.rejectedBy(w.post("/v1/verify", row.request(w, reply)), row.check)
			for _, machine := range []*forge.TPM{mine, theirs, &second} {
				if w.credential(machine).Activated {
					t.Error("a key is known from a rejected answer")
				}
			}
		})
	}
	w.enrol(mine) // none of it harmed whom it named
	w.enrol(theirs)
}

// neg: 84
func TestAnAnswerCountsOnceHoweverManyPresentIt(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	reply := w.credential(machines[0])
	request := answering(reply.Challenge, w.evidence(machines[0], reply.Challenge), w.opened(machines[0], reply))
	var accepted, replayed atomic.Int64
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			given := w.verdict(w.post("/v1/verify", request))
			switch {
			case given.Verdict == attestd.VerdictAccepted:
				accepted.Add(1)
			case failed(given) == challenge.CheckKnown:
				replayed.Add(1)
			}
		})
	}
	group.Wait()
	if accepted.Load() != 1 || replayed.Load() != 31 {
		t.Errorf("%d accepted, %d refused as replays; want 1 and 31", accepted.Load(), replayed.Load())
	}
	// Nor does it count for the next challenge, which has nothing to answer.
	next := w.credential(machines[0])
	request = answering(next.Challenge, w.evidence(machines[0], next.Challenge), request["activation_secret"].([]byte))
	w.problem(w.post("/v1/verify", request), http.StatusBadRequest, attestd.ClassMalformed)
}

// TestAKnownKeyVouchesForItselfOnly: "activated" speaks of the key that the challenge names.
//
// neg: 84
func TestAKnownKeyVouchesForItselfOnly(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 2)
	known, other := machines[0], machines[1]
	w.enrol(known)
	reply := w.credential(known)
	w.rejectedBy(w.post("/v1/verify", answering(reply.Challenge, w.evidence(other, reply.Challenge), nil)),
		"tpm/activation")
	reply = w.credential(known)
	evidence := w.encoded(known, reply.Challenge, func(e *tpmevidence.Evidence) { e.EKPublic = other.EK.Public })
	w.rejectedBy(w.post("/v1/verify", answering(reply.Challenge, evidence, nil)), "tpm/activation")
	// A challenge without keys has nobody vouch for one, known or not.
	bare := w.challenge(attestd.FormatTPM, nil)
	if bare.Activated || bare.Activation != nil {
		t.Errorf("a challenge without keys speaks of activation: %+v", bare)
	}
	w.rejectedBy(w.post("/v1/verify", answering(bare.Challenge, w.evidence(known, bare.Challenge), nil)),
		"tpm/ak-trusted")
}

func TestAnAnswerToNothingUsesTheChallengeUp(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	bare := w.challenge(attestd.FormatTPM, nil).Challenge
	request := answering(bare, w.evidence(machines[0], bare), make([]byte, 32))
	w.problem(w.post("/v1/verify", request), http.StatusBadRequest, attestd.ClassMalformed)
	w.rejectedBy(w.post("/v1/verify", request), challenge.CheckKnown)
}

func TestAnActivationThatIsForgottenVouchesForNothing(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	w.enrol(machines[0])
	reply, unread := w.credential(machines[0]), w.credential(machines[0])
	database, err := sql.Open("sqlite", w.path)
	w.must(err)
	defer func() { _ = database.Close() }()
	_, err = database.Exec("DELETE FROM attestation_keys")
	w.must(err)
	w.conflicts("/v1/verify", answering(reply.Challenge, w.evidence(machines[0], reply.Challenge), nil))
	w.conflicts("/v1/verify", answering(unread.Challenge, []byte("evidence that nobody looks at"), nil))
	w.enrol(machines[0])
	if !strings.Contains(w.log.String(), `"level":"WARN","msg":"conflict"`) {
		t.Error("the log says nothing of the conflict")
	}
}

// neg: 86
func TestAKeyThatIsAlreadyAnothersIsAConflict(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 2)
	first, second := machines[0], machines[1]
	w.enrol(first)
	mixed := *second
	mixed.AK = first.AK
	for name, row := range map[string]struct {
		machine *forge.TPM
		tenant  string
	}{
		"the same attestation key under another endorsement key": {&mixed, "default"},
		"the same keys for another tenant":                       {first, "blue"},
		"the same endorsement key for another tenant": {func() *forge.TPM {
			machine := *first
			machine.AK = newAK(t)
			return &machine
		}(), "blue"},
	} {
		t.Run(name, func(t *testing.T) {
			request := keysOf(row.machine)
			request["format"], request["tenant"] = "tpm", row.tenant
			w.in(t).conflicts("/v1/challenges", request)
		})
	}
	w.enrol(first)
}

// TestOfTwoWhoEnrolOneKeyAtATimeOneIsAConflict: both challenges were issued before either was answered.
// Where the inventory's owner is not the first to answer, the other is told that the machine is
// another tenant's.
//
// neg: 86
func TestOfTwoWhoEnrolOneMachineAtATimeOneIsAConflict(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	machine := machines[0]
	replies := []challenge.Reply{
		w.credential(machine),
		w.challenge(attestd.FormatTPM, object{
			"attestation_key": machine.AK.Public, "endorsement_key": machine.EK.Public, "tenant": "blue",
		}),
	}
	var requests []object
	for _, reply := range replies {
		requests = append(requests, answering(reply.Challenge, w.evidence(machine, reply.Challenge), w.opened(machine, reply)))
	}
	var group sync.WaitGroup
	var accepted, conflicting atomic.Int64
	for _, request := range requests {
		group.Go(func() {
			switch got := w.post("/v1/verify", request); got.status {
			case http.StatusConflict:
				conflicting.Add(1)
			case http.StatusOK:
				switch given := w.verdict(got); {
				case given.Verdict == attestd.VerdictAccepted:
					accepted.Add(1)
				case failed(given) == "ownership/tenant":
					conflicting.Add(1)
				}
			}
		})
	}
	group.Wait()
	if accepted.Load() != 1 || conflicting.Load() != 1 {
		t.Errorf("%d accepted, %d conflicts; want one of each", accepted.Load(), conflicting.Load())
	}
}

// neg: 161
func TestKeysAndAnswersThatAreNotAsTheyMustBeAreRefused(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	machine := machines[0]
	unrestricted, err := forge.NewTPMKey(forge.TPMKeyConfig{Ordinary: true})
	w.must(err)
	decrypting, err := forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true, Edit: func(p *tpm2.TPMTPublic) {
		p.ObjectAttributes.Restricted = false
	}})
	w.must(err)
	text := func(data []byte) string { return base64.StdEncoding.EncodeToString(data) }
	ak, ek := text(machine.AK.Public), text(machine.EK.Public)
	long := text(make([]byte, service.MaxPublic+1))
	for name, row := range map[string]struct {
		body   string
		status int
		class  attestd.Class
	}{
		"an attestation key alone":       {`{"format":"tpm","attestation_key":"` + ak + `"}`, 400, attestd.ClassMalformed},
		"an endorsement key alone":       {`{"format":"tpm","endorsement_key":"` + ek + `"}`, 400, attestd.ClassMalformed},
		"keys with another format":       {`{"format":"nitro","attestation_key":"` + ak + `","endorsement_key":"` + ek + `"}`, 400, attestd.ClassMalformed},
		"a long attestation key":         {`{"format":"tpm","attestation_key":"` + long + `","endorsement_key":"` + ek + `"}`, 413, attestd.ClassTooLarge},
		"a long endorsement key":         {`{"format":"tpm","attestation_key":"` + ak + `","endorsement_key":"` + long + `"}`, 413, attestd.ClassTooLarge},
		"an empty key":                   {`{"format":"tpm","attestation_key":"","endorsement_key":"` + ek + `"}`, 400, attestd.ClassMalformed},
		"null for a key":                 {`{"format":"tpm","attestation_key":null,"endorsement_key":"` + ek + `"}`, 400, attestd.ClassMalformed},
		"a key twice":                    {`{"format":"tpm","attestation_key":"` + ak + `","attestation_key":"` + ak + `"}`, 400, attestd.ClassMalformed},
		"base64 of another alphabet":     {`{"format":"tpm","attestation_key":"_-_-","endorsement_key":"` + ek + `"}`, 400, attestd.ClassMalformed},
		"base64 without its padding":     {`{"format":"tpm","attestation_key":"AAA","endorsement_key":"` + ek + `"}`, 400, attestd.ClassMalformed},
		"an unknown member":              {`{"format":"tpm","attestation_key":"` + ak + `","ek":"` + ek + `"}`, 400, attestd.ClassMalformed},
		"bytes that are no key":          {`{"format":"tpm","attestation_key":"AAAA","endorsement_key":"` + ek + `"}`, 400, attestd.ClassMalformed},
		"an endorsement key that is cut": {`{"format":"tpm","attestation_key":"` + ak + `","endorsement_key":"` + text(machine.EK.Public[:40]) + `"}`, 400, attestd.ClassMalformed},
		"a byte behind the key":          {`{"format":"tpm","attestation_key":"` + text(append(bytes.Clone(machine.AK.Public), 0)) + `","endorsement_key":"` + ek + `"}`, 400, attestd.ClassMalformed},
		"the keys in each other's place": {`{"format":"tpm","attestation_key":"` + ek + `","endorsement_key":"` + ak + `"}`, 400, attestd.ClassKeyProperties},
		"a key that signs anything":      {`{"format":"tpm","attestation_key":"` + text(unrestricted.Public) + `","endorsement_key":"` + ek + `"}`, 400, attestd.ClassKeyProperties},
		"an EK that decrypts anything":   {`{"format":"tpm","attestation_key":"` + ak + `","endorsement_key":"` + text(decrypting.Public) + `"}`, 400, attestd.ClassKeyProperties},
		"a body over its limit":          {`{"format":"tpm","attestation_key":"` + strings.Repeat("A", 5<<10) + `"}`, 413, attestd.ClassTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.problem(w.do(http.MethodPost, "/v1/challenges", jsonType, []byte(row.body)), row.status, row.class)
		})
	}
	for name, row := range map[string]struct{ path, media, body string }{
		"an answer of 15 bytes":  {"/v1/verify", jsonType, `{"challenge_id":"x","format":"tpm","evidence":"AA==","activation_secret":"` + text(make([]byte, 15)) + `"}`},
		"an answer of 65 bytes":  {"/v1/verify", jsonType, `{"challenge_id":"x","format":"tpm","evidence":"AA==","activation_secret":"` + text(make([]byte, 65)) + `"}`},
		"an empty answer":        {"/v1/verify", jsonType, `{"challenge_id":"x","format":"tpm","evidence":"AA==","activation_secret":""}`},
		"null for an answer":     {"/v1/verify", jsonType, `{"challenge_id":"x","format":"tpm","evidence":"AA==","activation_secret":null}`},
		"an answer in base64url": {"/v1/verify", jsonType, `{"challenge_id":"x","format":"tpm","evidence":"AA==","activation_secret":"` + strings.Repeat("-_", 22) + `"}`},
		"an answer with another format": {"/v1/verify", jsonType, `{"challenge_id":"x","format":"nitro","evidence":"AA==","activation_secret":"` +
			text(make([]byte, 32)) + `"}`},
		"an answer in a query": {"/v1/verify?challenge_id=x&format=tpm&activation_secret=" + strings.Repeat("A", 44), rawType, "x"},
		"an answer to nobody":  {"/v1/verify-recorded", jsonType, `{"format":"tpm","evidence":"AA==","activation_secret":"` + text(make([]byte, 32)) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.problem(w.do(http.MethodPost, row.path, row.media, []byte(row.body)), 400, attestd.ClassMalformed)
		})
	}
}

// neg: 84
func TestAShortAnswerCostsNoChallenge(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	reply := w.credential(machines[0])
	evidence, secret := w.evidence(machines[0], reply.Challenge), w.opened(machines[0], reply)
	w.problem(w.post("/v1/verify", answering(reply.Challenge, evidence, secret[:15])), 400, attestd.ClassMalformed)
	given := w.verdict(w.post("/v1/verify", answering(reply.Challenge, evidence, secret)))
	if given.Verdict != attestd.VerdictAccepted {
		t.Errorf("got %s by %q", given.Verdict, failed(given))
	}
}

// neg: 158
func TestCredentialsAreMadeWithinTheLimitsOfChallenges(t *testing.T) {
	var made atomic.Int64
	w, machines := tpmWorld(t, options{perSource: 2, judge: func(real service.Judge) service.Judge {
		return hookedJudge{inner: real, making: func() { made.Add(1) }}
	}}, 1)
	w.credential(machines[0])
	w.credential(machines[0])
	request := keysOf(machines[0])
	request["format"] = "tpm"
	for range 5 {
		w.problem(w.post("/v1/challenges", request), http.StatusTooManyRequests, attestd.ClassRateLimited)
	}
	if made.Load() != 2 {
		t.Errorf("%d credentials were made, want 2: the others had no room", made.Load())
	}
}

func TestABusyVerifierMakesNoCredential(t *testing.T) {
	held, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w, machines := tpmWorld(t, options{slots: 1, waiting: 0, judge: func(real service.Judge) service.Judge {
		return hookedJudge{inner: real, judging: func() { once.Do(func() { close(held); <-free }) }}
	}}, 1)
	var group sync.WaitGroup
	group.Go(func() { w.post("/v1/verify-recorded", object{"format": "tpm", "evidence": []byte{1}}) })
	<-held
	request := keysOf(machines[0])
	request["format"] = "tpm"
	w.problem(w.post("/v1/challenges", request), http.StatusTooManyRequests, attestd.ClassRateLimited)
	w.challenge(attestd.FormatTPM, nil) // one without costs no place
	close(free)
	group.Wait()
	w.credential(machines[0])
}
