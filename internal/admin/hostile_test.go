package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// neg: 166
func TestTroubleShowsNothingSecret(t *testing.T) {
	w := newWorld(t)
	guard := w.named("sina", "*", operator.Security)
	const order = `{"target":"aaaaaa11","reason":"r"}`
	canary := "canary-nonce-81bd /var/lib/attestd/secret " + canaryDSN
	for name, broken := range map[string]error{
		"an error that nobody knows": fmt.Errorf("open %s", canary),
		"a store that is down": &attestd.UndecidedError{Check: "store", Class: attestd.ClassStoreUnavailable,
			Got: "no store", Want: "one", Hint: "wait", Err: errors.New(canary)},
		"evidence that was rejected": &attestd.EvidenceError{Class: attestd.ClassBinding, Got: canary},
		"a class that there is not":  &attestd.CallerError{Class: "MADE_UP", Err: errors.New(canary)},
	} {
		t.Run(name, func(t *testing.T) {
			w.parts.broken = broken
			defer func() { w.parts.broken = nil }()
			got := w.post(guard, "quarantine", order)
			if got.status < 500 || bytes.Contains(got.body, []byte("canary")) || bytes.Contains(got.body, []byte("/var/lib")) {
				t.Errorf("answered %d %s", got.status, got.body)
			}
			for _, record := range w.parts.entries() {
				if text := fmt.Sprint(record); strings.Contains(text, "canary") {
					t.Errorf("audited as %s", text)
				}
			}
		})
	}
	t.Run("a panic ends the request and nothing else", func(t *testing.T) {
		w.TB = t
		w.parts.panics = true
		got := w.post(guard, "quarantine", order)
		w.parts.panics = false
		w.refused(got, http.StatusInternalServerError, attestd.ClassInternal)
		var problem struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(got.body, &problem); err != nil || problem.ID == "" ||
			!strings.Contains(w.logged.text(), problem.ID) || bytes.Contains(got.body, []byte("secret-in-a-panic")) {
			t.Errorf("answered %s", got.body)
		}
		if written := w.parts.entries(); len(written) != 1 || written[0].Outcome != "failed" {
			t.Errorf("written down as %+v", written)
		}
		if again := w.post(guard, "quarantine", order); again.status != http.StatusOK {
			t.Errorf("afterwards: %d", again.status)
		}
	})
}

func TestErrorsOfThePartsBecomeAnswers(t *testing.T) {
	w := newWorld(t)
	guard := w.named("sina", "*", operator.Security)
	rows := []struct {
		name   string
		err    error
		status int
		class  attestd.Class
	}{
		{"moved", &subject.MovedError{What: "x"}, http.StatusConflict, attestd.ClassConflict},
		{"barred", &subject.BarredError{Bar: subject.Bar{State: attestd.StateQuarantined}}, http.StatusForbidden,
			attestd.ClassQuarantined},
		{"revoked", &subject.BarredError{Bar: subject.Bar{State: attestd.StateRevoked}}, http.StatusForbidden,
			attestd.ClassRevokedSubject},
		{"not granted", &live.Refused{Kind: attestd.ClassPolicyDeny, Hint: "x"}, http.StatusForbidden,
			attestd.ClassPolicyDeny},
		{"the caller's to mend", &attestd.CallerError{Class: attestd.ClassConflict, Hint: "h", Err: errors.New("e")},
			http.StatusConflict, attestd.ClassConflict},
		{"not configured", &attestd.CallerError{Class: attestd.ClassConfig, Hint: "h", Err: errors.New("e")},
			http.StatusServiceUnavailable, attestd.ClassConfig},
		{"undecided of a class that decides", &attestd.UndecidedError{Class: attestd.ClassBinding, Hint: "h"},
			http.StatusInternalServerError, attestd.ClassInternal},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w.TB = t
			w.parts.broken = row.err
			w.refused(w.post(guard, "quarantine", `{"target":"aaaaaa11","reason":"r"}`), row.status, row.class)
			w.parts.broken = nil
		})
	}
}

// neg: 167
func TestWhatIsSentCannotForgeTheLog(t *testing.T) {
	w := newWorld(t)
	guard := w.named("sina", "*", operator.Security)
	w.parts.entries()
	for _, bad := range []string{
		"a\nERROR forged", "\x1b[31mred", "a\rb", "a\x00b", "bidi\u202e", "zero\u200bwidth", "\ufeffbom",
		strings.Repeat("x", 2<<10),
	} {
		for _, field := range []string{"target", "reason", "ticket", "tenant", "reimaged"} {
			order := map[string]any{"target": "aaaaaa11", "reason": "r"}
			order[field] = bad
			w.refused(w.post(guard, "quarantine", order), http.StatusBadRequest, attestd.ClassMalformed)
		}
	}
	got := w.raw("GET /v1/admin/status HTTP/1.1\r\nHost: localhost\r\n" +
		"User-Agent: \xff\u202eforged\r\nAuthorization: Bearer " +
		w.token() + "\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("got %.200s", got)
	}
	if asked := strings.Join(w.parts.since(), "\n"); strings.Contains(asked, "quarantine") {
		t.Errorf("an order with such a text was given: %s", asked)
	}
	for _, line := range strings.Split(strings.TrimSpace(w.logged.text()), "\n") {
		if strings.HasPrefix(line, "http:") {
			continue // of net/http, which the daemon escapes
		}
		if !json.Valid([]byte(line)) || len(line) > 2000 || strings.Contains(line, "forged") {
			t.Errorf("the log has %.200q", line)
		}
	}
	for _, record := range w.parts.entries() {
		if text := fmt.Sprint(record); strings.ContainsAny(text, "\n\r\x1b\x00") || len(text) > 2000 {
			t.Errorf("audited as %.200q", text)
		}
	}
}

func TestBodiesAreReadStrictly(t *testing.T) {
	w := newWorld(t)
	guard := w.named("sina", "*", operator.Security)
	const path, whole = "/v1/admin/quarantine", `{"target":"aaaaaa11","reason":"r"}`
	for _, body := range []string{
		"", "{}", "null", "[]", whole + whole, whole + "x", `{"target":"a","target":"b","reason":"r"}`,
		`{"Target":"a","reason":"r"}`,
		`{"target":"a","reason":"r","force":true}`, `{"target":"a","reason":null}`, `{"target":"\ud800","reason":"r"}`,
		`{"target":"a","reason":"r","host":"yes"}`, `{"target":"a"}`, `{"reason":"r"}`,
		`{"target":"a","reason":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`, "\ufeff" + whole, "\xff",
	} {
		w.refused(w.ask(guard, http.MethodPost, path, body), http.StatusBadRequest, attestd.ClassMalformed)
	}
	long, unsaid := strings.Repeat(" ", 16<<10)+whole, func(r *http.Request) { r.ContentLength = -1 }
	w.refused(w.ask(guard, http.MethodPost, path, long), http.StatusRequestEntityTooLarge, attestd.ClassTooLarge)
	w.refused(w.ask(guard, http.MethodPost, path, long, unsaid), http.StatusRequestEntityTooLarge,
		attestd.ClassTooLarge)
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, change := range []func(*http.Request){
		header("Content-Type", "text/plain"), header("Content-Encoding", "gzip"),
		header("Content-Type", "application/json; charset=latin1"),
		func(r *http.Request) { r.Header.Del("Content-Type") },
		func(r *http.Request) { r.Header["Content-Type"] = []string{"application/json", "text/plain"} },
	} {
		w.refused(w.ask(guard, http.MethodPost, path, whole, change), http.StatusUnsupportedMediaType,
			attestd.ClassUnsupported)
	}
	w.refused(w.ask(guard, http.MethodPost, path+"?dry_run=true", whole), http.StatusBadRequest, attestd.ClassMalformed)
	w.refused(w.ask(guard, http.MethodGet, "/v1/admin/status", "{}"), http.StatusBadRequest, attestd.ClassMalformed)
	if asked := w.parts.since(); len(asked) != 0 {
		t.Errorf("a part was asked: %q", asked)
	}
	got := w.ask(guard, http.MethodPost, path, whole, header("Content-Type", "application/json; charset=UTF-8"))
	if got.status != http.StatusOK {
		t.Errorf("the rows above would be refused in any case: %s", got.body)
	}
}

func TestALongListIsReadWholeAndOneAtATime(t *testing.T) {
	w := newWorld(t)
	runner := w.named("olga", "*", operator.Operator)
	list := wire.Import{Kind: "csv", Tenant: "blue", Document: bytes.Repeat([]byte("a"), 10<<20), Source: "a.csv"}
	w.read(w.post(runner, "enrolments/import", list), new(wire.Imported))
	want := fmt.Sprintf("import blue %d by olga", 10<<20)
	if asked := w.parts.since(); len(asked) != 1 || asked[0] != want {
		t.Errorf("asked %q", asked)
	}
	stuck := make(chan struct{})
	done := make(chan said, 1)
	short := wire.Import{Kind: "csv", Tenant: "blue", Document: []byte("a"), Source: "a.csv"}
	start := func() {
		done <- w.post(runner, "enrolments/import", short, func(r *http.Request) { r.Body = slow{r.Body, stuck} })
	}
	go start()
	deadline := time.Now().Add(time.Minute)
	for w.post(runner, "enrolments/import", short).status != http.StatusTooManyRequests {
		if time.Now().After(deadline) {
			t.Fatal("a second list was always read beside one that is stuck")
		}
		select {
		case <-done: // it came while one of ours was being read
			go start()
		case <-time.After(20 * time.Millisecond):
		}
	}
	guard := w.named("sina", "*", operator.Security)
	if got := w.post(guard, "quarantine", `{"target":"aaaaaa11","reason":"r"}`); got.status != http.StatusOK {
		t.Errorf("a quarantine waits for somebody's list: %d %s", got.status, got.body)
	}
	close(stuck)
	if got := <-done; got.status != http.StatusOK {
		t.Errorf("the list was answered with %d %s", got.status, got.body)
	}
}

// slow sends nothing until somebody says so.
type slow struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	until chan struct{}
}

// Read implements [io.Reader].
func (s slow) Read(into []byte) (int, error) { <-s.until; return s.body.Read(into) }

// Close implements [io.Closer].
func (s slow) Close() error { return s.body.Close() }

func TestOrdersAndGrantsOutOfBounds(t *testing.T) {
	w := newWorld(t)
	guard, issuer := w.named("sina", "*", operator.Security), w.named("ivo", "blue", operator.Issuer)
	root := w.root()
	rows := []struct {
		as         asker
		path, body string
		class      attestd.Class
		status     int
	}{
		{guard, "release", `{"target":"aaaaaa11","reason":"r","direct":true}`, attestd.ClassMalformed, 400},
		{guard, "operators", `{"name":"mel","roles":["security"],"tenants":["*"]}`, attestd.ClassForbidden, 403},
		{guard, "operators", `{"name":"mel","roles":["viewer"],"tenants":["*"],"by":"root"}`, attestd.ClassMalformed, 400},
		{guard, "operators", `{"name":"mel","roles":[],"tenants":["*"]}`, attestd.ClassMalformed, 400},
		{guard, "operators/revoke", `{"name":"nobody"}`, attestd.ClassForbidden, 404},
		{issuer, "grants", `{"id":"spiffe://example.org/b1","seconds":0,"for":"x509-svid"}`, attestd.ClassMalformed, 400},
		{issuer, "grants", `{"id":"spiffe://x/b1","seconds":86401,"for":"x509-svid"}`, attestd.ClassMalformed, 400},
		{issuer, "grants", `{"id":"spiffe://example.org/agent/b1","seconds":60,"for":""}`, attestd.ClassMalformed, 400},
		{issuer, "grants", `{"id":"spiffe://example.org/agent/b1","seconds":1e400,"for":"x"}`, attestd.ClassMalformed, 400},
		{root, "reappraisals", `{"dry_run":false,"policy":"YQ=="}`, attestd.ClassMalformed, 400},
		{root, "reappraisals", `{"dry_run":true,"at":"2999-01-01T00:00:00Z"}`, attestd.ClassMalformed, 400},
		{root, "enrolments/import", `{"kind":"csv","tenant":"*","source":"a"}`, attestd.ClassForbidden, 404},
		{root, "enrolments/import", `{"kind":"csv","tenant":"","source":"a"}`, attestd.ClassForbidden, 404},
		{root, "enrolments/tokens", `{"tenant":"blue","formats":["sgx"],"seconds":60}`, attestd.ClassMalformed, 400},
		{root, "log-level", `{"level":"trace"}`, attestd.ClassMalformed, 400},
		{root, "log-level", `{"level":"info","until":"2001-01-01T00:00:00Z"}`, attestd.ClassMalformed, 400},
		{root, "log-level", `{"level":"info","until":"2999-01-01T00:00:00Z"}`, attestd.ClassMalformed, 400},
		{root, "log-level", `{"schema":"attestd.grant.v1","level":"info"}`, attestd.ClassMalformed, 400},
	}
	for _, row := range rows {
		w.refused(w.ask(row.as, http.MethodPost, admin.Prefix+row.path, row.body), row.status, row.class)
	}
	if asked := w.parts.since(); len(asked) != 0 {
		t.Errorf("a part was asked: %q", asked)
	}
	var grant wire.Grant
	w.read(w.post(issuer, "grants", `{"id":"spiffe://example.org/agent/b1","seconds":60,"for":"x509-svid"}`), &grant)
	if grant.Tenant != "blue" || !grant.Until.Equal(w.clock().Add(time.Minute)) {
		t.Errorf("granted %+v", grant)
	}
}

func TestNewDemandsItsParts(t *testing.T) {
	w := newWorld(t)
	for name, spoil := range map[string]func(*admin.Config){
		"book": func(c *admin.Config) { c.Book = nil }, "orders": func(c *admin.Config) { c.Orders = nil },
		"enrolments": func(c *admin.Config) { c.Enrolments = nil }, "audit": func(c *admin.Config) { c.Audit = nil },
		"reappraisals": func(c *admin.Config) { c.Reappraisals = nil },
		"subjects":     func(c *admin.Config) { c.Subjects = nil },
		"index":        func(c *admin.Config) { c.Index = nil }, "explainer": func(c *admin.Config) { c.Explainer = nil },
		"conditions": func(c *admin.Config) { c.Conditions = nil }, "clock": func(c *admin.Config) { c.Now = nil },
		"logger": func(c *admin.Config) { c.Logger = nil }, "level": func(c *admin.Config) { c.Level = nil },
		"metrics a second time": func(*admin.Config) {},
	} {
		spoiled := w.config
		spoil(&spoiled)
		if _, err := admin.New(spoiled); err == nil {
			t.Errorf("%s: an API was made", name)
		}
	}
}

func TestWhoHangsUpLeavesNoHalfOfAnOrder(t *testing.T) {
	w := newWorld(t)
	guard := w.named("sina", "*", operator.Security)
	hung := make(chan error, 1)
	left, entered := make(chan struct{}), make(chan struct{})
	w.parts.during = func(ctx context.Context) {
		close(entered)
		<-left
		time.Sleep(50 * time.Millisecond) // for the server to see that nobody is there any more
		_, bounded := ctx.Deadline()
		if !bounded {
			hung <- errors.New("an order can wait for ever")
			return
		}
		hung <- ctx.Err()
	}
	ctx, hangUp := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, guard.base+"/v1/admin/quarantine",
		strings.NewReader(`{"target":"aaaaaa11","reason":"r"}`))
	must(t, err)
	request.Header.Set("Content-Type", "application/json")
	go func() { <-entered; hangUp(); close(left) }()
	response, err := guard.client.Do(request)
	if err == nil {
		_ = response.Body.Close()
		t.Error("answered though the asker left")
	}
	if err := <-hung; err != nil {
		t.Errorf("the order ended with its asker: %v", err)
	}
}
