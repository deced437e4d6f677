package admin

import (
	"net/http"

	"github.com/attestd/attestd/internal/operator"
)

// Prefix begins every path of this API.
const Prefix = "/v1/admin/"

// recording says who writes the entry of the audit log for a request that was carried out. What was
// refused is noted for every route alike.
type recording int

// Recordings. The zero recording is refused by New: a route without one would leave no trace.
const (
	recordedNowhere recording = iota
	// noted: the entry is counted with others alike. For reads, and for grants.
	noted
	// recorded: the entry is durable before the answer is given; where it cannot be, nothing is begun and
	// there is no answer.
	recorded
	// eager: the entry is durable before the answer is given where that can be, and noted where it cannot.
	// For what is needed most when store and log are down, and gives nobody anything.
	eager
	// byDoer: whoever carries it out writes the entry in the transaction that does it. What changes
	// nothing (a dry run) is noted here.
	byDoer
)

// route is one row of the table of routes.
type route struct {
	method, path string
	// action names the route in the audit log, in metrics and in the log.
	action string
	// roles that may ask, each by itself.
	roles []operator.Role
	// login marks the one route that is asked without a principal, with a login token.
	login bool
	// shared marks what is not of one tenant: only who may act for every tenant can ask.
	shared bool
	record recording
	query  []string
	// body is the most bytes of a JSON body; 0 for none.
	body  int
	serve func(s *server, c *call) (any, error)
}

var (
	everyone = operator.Roles()
	readers  = []operator.Role{operator.Viewer, operator.Operator, operator.Security}
	runners  = []operator.Role{operator.Operator}
	guards   = []operator.Role{operator.Security}
	issuers  = []operator.Role{operator.Issuer}
)

var (
	pageQuery = []string{"after", "limit", "tenant"}
	listQuery = append([]string{"format", "host", "text", "state", "tier", "overdue"}, pageQuery...)
)

// routes is every request there is. Paths are compared as they came: nothing is cleaned, decoded twice
// or redirected, so that what something in front compared is what is served.
func routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return append([]route{
		{method: post, path: "login", action: "operator.login", login: true, record: byDoer,
			body: orderLimit, serve: (*server).login},
		{method: get, path: "whoami", action: "operator.whoami", roles: everyone, record: noted,
			serve: (*server).whoami},

		{method: post, path: "quarantine", action: "quarantine", roles: guards, record: byDoer,
			body: orderLimit, serve: (*server).quarantine},
		{method: post, path: "release", action: "release", roles: guards, record: byDoer,
			body: orderLimit, serve: (*server).release},
		{method: post, path: "revoke", action: "revoke", roles: guards, record: byDoer,
			body: orderLimit, serve: (*server).revoke},

		{method: get, path: "subjects", action: "subject.ls", roles: readers, record: noted,
			query: listQuery, serve: (*server).subjects},
		{method: get, path: "subject", action: "subject.show", roles: readers, record: noted,
			query: []string{"id"}, serve: (*server).subject},
		{method: get, path: "subject/history", action: "subject.history", roles: readers, record: noted,
			query: []string{"id", "after", "limit"}, serve: (*server).history},
		{method: get, path: "why", action: "why", roles: readers, record: noted,
			query: []string{"target"}, serve: (*server).why},
		{method: post, path: "reattest", action: "reattest", roles: runners, record: recorded,
			body: orderLimit, serve: (*server).reattest},
		{method: post, path: "grants", action: "grant", roles: issuers, record: noted,
			body: orderLimit, serve: (*server).grant},

		{method: get, path: "enrolments", action: "enroll.ls", roles: readers, record: noted,
			query: append([]string{"status", "text", "format"}, pageQuery...), serve: (*server).enrolments},
		{method: post, path: "enrolments/import", action: "enroll.import", roles: runners, record: byDoer,
			body: importLimit, serve: (*server).importList},
		{method: post, path: "enrolments/approve", action: "enroll.approve", roles: runners, record: byDoer,
			body: orderLimit, serve: (*server).approve},
		{method: post, path: "enrolments/deny", action: "enroll.deny", roles: runners, record: byDoer,
			body: orderLimit, serve: (*server).deny},
		{method: post, path: "enrolments/remove", action: "enroll.remove", roles: runners, record: byDoer,
			body: orderLimit, serve: (*server).remove},
		{method: post, path: "enrolments/tokens", action: "enroll.token", roles: runners, record: byDoer,
			body: orderLimit, serve: (*server).enrolmentToken},

		{method: get, path: "operators", action: "operator.ls", roles: readers, record: noted,
			serve: (*server).operators},
		{method: post, path: "operators", action: "operator.add", roles: guards, record: byDoer,
			body: orderLimit, serve: (*server).addOperator},
		{method: post, path: "operators/revoke", action: "operator.revoke", roles: guards, record: byDoer,
			body: orderLimit, serve: (*server).revokeOperator},

		{method: get, path: "keys", action: "keys.ls", roles: readers, shared: true, record: noted,
			serve: (*server).keys},
		{method: post, path: "keys/rotate", action: "keys.rotate", roles: runners, shared: true,
			record: recorded, body: orderLimit, serve: (*server).rotateKey},
		{method: post, path: "keys/compromise", action: "keys.compromise", roles: guards, shared: true,
			record: eager, body: orderLimit, serve: (*server).compromiseKey},

		{method: post, path: "reappraisals", action: "reappraise", roles: runners, record: recorded,
			body: policyLimit, serve: (*server).reappraise},
		{method: get, path: "reappraisals", action: "reappraise.show", roles: readers, record: noted,
			query: []string{"id"}, serve: (*server).reappraisal},

		{method: get, path: "status", action: "status", roles: readers, record: noted,
			serve: (*server).status},
		{method: get, path: "conditions", action: "conditions", roles: readers, record: noted,
			serve: (*server).conditions},
		{method: get, path: "audit/entries", action: "audit.read", roles: readers, shared: true,
			record: noted, query: []string{"start", "limit"}, serve: (*server).auditEntries},
		{method: get, path: "log-level", action: "log-level.show", roles: readers, shared: true,
			record: noted, serve: (*server).logLevel},
		{method: post, path: "log-level", action: "log-level.set", roles: runners, shared: true,
			record: eager, body: orderLimit, serve: (*server).setLogLevel},
		{method: get, path: "support-bundle", action: "support-bundle", roles: runners, shared: true,
			record: eager, serve: (*server).supportBundle},
	}, append(decisionRoutes(), recordRoutes()...)...)
}
