package api_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client"
	"github.com/attestd/attestd/client/ear"
	"github.com/attestd/attestd/testvectors/forge"
)

// client is the public one.
func (w *world) client(options client.Options) *client.Client {
	w.Helper()
	asked, err := client.New(w.server.URL, options)
	w.must(err)
	w.Cleanup(asked.Close)
	return asked
}

// collect answers a challenge with the enclave's evidence, bound to a key where there is one.
func (w *world) collect(spki []byte) func(context.Context, client.Challenge) (client.Evidence, error) {
	return func(_ context.Context, asked client.Challenge) (client.Evidence, error) {
		digest, err := asked.Binding(spki).Digest()
		if err != nil {
			return client.Evidence{}, err
		}
		now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970
		document, err := w.aws.Document(forge.Document{Nonce: digest, Milliseconds: &now, PublicKey: spki})
		return client.Evidence{Bytes: document, KeySPKI: spki}, err
	}
}

// TestTheClientAttestsAndSomebodyElseReadsTheResult is the whole way of a relying party: the client shows
// a result, whose reader knows the verifier's keys and its own name and nonce.
func TestTheClientAttestsAndSomebodyElseReadsTheResult(t *testing.T) {
	held := &fence{}
	w := newWorld(t, options{signed: true, fence: held})
	ctx := t.Context()
	asked := w.client(client.Options{Tenant: "blue"})
	w.must(asked.Ready(ctx))
	verdict, err := asked.Attest(ctx, client.Wish{
		Format: attestd.FormatNitro, Result: true, Audience: "https://relying.example",
	}, w.collect(nil))
	w.must(err)
	if !verdict.Accepted() || verdict.Freshness != attestd.FreshnessBinding {
		t.Fatalf("got %+v", verdict)
	}
	keys, err := asked.ResultKeys(ctx)
	w.must(err)
	read, err := ear.Verify(verdict.Result, keys, ear.Options{
		Now: time.Now(), Leeway: time.Minute, Audience: "https://relying.example", AnyNonce: true,
	})
	w.must(err)
	if len(read.Submods) != 1 || read.Submods[0].Own.Appraisal != digestOf(verdict.ID) ||
		read.Submods[0].Own.Verdict != attestd.VerdictAccepted {
		t.Errorf("got %+v", read)
	}
	nonce := random(32)
	token, err := asked.Result(ctx, verdict.ID, client.ResultWish{Nonce: nonce, Profile: "ietf-03"})
	w.must(err)
	_, err = ear.Verify(token, keys, ear.Options{
		Now: time.Now(), Leeway: time.Minute, NoAudience: true, Nonce: nonce,
	})
	w.must(err)
	kept, err := asked.Appraisal(ctx, verdict.ID)
	w.must(err)
	if kept.EvidenceSHA256 != verdict.EvidenceSHA256 {
		t.Errorf("kept %+v", kept)
	}
	held.hold(attestd.StateQuarantined)
	_, err = asked.Result(ctx, verdict.ID, client.ResultWish{})
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Class != attestd.ClassQuarantined || refused.Hint == "" {
		t.Errorf("got %v", err)
	}
}

func TestTheClientTellsAnswersFromErrors(t *testing.T) {
	w := newWorld(t, options{})
	ctx := t.Context()
	asked := w.client(client.Options{})
	challenge, err := asked.Challenge(ctx, client.Wish{Format: attestd.FormatNitro, NonceBytes: 64})
	w.must(err)
	if len(challenge.Nonce) != 64 || len(challenge.Document) == 0 {
		t.Errorf("got %+v", challenge)
	}
	rejected, err := asked.Verify(ctx, challenge, client.Wish{}, client.Evidence{Bytes: w.enclave(nil)})
	if err != nil || rejected.Accepted() || rejected.Verdict != attestd.VerdictRejected {
		t.Errorf("got %+v, %v; a rejection is an answer", rejected, err)
	}
	again, err := asked.Verify(ctx, challenge, client.Wish{}, client.Evidence{Bytes: w.bound(challenge.Challenge)})
	if err != nil || failed(again.Appraisal) != "challenge/known" {
		t.Errorf("a challenge twice: got %+v, %v", again, err)
	}
	recorded, err := asked.VerifyRecorded(ctx, client.Recording{
		Format: attestd.FormatNitro, At: time.Now(), Evidence: client.Evidence{Bytes: w.enclave(nil)},
	})
	if err != nil || recorded.Freshness != attestd.FreshnessNotShown {
		t.Errorf("got %+v, %v", recorded, err)
	}
	for name, ask := range map[string]struct {
		run    func() error
		status int
		class  attestd.Class
	}{
		"an unknown format": {func() error {
			_, err := asked.Challenge(ctx, client.Wish{Format: "sgx"})
			return err
		}, http.StatusBadRequest, attestd.ClassUnsupported},
		"an unknown tenant": {func() error {
			_, err := w.client(client.Options{Tenant: "green"}).Challenge(ctx, client.Wish{Format: attestd.FormatNitro})
			return err
		}, http.StatusForbidden, attestd.ClassForbidden},
		"an appraisal that is not there": {func() error {
			_, err := asked.Appraisal(ctx, "018f0000-0000-7000-8000-000000000000")
			return err
		}, http.StatusNotFound, attestd.ClassForbidden},
		"keys where nobody signs": {func() error {
			_, err := asked.ResultKeys(ctx)
			return err
		}, http.StatusBadRequest, attestd.ClassUnsupported},
	} {
		var refused *client.Error
		if err := ask.run(); !errors.As(err, &refused) || refused.Status != ask.status || refused.Class != ask.class {
			t.Errorf("%s: got %v", name, err)
		}
	}
	keys, err := asked.Keys(ctx)
	if err != nil || len(keys) == 0 {
		t.Errorf("got %s, %v", keys, err)
	}
}

// TestTheClientsKeyIsInTheResult: what the evidence binds, a relying party can hold a connection against.
func TestTheClientsKeyIsInTheResult(t *testing.T) {
	w := newWorld(t, options{signed: true})
	asked := w.client(client.Options{})
	spki, err := x509.MarshalPKIXPublicKey(w.aws.Root().PublicKey)
	w.must(err)
	verdict, err := asked.Attest(t.Context(), client.Wish{Format: attestd.FormatNitro, Result: true}, w.collect(spki))
	w.must(err)
	keys, err := asked.ResultKeys(t.Context())
	w.must(err)
	read, err := ear.Verify(verdict.Result, keys, ear.Options{
		Now: time.Now(), Leeway: time.Minute, NoAudience: true, AnyNonce: true,
	})
	w.must(err)
	if got := read.Submods[0].KeySPKI; sha256.Sum256(got) != sha256.Sum256(spki) {
		t.Errorf("got a key of %d bytes, verdict %s %+v", len(got), verdict.Verdict, verdict.Reasons)
	}
}
