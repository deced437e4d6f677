package mcp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/client/decide"
	"github.com/attestd/attestd/client/mcp"
)

var token = "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"spiffe://example.org/agent"}`)) + ".c2ln"

// pdp is a decision point that allows what is in its list, as "ACTION TYPE ID TENANT".
type pdp struct {
	mu     sync.Mutex
	allows []string
	reason string
	down   bool
	asked  []string
}

type evaluation struct {
	Action   struct{ Name string }
	Resource struct {
		Type, ID   string
		Properties struct{ Tenant string }
	}
}

func (p *pdp) decide(one evaluation) map[string]any {
	name := fmt.Sprintf("%s %s %s %s", one.Action.Name, one.Resource.Type, one.Resource.ID, one.Resource.Properties.Tenant)
	p.asked = append(p.asked, name)
	if slices.Contains(p.allows, name) {
		return map[string]any{"decision": true}
	}
	return map[string]any{"decision": false, "context": map[string]any{
		"reason_codes": []string{p.reason}, "decision_id": "0193", "retry_after": 7,
	}}
}

func (p *pdp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var asked struct {
		evaluation
		Evaluations []evaluation
	}
	if json.NewDecoder(r.Body).Decode(&asked) != nil || p.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	out := any(nil)
	if len(asked.Evaluations) == 0 {
		out = p.decide(asked.evaluation)
	} else {
		var list []any
		for _, one := range asked.Evaluations {
			list = append(list, p.decide(one))
		}
		out = map[string]any{"evaluations": list}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func guard(t testing.TB, p *pdp, change ...func(*mcp.Config)) *mcp.Guard {
	t.Helper()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	client, err := decide.New(server.URL, decide.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	enforcer, err := decide.NewEnforcer(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	config := mcp.Config{
		Enforcer: enforcer, Credential: decide.Bearer, Log: slog.New(slog.DiscardHandler),
		Server: decide.Resource{Type: "anything", ID: "https://tools.example.org", Tenant: "acme"},
	}
	for _, one := range change {
		one(&config)
	}
	g, err := mcp.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

const (
	whole = "tool.list mcp_server https://tools.example.org acme"
	call  = "tool.call tool search acme"
)

func TestEachMethodIsAQuestion(t *testing.T) {
	for method, row := range map[string]struct{ params, want string }{
		"initialize":               {`{"protocolVersion":"2025-11-25"}`, whole},
		"server/discover":          {``, whole},
		"tools/list":               {``, whole},
		"tools/call":               {`{"name":"search","arguments":{"q":1},"_meta":{}}`, call},
		"resources/list":           {`{"cursor":"a"}`, whole},
		"resources/templates/list": {``, whole},
		"resources/read":           {`{"uri":"file:///a"}`, "data.read resource file:///a acme"},
		"resources/subscribe":      {`{"uri":"file:///a"}`, "data.read resource file:///a acme"},
		"resources/unsubscribe":    {`{"uri":"file:///a"}`, "data.read resource file:///a acme"},
		"subscriptions/listen":     {`{}`, whole},
		"prompts/list":             {``, whole},
		"prompts/get":              {`{"name":"review"}`, "prompt.assemble prompt review acme"},
		"completion/complete":      {`{"ref":{"type":"ref/prompt","name":"review"}}`, "prompt.assemble prompt review acme"},
		"logging/setLevel":         {`{"level":"debug"}`, whole},
		"tasks/list":               {``, whole},
		"tasks/get":                {`{"taskId":"7"}`, "tool.call task 7 acme"},
		"tasks/result":             {`{"taskId":"7"}`, "tool.call task 7 acme"},
		"tasks/cancel":             {`{"taskId":"7"}`, "tool.call task 7 acme"},
	} {
		p := &pdp{allows: []string{row.want}, reason: "not_permitted"}
		g := guard(t, p)
		if err := g.Check(t.Context(), decide.Credential{Token: token}, method, json.RawMessage(row.params), true); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		if !slices.Equal(p.asked, []string{row.want}) {
			t.Errorf("%s: asked %q, want %q", method, p.asked, row.want)
		}
		p.allows = nil
		var refused *mcp.Error
		err := g.Check(t.Context(), decide.Credential{Token: token}, method, json.RawMessage(row.params), true)
		if !errors.As(err, &refused) || refused.Code != mcp.CodeDenied || refused.Message != "Access denied: not_permitted" ||
			string(refused.Data) != `{"reason":"not_permitted","decision_id":"0193","retry_after":7}` {
			t.Errorf("%s: denied with %#v", method, err)
		}
	}
	if len(mcp.Rules()) != 18 {
		t.Errorf("%d rules; the table above has another number", len(mcp.Rules()))
	}
}

func TestACompletionOfAResource(t *testing.T) {
	p := &pdp{allows: []string{"data.read resource file:///{a} acme"}}
	err := guard(t, p).Check(t.Context(), decide.Credential{Token: token}, "completion/complete",
		json.RawMessage(`{"ref":{"type":"ref/resource","uri":"file:///{a}"}}`), true)
	if err != nil {
		t.Error(err)
	}
}

// TestMessagesThatAreRefusedUnasked: neg: 176
func TestMessagesThatAreRefusedUnasked(t *testing.T) {
	for name, row := range map[string]struct {
		method, params string
		code           int64
	}{
		"a method of tomorrow":      {"tools/delete", `{"name":"search"}`, mcp.CodeDenied},
		"no method":                 {"", ``, mcp.CodeDenied},
		"another case":              {"Tools/Call", `{"name":"search"}`, mcp.CodeDenied},
		"a notification with an id": {"notifications/initialized", ``, mcp.CodeDenied},
		"an unknown notification":   {"notifications/x", ``, mcp.CodeDenied},
		"a tool without a name":     {"tools/call", `{}`, mcp.CodeMapping},
		"a tool without params":     {"tools/call", ``, mcp.CodeMapping},
		"params of null":            {"tools/call", `null`, mcp.CodeMapping},
		"a name that is a list":     {"tools/call", `{"name":["search"]}`, mcp.CodeMapping},
		"an empty name":             {"tools/call", `{"name":""}`, mcp.CodeMapping},
		"a name twice":              {"tools/call", `{"name":"search","name":"drop"}`, mcp.CodeMapping},
		"a name in two cases":       {"tools/call", `{"name":"search","Name":"drop"}`, mcp.CodeMapping},
		"a name in another case":    {"tools/call", `{"Name":"search"}`, mcp.CodeMapping},
		"a name without end":        {"tools/call", `{"name":"` + strings.Repeat("a", 1025) + `"}`, mcp.CodeMapping},
		"too many keys":             {"tools/call", keys(65), mcp.CodeMapping},
		"a resource without a uri":  {"resources/read", `{"name":"a"}`, mcp.CodeMapping},
		"a reference to nothing":    {"completion/complete", `{}`, mcp.CodeMapping},
		"a reference to a tool":     {"completion/complete", `{"ref":{"type":"ref/tool","name":"a"}}`, mcp.CodeMapping},
	} {
		p := &pdp{allows: []string{whole, call}}
		err := guard(t, p).Check(t.Context(), decide.Credential{Token: token}, row.method, json.RawMessage(row.params), true)
		var refused *mcp.Error
		if !errors.As(err, &refused) || refused.Code != row.code || len(p.asked) != 0 {
			t.Errorf("%s: got %#v after %q", name, err, p.asked)
		}
	}
}

func keys(count int) string {
	var out strings.Builder
	out.WriteString(`{"name":"search"`)
	for i := range count {
		fmt.Fprintf(&out, `,"k%d":0`, i)
	}
	return out.String() + "}"
}

func TestNoAnswerIsNoPass(t *testing.T) {
	g := guard(t, &pdp{down: true})
	var refused *mcp.Error
	err := g.Check(t.Context(), decide.Credential{Token: token}, "tools/list", nil, true)
	if !errors.As(err, &refused) || refused.Code != mcp.CodeUnavailable {
		t.Errorf("got %#v", err)
	}
	if got, err := g.Visible(t.Context(), decide.Credential{Token: token}, []string{"search"}); err == nil || got != nil {
		t.Errorf("visible: %v, %v", got, err)
	}
	for _, method := range []string{"ping", "notifications/initialized", "notifications/cancelled"} {
		if err := g.Check(t.Context(), decide.Credential{}, method, nil, method == "ping"); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestAProgramSaysWhatACallWants(t *testing.T) {
	p := &pdp{allows: []string{"data.write dataset churn acme"}, reason: "purpose_mismatch"}
	g := guard(t, p, func(c *mcp.Config) {
		c.Tool = func(name string, arguments json.RawMessage) (decide.Wish, error) {
			var given struct{ Dataset string }
			if name != "write" || json.Unmarshal(arguments, &given) != nil {
				return decide.Wish{}, errors.New("tool is not known")
			}
			return decide.Wish{Action: "data.write", Resource: decide.Resource{
				Type: "dataset", ID: given.Dataset, Tenant: "acme",
			}}, nil
		}
	})
	for params, want := range map[string]int64{
		`{"name":"write","arguments":{"dataset":"churn"}}`:  0,
		`{"name":"write","arguments":{"dataset":"labels"}}`: mcp.CodeDenied,
		`{"name":"write"}`: mcp.CodeMapping, `{"name":"read","arguments":{}}`: mcp.CodeMapping,
	} {
		var refused *mcp.Error
		err := g.Check(t.Context(), decide.Credential{Token: token}, "tools/call", json.RawMessage(params), true)
		if errors.As(err, &refused) != (want != 0) || want != 0 && refused.Code != want {
			t.Errorf("%s: got %v, want %d", params, err, want)
		}
	}
}

func TestToolsThatCanBeSeen(t *testing.T) {
	p := &pdp{allows: []string{call, "tool.call tool t150 acme"}, reason: "blast_radius"}
	tools := []string{"drop", "search", ""}
	for i := range 200 {
		tools = append(tools, fmt.Sprintf("t%d", i))
	}
	got, err := guard(t, p).Visible(t.Context(), decide.Credential{Token: token}, tools)
	if diff := cmp.Diff([]string{"search", "t150"}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// post sends a message through the handler and returns what the server behind it got.
func post(t testing.TB, g *mcp.Guard, method, body string, header http.Header) (*httptest.ResponseRecorder, string) {
	t.Helper()
	reached := "nothing"
	handler := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		read, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		reached = string(read)
	}))
	r := httptest.NewRequestWithContext(context.Background(), method, "/mcp", strings.NewReader(body))
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w, reached
}

var bearer = http.Header{"Authorization": {"Bearer " + token}}

func TestOverHTTP(t *testing.T) {
	const allowed = ` {"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"search","arguments":{"b":1}}}`
	for name, row := range map[string]struct {
		method, body string
		header       http.Header
		status       int
		want         string
	}{
		"allowed, byte for byte": {"POST", allowed, bearer, 200, ""},
		"a stream":               {"GET", "", bearer, 200, ""},
		"the end of a session":   {"DELETE", "", bearer, 200, ""},
		"an answer":              {"POST", `{"jsonrpc":"2.0","id":1,"result":{}}`, bearer, 200, ""},
		"a ping of anybody":      {"POST", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, nil, 200, ""},
		"a notification":         {"POST", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, nil, 200, ""},
		"denied": {"POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"drop"}}`, bearer, 200,
			`{"jsonrpc":"2.0","id":7,"error":{"code":-32001,"message":"Access denied: blast_radius","data":{"reason":"blast_radius","decision_id":"0193","retry_after":7}}}`},
		"denied without an id": {"POST", `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"drop"}}`, bearer, 200,
			`{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Access denied: blast_radius","data":{"reason":"blast_radius","decision_id":"0193","retry_after":7}}}`},
		"nobody": {"POST", allowed, nil, 401,
			`{"jsonrpc":"2.0","id":"a","error":{"code":-32001,"message":"Access denied: unauthenticated","data":{"reason":"unauthenticated"}}}`},
		"a stream of nobody": {"GET", "", nil, 401,
			`{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Access denied: unauthenticated","data":{"reason":"unauthenticated"}}}`},
		"a mapping that fails": {"POST", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}`, bearer, 200,
			`{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"COAZ mapping error: params.name is no text of 1 to 1024 bytes","data":{"reason":"malformed"}}}`},
		"another verb": {"PUT", allowed, bearer, 405, ""},
	} {
		p := &pdp{allows: []string{call, whole}, reason: "blast_radius"}
		w, reached := post(t, guard(t, p), row.method, row.body, row.header)
		passed := row.status == 200 && row.want == ""
		if w.Code != row.status || w.Body.String() != row.want || (reached == row.body) != passed {
			t.Errorf("%s: status %d, reached by %q, answer %s", name, w.Code, reached, w.Body)
		}
		if challenge := w.Header().Get("Www-Authenticate"); (challenge != "") != (w.Code == 401) {
			t.Errorf("%s: challenge %q", name, challenge)
		}
	}
}

func TestAStepUpIsAChallenge(t *testing.T) {
	w, reached := post(t, guard(t, &pdp{reason: "step_up_required"}), "POST",
		`{"jsonrpc":"2.0","id":7,"method":"tools/list"}`, bearer)
	if w.Code != 401 || reached != "nothing" || !strings.Contains(w.Header().Get("Www-Authenticate"), "urn:attestd:acr:hw-fresh") ||
		!strings.Contains(w.Body.String(), `"acr_values":"urn:attestd:acr:hw-fresh"`) {
		t.Errorf("got %d, %v, %s", w.Code, w.Header(), w.Body)
	}
}

// TestMessagesOfTwoReadings: what a guard reads otherwise than the server behind it would be authorized as
// one thing and done as another.
func TestMessagesOfTwoReadings(t *testing.T) {
	for name, body := range map[string]string{
		"a batch":               `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`,
		"two methods":           `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"drop"}}`,
		"methods of two cases":  `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}`,
		"a method in Kelvin":    `{"jsonrpc":"2.0","id":1,"method":"ping","method\u017f":"tools/call"}`,
		"an answer with a name": `{"jsonrpc":"2.0","id":1,"result":{},"METHOD":"tools/call"}`,
		"two messages":          `{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":1,"method":"tools/call"}`,
		"no version":            `{"id":1,"method":"ping"}`,
		"another version":       `{"jsonrpc":"1.0","id":1,"method":"ping"}`,
		"a method of a number":  `{"jsonrpc":"2.0","id":1,"method":7}`,
		"an id of an object":    `{"jsonrpc":"2.0","id":{},"method":"ping"}`,
		"an id without end":     `{"jsonrpc":"2.0","id":"` + strings.Repeat("a", 300) + `","method":"ping"}`,
		"nothing":               ``, "neither": `{"jsonrpc":"2.0","id":1}`, "not UTF-8": "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}",
		"5 MiB": `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"` + strings.Repeat("a", 5<<20) + `"}}`,
	} {
		p := &pdp{allows: []string{call, whole}}
		w, reached := post(t, guard(t, p), "POST", body, bearer)
		if w.Code != http.StatusBadRequest || reached != "nothing" || len(p.asked) != 0 {
			t.Errorf("%s: status %d, reached by %.60q", name, w.Code, reached)
		}
	}
	zipped := bearer.Clone()
	zipped.Set("Content-Encoding", "gzip")
	if w, _ := post(t, guard(t, new(pdp)), "POST", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, zipped); w.Code != 400 {
		t.Errorf("an encoded body: %d", w.Code)
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	if _, err := mcp.New(mcp.Config{}); err == nil {
		t.Error("the zero configuration is taken")
	}
	var good mcp.Config
	guard(t, new(pdp), func(c *mcp.Config) { good = *c })
	for name, change := range map[string]func(*mcp.Config){
		"no enforcer": func(c *mcp.Config) { c.Enforcer = nil }, "no credential": func(c *mcp.Config) { c.Credential = nil },
		"no log": func(c *mcp.Config) { c.Log = nil }, "no id": func(c *mcp.Config) { c.Server.ID = "" },
		"no tenant": func(c *mcp.Config) { c.Server.Tenant = "" },
	} {
		config := good
		change(&config)
		if _, err := mcp.New(config); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzMCP: whatever a client sends, what reaches the server without a question is a ping or a
// notification to every reader of JSON, and all else was asked about.
func FuzzMCP(f *testing.F) {
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`, `{"jsonrpc":"2.0","method":"notifications/x"}`,
		`{"jsonrpc":"2.0","id":1,"result":{}}`, `[]`, `{"jsonrpc":"2.0","id":1,"Method":"ping"}`,
	} {
		f.Add(body)
	}
	p := &pdp{allows: []string{call}, reason: "not_permitted"}
	g := guard(f, p)
	f.Fuzz(func(t *testing.T, body string) {
		p.mu.Lock()
		p.asked = nil
		p.mu.Unlock()
		w, reached := post(t, g, "POST", body, bearer)
		if reached == "nothing" {
			if !json.Valid(w.Body.Bytes()) {
				t.Errorf("answer %q", w.Body)
			}
			return
		}
		var loose struct {
			ID     any    `json:"id"`
			Method string `json:"method"`
		}
		if err := json.Unmarshal([]byte(reached), &loose); err != nil {
			t.Fatalf("%q reached the server: %v", reached, err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		free := loose.Method == "ping" || strings.HasPrefix(loose.Method, "notifications/")
		if reached != body || !free && !slices.Equal(p.asked, []string{call}) {
			t.Errorf("%q reached the server after %q", reached, p.asked)
		}
	})
}
