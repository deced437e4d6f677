package cases

import (
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/yamldoc"
)

// tenantForm reports what is no tenant.
func tenantForm(node *yamldoc.Node, name string) {
	for _, fault := range (&nhi.Record{Tenant: name}).Check() {
		if fault.Field == "tenant" {
			node.Problem("%s", fault.Text)
		}
	}
}

var resourceSection = section{
	key: "resource",
	fields: []field{
		text("type", func(in *decision.Input) *string { return &in.Resource.Type }),
		text("name", func(in *decision.Input) *string { return &in.Resource.ID }),
		text("tenant", func(in *decision.Input) *string { return &in.Resource.Tenant }),
		text("project", func(in *decision.Input) *string { return &in.Resource.Project }),
		text("ring", func(in *decision.Input) *string { return &in.Resource.Ring }),
		flag("privileged", func(in *decision.Input, value bool) { in.Resource.Privileged = value }),
		words("datasets", func(in *decision.Input, list []string) {
			in.Resource.Datasets = nil
			for _, id := range list {
				in.Resource.Datasets = append(in.Resource.Datasets, decision.Dataset{ID: id})
			}
		}),
		words("classification", func(in *decision.Input, list []string) {
			in.Resource.Datasets = slices.Clone(in.Resource.Datasets)
			for i := range in.Resource.Datasets {
				in.Resource.Datasets[i].Classification = list
			}
		}),
	},
	done: func(_ *yamldoc.Node, given yamldoc.Fields, in *decision.Input) {
		if node := given.Get("classification"); node != nil && len(in.Resource.Datasets) == 0 {
			node.Problem("is of datasets, and the resource names none")
		}
	},
}

var contextSection = section{
	key: "context",
	fields: []field{
		oneOf("via", func(in *decision.Input) *decision.Via { return &in.Via },
			decision.ViaAuthZEN, decision.ViaExtAuthz, decision.ViaForward),
		text("enforcer", func(in *decision.Input) *string { return &in.Enforcer }),
		text("intent", func(in *decision.Input) *string { return &in.Context.Intent }),
		words("classification", func(in *decision.Input, list []string) { in.Context.Classification = list }),
		number("exposure_score", func(in *decision.Input, value int) { in.Context.ExposureScore = value }),
		oneOf("connectivity", func(in *decision.Input) *decision.Connectivity { return &in.Context.Connectivity },
			decision.ConnectivityUnknown, decision.ConnectivityAirGapped, decision.ConnectivityConnected),
		{"chain", readChain},
		number("novel", func(in *decision.Input, value int) { in.Findings.Novel = value }),
		{"raised", func(node *yamldoc.Node, in *decision.Input) {
			if node.IsText(None) {
				in.Findings.Raised = nil
				return
			}
			items, _ := node.Items()
			in.Findings.Raised = make([]decision.Code, 0, len(items))
			for _, item := range items {
				if value, ok := item.Text(); ok {
					in.Findings.Raised = append(in.Findings.Raised, readCode(item, value))
				}
			}
		}},
		flag("throttled", func(in *decision.Input, value bool) { in.Findings.Throttled = value }),
		words("supported_obligations", func(in *decision.Input, list []string) { in.Supported = list }),
		flag("late", func(in *decision.Input, value bool) { in.Late = value }),
	},
}

// readChain reads who had a part in a request, the origin first.
func readChain(node *yamldoc.Node, in *decision.Input) {
	in.Context.Chain = nil
	if node.IsText(None) {
		return
	}
	items, _ := node.Items()
	for _, item := range items {
		given, ok := item.Fields([]string{"type", "id"}, []string{"verified", "tier"})
		if !ok {
			continue
		}
		link := decision.Link{}
		if link.Type, ok = given.Get("type").Text(); ok && link.Type != "human" && link.Type != "nhi" {
			given.Get("type").Problem("want human or nhi")
		}
		link.ID, _ = given.Get("id").Text()
		if verified := given.Get("verified"); verified != nil {
			link.Verified, _ = verified.Flag()
		}
		if tier := given.Get("tier"); tier != nil {
			readTier(tier, &link)
		}
		in.Context.Chain = append(in.Context.Chain, link)
	}
}

func readTier(node *yamldoc.Node, link *decision.Link) {
	value, ok := node.Text()
	var tier attestd.Tier
	if !ok {
		return
	}
	if err := tier.UnmarshalText([]byte(value)); err != nil {
		node.Problem("want one of: low, medium, high, critical, unknown")
		return
	}
	link.RiskTier = tier.String()
}
