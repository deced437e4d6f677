package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/testvectors/forge"
)

// neg: 172
func TestWhatIsHeldIsAnsweredWithoutAVerdictAndWithoutGrounds(t *testing.T) {
	for state, class := range map[attestd.State]attestd.Class{
		attestd.StateQuarantined: attestd.ClassQuarantined, attestd.StateRevoked: attestd.ClassRevokedSubject,
	} {
		w := newWorld(t, options{})
		request := func() object {
			issued := w.challenge(attestd.FormatNitro, nil).Challenge
			return object{"challenge_id": issued.ID, "format": "nitro", "evidence": w.bound(issued)}
		}
		if given := w.verdict(w.post("/v1/verify", request())); given.Verdict != attestd.VerdictAccepted {
			t.Fatalf("got %s", given.Verdict)
		}
		key := subject.Key{Kind: string(subject.BarInstance), Value: forge.AWSModuleID}
		w.must(w.store.Write(context.Background(), subject.Write{
			Bars: []subject.BarWrite{{Key: key, Next: &subject.Bar{
				Key: key, State: state, Tenant: "default", Code: subject.CodeOperator,
				Text: "grounds-nobody-may-read", By: "ann", At: w.store.Now(),
			}}},
			Audit: []audit.Record{{
				At: w.store.Now(), Actor: "ann", Tenant: "default", Action: "quarantine", Outcome: "done",
			}},
		}))
		got := w.post("/v1/verify", request())
		w.problem(got, http.StatusForbidden, class)
		if strings.Contains(string(got.body), "grounds-nobody") || strings.Contains(string(got.body), "ann") ||
			strings.Contains(string(got.body), "verdict\"") {
			t.Errorf("the answer tells too much: %s", got.body)
		}
	}
}

// neg: 166
func TestATokenThatIsNotValidIsRefusedAndNotRepeated(t *testing.T) {
	w := newWorld(t, options{})
	for _, token := range []string{"attestd-enrol-canary", strings.Repeat("c", 256)} {
		issued := w.challenge(attestd.FormatNitro, nil).Challenge
		got := w.post("/v1/verify", object{
			"challenge_id": issued.ID, "format": "nitro", "evidence": w.bound(issued), "enrolment_token": token,
		})
		w.problem(got, http.StatusUnauthorized, attestd.ClassUnauthenticated)
		if got.header.Get("WWW-Authenticate") == "" {
			t.Error("401 without WWW-Authenticate")
		}
		if strings.Contains(string(got.body)+w.log.String(), token) {
			t.Error("the token is in the answer or the log")
		}
	}
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	w.problem(w.post("/v1/verify", object{
		"challenge_id": issued.ID, "format": "nitro", "evidence": w.bound(issued),
		"enrolment_token": strings.Repeat("c", 257),
	}), http.StatusBadRequest, attestd.ClassMalformed)
}
