package e2e_test

import (
	"net/http"
	"testing"

	"github.com/attestd/attestd"
	attestertpm "github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/tpmevidence"
)

// pair are two machines of different TPMs that booted the same.
func pair(t *testing.T, name string) (x, y *machine) {
	t.Helper()
	return newMachine(t, made.first, name+"-x", goldenBoot()),
		newMachine(t, made.second, name+"-y", goldenBoot())
}

// TestARelayedQuoteIsRefused: TPM X answers the credential and TPM Y makes the quote, as where a machine
// that boots as it should quotes for one that does not.
//
// neg: 85
func TestARelayedQuoteIsRefused(t *testing.T) {
	s := laboratory(t)
	x, y := pair(t, "relay")
	for _, row := range []struct {
		name string
		edit func(e *tpmevidence.Evidence, of tpmevidence.Evidence)
		want attestd.CheckID
	}{
		{"the evidence of Y as it stands", func(*tpmevidence.Evidence, tpmevidence.Evidence) {}, "tpm/activation"},
		{"with X's endorsement key", func(e *tpmevidence.Evidence, of tpmevidence.Evidence) {
			e.EKPublic, e.EKCertificate = of.EKPublic, of.EKCertificate
		}, "tpm/activation"},
		{"with X's attestation key", func(e *tpmevidence.Evidence, of tpmevidence.Evidence) {
			e.AKPublic = of.AKPublic
		}, "tpm/activation"},
		{"with both keys of X", func(e *tpmevidence.Evidence, of tpmevidence.Evidence) {
			e.AKPublic, e.EKPublic, e.EKCertificate = of.AKPublic, of.EKPublic, of.EKCertificate
		}, "tpm/signature"},
	} {
		t.Run(row.name, func(t *testing.T) {
			asked := s.ask(t, tenant(0), x.identity(t))
			own, err := tpmevidence.Parse(x.collect(t, asked, nil, nil))
			if err != nil {
				t.Fatal(err)
			}
			evidence := changed(t, y.collect(t, asked, nil, nil),
				func(e *tpmevidence.Evidence) { row.edit(e, own) })
			wantRejected(t, asked.judge(t, evidence, x.activate(t, asked), nil), row.want)
		})
	}
	// The other way round: the challenge is for the keys of Y, and X cannot answer its credential.
	asked := s.ask(t, tenant(0), y.identity(t))
	if _, err := x.device.Activate(t.Context(), asked.credential.Blob, asked.credential.Secret); err == nil {
		t.Error("X answered a credential that was made for Y")
	}
	wantRejected(t, asked.judge(t, y.collect(t, asked, nil, nil), make([]byte, 32), nil), "tpm/activation")
}

// TestAnAttestationKeyOfAnotherTPMIsRefused: the credential is asked for X's attestation key under
// Y's endorsement key. Y does not answer for a key that it does not hold.
func TestAnAttestationKeyOfAnotherTPMIsRefused(t *testing.T) {
	s := laboratory(t)
	x, y := pair(t, "mixed")
	mixed := x.identity(t)
	mixed.EKPublic = y.identity(t).EKPublic
	asked := s.ask(t, tenant(0), mixed)
	if _, err := y.device.Activate(t.Context(), asked.credential.Blob, asked.credential.Secret); err == nil {
		t.Error("Y answered for a key that it does not hold")
	}
	other := y.identity(t)
	wantRejected(t, asked.judge(t, changed(t, x.collect(t, asked, nil, nil), func(e *tpmevidence.Evidence) {
		e.EKPublic, e.EKCertificate = other.EKPublic, other.EKCertificate
	}), nil, nil), "tpm/activation")
	// Without a credential nobody vouches for a key at all.
	asked = s.ask(t, tenant(0), attestertpm.Identity{})
	wantRejected(t, asked.judge(t, x.collect(t, asked, nil, nil), nil, nil), "tpm/ak-trusted")
}

// TestAnEndorsementCertificateOfAnotherTPMIsRefused: the certificate is good and its key is not the
// one that the credential was made for.
func TestAnEndorsementCertificateOfAnotherTPMIsRefused(t *testing.T) {
	s := laboratory(t)
	x, y := pair(t, "certificate")
	asked := s.ask(t, tenant(0), x.identity(t))
	other := y.identity(t).EKCertificate
	evidence := changed(t, x.collect(t, asked, nil, nil),
		func(e *tpmevidence.Evidence) { e.EKCertificate = other })
	verdict := asked.judge(t, evidence, x.activate(t, asked), nil)
	wantRejected(t, verdict, "tpm/ek-match")
	wantClass(t, verdict, attestd.ClassBinding)
}

// TestAKeyIsGradedByWhereItLives: resident in the TPM that quotes, bound where the TPM quotes for a
// key that it did not certify, refused where another TPM certified it.
//
// neg: 85
func TestAKeyIsGradedByWhereItLives(t *testing.T) {
	s := laboratory(t)
	x, y := pair(t, "grade")
	own, foreign := x.key(t), y.key(t)
	asked := s.ask(t, tenant(0), x.identity(t))
	facts := wantAccepted(t, asked.judge(t, x.collect(t, asked, own.SPKI(), own),
		x.activate(t, asked), own.SPKI()))
	wantFact(t, facts, "key_grade", "resident")

	asked = s.ask(t, tenant(0), x.identity(t))
	facts = wantAccepted(t, asked.judge(t, x.collect(t, asked, foreign.SPKI(), nil), nil, foreign.SPKI()))
	wantFact(t, facts, "key_grade", "bound")

	// X certifies a key of its own beside the foreign one that it is bound to.
	asked = s.ask(t, tenant(0), x.identity(t))
	facts = wantAccepted(t, asked.judge(t, x.collect(t, asked, foreign.SPKI(), own), nil, foreign.SPKI()))
	wantFact(t, facts, "key_grade", "bound")

	// Y certifies its key for the same challenge; its statement is put beside X's quote.
	asked = s.ask(t, tenant(0), x.identity(t))
	theirs, err := tpmevidence.Parse(y.collect(t, asked, foreign.SPKI(), foreign))
	if err != nil {
		t.Fatal(err)
	}
	evidence := changed(t, x.collect(t, asked, foreign.SPKI(), nil),
		func(e *tpmevidence.Evidence) { e.Key = theirs.Key })
	wantRejected(t, asked.judge(t, evidence, nil, foreign.SPKI()), "tpm/certified-key")
}

// TestAnswersAreGoodOnce: a challenge is used up by its first answer, and evidence for one challenge
// does not answer another.
func TestAnswersAreGoodOnce(t *testing.T) {
	s := laboratory(t)
	m := newMachine(t, made.first, "once", goldenBoot())
	asked := s.ask(t, tenant(0), m.identity(t))
	evidence, secret := m.collect(t, asked, nil, nil), m.activate(t, asked)
	wantAccepted(t, asked.judge(t, evidence, secret, nil))
	wantRejected(t, asked.judge(t, evidence, secret, nil), "challenge/known")
	again := s.ask(t, tenant(0), m.identity(t))
	wantRejected(t, again.judge(t, evidence, nil, nil), "tpm/nonce")
	// A secret is good for the key and the challenge that it came with alone.
	stranger := newMachine(t, made.second, "once-more", goldenBoot())
	asked = s.ask(t, tenant(0), stranger.identity(t))
	wantRejected(t, asked.judge(t, stranger.collect(t, asked, nil, nil), secret, nil), "tpm/activation")
}

// TestAKeyHasOneTPM: an attestation key that answered under one endorsement key is not taken under
// another, and a TPM is one tenant's.
//
// neg: 86
func TestAKeyHasOneTPM(t *testing.T) {
	h := household(t)
	s := h.server
	x, y := pair(t, "conflict")
	h.enrolled(t, x, tenant(0))
	status, answer := s.post(t, "/v1/challenges", map[string]any{
		"format": "tpm", "tenant": tenant(0),
		"attestation_key": x.identity(t).AKPublic, "endorsement_key": y.identity(t).EKPublic,
	})
	if status != http.StatusConflict {
		t.Errorf("status %d, want 409: %s", status, answer)
	}
	status, answer = s.post(t, "/v1/challenges", map[string]any{
		"format": "tpm", "tenant": tenant(1),
		"attestation_key": x.identity(t).AKPublic, "endorsement_key": x.identity(t).EKPublic,
	})
	if status != http.StatusConflict {
		t.Errorf("for another tenant: status %d, want 409: %s", status, answer)
	}
}
