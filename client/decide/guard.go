package decide

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// GuardConfig is what a guard goes by. Every field is required.
type GuardConfig struct {
	Enforcer *Enforcer
	// Credential takes the caller's credential from a request: [Bearer], [Certificate] or your own. Which
	// of several counts is for the program to say, never for the caller.
	Credential func(*http.Request) (Credential, error)
	// Wish says what a request wants. What it takes from the request the caller chose; the tenant of the
	// resource must not be among that. A request for which it returns an error is refused with 400.
	Wish func(*http.Request) (Wish, error)
	Log  *slog.Logger
}

// Guard lets requests through that are allowed. It is safe for concurrent use.
type Guard struct{ config GuardConfig }

// NewGuard returns a guard.
//
// Errors: a [*attestd.CallerError] of class CONFIG for a field that is missing.
func NewGuard(c GuardConfig) (*Guard, error) {
	if c.Enforcer == nil || c.Credential == nil || c.Wish == nil || c.Log == nil {
		return nil, config("give Enforcer, Credential, Wish and Log",
			"a field of the guard's configuration is missing")
	}
	return &Guard{c}, nil
}

// Bearer takes the token of the Authorization header (RFC 6750 section 2.1).
func Bearer(r *http.Request) (Credential, error) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return Credential{}, fmt.Errorf("got %d Authorization headers, want 1", len(values))
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " ,") {
		return Credential{}, errors.New("header Authorization has no bearer token")
	}
	return Credential{Token: token}, nil
}

// Certificate takes the certificate that the caller showed in TLS, which proves that it has the key. The
// server must ask for one (tls.RequireAnyClientCert or stronger); attestd verifies whose it is.
func Certificate(r *http.Request) (Credential, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Credential{}, errors.New("the connection has no client certificate")
	}
	return Credential{Chain: r.TLS.PeerCertificates}, nil
}

// headerPrefix is that of headers by which a guard tells the program behind it.
const headerPrefix = "X-Attestd-"

type contextKey struct{}

// FromContext returns the decision by which a request came through a guard.
func FromContext(ctx context.Context) (Decision, bool) {
	decision, found := ctx.Value(contextKey{}).(Decision)
	return decision, found
}

// Wrap returns a handler that serves what is allowed and refuses all else. Headers X-Attestd-* of the
// caller are removed before anything reads them. The credential stays with the request: take it off in
// next where what is behind has no use for it.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		if !clean(r.Header) {
			g.config.Log.DebugContext(r.Context(), "a request would have headers of the guard taken off")
			Refuse(w, Decision{}.refused(reasonMalformed))
			return
		}
		wish, err := g.config.Wish(r)
		if err != nil {
			g.config.Log.DebugContext(r.Context(), "a request is no question", "err", err)
			Refuse(w, Decision{}.refused(reasonMalformed))
			return
		}
		credential, err := g.config.Credential(r)
		if err != nil {
			g.config.Log.DebugContext(r.Context(), "a request has no credential", "err", err)
			Refuse(w, Decision{}.refused(reasonUnauthenticated))
			return
		}
		decision, err := g.config.Enforcer.Decide(r.Context(), Question{credential, wish})
		if err != nil {
			g.config.Log.WarnContext(r.Context(), "no decision, so the request is refused", "err", err)
		}
		if !decision.Allow {
			Refuse(w, decision)
			return
		}
		g.tell(r, decision)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, decision)))
	})
}

// clean takes off what a caller says in the guard's name, in each spelling that a gateway to programs of
// other languages takes for it: CGI and its heirs make one name of - and _ (RFC 3875, section 4.1.18). It
// reports whether the request is one that may go on: a proxy behind the guard takes off what Connection
// names (RFC 9110, section 7.6.1), and that must not be what the guard adds.
func clean(header http.Header) bool {
	ours := func(name string) bool {
		folded := strings.ReplaceAll(strings.TrimSpace(name), "_", "-")
		return len(folded) >= len(headerPrefix) && strings.EqualFold(folded[:len(headerPrefix)], headerPrefix)
	}
	for name := range header {
		if ours(name) {
			delete(header, name)
		}
	}
	for _, list := range header.Values("Connection") {
		for token := range strings.SplitSeq(list, ",") {
			if ours(token) {
				return false
			}
		}
	}
	return true
}

// tell sets the headers for programs that read them and not the context.
func (g *Guard) tell(r *http.Request, decision Decision) {
	for name, value := range map[string]string{
		"Subject": decision.Subject, "Tenant": decision.Tenant, "Risk-Tier": decision.RiskTier,
		"Decision-Id": decision.ID,
	} {
		if value != "" && isVisible(value) {
			r.Header.Set(headerPrefix+name, value)
		}
	}
}

// Refuse answers a request with a denial: a problem document (RFC 9457) with the reason, WWW-Authenticate
// with 401, Retry-After with 429 and 503. An allow is a bug of the caller, and refused as one.
func Refuse(w http.ResponseWriter, decision Decision) {
	if decision.Allow || decision.Reason == "" {
		decision = decision.refused(reasonInternal)
	}
	status := decision.Status()
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	if isVisible(decision.Reason) {
		header.Set(headerPrefix+"Reason", decision.Reason)
	}
	if decision.ID != "" && isVisible(decision.ID) {
		header.Set(headerPrefix+"Decision-Id", decision.ID)
	}
	switch status {
	case http.StatusUnauthorized:
		header.Set("Www-Authenticate", decision.Challenge())
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.FormatInt(max(1, int64(decision.RetryAfter/time.Second)), 10))
	}
	body, err := json.Marshal(struct {
		Title    string `json:"title"`
		Status   int    `json:"status"`
		Reason   string `json:"reason"`
		Decision string `json:"decision_id,omitempty"`
	}{"Denied", status, attestd.Excerpt(decision.Reason, 60), attestd.Excerpt(decision.ID, 64)})
	w.WriteHeader(status)
	if err == nil {
		_, _ = w.Write(append(body, '\n')) // who does not read its denial is denied all the same
	}
}

// acrHardwareFresh is the authentication context class of a step-up by fresh evidence of hardware.
const acrHardwareFresh = "urn:attestd:acr:hw-fresh"

// Challenge returns what WWW-Authenticate says with status 401: how to authenticate (RFC 6750 section 3),
// or how to do so better (RFC 9470 section 3).
func (d Decision) Challenge() string {
	if d.ACR() == "" {
		return `Bearer realm="attestd", error="invalid_token"`
	}
	return `Bearer error="insufficient_user_authentication", acr_values="` + d.ACR() + `"`
}

// ACR returns the authentication context class that a caller needs (RFC 9470 section 3) where the denial
// is one that fresher evidence mends; else nothing.
func (d Decision) ACR() string {
	if d.Allow || d.Reason != reasonStepUp && d.Reason != reasonStale {
		return ""
	}
	for _, one := range d.Obligations {
		if given := one.Text("acr_value"); one.Type == ObligationStepUp && given != "" &&
			isVisible(given) && !strings.ContainsAny(given, `"\`) {
			return given
		}
	}
	return acrHardwareFresh
}

// Unauthenticated is the denial of a caller that showed nothing which could be asked about.
func Unauthenticated() Decision { return Decision{}.refused(reasonUnauthenticated) }

// isVisible reports whether a text has printable ASCII only, so that it cannot end a header.
func isVisible(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
