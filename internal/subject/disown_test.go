package subject_test

import (
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// TestAnEnrolmentThatIsTakenBackTakesTrustWithIt, whatever the state is, and frees nobody.
func TestAnEnrolmentThatIsTakenBackTakesTrustWithIt(t *testing.T) {
	for _, row := range []struct {
		name, drawing string
		want          attestd.State
		follows       bool
	}{
		{"trusted", "unknown -accepted-> trusted", attestd.StateSuspect, true},
		{"suspect", "unknown -accepted-> trusted -rejected-> suspect", attestd.StateSuspect, true},
		{"quarantined", "unknown -accepted-> trusted -quarantine-> quarantined", attestd.StateQuarantined, false},
		{"revoked", "unknown -accepted-> trusted -revoke-> revoked", attestd.StateRevoked, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := newMachine(t)
			m.draw(row.drawing)
			before := *m.row
			write, follows := subject.Disowned(*m.row, m.now, "olga")
			if follows != row.follows {
				t.Fatalf("follows: %v, want %v", follows, row.follows)
			}
			if follows {
				m.carryOut(write)
			}
			if m.state() != row.want {
				t.Errorf("%s, want %s", m.state(), row.want)
			}
			if !follows {
				return
			}
			was, _ := before.RiskAt(m.now)
			is, _ := m.row.RiskAt(m.now)
			if m.row.Ownership != subject.MethodNone || is.Int() < was.Int() ||
				m.state() != before.State && m.row.Epoch <= before.Epoch {
				t.Errorf("ownership %s, risk %s after %s, epoch %d after %d", m.row.Ownership, is, was,
					m.row.Epoch, before.Epoch)
			}
			if event := write.History[0]; event.Actor != "olga" || len(write.Audit) != 1 {
				t.Errorf("recorded as %+v", write)
			}
			m.draw("suspect -accepted-> trusted") // when it is somebody's again
		})
	}
}
