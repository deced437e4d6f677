package admin

import "github.com/attestd/attestd/internal/admin/wire"

// reattest has a node attest itself again: its tenant's operators may, and the audit log has it before
// SPIRE hears of it.
func (s *server) reattest(c *call) (any, error) {
	order, err := decode[wire.ReattestOrder](c)
	if err != nil {
		return nil, err
	}
	if err := demandPlain(maxText, map[string]string{"target": order.Target}); err != nil {
		return nil, err
	}
	if order.Target == "" {
		return nil, malformed("the order has no target", "name a node: attestd subject ls")
	}
	c.about.Target = order.Target
	one, err := s.findSubject(c, order.Target)
	if err != nil {
		return nil, err
	}
	c.about.Target, c.about.Tenant = string(one.ID), one.Tenant
	ctx, stop := c.whole()
	defer stop()
	answer, err := s.config.Nodes.Reattest(ctx, one.ID)
	if err != nil {
		return nil, err
	}
	answer.Schema, answer.ID = "attestd.reattest.v1", one.ID
	return answer, nil
}
