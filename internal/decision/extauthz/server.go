package extauthz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
)

// Config is what a server goes by. Every field is required.
type Config struct {
	Decider   decision.Decider
	Enforcers Enforcers
	// Deadline is how long an answer may take; a call's own deadline can be sooner.
	Deadline time.Duration
	// Most is how many requests are looked at at once; what is more is refused at once.
	Most int
	Now  func() time.Time
	Log  *slog.Logger
}

// Server answers Check. It is safe for concurrent use.
type Server struct {
	authv3.UnimplementedAuthorizationServer
	config Config
	slots  chan struct{}
	// complained is when something was last logged that others cause, in nanoseconds; silent is how often
	// it was not since.
	complained, silent atomic.Int64
}

// New returns a server.
//
// Errors: a [*attestd.CallerError] of class CONFIG for a field that is missing.
func New(config Config) (*Server, error) {
	if config.Decider == nil || config.Enforcers == nil || config.Deadline <= 0 || config.Most <= 0 ||
		config.Now == nil || config.Log == nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "give each field of extauthz.Config",
			Err: errors.New("a field of the ext_authz server's configuration is missing"),
		}
	}
	return &Server{config: config, slots: make(chan struct{}, config.Most)}, nil
}

// Limits of connections. A request without a body has Envoy's headers, 60 KiB by default, and a
// certificate; with_request_body is not for us.
const (
	maxRequest = 256 << 10
	maxStreams = 1000
	// margin is left of a call's deadline so that a denial arrives with its reason.
	margin = 5 * time.Millisecond
)

// GRPC returns a gRPC server with the service and with health checks, which Envoy can be told to ask.
// The options are the credentials of the transport and what authenticates enforcement points.
func (s *Server) GRPC(options ...grpc.ServerOption) *grpc.Server {
	server := grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxSendMsgSize(maxRequest), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute, Time: time.Minute, Timeout: 10 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: 10 * time.Second, PermitWithoutStream: true,
		}),
	}, options...)...)
	authv3.RegisterAuthorizationServer(server, s)
	healthv1.RegisterHealthServer(server, health.NewServer())
	return server
}

// Check decides about one request. It never returns an error: Envoy can be told to let those pass. To an
// enforcement point that is none every request is denied.
func (s *Server) Check(
	ctx context.Context, request *authv3.CheckRequest,
) (out *authv3.CheckResponse, err error) {
	received := s.config.Now()
	defer func() {
		if recovered := recover(); recovered != nil {
			s.config.Log.ErrorContext(ctx, "a question of Envoy made attestd fail",
				"err", fmt.Sprintf("%T", recovered), "stack", string(debug.Stack()))
			out, err = deny(decision.CodeInternal, nil, 0, true, false), nil
		}
	}()
	from, err := s.config.Enforcers.Enforcer(ctx)
	if err != nil {
		s.complain(ctx, received, "who is no enforcement point for Envoy, or cannot be told, asked", "err", err)
		return deny(decision.CodeStateUnavailable, nil, 0, true, false), nil
	}
	if wait := from.Take(received); wait > 0 {
		return deny(decision.CodeThrottled, nil, wait, true, false), nil
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return deny(decision.CodeDeadline, nil, time.Second, true, false), nil
	}
	asked, wrong := read(request, from, received, s.deadline(ctx, received))
	if wrong != nil {
		s.complain(ctx, received, "a request of Envoy is no question",
			"enforcer", from.Name(), "deny_reason", string(decision.CodeMalformed), "err", wrong)
		return s.refuse(ctx, decision.Ask{
			Via: decision.ViaExtAuthz, Enforcer: from.Name(), Received: received,
			Context: decision.Context{ExposureScore: -1}, Refused: decision.CodeMalformed, RefusedDetail: wrong.Error(),
		}), nil
	}
	return s.decide(ctx, asked, from), nil
}

// complain logs what callers and misconfigured routes can cause as often as they like: once a second, with
// how often it was not logged before.
func (s *Server) complain(ctx context.Context, at time.Time, message string, attributes ...any) {
	last := s.complained.Load()
	if at.UnixNano()-last < int64(time.Second) || !s.complained.CompareAndSwap(last, at.UnixNano()) {
		s.silent.Add(1)
		return
	}
	s.config.Log.WarnContext(ctx, message, append(attributes, "not_logged", s.silent.Swap(0))...)
}

// refuse denies what is no question, or not the enforcement point's to put, and has that recorded.
func (s *Server) refuse(ctx context.Context, ask decision.Ask) *authv3.CheckResponse {
	answer := s.config.Decider.Decide(ctx, ask)
	return deny(ask.Refused, &answer, 0, true, false)
}

// decide asks for a decision and puts it into Envoy's words.
func (s *Server) decide(ctx context.Context, asked question, from Enforcer) *authv3.CheckResponse {
	// Whose the resource is says the route; whose questions an enforcement point may put is not its own to
	// say. The answer is that of a tenant that is not there.
	if tenant := asked.ask.Resource.Tenant; tenant != "" && !from.Speaks(tenant) {
		s.complain(ctx, asked.ask.Received, "an enforcement point asked for a tenant that is not its own",
			"enforcer", from.Name(), "tenant", attestd.Excerpt(tenant, 80))
		asked.ask.Refused = decision.CodeTenantMismatch
		asked.ask.RefusedDetail = "the enforcement point does not speak for the tenant"
		asked.ask.Credential = decision.Credential{}
		return s.refuse(ctx, asked.ask)
	}
	ctx, cancel := context.WithTimeout(ctx, asked.ask.Deadline.Sub(asked.ask.Received))
	defer cancel()
	answer := s.config.Decider.Decide(ctx, asked.ask)
	shown := asked.unread || asked.ask.Credential.Token != "" || len(asked.ask.Credential.Chain) != 0
	public := answer.Input != nil && answer.Input.Who.ID != "" && from.Sees(answer.Input)
	switch {
	case !answer.Allow:
		return deny(firstOf(answer.Reasons), &answer, waitOf(&answer), shown, public)
	case answer.Input == nil || answer.Input.Who.ID == "":
		return deny(decision.CodeInternal, &answer, 0, shown, public)
	}
	for _, one := range answer.Obligations {
		// An allow with a step-up is an allow after the step-up, which comes with another credential.
		if one.Type == decision.ObligationStepUp {
			return deny(decision.CodeStepUp, &answer, 0, shown, public)
		}
		if !slices.Contains(supported, one.Type) {
			return deny(decision.CodeObligation, &answer, 0, shown, public)
		}
	}
	return allow(asked, &answer, public)
}

// deadline returns when an answer must be there.
func (s *Server) deadline(ctx context.Context, received time.Time) time.Time {
	out := received.Add(s.config.Deadline)
	if given, ok := ctx.Deadline(); ok {
		if left := time.Until(given); left-margin < s.config.Deadline {
			out = received.Add(max(0, left-min(margin, left/10)))
		}
	}
	return out
}

func firstOf(reasons []decision.Reason) decision.Code {
	if len(reasons) == 0 {
		return decision.CodeInternal
	}
	return reasons[0].Code
}

func waitOf(answer *decision.Answer) time.Duration {
	if answer.Input == nil {
		return 0
	}
	return answer.Input.Findings.RetryAfter
}
