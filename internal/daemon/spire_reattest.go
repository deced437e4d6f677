package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/attestd/attestd"
	adminwire "github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/subject"
)

// nodes has nodes attest themselves again, by way of the controller.
type nodes struct{ parts *parts }

// Reattest implements the admin API's.
func (n nodes) Reattest(ctx context.Context, id subject.ID) (adminwire.Reattest, error) {
	if n.parts.spire.controller == nil {
		return adminwire.Reattest{}, &attestd.CallerError{
			Class: attestd.ClassConflict, Err: errors.New("attestd answers no SPIRE"),
			Hint: "see docs/config.md, section spire; or on the machine: attestd evidence tpm --server https://...",
		}
	}
	said, err := n.parts.spire.controller.Reattest(ctx, []string{string(id)})
	if err != nil {
		return adminwire.Reattest{}, err
	}
	out := adminwire.Reattest{State: "refused", Reason: attestd.Excerpt(said.Reason, 300)}
	switch {
	case len(said.Done) == 1 && said.Done[0] == string(id):
		out.State = "done"
	case len(said.Waiting) == 1 && said.Waiting[0] == string(id):
		out.State, out.Waiting, out.PerMinute = "waiting", said.Queue, said.PerMinute
		minutes := (said.Queue + max(1, said.PerMinute) - 1) / max(1, said.PerMinute)
		out.Turn = n.parts.store.Now().Add(time.Duration(minutes) * time.Minute)
	}
	return out, nil
}
