package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/decide"
)

// Config is what a guard goes by. Every field is required but Tool.
type Config struct {
	Enforcer *decide.Enforcer
	// Server is the server as a resource: its ID, Tenant, Project, Ring. Its type is "mcp_server" whatever
	// stands there. Tools, prompts and resources are in its tenant and project.
	Server decide.Resource
	// Tool says what a call of a tool wants, where more is to be said than its name: datasets that its
	// arguments name, that it is privileged, the labels of a prompt. Arguments are JSON as the client sent
	// them, or nothing. A call for which it returns an error is refused. Nil is for [decide.Wish] with
	// action tool.call and the tool's name.
	Tool func(name string, arguments json.RawMessage) (decide.Wish, error)
	// Credential takes the client's credential from a request, for [Guard.Handler]: [decide.Bearer],
	// [decide.Certificate].
	Credential func(*http.Request) (decide.Credential, error)
	Log        *slog.Logger
}

// Guard lets messages pass that are allowed. It is safe for concurrent use.
type Guard struct{ config Config }

// New returns a guard.
//
// Errors: a [*attestd.CallerError] of class CONFIG for a field that is missing.
func New(config Config) (*Guard, error) {
	if config.Enforcer == nil || config.Credential == nil || config.Log == nil ||
		config.Server.ID == "" || config.Server.Tenant == "" {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "give Enforcer, Credential, Log, Server.ID and Server.Tenant",
			Err: errors.New("a field of the guard's configuration is missing"),
		}
	}
	config.Server.Type = string(TargetServer)
	return &Guard{config}, nil
}

// Codes of JSON-RPC errors (COAZ-MCP, section "Error Handling"; JSON-RPC 2.0 section 5.1).
const (
	CodeDenied      = -32001
	CodeInvalid     = -32600
	CodeMapping     = -32602
	CodeUnavailable = -32603
)

// errUnknown is about a method without a rule.
var errUnknown = errors.New("method is none that can be decided about")

// Error is why a message does not pass, as an error of JSON-RPC.
type Error struct {
	Code    int64           `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
	// Decision is the denial; the zero Decision where nothing was decided.
	Decision decide.Decision `json:"-"`
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// data is what a client can go by.
type data struct {
	Reason   string `json:"reason"`
	Decision string `json:"decision_id,omitempty"`
	ACR      string `json:"acr_values,omitempty"`
	// RetryAfter is in seconds.
	RetryAfter int `json:"retry_after,omitempty"`
}

// Check says whether a message may pass; nil is yes. Params are those of the message as they are handed
// to the server. HasID says that it wants an answer.
//
// Errors: an [*Error], always.
func (g *Guard) Check(
	ctx context.Context, credential decide.Credential, method string, params json.RawMessage, hasID bool,
) error {
	if passes(method, hasID) {
		return nil
	}
	wish, err := g.wish(method, params)
	switch {
	case errors.Is(err, errUnknown):
		return &Error{Code: CodeDenied, Message: "Access denied: " + err.Error(), Data: dataOf("not_permitted")}
	case err != nil:
		return &Error{
			Code: CodeMapping, Message: "COAZ mapping error: " + attestd.Excerpt(err.Error(), 200),
			Data: dataOf("malformed"),
		}
	}
	return g.ask(ctx, decide.Question{Credential: credential, Wish: wish})
}

// ask returns nil for what is allowed.
func (g *Guard) ask(ctx context.Context, question decide.Question) error {
	decision, err := g.config.Enforcer.Decide(ctx, question)
	if decision.Allow && err == nil {
		return nil
	}
	var unanswered *decide.Error
	if errors.As(err, &unanswered) {
		g.config.Log.WarnContext(ctx, "no decision, so the message is refused", "err", err)
		return &Error{
			Code: CodeUnavailable, Message: "Authorization service unavailable", Decision: decision,
			Data: encode(data{Reason: decision.Reason, RetryAfter: seconds(decision.RetryAfter)}),
		}
	}
	if err != nil {
		g.config.Log.WarnContext(ctx, "an obligation could not be carried out, or nothing could be asked",
			"err", err)
	}
	return denied(decision)
}

func denied(decision decide.Decision) *Error {
	out := data{
		Reason: attestd.Excerpt(decision.Reason, 60), Decision: attestd.Excerpt(decision.ID, 64),
		RetryAfter: seconds(decision.RetryAfter),
	}
	out.ACR = attestd.Excerpt(decision.ACR(), 200)
	return &Error{
		Code: CodeDenied, Message: "Access denied: " + out.Reason, Data: encode(out), Decision: decision,
	}
}

func seconds(wait time.Duration) int { return int((wait + time.Second - 1) / time.Second) }

func dataOf(reason string) json.RawMessage { return encode(data{Reason: reason}) }

func encode(what data) json.RawMessage {
	out, err := json.Marshal(what)
	if err != nil {
		return nil // texts and numbers: unreachable, and the error stands without it
	}
	return out
}

// Visible returns those of the tools that the holder of the credential may call, to cut a list to them.
// Each that is left out is a denial like another: it is recorded, and it counts in the caller's rate and
// for detectors. Use it for short lists.
//
// Errors: as of [decide.Client.DecideAll]; no tool is visible then.
func (g *Guard) Visible(
	ctx context.Context, credential decide.Credential, tools []string,
) ([]string, error) {
	var out []string
	for chunk := range slices.Chunk(tools, decide.MaxQuestions) {
		var names []string
		var wishes []decide.Wish
		for _, name := range chunk {
			params, err := json.Marshal(map[string]string{"name": name})
			if err != nil {
				return nil, fmt.Errorf("list tools: %w", err)
			}
			if wish, err := g.wish("tools/call", params); err == nil {
				names, wishes = append(names, name), append(wishes, wish)
			}
		}
		if len(wishes) == 0 {
			continue
		}
		decisions, err := g.config.Enforcer.DecideAll(ctx, credential, wishes)
		if err != nil {
			return nil, err
		}
		for i, one := range decisions {
			if one.Allow {
				out = append(out, names[i])
			}
		}
	}
	return out, nil
}
