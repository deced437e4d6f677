package daemon

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/keys"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/result"
	"github.com/attestd/attestd/internal/service"
)

// developer names in results who made the verifier.
const developer = "https://github.com/attestd/attestd"

// rotateEvery is how often it is looked whether the next key is due to sign.
const rotateEvery = time.Minute

// addResults opens the keys that results are signed with.
func (p *parts) addResults(ctx context.Context, options Options) (err error) {
	settings := options.Config
	p.ring, err = keys.Open(ctx, keys.Config{
		Purpose: keys.PurposeResult, Folder: filepath.Join(settings.StateDir, "keys", "result"),
		Withdrawn: filepath.Join(settings.StateDir, "keys.withdrawn"),
		Vault:     options.ResultVault, Lifetime: settings.Results.Lifetime, Now: p.store.Now,
	})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, p.ring)
	issuer, err := result.New(result.Config{
		Ring: p.ring, Profile: result.Profile(settings.Results.Profile),
		Lifetime: settings.Results.Lifetime, Developer: developer, Build: cmp.Or(options.Version, "unknown"),
		Issuer: "spiffe://" + settings.TrustDomain + "/attestd", Now: p.store.Now,
	})
	if err != nil {
		return err
	}
	p.results, err = service.NewResults(service.ResultsConfig{
		Appraisal: p.service.Appraisal, Fence: p.index, Signer: issuer, TrustDomain: settings.TrustDomain,
		MaxAge: settings.Subjects.Reattest + settings.Subjects.Grace, Now: p.store.Now, Notes: p.keeper,
	})
	return err
}

// rotateKeys has the next key sign when it is due, until ctx ends.
func (p *parts) rotateKeys(ctx context.Context, after time.Duration, logger *slog.Logger) {
	ticker := time.NewTicker(rotateEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, ring := range p.rings() {
			rotation, did, err := ring.RotateIfDue(ctx, after)
			switch {
			case err != nil && ctx.Err() == nil:
				logger.ErrorContext(ctx, "a key was not rotated", "purpose", string(ring.Purpose()),
					"err", attestd.Excerpt(err.Error(), 400))
			case did:
				logger.InfoContext(ctx, "another key signs", "purpose", string(ring.Purpose()),
					"kid", rotation.Active.ID)
				p.noteRotation(ring.Purpose(), rotation)
			}
		}
	}
}

func (p *parts) noteRotation(purpose keys.Purpose, rotation keys.Rotation) {
	p.keeper.Note(audit.Record{
		At: p.store.Now(), Actor: "attestd", Action: "keys.rotate", Target: rotation.Active.ID,
		Tenant: operator.AllTenants, Outcome: "done",
		Detail: map[string]string{"purpose": string(purpose)},
	})
}
