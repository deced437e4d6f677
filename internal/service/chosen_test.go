package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
)

// session opens one and answers it; change may be nil.
func (w *world) session(
	chosen []byte, change func(*service.SessionSubmission),
) (attestd.Appraisal, error) {
	w.Helper()
	opened, err := w.service.OpenSession(context.Background(), service.SessionWish{
		Tenant: "default", Chosen: chosen, Source: "192.0.2.1",
	})
	w.must(err)
	answer := service.SessionSubmission{
		ID: opened.ID, Tenant: "default", Chosen: chosen, Format: attestd.FormatNitro, Source: "192.0.2.1",
		Evidence: w.document(opened.Nonce),
	}
	if change != nil {
		change(&answer)
	}
	return w.service.VerifySession(context.Background(), answer)
}

var chosenNonce = bytes.Repeat([]byte{0xa5}, 48)

func TestASessionsVerdictSaysWhoChoseTheNonceAndIsKept(t *testing.T) {
	w := newWorld(t, worldOptions{})
	for _, chosen := range [][]byte{nil, chosenNonce} {
		given, err := w.session(chosen, nil)
		w.must(err)
		if given.Verdict != attestd.VerdictAccepted || given.Freshness != attestd.FreshnessNonce ||
			given.Policy.ID != "test" || (given.Nonce == attestd.NonceClientChosen) != (chosen != nil) {
			t.Errorf("got %s, freshness %s, nonce %q by policy %s: %+v", given.Verdict, given.Freshness,
				given.Nonce, given.Policy.ID, given.Reasons)
		}
		document, found, err := w.service.Appraisal(t.Context(), given.ID)
		w.must(err)
		var kept attestd.Appraisal
		w.must(json.Unmarshal(document, &kept))
		if !found || kept.Nonce != given.Nonce {
			t.Errorf("kept %s", document)
		}
	}
}

// TestNoSessionEverLeadsToASubject: also of a machine that is the tenant's, with evidence that would
// make it trusted if it answered a binding.
func TestNoSessionEverLeadsToASubject(t *testing.T) {
	for _, chosen := range [][]byte{nil, chosenNonce} {
		t.Run(fmt.Sprintf("chosen %t", chosen != nil), func(t *testing.T) {
			w := newWorld(t, worldOptions{})
			w.own("default")
			given, err := w.session(chosen, nil)
			w.must(err)
			if given.Standing.Subject != "" || given.Standing.State != attestd.StateUnknown ||
				given.Standing.Tenant != "" {
				t.Errorf("got %+v", given.Standing)
			}
			if known := w.known(); known.Subject != nil {
				t.Errorf("got subject %+v", known.Subject)
			}
			// And nothing that stands changes by one, for the better or the worse.
			before := w.accepted("default")
			subjects := text(t, w.known().Subject)
			for _, evidence := range [][]byte{w.document(bytes.Repeat([]byte{1}, 32)), []byte("x"), nil} {
				_, err := w.session(chosen, func(s *service.SessionSubmission) {
					if evidence != nil {
						s.Evidence = evidence
					}
				})
				w.must(err)
			}
			if after := text(t, w.known().Subject); after != subjects || before.Standing.State != attestd.StateTrusted {
				t.Errorf("a session changed %s\nto %s", subjects, after)
			}
		})
	}
}

// TestOldEvidenceOfOursIsFreshForNobody: whoever saw a binding of ours can choose it as their nonce. It
// is a verdict with the label then, and nothing follows.
func TestOldEvidenceOfOursIsFreshForNobody(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.own("default")
	issued := w.issue("default")
	seen, err := issued.Binding(nil).Digest()
	w.must(err)
	given, err := w.session(seen, func(s *service.SessionSubmission) { s.Evidence = w.enclave(issued) })
	w.must(err)
	if given.Nonce != attestd.NonceClientChosen || given.Standing.Subject != "" || w.known().Subject != nil {
		t.Errorf("got nonce %q with %+v", given.Nonce, given.Standing)
	}
	// The challenge is as good as before.
	answered, err := w.service.Verify(t.Context(), submission(issued, w.enclave(issued)))
	if err != nil || answered.Verdict != attestd.VerdictAccepted || answered.Standing.Subject == "" {
		t.Errorf("got %+v, %v", answered, err)
	}
}

func TestASessionIsGoodForOneAnswerOfItsKind(t *testing.T) {
	w := newWorld(t, worldOptions{})
	open := func(chosen []byte) service.Session {
		opened, err := w.service.OpenSession(t.Context(), service.SessionWish{
			Tenant: "default", Chosen: chosen, Source: "192.0.2.1",
		})
		w.must(err)
		return opened
	}
	ours := open(nil)
	good := service.SessionSubmission{
		ID: ours.ID, Tenant: "default", Format: attestd.FormatNitro, Source: "192.0.2.1",
		Evidence: w.document(ours.Nonce),
	}
	for name, change := range map[string]func(*service.SessionSubmission){
		// Else whoever has old evidence could answer our nonce with it.
		"one of ours with a nonce of the client's": func(s *service.SessionSubmission) { s.Chosen = chosenNonce },
		"another tenant's":                         func(s *service.SessionSubmission) { s.Tenant = "blue" },
		"one that is not known":                    func(s *service.SessionSubmission) { s.ID = "x" },
		"a challenge of /v1/challenges":            func(s *service.SessionSubmission) { s.ID = w.issue("default").ID },
	} {
		tried := good
		change(&tried)
		given, err := w.service.VerifySession(t.Context(), tried)
		if err != nil || given.Verdict != attestd.VerdictRejected || given.ID != "" ||
			given.Reasons[0].Check != "challenge/known" {
			t.Errorf("%s: got %+v, %v", name, given, err)
		}
	}
	theirs := open(chosenNonce)
	given, err := w.service.VerifySession(t.Context(), service.SessionSubmission{
		ID: theirs.ID, Tenant: "default", Format: attestd.FormatNitro, Evidence: w.document(chosenNonce),
	})
	if err != nil || given.Verdict != attestd.VerdictRejected {
		t.Errorf("one of the client's answered as ours: got %+v, %v", given, err)
	}
	if given, err = w.service.VerifySession(t.Context(), good); err != nil || given.Verdict != attestd.VerdictAccepted {
		t.Fatalf("got %+v, %v", given, err)
	}
	if given, err = w.service.VerifySession(t.Context(), good); err != nil || given.Verdict != attestd.VerdictRejected {
		t.Errorf("twice: got %+v, %v", given, err)
	}
	late := open(nil)
	w.wall.step(2 * time.Minute)
	given, err = w.service.VerifySession(t.Context(), service.SessionSubmission{
		ID: late.ID, Tenant: "default", Format: attestd.FormatNitro, Evidence: w.document(late.Nonce),
	})
	if err != nil || given.Reasons[0].Check != "challenge/expired" {
		t.Errorf("late: got %+v, %v", given, err)
	}
}

func TestASessionOfAHeldMachineHasNoVerdict(t *testing.T) {
	for _, chosen := range [][]byte{nil, chosenNonce} {
		w := newWorld(t, worldOptions{})
		w.bar(w.instance(), attestd.StateQuarantined)
		given, err := w.session(chosen, nil)
		w.refused(err, attestd.ClassQuarantined)
		if given.Schema != "" {
			t.Errorf("a verdict and an error: %+v", given)
		}
		direct := newWorld(t, worldOptions{held: subject.Key{
			Kind: string(subject.BarInstance), Value: w.instance().Value,
		}})
		_, err = direct.session(chosen, nil)
		direct.refused(err, attestd.ClassQuarantined)
	}
}

func TestWhatIsNoNonceOpensNoSession(t *testing.T) {
	w := newWorld(t, worldOptions{})
	for name, wish := range map[string]service.SessionWish{
		"8 bytes":       {Chosen: make([]byte, 8)},
		"31 bytes":      {Chosen: bytes.Repeat([]byte{1}, 31)},
		"65 bytes":      {Chosen: bytes.Repeat([]byte{1}, 65)},
		"zeros":         {Chosen: make([]byte, 32)},
		"nothing":       {Chosen: []byte{}},
		"31 wished for": {NonceBytes: 31},
		"65 wished for": {NonceBytes: 65},
		"-1 wished for": {NonceBytes: -1},
		"both":          {Chosen: chosenNonce, NonceBytes: 48},
	} {
		wish.Tenant = "default"
		_, err := w.service.OpenSession(t.Context(), wish)
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed || caller.Hint == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, chosen := range [][]byte{make([]byte, 32), {1}} {
		_, err := w.session(nil, func(s *service.SessionSubmission) { s.Chosen = chosen })
		w.refused(err, attestd.ClassMalformed)
	}
}
