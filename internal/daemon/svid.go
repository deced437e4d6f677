package daemon

import (
	"fmt"

	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/svid"
)

// svids returns what issues identities without an agent; nil where SPIRE is not asked to mint any.
func (p *parts) svids(settings config.Config) (api.SVIDs, error) {
	if p.spire.office == nil || settings.SPIRE.Server == config.Off {
		return nil, nil //nolint:nilnil // none is an answer
	}
	desk, err := svid.New(svid.Config{
		TrustDomain: settings.TrustDomain, Verifier: p.service, Office: p.spire.office,
		Controller: p.spire.controller, Now: p.store.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("identities without an agent: %w", err)
	}
	return desk, nil
}
