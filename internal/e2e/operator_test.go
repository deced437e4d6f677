package e2e_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/subject"
)

// operators are answered over mTLS as well.
const operators = "admin: {http: '127.0.0.1:0'}"

// desk is a server as an operator sees it.
type desk struct {
	*client.Client
	folder string // of the identity
}

// house is a daemon that keeps machines over time, and those who ask it.
type house struct {
	*daemon
	root desk // whoever can read the token beside the socket
	gate desk // the program that gives out credentials
}

// household starts the laboratory, with operators.
func household(t *testing.T, more ...string) *house {
	t.Helper()
	return opened(t, serverConfig{
		policy: "laboratory", insecure: true, references: [][]byte{goldenValues(t)}, more: more,
	})
}

func opened(t *testing.T, config serverConfig) *house {
	t.Helper()
	config.more = append([]string{operators}, config.more...)
	h := &house{daemon: configure(t, config)}
	h.start(t)
	asking, err := client.New(client.Config{Server: "unix:" + h.socket()})
	if err != nil {
		t.Fatal(err)
	}
	h.root = desk{Client: asking}
	h.gate = h.add(t, "gate", "issuer", "*")
	return h
}

// restart stops the process in order and starts another one.
func (h *house) restart(t *testing.T) {
	t.Helper()
	h.stop(t)
	h.start(t)
	h.gate = h.as(t, h.gate.folder)
}

// add names an operator and logs in as one.
func (h *house) add(t *testing.T, name, role string, tenants ...string) desk {
	t.Helper()
	added, err := h.root.AddOperator(t.Context(), wire.Operator{
		Name: name, Roles: []string{role}, Tenants: tenants,
	})
	if err != nil {
		t.Fatal(err)
	}
	first, err := client.New(client.Config{Server: h.adminURL(t), LoginToken: added.Token})
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), name)
	if _, err := first.Login(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	return h.as(t, folder)
}

// as asks with an identity that was made before, wherever the server listens now.
func (d *daemon) as(t *testing.T, folder string) desk {
	t.Helper()
	asking, err := client.New(client.Config{Server: d.adminURL(t), Identity: folder})
	if err != nil {
		t.Fatal(err)
	}
	return desk{asking, folder}
}

// answer is what a machine was told: a verdict, or a problem.
type answer struct {
	status  int
	verdict attestd.Appraisal
	class   attestd.Class
	text    string
}

// submit is the whole exchange of a machine, whatever is answered to it.
func (m *machine) submit(t *testing.T, s server, tenant, token string) answer {
	t.Helper()
	asked := s.ask(t, tenant, m.identity(t))
	secret, key := m.activate(t, asked), m.key(t)
	body := asked.body(m.collect(t, asked, key.SPKI(), key), secret, key.SPKI())
	if token != "" {
		body["enrolment_token"] = token
	}
	status, document := s.post(t, "/v1/verify", body)
	out := answer{status: status, text: string(document)}
	var problem struct {
		Class attestd.Class `json:"class"`
	}
	if json.Unmarshal(document, &problem) == nil {
		out.class = problem.Class
	}
	_ = json.Unmarshal(document, &out.verdict)
	return out
}

// standing wants an acceptance and returns what it says about the machine.
func (a answer) standing(t *testing.T) attestd.Standing {
	t.Helper()
	wantAccepted(t, a.verdict)
	if a.verdict.Standing == nil {
		t.Fatalf("the verdict says nothing about a machine: %s", a.text)
	}
	return *a.verdict.Standing
}

// barred wants a machine to get no verdict, and to learn nothing of the grounds.
func (a answer) barred(t *testing.T, class attestd.Class, reason string) {
	t.Helper()
	if a.status != 403 || a.class != class || a.verdict.Schema != "" {
		t.Fatalf("status %d, class %q, want 403 and %s: %s", a.status, a.class, class, a.text)
	}
	if strings.Contains(a.text, reason) {
		t.Errorf("the machine is told the grounds: %s", a.text)
	}
}

// pending is the key under which a machine waits for approval.
func (d desk) pending(t *testing.T, tenant string) string {
	t.Helper()
	list, err := d.Enrolments(t.Context(), client.Query{Tenant: tenant, Status: "pending"})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range list.Enrolments {
		if one.Key.Kind == "instance" {
			return one.Key.String()
		}
	}
	t.Fatalf("no machine waits for approval: %+v", list.Enrolments)
	return ""
}

// enrolled has a machine attest, approves it, and returns its name when it is trusted.
func (h *house) enrolled(t *testing.T, m *machine, tenant string) string {
	t.Helper()
	if got := m.submit(t, h.server, tenant, "").standing(t); got.State != attestd.StateUnknown ||
		got.Enrolment != "pending" || got.Subject != "" {
		t.Fatalf("a machine that is nobody's yet stands as %+v", got)
	}
	key := h.root.pending(t, tenant)
	if _, err := h.root.Approve(t.Context(), wire.Decide{Key: key}); err != nil {
		t.Fatal(err)
	}
	return m.trusted(t, h.server, tenant)
}

// trusted has a machine attest and wants it to be trusted; it returns its name.
func (m *machine) trusted(t *testing.T, s server, tenant string) string {
	t.Helper()
	got := m.submit(t, s, tenant, "").standing(t)
	if got.State != attestd.StateTrusted || got.Subject == "" || got.Tenant != tenant {
		t.Fatalf("the machine stands as %+v, want it to be trusted", got)
	}
	return got.Subject
}

// granted wants a grant to be given.
func (h *house) granted(t *testing.T, id string) {
	t.Helper()
	if _, err := h.gate.grant(t, id); err != nil {
		t.Fatalf("no grant: %v", err)
	}
	h.root.wantWhy(t, id, "granted")
}

// ungranted wants a grant to be refused with a class, and why to give this cause.
func (h *house) ungranted(t *testing.T, id string, class attestd.Class, code string) {
	t.Helper()
	_, err := h.gate.grant(t, id)
	wantProblem(t, err, class)
	h.root.wantWhy(t, id, code)
}

func (d desk) grant(t *testing.T, id string) (wire.Grant, error) {
	t.Helper()
	return d.Grant(t.Context(), wire.GrantRequest{ID: subject.ID(id), Seconds: 60, For: "x509-svid"})
}

func (d desk) wantWhy(t *testing.T, id, code string) {
	t.Helper()
	why, err := d.Why(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if why.Code != code || why.Granted != (code == "granted") {
		t.Errorf("why says %q (granted %v): %s; want %q", why.Code, why.Granted, why.Cause, code)
	}
}

// wantState wants a subject to be in a state.
func (d desk) wantState(t *testing.T, id string, want attestd.State) wire.Subject {
	t.Helper()
	one, err := d.Subject(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if one.State != want {
		t.Fatalf("%s is %s, want %s; signals: %+v", id, one.State, want, one.Signals)
	}
	return one
}

// await waits until a subject is in a state that it comes to by itself.
func (d desk) await(t *testing.T, id string, want attestd.State) {
	t.Helper()
	until(t, func() bool {
		one, err := d.Subject(t.Context(), id)
		return err == nil && one.State == want
	})
	d.wantState(t, id, want)
}

func (d desk) awaitEvent(t *testing.T, id, kind string) {
	t.Helper()
	if !until(t, func() bool {
		history, err := d.History(t.Context(), id, "", 100)
		return err == nil && slices.ContainsFunc(history.Events, func(e wire.Event) bool { return e.Kind == kind })
	}) {
		t.Fatalf("the history of %s has no event %q", id, kind)
	}
}

func (d desk) awaitCondition(t *testing.T, id, severity string) {
	t.Helper()
	var all wire.Conditions
	if !until(t, func() (found bool) {
		all, _ = d.Conditions(t.Context())
		return slices.ContainsFunc(all.Conditions, func(c wire.Condition) bool {
			return c.ID == id && c.Severity == severity
		})
	}) {
		t.Fatalf("the condition %s is not %s: %+v", id, severity, all.Conditions)
	}
}

// until waits for something that happens by itself, and reports whether it did.
func until(t *testing.T, happened func() bool) bool {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !happened(); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// wantProblem wants one of the classes.
func wantProblem(t *testing.T, err error, classes ...attestd.Class) {
	t.Helper()
	var problem *attestd.CallerError
	if !errors.As(err, &problem) || !slices.Contains(classes, problem.Class) {
		t.Fatalf("got %v, want a problem of class %v", err, classes)
	}
}
