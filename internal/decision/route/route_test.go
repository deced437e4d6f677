package route_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/route"
)

// TestWhatARouteSays is read key by key. neg: 177
func TestWhatARouteSays(t *testing.T) {
	got := route.New()
	for key, value := range map[string]string{
		"action": "tool.call", "resource_type": "tool", "resource_id": "search", "tenant": "acme", "project": "p1",
		"datasets": "d1, d2=pii+secret,d3=pii public", "ring": "1", "privileged": "true",
		"connectivity": "air-gapped", "credential": "token", "token_header": "X-Agent-Token",
	} {
		if known, err := got.Take(key, value, "token", "certificate"); !known || err != nil {
			t.Errorf("%s: known %v, %v", key, known, err)
		}
	}
	if got.Action != "tool.call" || got.Resource.Type != "tool" || got.Resource.ID != "search" ||
		got.Resource.Tenant != "acme" || got.Resource.Project != "p1" || got.Resource.Ring != "1" ||
		!got.Resource.Privileged || got.Connected != decision.ConnectivityAirGapped || got.Credential != "token" ||
		got.TokenHeader != "X-Agent-Token" || got.Whole() != nil {
		t.Errorf("%+v (%v)", got, got.Whole())
	}
	sets := got.Resource.Datasets
	if len(sets) != 3 || sets[0].ID != "d1" || sets[0].Classification != nil ||
		!slices.Equal(sets[1].Classification, []string{"pii", "secret"}) ||
		!slices.Equal(sets[2].Classification, []string{"pii", "public"}) {
		t.Errorf("datasets %+v", sets)
	}
	if known, _ := got.Take("priviledged", "true", "token"); known {
		t.Error("a misspelt key is taken")
	}
}

// TestWhatNoRouteMaySay is refused. neg: 177
func TestWhatNoRouteMaySay(t *testing.T) {
	for _, one := range []struct{ key, value, says string }{
		{"action", "", "want 1 to"},
		{"tenant", strings.Repeat("x", route.MaxText+1), "want 1 to"},
		{"privileged", "yes", "want true or false"},
		{"connectivity", "sometimes", "want unknown"},
		{"credential", "xfcc", "want token or certificate"},
		{"token_header", ":authority", "not the name of a header"},
		{"token_header", "a b", "not the name of a header"},
		{"datasets", "d1,", "datasets are"},
		{"datasets", "d1=", "datasets are"},
		{"datasets", "d1=a++b", "datasets are"},
		{"datasets", strings.TrimSuffix(strings.Repeat("d,", 65), ","), "at most 64"},
	} {
		got := route.New()
		known, err := got.Take(one.key, one.value, "token", "certificate")
		if !known || err == nil || !strings.Contains(err.Error(), one.says) {
			t.Errorf("%s=%.20s: known %v, %v", one.key, one.value, known, err)
		}
	}
	for _, half := range []string{"resource_type", "resource_id"} {
		got := route.New()
		if _, err := got.Take(half, "x"); err != nil || got.Whole() == nil {
			t.Errorf("%s alone: %v", half, err)
		}
	}
}

// TestOnePathHasOneSpelling: a path that two readers could read as two is no resource. neg: 177
func TestOnePathHasOneSpelling(t *testing.T) {
	for _, good := range []string{"/", "/tools/search", "/a.b/..c/d...", "/a?x=//", "/a#/../b"} {
		if got, err := route.Path(good); err != nil || strings.ContainsAny(got, "?#") {
			t.Errorf("%s: %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{
		"", "tools", "http://host/tools", "//host/tools", "/a//b", "/a/../b", "/a/..", "/a/./b", "/.", "/a%2fb",
		`/a\b`, "/a;v=1/b", "/a b", "/a\tb", "/a\x00", "/\u00e9", "/" + strings.Repeat("x", 1024), "*",
	} {
		if got, err := route.Path(bad); err == nil {
			t.Errorf("%q is taken as %q", bad, got)
		}
	}
	for method, want := range map[string]string{
		"GET": decision.ActionHTTPRead, "HEAD": decision.ActionHTTPRead, "OPTIONS": decision.ActionHTTPRead,
		"POST": decision.ActionHTTPWrite, "get": decision.ActionHTTPWrite, "PROPFIND": decision.ActionHTTPWrite, "": decision.ActionHTTPWrite,
	} {
		if got := route.Action(method); got != want {
			t.Errorf("%q does %s, want %s", method, got, want)
		}
	}
}
