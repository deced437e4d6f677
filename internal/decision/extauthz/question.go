package extauthz

import (
	"context"
	"errors"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/decision/route"
)

// Enforcers say which enforcement point sends a call.
type Enforcers interface {
	// Enforcer returns who sends the call that ctx is of.
	//
	// Errors: where it is not known, or may not ask through ext_authz.
	Enforcer(ctx context.Context) (Enforcer, error)
}

// Enforcer is an enforcement point that was authenticated, with its rights.
type Enforcer interface {
	// Name is a SPIFFE ID, "user:NAME" or "token:NAME".
	Name() string
	// Vouches says that it ends callers' TLS connections, so that its word for a certificate counts.
	Vouches() bool
	// Speaks says that it may ask about resources of the tenant, and see how its callers stand.
	Speaks(tenant string) bool
	// Sees says that it may know how the caller of the question stands.
	Sees(in *decision.Input) bool
	// Take counts a question; wait is above zero where there were too many.
	Take(at time.Time) (wait time.Duration)
}

// Of returns the enforcement points of a book. The server's options must hold [enforcer.Transport].
func Of(book *enforcer.Book) Enforcers { return ofBook{book} }

type ofBook struct{ book *enforcer.Book }

// Enforcer implements [Enforcers].
func (o ofBook) Enforcer(ctx context.Context) (Enforcer, error) {
	out, err := o.book.OfCall(ctx, enforcer.RightExtAuthz)
	if err != nil {
		return nil, err // and not a nil of another type
	}
	return out, nil
}

// supported are the obligations that Envoy can be made to carry out: a step-up is the challenge of a
// denied response. Others are somebody else's, so that an answer which binds to them allows nothing.
var supported = []string{decision.ObligationStepUp}

// question is a request as it was read.
type question struct {
	ask  decision.Ask
	sent headers
	says configured
	// unread says that the caller showed something that is no credential.
	unread bool
}

// read makes a question of a request. Whatever the HTTP part says is the caller's word.
//
// Errors: plain ones, for the operator.
func read(request *authv3.CheckRequest, from Enforcer, received, deadline time.Time) (question, error) {
	attributes := request.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	says, err := readRoute(attributes.GetContextExtensions())
	if err != nil {
		return question{}, err
	}
	out := question{sent: headersOf(http), says: says, ask: decision.Ask{
		Via: decision.ViaExtAuthz, Enforcer: from.Name(), Action: decision.Action{Name: says.Action},
		Resource: says.Resource, Supported: supported, Sees: from.Sees, Received: received, Deadline: deadline,
		Context: decision.Context{ExposureScore: -1, Connectivity: says.Connected},
	}}
	if out.ask.Action.Name == "" {
		out.ask.Action.Name = route.Action(http.GetMethod())
	}
	if err := route.Check(http.GetPath()); err != nil {
		return question{}, err
	}
	if out.ask.Resource.ID == "" {
		out.ask.Resource.Type = route.Type
		if out.ask.Resource.ID, err = route.Path(http.GetPath()); err != nil {
			return question{}, err
		}
	}
	if says.labels != "" {
		if err := readLabels(attributes.GetMetadataContext(), says.labels, &out.ask.Context); err != nil {
			return question{}, err
		}
	}
	if out.ask.Context.RequestID = http.GetId(); len(out.ask.Context.RequestID) > maxText ||
		!isVisible(out.ask.Context.RequestID) {
		out.ask.Context.RequestID = ""
	}
	if trace := out.sent.one("traceparent", traceLength); isTrace(trace) {
		out.ask.Context.Trace = trace
	}
	out.ask.Credential, err = credentialOf(attributes, out.sent, says, from.Vouches())
	if err != nil {
		// Who shows what cannot be read is nobody; that is decided and recorded as any other denial is.
		out.ask.Credential, out.unread = decision.Credential{Source: out.ask.Credential.Source}, true
	}
	if errors.Is(err, errConfigured) {
		return question{}, err // the caller did nothing wrong
	}
	return out, nil
}

// traceLength is that of a traceparent of version 00 (W3C Trace Context, section 3.2).
const traceLength = 55

// isTrace reports whether a text has the form of version 00: 2, 32, 16 and 2 hex digits in lower case.
// It joins records with traces and is stored, so nothing else may pass for one.
func isTrace(text string) bool {
	if len(text) != traceLength || text[:3] != "00-" {
		return false
	}
	for i := range len(text) {
		c := text[i]
		dash := i == 2 || i == 35 || i == 52
		if dash != (c == '-') || !dash && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
