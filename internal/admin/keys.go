package admin

import (
	"context"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
)

// Keys are those that attestd signs with for others, by what they sign.
type Keys interface {
	Keys(ctx context.Context) wire.Keys
	Rotate(ctx context.Context, purpose string) (wire.KeyRotated, error)
	// Compromise withdraws a key. What was done is in the answer also where there is an error.
	Compromise(ctx context.Context, ask wire.KeyCompromise) (wire.KeyCompromised, error)
}

func (s *server) keys(c *call) (any, error) { return s.config.Keys.Keys(c), nil }

func (s *server) rotateKey(c *call) (any, error) {
	ask, err := decode[wire.KeyRotate](c)
	if err != nil {
		return nil, err
	}
	if err := demandPlain(maxText, map[string]string{"purpose": ask.Purpose}); err != nil {
		return nil, err
	}
	c.about.Target = ask.Purpose
	ctx, stop := c.whole()
	defer stop()
	return s.config.Keys.Rotate(ctx, ask.Purpose)
}

func (s *server) compromiseKey(c *call) (any, error) {
	ask, err := decode[wire.KeyCompromise](c)
	if err != nil {
		return nil, err
	}
	if err := demandPlain(maxText, map[string]string{
		"purpose": ask.Purpose, "kid": ask.ID, "reason": ask.Reason,
	}); err != nil {
		return nil, err
	}
	c.about.Target, c.about.Reason = ask.Purpose+" "+ask.ID, ask.Reason
	switch now := s.config.Now(); {
	case ask.Reason == "":
		return nil, malformed("the reason is missing", "say how the key was lost")
	case ask.Since.After(now.Add(time.Minute)):
		return nil, malformed("since is in the future", "give the time since which it may have been lost")
	}
	ctx, stop := c.whole()
	defer stop()
	return s.config.Keys.Compromise(ctx, ask)
}
