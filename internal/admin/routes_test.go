package admin_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin"
	"github.com/attestd/attestd/internal/operator"
)

// table is who may ask for what, written a second time: whoever opens a route to another role has to
// say so here as well.
const table = `
POST login: login token
GET whoami: viewer or operator or security or issuer
POST quarantine: security
POST release: security
POST revoke: security
GET subjects: viewer or operator or security
GET subject: viewer or operator or security
GET subject/history: viewer or operator or security
GET why: viewer or operator or security
POST reattest: operator
POST grants: issuer
GET enrolments: viewer or operator or security
POST enrolments/import: operator
POST enrolments/approve: operator
POST enrolments/deny: operator
POST enrolments/remove: operator
POST enrolments/tokens: operator
GET operators: viewer or operator or security
POST operators: security
POST operators/revoke: security
GET keys: viewer or operator or security, all tenants
POST keys/rotate: operator, all tenants
POST keys/compromise: security, all tenants
POST reappraisals: operator
GET reappraisals: viewer or operator or security
GET status: viewer or operator or security
GET conditions: viewer or operator or security
GET audit/entries: viewer or operator or security, all tenants
GET log-level: viewer or operator or security, all tenants
POST log-level: operator, all tenants
GET support-bundle: operator, all tenants
GET decisions: viewer or operator or security
GET decision: viewer or operator or security
GET decisions/replay: viewer or operator or security
GET records: viewer or operator or security
GET record: viewer or operator or security
POST records/import: operator
POST records/retire: operator
POST records/remove: operator
GET records/lint: viewer or operator or security
GET records/report: viewer or operator or security
`

// good is a request for each route that is carried out.
var good = map[string]string{
	"POST quarantine":         `{"target":"aaaaaa11","reason":"alert"}`,
	"POST release":            `{"target":"aaaaaa11","reason":"false alarm"}`,
	"POST revoke":             `{"target":"aaaaaa11","reason":"stolen"}`,
	"GET subject":             "id=aaaaaa11",
	"GET decision":            "id=01950000-0000-7000-8000-0000000000b1",
	"GET record":              "id=spiffe://example.org/agent/b1",
	"POST records/import":     `{"source":"a.yaml","records":[{"id":"github:acme/train.yml"}]}`,
	"POST records/retire":     `{"id":"spiffe://example.org/agent/b1"}`,
	"POST records/remove":     `{"id":"spiffe://example.org/agent/b1"}`,
	"GET subject/history":     "id=aaaaaa11",
	"GET why":                 "target=aaaaaa11",
	"POST reattest":           `{"target":"aaaaaa11"}`,
	"POST grants":             `{"id":"spiffe://example.org/agent/b1","seconds":60,"for":"x509-svid"}`,
	"POST enrolments/import":  `{"kind":"csv","tenant":"blue","document":"YQ==","source":"a.csv"}`,
	"POST enrolments/approve": `{"key":"instance:aaaaaa11"}`,
	"POST enrolments/deny":    `{"key":"instance:aaaaaa11"}`,
	"POST enrolments/remove":  `{"key":"instance:aaaaaa11"}`,
	"POST enrolments/tokens":  `{"tenant":"blue","formats":["tpm"],"seconds":60}`,
	"POST operators":          `{"name":"zoe","roles":["viewer"],"tenants":["blue"]}`,
	"POST operators/revoke":   `{"name":"zoe"}`,
	"POST keys/rotate":        `{"purpose":"result"}`,
	"POST keys/compromise":    `{"purpose":"result","kid":"k1","reason":"a laptop was lost"}`,
	"POST reappraisals":       `{"dry_run":true}`,
	"GET reappraisals":        "id=r1",
	"GET audit/entries":       "start=0&limit=5",
	"POST log-level":          `{"level":"debug"}`,
}

// carryOut asks for a route as it must be asked.
func (w *world) carryOut(as asker, row admin.Row) said {
	w.Helper()
	sample := good[row.Method+" "+strings.TrimPrefix(row.Path, admin.Prefix)]
	if row.Body {
		return w.ask(as, row.Method, row.Path, sample)
	}
	if sample != "" {
		return w.ask(as, row.Method, row.Path+"?"+sample, nil)
	}
	return w.ask(as, row.Method, row.Path, nil)
}

// neg: 164, 182, 188
func TestEveryRouteDemandsItsRole(t *testing.T) {
	var drawn strings.Builder
	for _, row := range admin.Rows() {
		fmt.Fprintln(&drawn, row)
	}
	if got := drawn.String(); got != strings.TrimPrefix(table, "\n") {
		t.Errorf("the table of routes is\n%s\nwant%s", got, table)
	}
	w := newWorld(t)
	all, one := map[operator.Role]asker{}, map[operator.Role]asker{}
	for _, role := range operator.Roles() {
		all[role] = w.named("all-"+string(role), "*", role)
		one[role] = w.named("blue-"+string(role), "blue", role)
	}
	for _, row := range admin.Rows() {
		if row.Login {
			continue
		}
		t.Run(row.Method+" "+row.Path, func(t *testing.T) {
			w.TB = t
			w.advance(time.Minute) // failures are bounded by the minute
			w.parts.since()
			w.refused(w.carryOut(w.remote(), row), http.StatusUnauthorized, attestd.ClassUnauthenticated)
			for _, role := range operator.Roles() {
				allowed := slices.Contains(row.Roles, role)
				if !allowed {
					w.refused(w.carryOut(all[role], row), http.StatusForbidden, attestd.ClassForbidden)
				}
				if !allowed || row.Shared {
					w.refused(w.carryOut(one[role], row), http.StatusForbidden, attestd.ClassForbidden)
				}
			}
			if asked := w.parts.since(); len(asked) != 0 {
				t.Errorf("a part was asked for those who may not: %q", asked)
			}
			for _, role := range row.Roles {
				if got := w.carryOut(all[role], row); got.status != http.StatusOK {
					t.Errorf("%s was refused: %d %s", role, got.status, got.body)
				}
				if row.Path == admin.Prefix+"operators/revoke" {
					break // what is revoked cannot be revoked again
				}
			}
		})
	}
}

// neg: 187
func TestEveryRequestIsWrittenDown(t *testing.T) {
	w := newWorld(t)
	viewer := w.named("victor", "blue", operator.Viewer)
	all := map[operator.Role]asker{}
	for _, role := range operator.Roles() {
		all[role] = w.named("all-"+string(role), "*", role)
	}
	for _, row := range admin.Rows() {
		if row.Login {
			continue
		}
		t.Run(row.Method+" "+row.Path, func(t *testing.T) {
			w.TB = t
			w.advance(time.Minute)
			w.parts.entries()
			w.carryOut(w.remote(), row)
			written := w.parts.entries()
			if len(written) != 1 || written[0].Outcome != "refused" || written[0].Actor != "source:127.0.0.1" ||
				written[0].Class != string(attestd.ClassUnauthenticated) {
				t.Errorf("a stranger's request is written down as %+v", written)
			}
			if !slices.Contains(row.Roles, operator.Viewer) || row.Shared {
				w.carryOut(viewer, row)
				written = w.parts.entries()
				if len(written) != 1 || written[0].Outcome != "refused" || written[0].Actor != "victor" ||
					written[0].Action != row.Action || written[0].Via != operator.ViaCertificate {
					t.Errorf("a viewer's request is written down as %+v", written)
				}
			}
			w.carryOut(all[row.Roles[0]], row)
			written = w.parts.entries()
			want := 1
			if row.ByDoer {
				want = 0 // the part behind writes it, in the transaction that does it
			}
			if len(written) != want || want == 1 && (written[0].Action != row.Action || written[0].Actor == "" ||
				written[0].At.IsZero()) {
				t.Errorf("it is written down as %+v", written)
			}
		})
	}
}

// neg: 187
func TestWhereNothingCanBeWrittenDownNothingIsGivenOut(t *testing.T) {
	w := newWorld(t)
	runner, issuer := w.named("otto", "*", operator.Operator), w.named("ivo", "*", operator.Issuer)
	w.parts.auditDown = &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable}
	for _, row := range admin.Rows() {
		as := runner
		switch row.Action {
		case "grant":
			as = issuer
		case "reappraise":
		default:
			continue
		}
		w.refused(w.carryOut(as, row), http.StatusServiceUnavailable, attestd.ClassStoreUnavailable)
	}
	asked := strings.Join(w.parts.since(), "\n")
	if strings.Contains(asked, "grant ") || strings.Contains(asked, "reappraise") {
		t.Errorf("something was begun though it could not be written down: %s", asked)
	}
}

// TestWhatHelpsInAnOutageIsGivenInOne: a full disk takes the log down, and is when a bundle and a log at
// debug are wanted; a key that was lost does not wait either. They are written down later.
func TestWhatHelpsInAnOutageIsGivenInOne(t *testing.T) {
	w := newWorld(t)
	runner, guard := w.named("otto", "*", operator.Operator), w.named("gerda", "*", operator.Security)
	w.parts.auditDown = &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable}
	for _, row := range admin.Rows() {
		as := runner
		switch row.Action {
		case "support-bundle", "log-level.set":
		case "keys.compromise":
			as = guard
		default:
			continue
		}
		w.parts.entries()
		if got := w.carryOut(as, row); got.status != http.StatusOK {
			t.Errorf("%s: %d %s", row.Action, got.status, got.body)
		}
		written := w.parts.entries() // what was noted: nothing can be recorded
		if len(written) != 1 || !slices.Contains([]string{"otto", "gerda"}, written[0].Actor) || written[0].Action != row.Action ||
			written[0].Outcome != "done" {
			t.Errorf("%s is written down as %+v", row.Action, written)
		}
	}
}

func TestNoPathIsServedButThoseOfTheTable(t *testing.T) {
	w := newWorld(t)
	root := w.root()
	for _, path := range []string{
		"/v1/admin", "/v1/admin/", "/v1/admin/status/", "/v1/admin//status", "/v1/admin/./status", "/v1/admin/STATUS",
		"/v1/admin/x/../status", "/v1/admin/%73tatus", "/v1/admin/subject%2Fhistory",
		"/v1/admin/status;x=1", "/v1/admin/nothing",
	} {
		got := w.ask(root, http.MethodGet, path, nil)
		if got.status != http.StatusNotFound && got.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodHead, http.MethodOptions, "get"} {
		got := w.ask(root, method, "/v1/admin/status", nil)
		if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != http.MethodGet {
			t.Errorf("%s: %d", method, got.status)
		}
	}
}
