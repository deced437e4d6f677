package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
)

const prefix = "/v1/admin/"

// ask sends one request and returns the answer's body, opened. body is nil for GET.
func (c *Client) ask(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		doc, err := json.Marshal(body)
		if err != nil {
			return nil, refuse(attestd.ClassInternal, "", "encode the request: %w", err)
		}
		reader = bytes.NewReader(doc)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+prefix+path, reader)
	if err != nil {
		return nil, refuse(attestd.ClassMalformed, addressHint, "ask %q: %w", shown(c.named), err)
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	reply, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreached(err, body != nil)
	}
	if reply.StatusCode >= 200 && reply.StatusCode < 300 {
		return reply, nil
	}
	defer func() { _ = reply.Body.Close() }()
	doc, err := io.ReadAll(io.LimitReader(reply.Body, maxPEM))
	if err != nil {
		return nil, c.unreached(err, body != nil)
	}
	return nil, c.refused(reply.StatusCode, reply.Header, doc)
}

// call asks for a document of a schema and reads it into out.
func (c *Client) call(ctx context.Context, method, path string, body any, schema string, out any) error {
	reply, err := c.ask(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = reply.Body.Close() }()
	doc, err := io.ReadAll(io.LimitReader(reply.Body, maxAnswer+1))
	if err != nil {
		return c.unreached(err, body != nil)
	}
	const hint = "check that --server names an attestd of this version: attestd version"
	if len(doc) > maxAnswer {
		return refuse(attestd.ClassTooLarge, "ask for less at once", "the answer has more than %d bytes", maxAnswer)
	}
	var named struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(doc, &named); err != nil || named.Schema != schema {
		return refuse(attestd.ClassMalformed, hint, "%q answered with schema %q, want %s", shown(c.named),
			attestd.Excerpt(named.Schema, 60), schema)
	}
	if err := json.Unmarshal(doc, out); err != nil {
		return refuse(attestd.ClassMalformed, hint, "the answer of %q cannot be read: %w", shown(c.named), err)
	}
	settle(reflect.ValueOf(out))
	return nil
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values, schema string) (out T, err error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return out, c.call(ctx, http.MethodGet, path, nil, schema, &out)
}

func post[T any](ctx context.Context, c *Client, path string, body any, schema string) (out T, err error) {
	return out, c.call(ctx, http.MethodPost, path, body, schema, &out)
}

// Whoami says for whom the server takes the asker.
func (c *Client) Whoami(ctx context.Context) (wire.Whoami, error) {
	return get[wire.Whoami](ctx, c, "whoami", nil, "attestd.whoami.v1")
}

// Quarantine holds what the order names.
func (c *Client) Quarantine(ctx context.Context, order wire.Order) (wire.Receipt, error) {
	return post[wire.Receipt](ctx, c, "quarantine", order, "attestd.receipt.v1")
}

// Release lifts a quarantine.
func (c *Client) Release(ctx context.Context, order wire.Order) (wire.Receipt, error) {
	return post[wire.Receipt](ctx, c, "release", order, "attestd.receipt.v1")
}

// Revoke holds for ever.
func (c *Client) Revoke(ctx context.Context, order wire.Order) (wire.Receipt, error) {
	return post[wire.Receipt](ctx, c, "revoke", order, "attestd.receipt.v1")
}

// Query selects subjects, or enrolments by Status. Empty fields select all.
type Query struct {
	Tenant, Format, Host, Text, Status string
	States, Tiers                      []string
	Overdue                            bool
	// After is Next of the page before, Limit its length; 0 leaves it to the server.
	After string
	Limit int
}

func (q Query) values() url.Values {
	out := url.Values{}
	for name, value := range map[string]string{
		"tenant": q.Tenant, "format": q.Format, "host": q.Host, "text": q.Text, "status": q.Status,
		"after": q.After, "state": strings.Join(q.States, ","), "tier": strings.Join(q.Tiers, ","),
	} {
		if value != "" {
			out.Set(name, value)
		}
	}
	if q.Overdue {
		out.Set("overdue", "true")
	}
	if q.Limit > 0 {
		out.Set("limit", strconv.Itoa(q.Limit))
	}
	return out
}

// Subjects lists one page.
func (c *Client) Subjects(ctx context.Context, query Query) (wire.Subjects, error) {
	return get[wire.Subjects](ctx, c, "subjects", query.values(), "attestd.subjects.v1")
}

// Subject shows one: a SPIFFE ID, or the unique beginning of an instance's value.
func (c *Client) Subject(ctx context.Context, id string) (wire.Subject, error) {
	return get[wire.Subject](ctx, c, "subject", url.Values{"id": {id}}, "attestd.subject.v1")
}

// History shows what happened to a subject, a page.
func (c *Client) History(ctx context.Context, id, after string, limit int) (wire.History, error) {
	query := Query{After: after, Limit: limit}.values()
	query.Set("id", id)
	return get[wire.History](ctx, c, "subject/history", query, "attestd.history.v1")
}

// Why says what stands between a subject and an identity.
func (c *Client) Why(ctx context.Context, target string) (wire.Why, error) {
	return get[wire.Why](ctx, c, "why", url.Values{"target": {target}}, "attestd.why.v1")
}

// Reattest has a node attest itself again.
func (c *Client) Reattest(ctx context.Context, order wire.ReattestOrder) (wire.Reattest, error) {
	return post[wire.Reattest](ctx, c, "reattest", order, "attestd.reattest.v1")
}

// Grant asks for a grant.
func (c *Client) Grant(ctx context.Context, request wire.GrantRequest) (wire.Grant, error) {
	return post[wire.Grant](ctx, c, "grants", request, "attestd.grant.v1")
}

// Enrolments lists one page.
func (c *Client) Enrolments(ctx context.Context, query Query) (wire.Enrolments, error) {
	return get[wire.Enrolments](ctx, c, "enrolments", query.values(), "attestd.enrolments.v1")
}

// Import enrols a list.
func (c *Client) Import(ctx context.Context, list wire.Import) (wire.Imported, error) {
	return post[wire.Imported](ctx, c, "enrolments/import", list, "attestd.imported.v1")
}

// Approve, Deny and Remove decide about one enrolment.
func (c *Client) Approve(ctx context.Context, decide wire.Decide) (wire.Decided, error) {
	return post[wire.Decided](ctx, c, "enrolments/approve", decide, "attestd.enrolment.v1")
}

// Deny refuses one enrolment.
func (c *Client) Deny(ctx context.Context, decide wire.Decide) (wire.Decided, error) {
	return post[wire.Decided](ctx, c, "enrolments/deny", decide, "attestd.enrolment.v1")
}

// Remove forgets one enrolment.
func (c *Client) Remove(ctx context.Context, decide wire.Decide) (wire.Decided, error) {
	return post[wire.Decided](ctx, c, "enrolments/remove", decide, "attestd.enrolment.v1")
}

// EnrolmentToken makes a one-time token for a machine.
func (c *Client) EnrolmentToken(ctx context.Context, request wire.TokenRequest) (wire.Token, error) {
	return post[wire.Token](ctx, c, "enrolments/tokens", request, "attestd.enrolment-token.v1")
}

// Operators lists them.
func (c *Client) Operators(ctx context.Context) (wire.Operators, error) {
	return get[wire.Operators](ctx, c, "operators", nil, "attestd.operators.v1")
}

// AddOperator names an operator, or gives one a new login token.
func (c *Client) AddOperator(ctx context.Context, operator wire.Operator) (wire.OperatorAdded, error) {
	return post[wire.OperatorAdded](ctx, c, "operators", operator, "attestd.operator-added.v1")
}

// RevokeOperator ends every certificate and token of an operator.
func (c *Client) RevokeOperator(ctx context.Context, name string) (wire.Operators, error) {
	return post[wire.Operators](ctx, c, "operators/revoke", wire.OperatorName{Name: name},
		"attestd.operators.v1")
}

// Keys lists those that attestd signs with for others.
func (c *Client) Keys(ctx context.Context) (wire.Keys, error) {
	return get[wire.Keys](ctx, c, "keys", nil, "attestd.keys.v1")
}

// RotateKey lets the next key of a purpose sign.
func (c *Client) RotateKey(ctx context.Context, purpose string) (wire.KeyRotated, error) {
	return post[wire.KeyRotated](ctx, c, "keys/rotate", wire.KeyRotate{Purpose: purpose}, "attestd.key-rotated.v1")
}

// CompromiseKey withdraws a key.
func (c *Client) CompromiseKey(ctx context.Context, ask wire.KeyCompromise) (wire.KeyCompromised, error) {
	return post[wire.KeyCompromised](ctx, c, "keys/compromise", ask, "attestd.key-compromised.v1")
}

// Reappraise starts judging stored evidence again.
func (c *Client) Reappraise(ctx context.Context, request wire.ReappraisalRequest) (wire.Reappraisal, error) {
	return post[wire.Reappraisal](ctx, c, "reappraisals", request, "attestd.reappraisal.v1")
}

// Reappraisal shows how far it is.
func (c *Client) Reappraisal(ctx context.Context, id string) (wire.Reappraisal, error) {
	return get[wire.Reappraisal](ctx, c, "reappraisals", url.Values{"id": {id}}, "attestd.reappraisal.v1")
}

// Status says how the server and its fleet are.
func (c *Client) Status(ctx context.Context) (wire.Status, error) {
	return get[wire.Status](ctx, c, "status", nil, "attestd.status.v1")
}

// Conditions lists what the server looked at in itself.
func (c *Client) Conditions(ctx context.Context) (wire.Conditions, error) {
	return get[wire.Conditions](ctx, c, "conditions", nil, "attestd.conditions.v1")
}

// AuditEntries reads leaves of the audit log from start, limit at most.
func (c *Client) AuditEntries(ctx context.Context, start int64, limit int) (wire.AuditEntries, error) {
	query := url.Values{"start": {strconv.FormatInt(start, 10)}, "limit": {strconv.Itoa(limit)}}
	return get[wire.AuditEntries](ctx, c, "audit/entries", query, "attestd.audit-entries.v1")
}

// LogLevel reads the level of the log.
func (c *Client) LogLevel(ctx context.Context) (wire.LogLevel, error) {
	return get[wire.LogLevel](ctx, c, "log-level", nil, "attestd.log-level.v1")
}

// SetLogLevel changes it, until a time or (zero) for good.
func (c *Client) SetLogLevel(ctx context.Context, level string, until time.Time) (wire.LogLevel, error) {
	return post[wire.LogLevel](ctx, c, "log-level",
		wire.LogLevel{Schema: "attestd.log-level.v1", Level: level, Until: until}, "attestd.log-level.v1")
}

// SupportBundle copies the bundle (tar.gz) to w, at most most bytes.
func (c *Client) SupportBundle(ctx context.Context, w io.Writer, most int64) (int64, error) {
	reply, err := c.ask(ctx, http.MethodGet, "support-bundle", nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = reply.Body.Close() }()
	if kind := reply.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/gzip") {
		return 0, refuse(attestd.ClassMalformed, "check that --server names an attestd of this version",
			"%q answered with %q, want a bundle", shown(c.named), attestd.Excerpt(kind, 60))
	}
	n, err := io.Copy(w, io.LimitReader(reply.Body, most+1))
	if err != nil {
		return n, c.unreached(err, false)
	}
	if n > most {
		return n, refuse(attestd.ClassTooLarge, "report it: a bundle is smaller",
			"the bundle has more than %d bytes", most)
	}
	return n, nil
}
