package decide_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/decide"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/authzen"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/problem"
	"github.com/attestd/attestd/internal/subject"
)

// churn decides: reading is allowed, and all else binds to a step-up.
type churn struct{ asked []decision.Ask }

func (c *churn) Decide(_ context.Context, ask decision.Ask) decision.Answer {
	c.asked = append(c.asked, ask)
	out := decision.Answer{
		ID: uuid.MustParse("01939d8e-0000-7000-8000-000000000001"), Policy: "sha256:ab",
		Input: &decision.Input{
			Who:      decision.Who{ID: subject.ID(caller), Method: decision.MethodJWT},
			Standing: decision.Standing{Tenant: "acme", Risk: attestd.Risk(7), Tier: attestd.TierLow},
		},
	}
	if out.Allow = ask.Action.Name == decision.ActionDataRead; !out.Allow {
		out.Reasons = []decision.Reason{{Code: decision.CodeStepUp}}
		out.Obligations = []decision.Obligation{{ID: "1", Type: decision.ObligationStepUp, Properties: map[string]any{
			"acr_value": decision.ACRHardwareFresh,
		}}}
	}
	return out
}

// Identify, Stands and Sequence: enforcement points here have tokens and no SVIDs.
func (c *churn) Identify(
	context.Context, decision.Credential, time.Time, func(subject.ID) uint64,
) decision.Who {
	return decision.Who{Fault: decision.CodeUnauthenticated}
}
func (c *churn) Stands(subject.ID, time.Time) decision.Standing { return decision.Standing{} }
func (c *churn) Sequence() uint64                               { return 0 }

// TestAttestdUnderstandsItsClient: the handler of AuthZEN that attestd serves, asked by this client.
func TestAttestdUnderstandsItsClient(t *testing.T) {
	const secret = "guard-token-of-32-bytes-or-longer"
	digest := sha256.Sum256([]byte(secret))
	file := filepath.Join(t.TempDir(), "enforcers.yaml")
	document := fmt.Sprintf("schema: attestd.enforcers.v1\nenforcers:\n  - token: guard\n    sha256: \"%s\"\n"+
		"    may: [authzen]\n    tenants: [acme]\n", hex.EncodeToString(digest[:]))
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	decider := new(churn)
	book, err := enforcer.New(enforcer.Config{
		Path: file, Identifier: decider, Standings: decider, Now: time.Now,
		LookupUser: func(string) (uint32, error) { return 0, os.ErrNotExist },
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := authzen.New(authzen.Config{
		Decider: decider, Enforcers: book, URL: "https://decide.example.org", Deadline: time.Second,
		Bodies: &problem.Bodies{Most: 1 << 20}, Now: time.Now, Log: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server.Register(mux)
	on := httptest.NewUnstartedServer(mux)
	on.Config.ConnContext = enforcer.ConnContext
	on.Start()
	defer on.Close()
	client, err := decide.New(on.URL, decide.Options{Token: secret, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	asked := question()
	asked.Wish.Context = decide.Context{PromptID: "p1:a", Chain: []decide.Link{{Type: "human", ID: "alice"}}}
	got, err := client.Decide(t.Context(), asked, decide.ObligationStepUp)
	if err != nil || !got.Allow || got.Subject != caller || got.Tenant != "acme" || got.RiskTier != "low" ||
		got.ID == "" || got.Policy != "sha256:ab" {
		t.Fatalf("got %+v, %v", got, err)
	}
	ask := decider.asked[0]
	if ask.Credential.Token != token || ask.Resource.Tenant != "acme" || ask.Context.PromptID != "p1:a" ||
		len(ask.Context.Chain) != 1 || !slices.Contains(ask.Supported, decide.ObligationStepUp) {
		t.Errorf("attestd was asked %+v", ask)
	}
	write := wish()
	write.Action = "data.write"
	both, err := client.DecideAll(t.Context(), asked.Credential, []decide.Wish{wish(), write}, decide.ObligationStepUp)
	if err != nil || len(both) != 2 || !both[0].Allow || both[1].Allow || both[1].ACR() != decision.ACRHardwareFresh ||
		both[1].Status() != http.StatusUnauthorized {
		t.Errorf("got %+v, %v", both, err)
	}
}
