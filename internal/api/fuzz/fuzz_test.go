package fuzz_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/testvectors/forge"
)

// kinds are the paths that take a body, with its types.
var kinds = []struct{ path, media string }{
	{"/v1/challenges", "application/json"},
	{"/v1/verify", "application/json"},
	{"/v1/verify-recorded", "application/json"},
	{"/v1/verify-recorded", "application/cbor"},
	{"/v1/verify-recorded?format=sev-snp", "application/octet-stream"},
	{"/v1/verify?format=nitro&challenge_id=00000000-0000-4000-8000-000000000000", "application/cbor"},
}

// FuzzVerifyRequest sends bytes as every kind of body. Whatever they are, there is an answer of a
// known kind, none of them is "internal error", and nothing is accepted but the one document that
// was signed here.
func FuzzVerifyRequest(f *testing.F) {
	authority, err := forge.NewAWS(forge.AWSOptions{At: time.Now()})
	must(f, err)
	signed, err := authority.Document(forge.Document{Nonce: []byte("nonce")})
	must(f, err)
	handler := newHandler(f, authority.Root())
	recorded, err := json.Marshal(map[string]any{"format": "nitro", "evidence": signed})
	must(f, err)
	keys := tpmKeys(f)
	for kind := range kinds {
		for _, body := range [][]byte{
			keys, bytes.Replace(keys, []byte("attestation_key"), []byte("endorsement_key"), 1),
			bytes.Replace(keys, []byte("format"), []byte("nonce_bytes"), 1),
			[]byte(`{"challenge_id":"x","format":"tpm","evidence":"AA==","activation_secret":` +
				`"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`),
			nil, []byte("{}"), []byte(`{"format":"nitro"}`), recorded, signed, make([]byte, 1184),
			[]byte(`{"challenge_id":"x","format":"nitro","evidence":"AA==","endorsements":` +
				`{"certificates":["AA=="],"crls":[]},"key_spki":"AA==","freshness":"nonce"}`),
		} {
			f.Add(uint8(kind), body) //nolint:gosec // a handful
		}
	}
	digest := sha256.Sum256(signed)
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		kind := kinds[int(which)%len(kinds)]
		request := httptest.NewRequest(http.MethodPost, kind.path, bytes.NewReader(body))
		request.Header.Set("Content-Type", kind.media)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		switch recorder.Code {
		case http.StatusCreated, http.StatusBadRequest, http.StatusForbidden,
			http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable:
		case http.StatusOK:
			var given attestd.Appraisal
			must(t, json.Unmarshal(recorder.Body.Bytes(), &given))
			if given.Verdict == attestd.VerdictAccepted && given.EvidenceSHA256 != hex.EncodeToString(digest[:]) {
				t.Fatalf("accepted: %s", recorder.Body)
			}
		default:
			t.Fatalf("got status %d: %s", recorder.Code, recorder.Body)
		}
	})
}

// tpmKeys is a request for a challenge with a credential.
func tpmKeys(t testing.TB) []byte {
	t.Helper()
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	must(t, err)
	ek, err := forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true})
	must(t, err)
	document, err := json.Marshal(map[string]any{
		"format": "tpm", "attestation_key": ak.Public, "endorsement_key": ek.Public,
	})
	must(t, err)
	return document
}

func newHandler(t testing.TB, root *x509.Certificate) http.Handler {
	t.Helper()
	judging, err := judge.New(judge.Config{InsecureRoots: []*x509.Certificate{root}})
	must(t, err)
	signer, err := challenge.NewEphemeralSigner()
	must(t, err)
	store := newMemory()
	issuer, err := challenge.NewIssuer(challenge.Config{
		Store: store, Signer: signer, TrustDomain: "example.org", Lifetime: time.Minute, NonceBytes: 32,
	})
	must(t, err)
	recorded, err := appraisal.Builtin(appraisal.Recorded)
	must(t, err)
	policy := service.Document{Source: appraisal.Recorded, Bytes: recorded.Document()}
	local := service.NewLocal(judging)
	desk, err := enrol.New(enrol.Config{
		Store: store, Now: store.Now, Tenants: []string{"default"}, Rand: rand.Reader,
		Limits: enrol.Limits{PendingPerTenant: 1000, PendingPerSource: 1000, PendingKeep: time.Hour},
	})
	must(t, err)
	served, err := service.New(service.Config{
		Subjects: service.Subjects{
			Held:        func(...subject.Key) (attestd.State, subject.Key) { return attestd.StateUnknown, subject.Key{} },
			TrustDomain: "example.org", Desk: desk, Specs: judging.Specs(), Notes: store,
			Rules:   subject.Rules{Reattest: time.Hour, Grace: time.Minute},
			Grounds: func(context.Context, []subject.Grounds) {},
		},
		Store: store, Issuer: issuer, Judge: local, Refuse: local, Policy: policy, RecordedPolicy: policy,
		Formats: judging.Formats(), Tenants: []string{"default"}, Timeout: 10 * time.Second,
		Concurrency: 8, Waiting: 8, AllowRecorded: true,
	})
	must(t, err)
	keys, err := signer.KeySet()
	must(t, err)
	handler, err := api.New(api.Config{
		Metrics: prometheus.NewRegistry(),
		Service: served, KeySet: keys, Specs: judging.Specs(), Logger: slog.New(slog.DiscardHandler),
		Limits: api.Limits{JSONBody: 64 << 10, RawBody: 32 << 10, AllBodies: 1 << 24},
	})
	must(t, err)
	return handler
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
