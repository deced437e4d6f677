package composer

import (
	"context"
	"errors"

	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
)

// granter is who decides.
type granter interface {
	grant(ctx context.Context, request wire.GrantRequest) (wire.Granted, error)
}

// attestdGranter asks attestd itself. Where no answer comes in time, and only there, its keeper may
// have something to go on by.
type attestdGranter struct {
	call func(ctx context.Context, method string, in, out any) error
	kept *keeper
}

// A question may be put twice: a grant that was counted and whose answer was lost is only one too
// many.
func (g attestdGranter) grant(
	ctx context.Context, request wire.GrantRequest,
) (wire.Granted, error) {
	asked := g.kept.now()
	var granted wire.Granted
	err := g.call(ctx, wire.MethodGrant, request, &granted)
	if err == nil {
		g.kept.answered(request.ID, true)
		return granted, nil
	}
	if !errors.Is(err, link.ErrUnreached) {
		g.kept.answered(request.ID, false)
		return wire.Granted{}, err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return wire.Granted{}, err // SPIRE asks no more
	}
	// What no frame has room for was not asked, and says nothing about attestd.
	var said *link.Error
	if errors.As(err, &said) && !said.Class.Undecided() {
		return wire.Granted{}, err
	}
	if granted, going := g.kept.grant(request, asked); going {
		return granted, nil
	}
	return wire.Granted{}, err
}

// asking returns a granter that asks over the client, and what ends it.
func asking(env host.Env, trustDomain string, client *link.Client) (granter, func()) {
	kept := newKeeper(env, trustDomain)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		kept.run(ctx, func(ctx context.Context, ask wire.HoldoverRequest) (
			answer wire.HoldoverAnswer, err error,
		) {
			err = client.Call(ctx, wire.MethodHoldover, ask, &answer)
			return answer, err
		})
	}()
	return attestdGranter{client.Call, kept}, func() { cancel(); <-ended }
}
