package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
)

// FuzzVerifyRequest sends bytes as every kind of body to every path that takes one. Whatever they
// are, there is an answer of a known kind, none of them is "internal error", and nothing is accepted
// whose evidence the test has not signed.
func FuzzVerifyRequest(f *testing.F) {
	w := newWorld(f, options{limits: api.Limits{JSONBody: 64 << 10, RawBody: 32 << 10, AllBodies: 1 << 20}})
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	handler := w.server.Config.Handler
	evidence := w.enclave([]byte("nonce"))
	recorded, err := json.Marshal(object{"format": "nitro", "evidence": evidence})
	w.must(err)
	kinds := []struct{ path, media string }{
		{"/v1/challenges", "application/json"},
		{"/v1/verify", "application/json"},
		{"/v1/verify-recorded", "application/json"},
		{"/v1/verify-recorded", "application/cbor"},
		{"/v1/verify-recorded?format=sev-snp", "application/octet-stream"},
		{"/v1/verify?format=nitro&challenge_id=00000000-0000-4000-8000-000000000000", "application/cbor"},
	}
	for kind := range kinds {
		for _, body := range [][]byte{
			nil, []byte("{}"), []byte(`{"format":"nitro"}`), recorded, evidence[:len(evidence)-1], make([]byte, 1184),
			[]byte(`{"challenge_id":"x","format":"nitro","evidence":"AA==","endorsements":{"certificates":["AA=="],"crls":[]},"key_spki":"AA==","freshness":"nonce"}`),
		} {
			f.Add(uint8(kind), body) //nolint:gosec // a handful
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		kind := kinds[int(which)%len(kinds)]
		request := httptest.NewRequest(http.MethodPost, kind.path, bytes.NewReader(body))
		request.Header.Set("Content-Type", kind.media)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		switch recorder.Code {
		case http.StatusCreated, http.StatusBadRequest, http.StatusForbidden,
			http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable, http.StatusTooManyRequests:
		case http.StatusOK:
			var given attestd.Appraisal
			if err := json.Unmarshal(recorder.Body.Bytes(), &given); err != nil {
				t.Fatalf("answer is no verdict: %v", err)
			}
			if given.Verdict == attestd.VerdictAccepted && !bytes.Equal(body, evidence) && !bytes.Contains(body, []byte("evidence")) {
				t.Fatalf("accepted: %x", body)
			}
		default:
			t.Fatalf("got status %d: %s", recorder.Code, recorder.Body)
		}
	})
}
