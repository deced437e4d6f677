package front

import (
	"cmp"
	"context"
	"encoding/json"
	"net/netip"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// method is who may call it, and what it does.
type method struct {
	role role
	call func(ctx context.Context, s *session, body json.RawMessage) (any, error)
}

// methods is everything that is answered. What is not here is FORBIDDEN.
var methods = map[string]method{
	wire.MethodNodeBegin:  {issuer, reads((*session).begin)},
	wire.MethodNodeFinish: {issuer, reads((*session).finish)},
	wire.MethodGrant:      {issuer, reads((*session).grant)},
	wire.MethodReport:     {issuer, reads((*session).report)},
	wire.MethodHoldover:   {issuer, reads((*session).holdover)},

	wire.MethodTakeState: {controller, reads((*session).takeState)},
	wire.MethodKeepState: {controller, reads((*session).keepState)},
	wire.MethodOrders:    {controller, reads((*session).orders)},
	wire.MethodMap:       {controller, reads((*session).setMap)},
	wire.MethodReached:   {controller, reads((*session).reached)},
	wire.MethodCanary:    {controller, reads((*session).canary)},

	wire.MethodWatch: {node, reads((*session).watched)},
}

// reads makes a method of one that has its document.
func reads[In, Out any](
	call func(*session, context.Context, In) (Out, error),
) func(context.Context, *session, json.RawMessage) (any, error) {
	return func(ctx context.Context, s *session, body json.RawMessage) (any, error) {
		var in In
		if err := link.Decode(body, &in); err != nil {
			return nil, err
		}
		out, err := call(s, ctx, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}

// sourceOf returns where a node is: as the SPIRE server says, which alone knows; else where the server
// is. So one bad node does not use up what all nodes behind its server may get wrong.
func (s *session) sourceOf(said string) (string, error) {
	if said != "" {
		if _, err := netip.ParseAddr(said); err != nil {
			return "", malformed("the source %q is no IP address", attestd.Excerpt(said, 60))
		}
	}
	return cmp.Or(said, s.source), nil
}

func (s *session) begin(ctx context.Context, ask wire.NodeBegin) (wire.NodeChallenge, error) {
	source, err := s.sourceOf(ask.Source)
	if err != nil {
		return wire.NodeChallenge{}, err
	}
	return s.front.config.Office.Begin(ctx, ask, source)
}

func (s *session) finish(ctx context.Context, ask wire.NodeFinish) (wire.NodeVerdict, error) {
	source, err := s.sourceOf(ask.Source)
	if err != nil {
		return wire.NodeVerdict{}, err
	}
	return s.front.config.Office.Finish(ctx, ask, source)
}

func (s *session) grant(ctx context.Context, ask wire.GrantRequest) (wire.Granted, error) {
	return s.front.config.Office.Grant(ctx, ask)
}

func (s *session) holdover(
	ctx context.Context, ask wire.HoldoverRequest,
) (wire.HoldoverAnswer, error) {
	return s.front.config.Office.Holdover(ctx, ask)
}

func (s *session) report(_ context.Context, said wire.PluginReport) (wire.Empty, error) {
	return wire.Empty{}, s.front.seen.report(s.who, said, s.front.config.Now())
}

// takeState is the first call of a controller: from now on this link is it.
func (s *session) takeState(ctx context.Context, _ wire.Empty) (wire.ControllerState, error) {
	conn, ok := link.From(ctx)
	if !ok {
		return wire.ControllerState{}, undecided("the controller's link", nil)
	}
	state, err := s.front.state.read()
	if err != nil {
		return wire.ControllerState{}, err
	}
	if s.front.config.Controller.take(conn) {
		s.front.config.Logger.WarnContext(ctx, "another controller took over", "peer", s.who)
	}
	s.front.maps.drop()
	return state, nil
}

// controls demands that this link is the controller, and not one that was replaced.
func (s *session) controls(ctx context.Context) error {
	conn, ok := link.From(ctx)
	if now, _ := s.front.config.Controller.current(); !ok || now != conn {
		return &attestd.CallerError{
			Class: attestd.ClassConflict, Hint: "ask for the state first (take-state)",
			Err: errNotController,
		}
	}
	return nil
}

func (s *session) keepState(ctx context.Context, state wire.ControllerState) (wire.Empty, error) {
	if err := s.controls(ctx); err != nil {
		return wire.Empty{}, err
	}
	return wire.Empty{}, s.front.state.write(state)
}

func (s *session) orders(ctx context.Context, _ wire.Empty) (wire.Orders, error) {
	if err := s.controls(ctx); err != nil {
		return wire.Orders{}, err
	}
	orders, _ := s.front.config.Office.Orders()
	return orders, nil
}

func (s *session) setMap(ctx context.Context, part wire.Map) (wire.Empty, error) {
	if err := s.controls(ctx); err != nil {
		return wire.Empty{}, err
	}
	whole, complete, err := s.front.maps.add(part)
	if err != nil || !complete {
		return wire.Empty{}, err
	}
	if err := s.front.config.Office.SetMap(whole); err != nil {
		return wire.Empty{}, err
	}
	s.front.seen.mapped(whole, s.front.config.Now())
	return wire.Empty{}, nil
}

func (s *session) reached(ctx context.Context, said wire.Reached) (wire.Empty, error) {
	if err := s.controls(ctx); err != nil {
		return wire.Empty{}, err
	}
	s.front.config.Reached(said)
	return wire.Empty{}, nil
}

func (s *session) canary(ctx context.Context, said wire.CanaryResult) (wire.Empty, error) {
	if err := s.controls(ctx); err != nil {
		return wire.Empty{}, err
	}
	return wire.Empty{}, s.front.seen.canary(said, s.front.config.Now())
}
