package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/decide"
	"github.com/attestd/attestd/internal/strict"
)

// Target is what a method is about.
type Target string

// Targets, which are types of resources too.
const (
	TargetServer   Target = "mcp_server"
	TargetTool     Target = "tool"
	TargetResource Target = "resource"
	TargetPrompt   Target = "prompt"
	TargetTask     Target = "task"
	// targetReference is a prompt or a resource, as params.ref says.
	targetReference Target = "prompt or resource"
)

// Rule is the question that a method becomes.
type Rule struct {
	Method, Action string
	Target         Target
}

// Actions of attestd's vocabulary that methods become.
const (
	actionList   = "tool.list"
	actionCall   = "tool.call"
	actionRead   = "data.read"
	actionPrompt = "prompt.assemble"
)

// rules are the default mappings of COAZ-MCP, and the methods of protocol version 2026-07-28.
var rules = []Rule{
	{"initialize", actionList, TargetServer},
	{"server/discover", actionList, TargetServer},
	{"tools/list", actionList, TargetServer},
	{"tools/call", actionCall, TargetTool},
	{"resources/list", actionList, TargetServer},
	{"resources/templates/list", actionList, TargetServer},
	{"resources/read", actionRead, TargetResource},
	{"resources/subscribe", actionRead, TargetResource},
	{"resources/unsubscribe", actionRead, TargetResource},
	{"subscriptions/listen", actionList, TargetServer},
	{"prompts/list", actionList, TargetServer},
	{"prompts/get", actionPrompt, TargetPrompt},
	{"completion/complete", "", targetReference},
	{"logging/setLevel", actionList, TargetServer},
	{"tasks/list", actionList, TargetServer},
	{"tasks/get", actionCall, TargetTask},
	{"tasks/result", actionCall, TargetTask},
	{"tasks/cancel", actionCall, TargetTask},
}

// Rules returns the questions that methods become. A method that has none is denied.
func Rules() []Rule { return append([]Rule(nil), rules...) }

func ruleOf(method string) (Rule, bool) {
	for _, one := range rules {
		if one.Method == method {
			return one, true
		}
	}
	return Rule{}, false
}

// notifications are those that clients send (Model Context Protocol, schema, type ClientNotification).
var notifications = []string{
	"notifications/initialized", "notifications/cancelled", "notifications/progress",
	"notifications/roots/list_changed", "notifications/tasks/status",
}

// passes reports whether a message needs no question: COAZ-MCP, section "Pass-through Operations". Of
// notifications these are the known ones: another is a method without a rule.
func passes(method string, hasID bool) bool {
	return method == "ping" || slices.Contains(notifications, method) && !hasID
}

// Limits of messages.
const (
	maxMessage = 4 << 20
	maxDepth   = 64
	maxName    = 1024
	maxKeys    = 64
)

var limits = strict.JSONLimits{Bytes: maxMessage, Depth: maxDepth}

// object is a JSON object, by keys.
type object map[string]json.RawMessage

// readObject reads an object in which no two keys can be taken for each other: a server that reads with
// encoding/json takes "Name" for "name", and then the last of them, while another takes the first.
func readObject(document []byte) (object, error) {
	var out object
	if err := strict.DecodeJSON(document, limits, &out); err != nil {
		return nil, err
	}
	if out == nil {
		return nil, errors.New("json: null in place of an object")
	}
	if len(out) > maxKeys {
		return nil, fmt.Errorf("json: object has %d keys, want at most %d", len(out), maxKeys)
	}
	for key := range out {
		for other := range out {
			if key != other && strings.EqualFold(key, other) {
				return nil, fmt.Errorf("json: keys %q and %q differ in case alone",
					attestd.Excerpt(key, 40), attestd.Excerpt(other, 40))
			}
		}
	}
	return out, nil
}

// text returns a member that must be a text and not empty.
func (o object) text(key string) (string, error) {
	var out string
	raw, found := o[key]
	if !found || json.Unmarshal(raw, &out) != nil || out == "" || len(out) > maxName {
		return "", fmt.Errorf("params.%s is no text of 1 to %d bytes", key, maxName)
	}
	return out, nil
}

// wish is what a message wants.
func (g *Guard) wish(method string, params json.RawMessage) (decide.Wish, error) {
	rule, known := ruleOf(method)
	if !known {
		return decide.Wish{}, fmt.Errorf("%w: %q", errUnknown, attestd.Excerpt(method, 60))
	}
	if rule.Target == TargetServer {
		return decide.Wish{Action: rule.Action, Resource: g.config.Server}, nil
	}
	given, err := readObject(params)
	if err != nil {
		return decide.Wish{}, fmt.Errorf("params: %w", err)
	}
	key := "name"
	switch rule.Target {
	case TargetResource:
		key = "uri"
	case TargetTask:
		key = "taskId"
	case targetReference:
		if given, err = readObject(given["ref"]); err != nil {
			return decide.Wish{}, fmt.Errorf("params.ref: %w", err)
		}
		kind, err := given.text("type")
		switch {
		case err == nil && kind == "ref/prompt":
			rule.Action, rule.Target = actionPrompt, TargetPrompt
		case err == nil && kind == "ref/resource":
			rule.Action, rule.Target, key = actionRead, TargetResource, "uri"
		default:
			return decide.Wish{}, errors.New("params.ref.type is neither ref/prompt nor ref/resource")
		}
	}
	id, err := given.text(key)
	if err != nil {
		return decide.Wish{}, err
	}
	if rule.Target == TargetTool && g.config.Tool != nil {
		return g.config.Tool(id, given["arguments"])
	}
	return decide.Wish{Action: rule.Action, Resource: g.own(rule.Target, id)}, nil
}

// own is something of the server's.
func (g *Guard) own(target Target, id string) decide.Resource {
	out := g.config.Server
	out.Type, out.ID = string(target), id
	return out
}
