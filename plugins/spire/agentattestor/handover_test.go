package agentattestor_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/agentattestor"
)

// away is a key manager that answers again after some calls.
type away struct {
	noKeys
	calls, after int
}

func (a *away) PutEnlist(context.Context, wire.Enlist) error {
	if a.calls++; a.calls <= a.after {
		return errors.New("no such socket")
	}
	return nil
}

// A key manager that is started again in that moment gets the certificate; one that stays away fails the
// attestation: a node without it would give its workloads nothing until it attests again by itself.
func TestTheCertificateIsHandedOverOrTheAttestationFails(t *testing.T) {
	keys := &away{after: 3}
	if err := agentattestor.HandOver(t.Context(), keys, wire.Enlist{}, 5*time.Second); err != nil {
		t.Errorf("a key manager that came back: %v", err)
	}
	if keys.calls != 4 {
		t.Errorf("asked %d times, want 4", keys.calls)
	}
	err := agentattestor.HandOver(t.Context(), &away{after: 1 << 30}, wire.Enlist{}, 100*time.Millisecond)
	var undecided *attestd.UndecidedError
	if !errors.As(err, &undecided) || undecided.Hint == "" {
		t.Errorf("a key manager that stays away: got %v, want undecided with a hint", err)
	}
}
