package forward_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/decision/forward"
)

var quiet = slog.New(slog.DiscardHandler)

// gate denies, and looks at what a question must hold.
type gate struct{ t *testing.T }

func (g *gate) Decide(_ context.Context, ask decision.Ask) decision.Answer {
	if ask.Refused != "" {
		return decision.Answer{Result: decision.Result{Reasons: []decision.Reason{{Code: ask.Refused}}}}
	}
	if ask.Action.Name == "" || ask.Resource.Type == "" || ask.Resource.ID == "" ||
		ask.Resource.Tenant != "" && ask.Resource.Tenant != "acme" ||
		ask.Resource.Type == "route" && strings.Contains(ask.Resource.ID, "..") && ask.Resource.ID[0] != '/' ||
		ask.Credential.Token != "" && len(ask.Credential.Chain) != 0 {
		g.t.Errorf("was asked %+v", ask)
	}
	return decision.Answer{Result: decision.Result{Reasons: []decision.Reason{{Code: decision.CodeNotPermitted}}}}
}

// FuzzForward: whatever the query and the caller's headers, nothing is allowed that was not decided.
func FuzzForward(f *testing.F) {
	f.Add(query, "GET", "/a/b?c", "Bearer "+token, "")
	f.Add("proxy=caddy&credential=certificate&certificate_header=X-Cert", "POST", "/x", "",
		url.PathEscape("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add("proxy=traefik&datasets=a%3Db&privileged=true&source_header=X-Cert", "", "//", "bearer", "1.2.3.4, ::1")
	book := enforcers(f, ordinary+"    rate: 1000000\n")
	f.Fuzz(func(t *testing.T, query, method, target, authorization, certificate string) {
		server, err := forward.New(forward.Config{
			Decider: &gate{t}, Enforcers: book, Deadline: time.Second, Now: time.Now, Log: quiet,
		})
		if err != nil {
			t.Fatal(err)
		}
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.URL = &url.URL{Path: forward.Path, RawQuery: query}
		request.RemoteAddr = "127.0.0.1:1"
		request.Header = http.Header{
			"X-Attestd-Enforcer": {"Bearer " + secret}, "Authorization": {authorization}, "X-Cert": {certificate},
			"X-Original-Method": {method}, "X-Forwarded-Method": {method},
			"X-Original-Uri": {target}, "X-Forwarded-Uri": {target},
		}
		out := httptest.NewRecorder()
		server.ServeHTTP(out, request.WithContext(enforcer.ConnContext(t.Context(), pipe)))
		if code := out.Code; code != 400 && code != 403 && code != 429 {
			t.Errorf("got %d %s", code, out.Body)
		}
	})
}
