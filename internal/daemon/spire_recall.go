package daemon

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// recallPage is how many subjects are read at a time: readers must not keep the database's log from
// being folded in.
const recallPage = 500

// recall tells the office what the evidence of each trusted subject showed, from the verdicts that are
// kept. Until it is done, and where a verdict is gone, claims say less: no grade and no measurement.
func (p *parts) recall(logger *slog.Logger) func(context.Context) {
	return func(ctx context.Context) {
		filter := subject.Filter{
			Tenants: []string{operator.AllTenants}, State: []attestd.State{attestd.StateTrusted},
			Limit: recallPage,
		}
		recalled := 0
		for ctx.Err() == nil {
			page, next, err := p.store.Subjects(ctx, filter)
			if err != nil {
				logger.WarnContext(ctx, "what evidence showed before the restart was not read",
					"err", attestd.Excerpt(err.Error(), 400))
				return
			}
			for _, one := range page {
				if given, found := p.kept.verdict(ctx, one.AppraisalID); found {
					p.spire.office.Recall(one.ID, one.Key, given)
					recalled++
				}
			}
			if filter.After = next; next == "" {
				break
			}
		}
		logger.DebugContext(ctx, "verdicts were recalled", "count", recalled)
	}
}

// verdict reads a stored verdict; false where there is none, or it cannot be read.
func (k *kept) verdict(ctx context.Context, id string) (given attestd.Appraisal, found bool) {
	if id == "" {
		return given, false
	}
	document, found, err := k.store.Appraisal(ctx, id)
	if err != nil || !found || json.Unmarshal(document, &given) != nil {
		return attestd.Appraisal{}, false
	}
	return given, true
}
