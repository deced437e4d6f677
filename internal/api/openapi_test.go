package api_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
)

type description struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		OperationID string `json:"operationId"`
		RequestBody *struct {
			Content map[string]struct {
				Schema  map[string]any  `json:"schema"`
				Example json.RawMessage `json:"example"`
			} `json:"content"`
		} `json:"requestBody"`
		Responses map[string]any `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]struct {
			Properties map[string]map[string]any `json:"properties"`
			Required   []string                  `json:"required"`
			Additional *bool                     `json:"additionalProperties"`
		} `json:"schemas"`
	} `json:"components"`
}

func (w *world) description() description {
	w.Helper()
	got := w.do(http.MethodGet, "/openapi.json", "", nil)
	var read description
	w.must(json.Unmarshal(got.body, &read))
	if got.status != http.StatusOK || read.OpenAPI != "3.1.1" {
		w.Fatalf("got %d %.200s", got.status, got.body)
	}
	return read
}

func TestTheDescriptionHasEveryRouteAndNoOther(t *testing.T) {
	read := newWorld(t, options{}).description()
	described := 0
	names := map[string]bool{}
	for _, path := range read.Paths {
		for _, one := range path {
			described++
			names[one.OperationID] = true
		}
	}
	for _, row := range api.Routes() {
		one, ok := read.Paths[row[1]][strings.ToLower(row[0])]
		if !ok || len(one.Responses) == 0 || one.Responses["500"] == nil {
			t.Errorf("%s %s is not described", row[0], row[1])
		}
	}
	if want := len(api.Routes()); described != want || len(names) != want {
		t.Errorf("%d operations with %d names are described, want %d", described, len(names), want)
	}
}

// TestExamplesAreAnsweredAsTheDescriptionSays sends each example to a server.
func TestExamplesAreAnsweredAsTheDescriptionSays(t *testing.T) {
	w := newWorld(t, options{signed: true})
	ran := 0
	for _, one := range api.Samples() {
		path := one.Path
		if one.Query != "" {
			path += "?" + one.Query
		}
		got := w.do(one.Method, path, one.Media, []byte(one.Body))
		if got.status != one.Gives {
			t.Errorf("%s %s: got %d %s, want %d", one.Method, path, got.status, got.body, one.Gives)
		}
		ran++
	}
	if ran < 10 {
		t.Errorf("%d examples ran, want at least 10", ran)
	}
}

// TestMembersOfRequestsAreTheDescribedOnes: a member that the description has is read, and one that it
// calls required is missed.
func TestMembersOfRequestsAreTheDescribedOnes(t *testing.T) {
	w := newWorld(t, options{signed: true})
	read := w.description()
	for path, name := range map[string]string{
		"/v1/challenges": "ChallengeRequest", "/v1/verify": "VerifyRequest",
		"/v1/verify-recorded": "RecordedRequest",
	} {
		described := read.Components.Schemas[name]
		if described.Additional == nil || *described.Additional || len(described.Properties) < 4 {
			t.Fatalf("%s: got %+v", name, described)
		}
		for member, shape := range described.Properties {
			if shape["type"] != "string" || shape["contentEncoding"] != nil {
				continue
			}
			got := w.problem(w.post(path, object{member: ""}), 400, attestd.ClassMalformed)
			if !strings.Contains(got.Detail, "empty") {
				t.Errorf("%s: an empty %s: %s", name, member, got.Detail)
			}
		}
		w.problem(w.post(path, object{"nonsense": 1}), 400, attestd.ClassMalformed)
		for _, missing := range described.Required {
			body := object{"challenge_id": "x", "format": "nitro", "evidence": []byte("x")}
			for member := range body {
				if _, ok := described.Properties[member]; !ok || member == missing {
					delete(body, member)
				}
			}
			if got := w.post(path, body); got.status != http.StatusBadRequest {
				t.Errorf("%s without %s: got %d %s", name, missing, got.status, got.body)
			}
		}
	}
}

// TestTheDescriptionKnowsEveryNameOfAVerdict: names are read off the types, and must not stop early.
func TestTheDescriptionKnowsEveryNameOfAVerdict(t *testing.T) {
	verdict := newWorld(t, options{}).description().Components.Schemas["Verdict"]
	for member, want := range map[string][]any{
		"verdict":   {"undecided", "accepted", "rejected"},
		"freshness": {"not-shown", "nonce", "binding"},
		"tier":      {"unknown", "low", "medium", "high", "critical"},
	} {
		if got := verdict.Properties[member]["enum"]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", member, got, want)
		}
	}
}

// TestStatusesThatAreAnsweredAreDescribed asks for answers of many kinds.
func TestStatusesThatAreAnsweredAreDescribed(t *testing.T) {
	w := newWorld(t, options{signed: true, noRecorded: true})
	read := w.description()
	for path, methods := range read.Paths {
		for method, one := range methods {
			if method == "post" {
				got := w.do(http.MethodPost, strings.ReplaceAll(path, "{id}", "x"), "text/plain", []byte("x"))
				if one.Responses[strconv.Itoa(got.status)] == nil {
					t.Errorf("%s %s answers with %d", method, path, got.status)
				}
			}
			got := w.do(strings.ToUpper(method), strings.ReplaceAll(path, "{id}", "x")+"?nonsense=1", "", nil)
			if one.Responses[strconv.Itoa(got.status)] == nil {
				t.Errorf("%s %s?nonsense=1 answers with %d", method, path, got.status)
			}
		}
	}
}
