package decide

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/attestd/attestd"
)

// Credential is what a caller shows. Exactly one of the two is set.
type Credential struct {
	// Token is a JWT-SVID.
	Token string
	// Chain is that of a TLS connection that this program ended, leaf first.
	Chain []*x509.Certificate
}

// Question is whether the holder of a credential may do something now.
type Question struct {
	Credential Credential
	Wish       Wish
}

// Wish is what somebody wants.
type Wish struct {
	// Action as in "tool.call" or "data.read"; docs/decisions has the list.
	Action   string
	Resource Resource
	Context  Context
}

// Resource is what the action is done to.
type Resource struct {
	// Type as in "tool", "dataset", "model".
	Type, ID string
	// Tenant and Project that it belongs to. Without a tenant everything is denied.
	Tenant, Project string
	// Datasets are what is asked for of it.
	Datasets []Dataset
	// Ring that it is deployed to; empty for every ring.
	Ring string
	// Privileged says that the action needs fresh evidence of hardware.
	Privileged bool
}

// Dataset is one dataset with how it is classified.
type Dataset struct {
	ID             string   `json:"id"`
	Classification []string `json:"classification,omitempty"`
}

// Context is what there is to say around a question. It cannot make anybody more trusted.
type Context struct {
	// PromptID is one of package promptid, never a prompt.
	PromptID string `json:"prompt_id,omitempty"`
	// Chain is who has had a part in the request, the origin first.
	Chain          []Link   `json:"subject_chain,omitempty"`
	Classification []string `json:"classification,omitempty"`
	Intent         string   `json:"intent,omitempty"`
	// ExposureScore is 0 to 100; nil for none.
	ExposureScore *int `json:"exposure_score,omitempty"`
	// Connectivity is "unknown", "air-gapped" or "connected"; empty for unknown.
	Connectivity string `json:"connectivity,omitempty"`
	// Trace is a W3C traceparent.
	Trace string `json:"traceparent,omitempty"`
	// RequestID joins the record with other logs.
	RequestID string `json:"-"`
}

// Link is one of a subject chain, as this program was told of it.
type Link struct {
	// Type is "human" or "nhi".
	Type   string `json:"type"`
	ID     string `json:"id"`
	Issuer string `json:"iss,omitempty"`
}

// wire is a question in AuthZEN's words (Authorization API 1.0 section 5).
type wire struct {
	Subject  wireSubject  `json:"subject"`
	Action   wireAction   `json:"action"`
	Resource wireResource `json:"resource"`
	Context  wireContext  `json:"context"`
}

type wireSubject struct {
	Type       string `json:"type"`
	ID         string `json:"id"`
	Properties struct {
		Token string   `json:"token,omitempty"`
		Chain []string `json:"x5c,omitempty"`
	} `json:"properties"`
}

type wireAction struct {
	Name string `json:"name"`
}

type wireResource struct {
	Type       string `json:"type"`
	ID         string `json:"id"`
	Properties struct {
		Tenant     string    `json:"tenant,omitempty"`
		Project    string    `json:"project,omitempty"`
		Datasets   []Dataset `json:"dataset_scope,omitempty"`
		Ring       string    `json:"ring,omitempty"`
		Privileged bool      `json:"privileged,omitempty"`
	} `json:"properties"`
}

// wireContext names what this program can carry out. The draft of the Obligations profile of July 2026
// calls it obligations_supported, later ones supported_obligations.
type wireContext struct {
	Context
	Supported []string `json:"supported_obligations"`
	Earlier   []string `json:"obligations_supported"`
}

// encode puts a question into AuthZEN's words.
//
// Errors: a [*attestd.CallerError] of class MALFORMED or UNAUTHENTICATED; nobody needs to be asked then.
func encode(question Question, supported []string) (wire, error) {
	var out wire
	wish := question.Wish
	if wish.Action == "" || wish.Resource.Type == "" || wish.Resource.ID == "" {
		return out, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "name an action and a resource with type and id",
			Err: errors.New("the question names no action or no resource"),
		}
	}
	id, err := question.Credential.id()
	if err != nil {
		return out, &attestd.CallerError{
			Class: attestd.ClassUnauthenticated, Hint: "show a JWT-SVID or an X509-SVID", Err: err,
		}
	}
	out.Subject = wireSubject{Type: "workload", ID: id}
	out.Subject.Properties.Token = question.Credential.Token
	for _, one := range question.Credential.Chain {
		out.Subject.Properties.Chain = append(out.Subject.Properties.Chain,
			base64.StdEncoding.EncodeToString(one.Raw)) // RFC 7515 section 4.1.6: not URL-safe
	}
	out.Action.Name = wish.Action
	out.Resource = wireResource{Type: wish.Resource.Type, ID: wish.Resource.ID}
	properties := &out.Resource.Properties
	properties.Tenant, properties.Project = wish.Resource.Tenant, wish.Resource.Project
	properties.Datasets, properties.Ring = wish.Resource.Datasets, wish.Resource.Ring
	properties.Privileged = wish.Resource.Privileged
	if supported == nil {
		supported = []string{}
	}
	out.Context = wireContext{Context: wish.Context, Supported: supported, Earlier: supported}
	return out, nil
}

// id returns whom the credential speaks of, unverified: AuthZEN wants the subject named, and attestd
// denies where the name is not the credential's.
func (c Credential) id() (string, error) {
	switch {
	case c.Token != "" && len(c.Chain) != 0:
		return "", errors.New("there are a token and a certificate, want one")
	case len(c.Chain) != 0:
		if len(c.Chain[0].URIs) != 1 {
			return "", fmt.Errorf("certificate has %d URI names, want 1 (X509-SVID section 2)", len(c.Chain[0].URIs))
		}
		return c.Chain[0].URIs[0].String(), nil
	case c.Token == "":
		return "", errors.New("there is no credential")
	}
	parts := strings.Split(c.Token, ".")
	if len(parts) != 3 || len(c.Token) > maxToken {
		return "", fmt.Errorf("token has %d parts, want 3 in at most %d bytes", len(parts), maxToken)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Subject string `json:"sub"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Subject == "" {
		return "", errors.New("token names no subject") // never quoted
	}
	return claims.Subject, nil
}

const maxToken = 8 << 10

// Decide asks one question. Obligations are the types that the caller of this method carries out.
//
// Errors: an [*Error] where there is no decision, a [*attestd.CallerError] where there is no question.
// The Decision denies then.
func (c *Client) Decide(ctx context.Context, question Question, obligations ...string) (Decision, error) {
	asked, err := encode(question, obligations)
	if err != nil {
		return Decision{}, err
	}
	body, err := json.Marshal(asked)
	if err != nil {
		return Decision{}, fmt.Errorf("ask for a decision: %w", err)
	}
	answer, err := c.post(ctx, "/access/v1/evaluation", question.Wish.Context.RequestID, body)
	if err != nil {
		return Decision{}, err
	}
	out, err := readDecision(answer)
	if err != nil {
		return Decision{}, c.failed(attestd.ClassMalformed, 0, err.Error(), nil)
	}
	return out.bound(obligations), nil
}

// MaxQuestions is how many questions can be asked together.
const MaxQuestions = 100

// DecideAll asks for several wishes of one caller together; the answers are in their order, and all are
// there where there is no error.
//
// Errors: as of [Client.Decide].
func (c *Client) DecideAll(
	ctx context.Context, credential Credential, wishes []Wish, obligations ...string,
) ([]Decision, error) {
	if len(wishes) == 0 || len(wishes) > MaxQuestions {
		return nil, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: fmt.Sprintf("ask at most %d together", MaxQuestions),
			Err: fmt.Errorf("there are %d questions, want 1 to %d", len(wishes), MaxQuestions),
		}
	}
	var batch struct {
		Subject     wireSubject `json:"subject"`
		Evaluations []part      `json:"evaluations"`
		Options     struct {
			Semantic string `json:"evaluations_semantic"`
		} `json:"options"`
	}
	batch.Options.Semantic = "execute_all"
	for _, wish := range wishes {
		asked, err := encode(Question{credential, wish}, obligations)
		if err != nil {
			return nil, err
		}
		batch.Subject = asked.Subject
		batch.Evaluations = append(batch.Evaluations, part{asked.Action, asked.Resource, asked.Context})
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return nil, fmt.Errorf("ask for decisions: %w", err)
	}
	answer, err := c.post(ctx, "/access/v1/evaluations", wishes[0].Context.RequestID, body)
	if err != nil {
		return nil, err
	}
	out, err := readDecisions(answer, len(wishes))
	if err != nil {
		return nil, c.failed(attestd.ClassMalformed, 0, err.Error(), nil)
	}
	for i := range out {
		out[i] = out[i].bound(obligations)
	}
	return out, nil
}

// part is one question of a batch, whose subject stands above them all.
type part struct {
	Action   wireAction   `json:"action"`
	Resource wireResource `json:"resource"`
	Context  wireContext  `json:"context"`
}
