package authzen_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/authzen"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/problem"
)

func TestARequestThatIsNoQuestionIsRefused(t *testing.T) {
	whole := evaluation("", "")
	change := func(old, with string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("the question has no %s", old)
		}
		return strings.Replace(whole, old, with, 1)
	}
	for _, row := range []struct{ name, body, want string }{
		{"nothing", "", "not one JSON value"},
		{"no JSON", "{", "not one JSON value"},
		{"two values", whole + "{}", "not one JSON value"},
		{"no object", "[]", "want an object"},
		{"no UTF-8", change("data.read", "data.\xff"), "UTF-8"},
		{"no subject", change(`"subject":`, `"subjects":`), "subject is missing"},
		{"no action", change(`"action":`, `"Action":`), "action is missing"},
		{"no resource", change(`"resource":`, `"x":`), "resource is missing"},
		{"no type", change(`"type":"workload",`, ""), "subject: type is missing"},
		{"no id", change(`"id":"`+caller+`",`, ""), "subject: id is missing"},
		{"an empty name", change(`"data.read"`, `""`), "action: name is missing"},
		{"a resource without an id", change(`,"id":"features"`, ""), "resource: id is missing"},
		{"a subject of text", `{"subject":"alice","action":{"name":"a"},"resource":{"type":"a","id":"b"}}`,
			"subject: got text, want an object"},
		{"a name that is a number", change(`"data.read"`, `123`), "action.name: got a number, want text"},
		{"null for an object", change(`{"name":"data.read"}`, `null`), "action: got null"},
		{"properties of text", change(`{"name":"data.read"}`, `{"name":"a","properties":"x"}`), "want an object"},
		{"an action twice", change(`"action":`, `"action":{"name":"x"},"action":`), `duplicate key "action"`},
		{"a key that is not known twice", change(`"action":`, `"x":1,"x":2,"action":`), `duplicate key "x"`},
		{"one twice in what is skipped", change(`"action":`, `"x":{"a":[{"b":1,"b":1}]},"action":`), `duplicate key "b"`},
		{"a key twice in two spellings", change(`"action":`, `"\u0061ction":{"name":"x"},"action":`), "duplicate key"},
		{"half of a surrogate pair", change(`data.read`, `data\ud800`), "surrogate"},
		{"a token and a certificate", change(`"token":`, `"x5c":["AAAA"],"token":`), "both token and x5c"},
		{"a certificate that is not base64", change(`"token":`, `"x5c":["*"],"token":`), "not base64"},
		{"privileged as text", change(`"tenant":"acme"`, `"tenant":"acme","privileged":"true"`), "want true or false"},
		{"a tenant that is a list", change(`"acme"`, `["acme"]`), "resource.properties.tenant: got an array"},
		{"a dataset without an id", change(`"acme"`, `"acme","dataset_scope":[{}]`), "a dataset has no id"},
		{"an empty class", change(`"acme"`, `"acme","dataset_scope":[{"id":"d","classification":[""]}]`), "is empty"},
		{"an exposure score above 100", evaluation("", `"exposure_score":101`), "0 to 100"},
		{"one below 0", evaluation("", `"exposure_score":-1`), "0 to 100"}, // neg: 148
		{"one that is a fraction", evaluation("", `"exposure_score":0.5`), "0 to 100"},
		{"one that is text", evaluation("", `"exposure_score":"1"`), "want a number"},
		{"one beyond numbers", evaluation("", `"exposure_score":1e400`), "0 to 100"},
		{"a connectivity that is none", evaluation("", `"connectivity":"maybe"`), "want unknown"},
		{"a link of no type", evaluation("", `"subject_chain":[{"type":"robot","id":"x"}]`), "human or nhi"},
		{"a link without an id", evaluation("", `"subject_chain":[{"type":"nhi"}]`), "wants an id"},
		{"a chain of many links", evaluation("", `"subject_chain":[`+
			strings.Repeat(`{"type":"nhi","id":"x"},`, 64)+`{"type":"nhi","id":"x"}]`), "more than 64"},
		{"a long token", change(tokenOf(caller), strings.Repeat("a", 8193)), "at most 8192"}, // neg: 147
		{"a long id", change("features", strings.Repeat("a", 2049)), "at most 2048"},
		{"many datasets", change(`"acme"`, `"acme","dataset_scope":[`+strings.Repeat(`"d",`, 256)+`"d"]`), "more than 256"},
		{"deep", change(`"action":`, `"x":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`,"action":`), "deeper"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, ordinary)
			for _, path := range []string{authzen.PathEvaluation, authzen.PathEvaluations} {
				got := w.post(path, row.body)
				var shaped struct{ Detail string }
				if err := json.Unmarshal([]byte(got.body), &shaped); err != nil || got.status != http.StatusBadRequest ||
					!strings.Contains(shaped.Detail, row.want) {
					t.Errorf("%s: got %d %s, want 400 with %q", path, got.status, got.body, row.want)
				}
			}
			if len(w.asked) != 0 {
				t.Error("a decision was made")
			}
		})
	}
}

func TestTheRequestAroundAQuestionIsLookedAt(t *testing.T) {
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
	}
	for _, row := range []struct {
		name   string
		entry  string
		change func(*http.Request)
		want   int
	}{
		{"as it should be", ordinary, func(*http.Request) {}, 200},
		{"with a charset", ordinary, header("Content-Type", "application/json; charset=utf-8"), 200},
		{"another type", ordinary, header("Content-Type", "text/plain"), 400},
		{"no type", ordinary, header("Content-Type"), 400},
		{"compressed", ordinary, header("Content-Encoding", "gzip"), 400},
		{"GET", ordinary, func(r *http.Request) { r.Method, r.Body, r.ContentLength = http.MethodGet, nil, 0 }, 405},
		{"no token", ordinary, header("Authorization"), 401},
		{"another token", ordinary, header("Authorization", "Bearer "+secret+"x"), 401},
		{"without the right", "    may: [signals]\n    tenants: [acme]\n", func(*http.Request) {}, 403},
		{"a long identifier", ordinary, header("X-Request-ID", strings.Repeat("a", 129)), 400},
		{"two identifiers", ordinary, header("X-Request-ID", "a", "b"), 400},
		{"too long", ordinary, func(r *http.Request) {
			r.Body = http.NoBody
			r.ContentLength = 0
			long := strings.NewReader(strings.Repeat(" ", 1<<20))
			r.Body, r.ContentLength = readCloser{long}, 1<<20
		}, 413},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.entry)
			if got := w.post(authzen.PathEvaluation, evaluation("", ""), row.change); got.status != row.want {
				t.Errorf("got %d %s, want %d", got.status, got.body, row.want)
			}
			if len(w.asked) != 0 && row.want != 200 {
				t.Error("a decision was made")
			}
		})
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func TestARequestOfManyCountsAsMany(t *testing.T) {
	w := newWorld(t, ordinary+"    rate: 1\n    burst: 5\n")
	many := func(n int) string {
		return strings.TrimSuffix(evaluation("", ""), "}") + `,"evaluations":[` +
			strings.TrimSuffix(strings.Repeat(`{},`, n), ",") + `]}`
	}
	if got := w.post(authzen.PathEvaluations, many(4)); got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	got := w.post(authzen.PathEvaluations, many(3))
	if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "2" {
		t.Errorf("got %d, Retry-After %s, want 429 and 2", got.status, got.header.Get("Retry-After"))
	}
	if len(w.asked) != 4 {
		t.Errorf("%d decisions were made, want 4", len(w.asked))
	}
	if got := w.post(authzen.PathEvaluations, many(101)); got.status != 400 {
		t.Errorf("101 evaluations: got %d, want 400", got.status)
	}
	w.now = w.now.Add(2 * time.Second)
	if got := w.post(authzen.PathEvaluation, evaluation("", "")); got.status != 200 {
		t.Errorf("after the wait: got %d", got.status)
	}
}

// Each kind of evaluations ends where it should, with defaults in place of what is not there.
func TestEvaluationsInTheirOrder(t *testing.T) {
	body := func(semantic string, members ...string) string {
		return strings.TrimSuffix(evaluation("", ""), "}") + semantic + `,"evaluations":[` +
			strings.Join(members, ",") + `]}`
	}
	resource := func(id string) string { return `{"resource":{"type":"d","id":"` + id + `"}}` }
	for _, row := range []struct {
		name, body, want string
		asked            int
	}{
		{"all", body("", resource("yes"), resource("no"), resource("yes")), "+-+", 3},
		{"all by name", body(`,"options":{"evaluations_semantic":"execute_all","x":1}`, resource("no"), resource("yes")),
			"-+", 2},
		{"until a denial", body(`,"options":{"evaluations_semantic":"deny_on_first_deny"}`,
			resource("yes"), resource("no"), resource("yes")), "+-", 2},
		{"until a permit", body(`,"options":{"evaluations_semantic":"permit_on_first_permit"}`,
			resource("no"), resource("yes"), resource("no")), "-+", 2},
		{"a default of everything", body("", `{}`, resource("yes")), "-+", 2},
		{"one that is no question", strings.Replace(body("", resource("yes"), `{}`, resource("yes")),
			`"resource":{"type":"dataset"`, `"other":{"type":"dataset"`, 1), "+e+", 2},
		{"an error ends as a denial does", strings.Replace(body(
			`,"options":{"evaluations_semantic":"deny_on_first_deny"}`, `{}`, resource("yes")),
			`"resource":{"type":"dataset"`, `"other":{"type":"dataset"`, 1), "e", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, ordinary)
			w.say = func(ask decision.Ask) decision.Answer {
				if ask.Resource.ID == "yes" {
					return like()(ask)
				}
				return like(because(decision.CodeNotPermitted))(ask)
			}
			got := w.post(authzen.PathEvaluations, row.body).read(t)
			shape := ""
			for _, one := range got.Evaluations {
				switch {
				case one.Decision == nil:
					shape += "?"
				case one.Context.Error != nil && !*one.Decision:
					shape += "e"
				case *one.Decision:
					shape += "+"
				default:
					shape += "-"
				}
			}
			if shape != row.want || len(w.asked) != row.asked {
				t.Errorf("got %s of %d questions, want %s of %d", shape, len(w.asked), row.want, row.asked)
			}
			for _, ask := range w.asked {
				if !ask.Deadline.Equal(w.asked[0].Deadline) {
					t.Error("the questions have several deadlines")
				}
			}
		})
	}
	w := newWorld(t, ordinary)
	if got := w.post(authzen.PathEvaluations, body(`,"options":{"evaluations_semantic":"any"}`, `{}`)); got.status != 400 {
		t.Errorf("an unknown semantic: got %d, want 400", got.status)
	}
	if got := w.post(authzen.PathEvaluations, body("")).read(t); got.Decision == nil || got.Evaluations != nil {
		t.Errorf("no evaluations: got %+v, want one decision", got)
	}
	// One question's path takes no others: they would be counted as one.
	single := w.post(authzen.PathEvaluation, body("", resource("yes"), resource("yes"))).read(t)
	if single.Decision == nil || single.Evaluations != nil {
		t.Errorf("evaluations on the path of one: got %+v", single)
	}
}

// TestSpecificationsCases: instances of each form that the text, its schemas and its certification
// scenario describe (openid/authzen at e287920eed84, of 20 August 2026).
func TestSpecificationsCases(t *testing.T) {
	document, err := os.ReadFile("testdata/authzen-1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Path  string
		Body        json.RawMessage
		Status      int
		Evaluations int
	}
	if err := json.Unmarshal(document, &cases); err != nil || len(cases) < 20 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	for _, row := range cases {
		t.Run(row.Name, func(t *testing.T) {
			w := newWorld(t, ordinary)
			got := w.post(row.Path, string(row.Body), func(r *http.Request) { r.Header.Set("X-Request-ID", "case") })
			if got.status != row.Status || got.header.Get("X-Request-ID") != "case" {
				t.Fatalf("got %d %s with identifier %q, want %d", got.status, got.body,
					got.header.Get("X-Request-ID"), row.Status)
			}
			if got.status != http.StatusOK {
				return
			}
			// evaluation-response.schema.json: an object with a boolean decision, and context an object.
			var answers []map[string]any
			if row.Evaluations == 0 {
				var one map[string]any
				err = json.Unmarshal([]byte(got.body), &one)
				answers = append(answers, one)
			} else {
				var all struct{ Evaluations []map[string]any }
				err = json.Unmarshal([]byte(got.body), &all)
				answers = all.Evaluations
			}
			if err != nil || len(answers) != max(1, row.Evaluations) {
				t.Fatalf("got %s: %v", got.body, err)
			}
			for _, one := range answers {
				decided, isBool := one["decision"].(bool)
				context, there := one["context"]
				_, isObject := context.(map[string]any)
				if !isBool || there && !isObject || decided {
					t.Errorf("got %v, want a denial: nobody shows a credential here", one)
				}
			}
		})
	}
}

func TestTheMetadataSaysWhereToAsk(t *testing.T) {
	w := newWorld(t, ordinary)
	got := w.post(authzen.PathConfiguration, "", func(r *http.Request) {
		r.Method, r.Body = http.MethodGet, nil
		r.Header = http.Header{}
	})
	want := `{"policy_decision_point":"https://pdp.example.org:8425",` +
		`"access_evaluation_endpoint":"https://pdp.example.org:8425/access/v1/evaluation",` +
		`"access_evaluations_endpoint":"https://pdp.example.org:8425/access/v1/evaluations",` +
		`"supported_obligations":["step-up","notification","custom"]}` + "\n"
	if got.status != 200 || got.body != want || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if got := w.post(authzen.PathConfiguration, ""); got.status != 405 || got.header.Get("Allow") != "GET" {
		t.Errorf("POST: got %d", got.status)
	}
}

func TestEveryFieldOfTheConfigurationIsRequired(t *testing.T) {
	whole := authzen.Config{
		Decider: &world{}, Enforcers: enforcers(t, ordinary), URL: "https://a", Deadline: time.Second,
		Bodies: &problem.Bodies{Most: 1}, Now: time.Now, Log: slogDiscard,
	}
	if _, err := authzen.New(whole); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*authzen.Config){
		"Decider":   func(c *authzen.Config) { c.Decider = nil },
		"Enforcers": func(c *authzen.Config) { c.Enforcers = nil },
		"URL":       func(c *authzen.Config) { c.URL = "" },
		"a path":    func(c *authzen.Config) { c.URL = "https://a/b" },
		"a scheme":  func(c *authzen.Config) { c.URL = "ftp://a" },
		"Deadline":  func(c *authzen.Config) { c.Deadline = 0 },
		"Bodies":    func(c *authzen.Config) { c.Bodies = nil },
		"Now":       func(c *authzen.Config) { c.Now = nil },
		"Log":       func(c *authzen.Config) { c.Log = nil },
	} {
		config := whole
		change(&config)
		if _, err := authzen.New(config); err == nil {
			t.Errorf("without %s there is a server", name)
		}
	}
}

var _ authzen.Enforcers = (*enforcer.Book)(nil)
