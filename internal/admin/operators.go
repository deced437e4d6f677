package admin

import (
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
)

func (s *server) login(c *call) (any, error) {
	ask, err := decode[wire.Login](c)
	if err != nil {
		return nil, err
	}
	// The token is used up and the certificate recorded in one write; who hangs up gets neither back.
	ctx, stop := c.whole()
	defer stop()
	given, err := s.config.Book.Login(ctx, c.bearer, ask.CSR)
	if err != nil {
		return nil, s.failures.count(c.source, err)
	}
	c.who = operator.Principal{Name: given.Name, Via: operator.ViaToken}
	return wire.LoggedIn{
		Schema: "attestd.login.v1", Certificates: [][]byte{given.DER, given.CA}, CA: given.CA,
		Name: given.Name, NotAfter: given.NotAfter,
	}, nil
}

func (s *server) whoami(c *call) (any, error) {
	return wire.Whoami{
		Schema: "attestd.whoami.v1", Name: c.who.Name, Roles: texts(c.who.Roles), Tenants: c.who.Tenants,
		Via: c.who.Via,
	}, nil
}

func texts(roles []operator.Role) []string {
	out := make([]string, len(roles))
	for index, role := range roles {
		out[index] = string(role)
	}
	return out
}

func (s *server) operators(c *call) (any, error) {
	records, err := s.config.Book.List(c, c.who)
	if err != nil {
		return nil, err
	}
	document := wire.Operators{Schema: "attestd.operators.v1", Operators: []wire.Operator{}}
	for _, record := range records {
		document.Operators = append(document.Operators, shownOperator(record))
	}
	return document, nil
}

func shownOperator(record operator.Record) wire.Operator {
	return wire.Operator{
		Name: record.Name, Roles: texts(record.Roles), Tenants: record.Tenants, By: record.By,
		CreatedAt: record.CreatedAt, RevokedAt: record.RevokedAt, CertificateUntil: record.CertificateUntil,
	}
}

func (s *server) addOperator(c *call) (any, error) {
	ask, err := decode[wire.Operator](c)
	if err != nil {
		return nil, err
	}
	if err := demandPlain(maxText, map[string]string{"name": ask.Name, "by": ask.By}); err != nil {
		return nil, err
	}
	c.about.Target = ask.Name
	if ask.By != "" || !ask.CreatedAt.IsZero() || !ask.RevokedAt.IsZero() || !ask.CertificateUntil.IsZero() {
		return nil, malformed("the operator has more than name, roles and tenants", "leave the rest out")
	}
	roles := make([]operator.Role, len(ask.Roles))
	for index, role := range ask.Roles {
		roles[index] = operator.Role(role)
	}
	ctx, stop := c.whole()
	defer stop()
	record, token, err := s.config.Book.Add(ctx, c.who, ask.Name, roles, ask.Tenants)
	if err != nil {
		return nil, err
	}
	return wire.OperatorAdded{
		Schema: "attestd.operator-added.v1", Operator: shownOperator(record), Token: token.String(),
		ExpiresAt: record.LoginUntil.UTC(),
	}, nil
}

func (s *server) revokeOperator(c *call) (any, error) {
	ask, err := decode[wire.OperatorName](c)
	if err != nil {
		return nil, err
	}
	if err := demandPlain(maxText, map[string]string{"name": ask.Name}); err != nil {
		return nil, err
	}
	c.about.Target = ask.Name
	ctx, stop := c.whole()
	defer stop()
	record, err := s.config.Book.Revoke(ctx, c.who, ask.Name)
	if err != nil {
		return nil, err
	}
	return wire.Operators{Schema: "attestd.operators.v1", Operators: []wire.Operator{shownOperator(record)}}, nil
}

func (s *server) reappraise(c *call) (any, error) {
	ask, err := decode[wire.ReappraisalRequest](c)
	if err != nil {
		return nil, err
	}
	c.dry = ask.DryRun
	if err := demandPlain(maxText, map[string]string{"tenant": ask.Tenant}); err != nil {
		return nil, err
	}
	if ask.Tenant != "" {
		if err := c.demandTenant(ask.Tenant); err != nil {
			return nil, err
		}
		c.about.Tenant = ask.Tenant
	}
	switch {
	case !ask.DryRun && (len(ask.Policy) != 0 || len(ask.References) != 0):
		return nil, malformed("only a dry run can take another policy or other reference values",
			"set dry_run, or change the configuration")
	case ask.At.After(s.config.Now().Add(10 * 365 * 24 * time.Hour)):
		return nil, malformed("at is too far ahead", "give a time within ten years")
	}
	ctx, stop := c.whole()
	defer stop()
	return s.config.Reappraisals.Start(ctx, c.who, ask)
}

func (s *server) reappraisal(c *call) (any, error) {
	id := c.query["id"]
	if id == "" {
		return nil, malformed("the query parameter id is missing", "give the id that the start was answered with")
	}
	c.about.Target = id
	document, found, err := s.config.Reappraisals.Find(c, c.who, id)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, notFound("re-appraisal")
	}
	return document, nil
}
