package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/testvectors/forge"
)

// answer is what came back: a verdict, a problem, or nothing.
type answer struct {
	status  int
	body    []byte
	verdict attestd.Appraisal
	class   attestd.Class
	err     error
}

func (a answer) accepted() bool {
	return a.err == nil && a.status == http.StatusOK && a.verdict.Verdict == attestd.VerdictAccepted
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %.600s", a.status, a.body)
}

// rejectedBy returns the check that a rejection rests on; empty where it is none.
func (a answer) rejectedBy() attestd.CheckID {
	if a.status != http.StatusOK || a.verdict.Verdict != attestd.VerdictRejected {
		return ""
	}
	for _, reason := range a.verdict.Reasons {
		if reason.Effect != attestd.EffectScored {
			return reason.Check
		}
	}
	return ""
}

// post sends JSON to the public API.
func (w *world) post(ctx context.Context, path string, body any) answer {
	document, err := json.Marshal(body)
	if err != nil {
		return answer{err: err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://attestd"+path, bytes.NewReader(document))
	if err != nil {
		return answer{err: err}
	}
	request.Header.Set("Content-Type", "application/json")
	return w.send(request)
}

func (w *world) send(request *http.Request) answer {
	response, err := w.public.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	got := answer{status: response.StatusCode}
	if got.body, got.err = io.ReadAll(response.Body); got.err != nil {
		return got
	}
	var problem struct {
		Class attestd.Class `json:"class"`
	}
	if got.status == http.StatusOK {
		got.err = json.Unmarshal(got.body, &got.verdict)
	} else if got.status != http.StatusCreated {
		got.err = json.Unmarshal(got.body, &problem)
		got.class = problem.Class
	}
	return got
}

// issue asks for a challenge for the enclave.
func (w *world) issue() (attestd.Challenge, answer) {
	got := w.post(context.Background(), "/v1/challenges", map[string]any{"format": "nitro"})
	if got.err != nil || got.status != http.StatusCreated {
		return attestd.Challenge{}, got
	}
	reply, err := challenge.ParseReply(got.body)
	got.err = err
	return reply.Challenge, got
}

// challenge is issue where that must work.
func (w *world) challenge() attestd.Challenge {
	w.Helper()
	issued, got := w.issue()
	if got.err != nil || got.status != http.StatusCreated {
		w.Fatalf("no challenge: %s", got)
	}
	return issued
}

// evidence is the enclave's answer to a challenge, as a request.
func (w *world) evidence(issued attestd.Challenge) map[string]any {
	w.Helper()
	digest, err := issued.Binding(nil).Digest()
	w.must(err)
	now := uint64(issued.IssuedAt.UnixMilli()) //nolint:gosec // after 1970
	document, err := w.aws.Document(forge.Document{Nonce: digest, Milliseconds: &now})
	w.must(err)
	return map[string]any{"challenge_id": issued.ID, "format": "nitro", "evidence": document}
}

func (w *world) verify(body any) answer { return w.post(context.Background(), "/v1/verify", body) }

// attest is a whole exchange of the enclave, or the step of it that failed.
func (w *world) attest() answer {
	issued, got := w.issue()
	if got.err != nil || got.status != http.StatusCreated {
		return got
	}
	got = w.verify(w.evidence(issued))
	if got.accepted() && got.verdict.Standing != nil && got.verdict.Standing.Subject != "" && w.id == "" {
		w.id = subject.ID(got.verdict.Standing.Subject)
	}
	return got
}

// wants demands that there is no acceptance, and that the answer is of one of the classes: those of
// problems, or of the checks that reject.
func (w *world) wants(what string, got answer, classes ...attestd.Class) {
	w.Helper()
	if got.accepted() {
		w.Errorf("%s: accepted: %s", what, got)
	}
	if got.err != nil || !slices.Contains(classes, w.classOf(got)) {
		w.Errorf("%s: got class %q of %s, want one of %v", what, w.classOf(got), got, classes)
	}
}

// rejecting has the classes of the checks that these tests provoke.
var rejecting = map[attestd.CheckID]attestd.Class{
	challenge.CheckExpired: attestd.ClassStale, "nitro/nonce": attestd.ClassBinding,
	"ownership/known": attestd.ClassPolicyDeny,
	"tpm/crl":         attestd.ClassCollateralInvalid, "tpm/ek-chain": attestd.ClassChain,
}

func (w *world) classOf(got answer) attestd.Class {
	by := got.rejectedBy()
	switch {
	case by == "":
		return got.class
	case by == challenge.CheckKnown && bytes.Contains(got.body, []byte("used before")):
		return attestd.ClassReplay
	case by == challenge.CheckKnown:
		return attestd.ClassStale
	case by == "tpm/ek-chain" && bytes.Contains(got.body, []byte("CRL")):
		return attestd.ClassCollateralInvalid // the check is about the path, its lists included
	}
	if class, known := rejecting[by]; known {
		return class
	}
	return attestd.Class("rejected by " + string(by))
}

// unavailable demands that an order was refused because the store does not answer.
func (w *world) unavailable(what string, err error) {
	w.Helper()
	if got := classOfError(err); got != attestd.ClassStoreUnavailable {
		w.Errorf("%s: got %v of class %q, want STORE_UNAVAILABLE", what, err, got)
	}
}

// classOfError returns the class of a refusal; empty where there is none.
func classOfError(err error) attestd.Class {
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	switch {
	case errors.As(err, &caller):
		return caller.Class
	case errors.As(err, &undecided):
		return undecided.Class
	}
	return ""
}

// grant asks for an identity of the machine.
func (w *world) grant() error {
	_, err := w.issuer.Grant(context.Background(), wire.GrantRequest{ID: w.id, Seconds: 60, For: "x509-svid"})
	return err
}

// mayHave demands that the machine gets an identity, or that it gets none.
func (w *world) mayHave(identity bool) {
	w.Helper()
	if err := w.grant(); (err == nil) != identity {
		w.Errorf("an identity is given: %t (%v), want %t", err == nil, err, identity)
	}
}

// quarantine orders a hold of the machine.
func (w *world) quarantine(direct bool) (wire.Receipt, error) {
	return w.admin.Quarantine(context.Background(), wire.Order{
		Target: string(w.id), Reason: "a fault is under way", Direct: direct,
	})
}

// within demands that f ends in time.
func (w *world) within(most time.Duration, what string, f func()) {
	w.Helper()
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		if took := time.Since(began); took > most {
			w.Errorf("%s took %s, want at most %s", what, took.Round(time.Millisecond), most)
		}
	case <-time.After(patience):
		w.Fatalf("%s hangs", what)
	}
}

// recovers demands that everything works again, by itself and soon: a verdict, an identity, and then a
// hold that is acknowledged, in force, and there after a restart.
func (w *world) recovers() {
	w.Helper()
	w.eventually("a verdict", func() error {
		if got := w.attest(); !got.accepted() {
			return errors.New(got.String())
		}
		return nil
	})
	w.eventually("an identity", w.grant)
	w.holds()
}

// holds lays a hold and demands that it is in force now and after a restart.
func (w *world) holds() {
	w.Helper()
	if _, err := w.quarantine(false); err != nil {
		w.Errorf("quarantine after the fault: %v", err)
	}
	w.mayHave(false)
	w.must(w.restart())
	w.mayHave(false)
	w.wants("evidence of what is held", w.attest(), attestd.ClassQuarantined)
}

func (w *world) eventually(what string, try func() error) {
	w.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Errorf("%s does not come back: %v", what, err)
			return
		}
	}
}
