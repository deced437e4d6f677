package decision

import "github.com/attestd/attestd"

// What a question may hold, in bytes of its texts and in entries of its lists. Each decision is recorded
// with its whole question: without a bound, a few large ones would push everybody's records out.
const (
	maxQuestion = 16 << 10
	maxEntries  = 512
	clipped     = 120
)

// clip reports whether the question is too large to be decided about, and cuts it to what says which it
// was: that is denied and recorded as any other.
func (a *Ask) clip() bool {
	size, entries := 0, 0
	add := func(texts ...string) {
		for _, one := range texts {
			size += len(one)
		}
	}
	list := func(texts []string) {
		entries += len(texts)
		add(texts...)
	}
	r, c := &a.Resource, &a.Context
	add(a.Enforcer, a.Action.Name, r.Type, r.ID, r.Tenant, r.Project, r.Ring, c.PromptID, c.Intent,
		string(c.Connectivity), c.LabelsFrom, c.RequestID, c.Trace)
	list(a.Supported)
	list(c.Classification)
	entries += len(r.Datasets) + len(c.Chain)
	for _, one := range r.Datasets {
		add(one.ID)
		list(one.Classification)
	}
	for _, one := range c.Chain {
		add(one.Type, one.ID, one.Issuer, one.RiskTier)
	}
	if size <= maxQuestion && entries <= maxEntries {
		return false
	}
	cut := func(text string) string { return attestd.Excerpt(text, clipped) }
	a.Action.Name, a.Supported = cut(a.Action.Name), nil
	a.Resource = Resource{
		Type: cut(r.Type), ID: cut(r.ID), Tenant: cut(r.Tenant), Project: cut(r.Project), Ring: cut(r.Ring),
		Privileged: r.Privileged,
	}
	a.Context = Context{ExposureScore: -1, RequestID: cut(c.RequestID), Trace: cut(c.Trace)}
	return true
}
