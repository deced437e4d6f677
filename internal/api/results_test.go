package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/service"
)

// withResult attests and asks for a result with the verdict.
func (w *world) withResult(members object) (attestd.Appraisal, string) {
	w.Helper()
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	body := object{
		"challenge_id": issued.ID, "format": "nitro", "evidence": w.bound(issued), "result": "ear",
	}
	for key, value := range members {
		body[key] = value
	}
	got := w.post("/v1/verify", body)
	var also struct {
		EAR string `json:"ear"`
	}
	w.must(json.Unmarshal(got.body, &also))
	return w.verdict(got), also.EAR
}

func TestAVerdictComesWithItsResultWhereOneIsAskedFor(t *testing.T) {
	w := newWorld(t, options{signed: true})
	given, token := w.withResult(object{"result_audience": "https://relying.example"})
	claims := w.claimsOf(token)
	if submod := w.submodOf(claims); own(submod, "appraisal_sha256") != digestOf(given.ID) ||
		own(submod, "verdict") != "accepted" || claims["aud"] != "https://relying.example" ||
		claims["eat_profile"] != "tag:github.com,2023:veraison/ear" {
		t.Errorf("got %v for %s", claims, given.ID)
	}
	_, token = w.withResult(object{"result_profile": "ietf-03"})
	if claims := w.claimsOf(token); claims["eat_profile"] != "tag:ietf.org,2026:rats/ear#03" {
		t.Errorf("got %v", claims)
	}
	given, token = w.withResult(object{"evidence": w.enclave(nil)})
	if submod := w.submodOf(w.claimsOf(token)); given.Verdict != attestd.VerdictRejected ||
		own(submod, "verdict") != "rejected" {
		t.Errorf("got %v for %s", submod, given.Verdict)
	}
	// Not asked for, or about nothing that was kept: no result.
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	got := w.post("/v1/verify", object{"challenge_id": issued.ID, "format": "nitro", "evidence": w.bound(issued)})
	if strings.Contains(string(got.body), `"ear"`) {
		t.Errorf("a result that nobody asked for: %s", got.body)
	}
	given, token = w.withResult(object{"challenge_id": issued.ID})
	if given.Verdict != attestd.VerdictRejected || token != "" {
		t.Errorf("a used challenge: %s with result %q", given.Verdict, token)
	}
}

func TestAResultIsSignedForAVerdictThatWasKept(t *testing.T) {
	held := &fence{}
	w := newWorld(t, options{signed: true, fence: held})
	given, _ := w.withResult(nil)
	at := "/v1/appraisals/" + given.ID + "/ear"
	got := w.do(http.MethodGet, at+"?audience=rp&nonce=AAECAwQFBgc", "", nil)
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/eat+jwt" {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	if claims := w.claimsOf(string(got.body)); claims["aud"] != "rp" || claims["eat_nonce"] != "AAECAwQFBgc" {
		t.Errorf("got %v", claims)
	}
	for _, query := range []string{"?nonce=AAEC", "?nonce=A", "?profile=jwt", "?audience=", "?unknown=1"} {
		if got := w.do(http.MethodGet, at+query, "", nil); got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", query, got.status, got.body)
		}
	}
	for _, id := range []string{"x", "018f0000-0000-7000-8000-000000000000", given.ID + "x"} {
		w.problem(w.do(http.MethodGet, "/v1/appraisals/"+id+"/ear", "", nil), 404, attestd.ClassForbidden)
	}
	held.hold(attestd.StateRevoked)
	w.problem(w.do(http.MethodGet, at, "", nil), 403, attestd.ClassRevokedSubject)
}

// TestAClientsNonceIsNotLostOnTheWay: a result about such evidence that does not say who chose the nonce
// would pass for one about evidence that answered us.
func TestAClientsNonceIsNotLostOnTheWay(t *testing.T) {
	w := newWorld(t, options{signed: true})
	client := w.veraison()
	session := client.open("/challenge-response/v1/newSession", nonceQuery(random(32)))
	submod := w.submodOf(w.claimsOf(client.submit(session, nitroMedia, w.enclave(session.Nonce))))
	at := "/v1/appraisals/" + w.appraisalOf(submod) + "/ear"
	w.problem(w.do(http.MethodGet, at, "", nil), 403, attestd.ClassPolicyDeny)
}

func TestTheKeysOfResultsAreKeptForNoLongerThanARevocationMayTake(t *testing.T) {
	w := newWorld(t, options{signed: true})
	got := w.do(http.MethodGet, "/.well-known/jwks.json", "", nil)
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	w.must(json.Unmarshal(got.body, &set))
	if got.header.Get("Cache-Control") != "max-age=300" || len(set.Keys) == 0 ||
		got.header.Get("Content-Type") != "application/jwk-set+json" {
		t.Fatalf("got %v %s", got.header, got.body)
	}
	for _, key := range set.Keys {
		if key["kty"] != "EC" || key["crv"] != "P-256" || key["kid"] == "" || key["d"] != "" {
			t.Errorf("got %v", key)
		}
	}
}

func TestWhereNobodySignsNoResultIsPromised(t *testing.T) {
	w := newWorld(t, options{})
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	body := object{"challenge_id": issued.ID, "format": "nitro", "evidence": w.bound(issued), "result": "ear"}
	w.problem(w.post("/v1/verify", body), 400, attestd.ClassUnsupported)
	body["result"] = "cwt"
	w.problem(w.post("/v1/verify", body), 400, attestd.ClassMalformed)
	delete(body, "result")
	given := w.verdict(w.post("/v1/verify", body)) // and the challenge was not used up for that
	if given.Verdict != attestd.VerdictAccepted {
		t.Errorf("got %s", given.Verdict)
	}
	w.problem(w.do(http.MethodGet, "/.well-known/jwks.json", "", nil), 400, attestd.ClassUnsupported)
	w.problem(w.do(http.MethodGet, "/v1/appraisals/"+given.ID+"/ear", "", nil), 400, attestd.ClassUnsupported)
}

// emptySigner gives no token and no error.
type emptySigner struct{ api.Results }

func (emptySigner) SignGiven(context.Context, attestd.Appraisal, service.ResultOptions) (string, error) {
	return "", nil
}

func TestAnEmptyResultIsABugAndNoResult(t *testing.T) {
	w := newWorld(t, options{signed: true, results: func(r api.Results) api.Results { return emptySigner{r} }})
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	w.problem(w.post("/v1/verify", object{
		"challenge_id": issued.ID, "format": "nitro", "evidence": w.bound(issued), "result": "ear",
	}), 500, attestd.ClassInternal)
}

// neg: 143, 144, 145, 147. The API takes no token of anybody: what stands in Authorization is not read,
// whatever its algorithm, and where a word is wanted a large one is refused by its length.
func TestTheAPITakesNoTokens(t *testing.T) {
	w := newWorld(t, options{signed: true})
	given, _ := w.withResult(nil)
	for _, token := range []string{
		"eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiIsImp3ayI6e319.e30.AA",
		"eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIiwiemlwIjoiREVGIn0..AA.AA.AA",
	} {
		request, err := http.NewRequest(http.MethodPost, w.server.URL+"/v1/verify",
			strings.NewReader(`{"challenge_id": "x", "format": "nitro", "evidence": "AA=="}`))
		w.must(err)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+token)
		if got := w.verdict(w.send(request)); got.Verdict != attestd.VerdictRejected {
			t.Errorf("got %s", got.Verdict)
		}
		got := w.do(http.MethodPost, "/v1/verify?challenge_id=x&format=nitro", "application/jose", []byte(token))
		w.problem(got, 415, attestd.ClassUnsupported)
	}
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	body := object{
		"challenge_id": issued.ID, "format": "nitro", "evidence": w.bound(issued),
		"enrolment_token": strings.Repeat(".", 256<<10),
	}
	w.problem(w.post("/v1/verify", body), 400, attestd.ClassMalformed)
	body["enrolment_token"] = strings.Repeat(".", 1<<20)
	w.problem(w.post("/v1/verify", body), 413, attestd.ClassTooLarge)
	if at := "/v1/appraisals/" + given.ID + "/ear?audience=" + strings.Repeat(".", 600); true {
		w.problem(w.do(http.MethodGet, at, "", nil), 400, attestd.ClassMalformed)
	}
}

// TestARelyingPartyCannotPassForTheMachine: what is in a result must not be enough to have a result for
// somebody else, with their nonce, or to read what the evidence said.
func TestARelyingPartyCannotPassForTheMachine(t *testing.T) {
	w := newWorld(t, options{signed: true})
	given, token := w.withResult(object{"result_audience": "https://first.example"})
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	w.must(err)
	if strings.Contains(string(payload), given.ID) {
		t.Fatal("the result has the id of its appraisal")
	}
	for _, word := range strings.FieldsFunc(string(payload), func(r rune) bool { return r == '"' }) {
		if strings.ContainsAny(word, "{}:,/ ") || word == "" {
			continue
		}
		for _, path := range []string{"", "/ear?audience=https://second.example"} {
			if got := w.do(http.MethodGet, "/v1/appraisals/"+word+path, "", nil); got.status == http.StatusOK {
				t.Errorf("%q in a result is good for %q", word, path)
			}
		}
	}
}
