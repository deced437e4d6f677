package reappraisal_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/collateral/set"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/testvectors/forge"
)

// chip is a machine with a TPM that has a certificate of its maker.
type chip struct {
	tpm    *forge.TPM
	serial *big.Int
	id     subject.ID
}

// newChip makes a TPM, the tenant's own, and attests it.
func (w *world) newChip() chip {
	w.Helper()
	ek, err := forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true})
	w.must(err)
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	w.must(err)
	certificate, err := w.tpms.EKCertificate(ek.Signer.Public(), forge.EKCertificateConfig{})
	w.must(err)
	parsed, err := x509.ParseCertificate(certificate)
	w.must(err)
	spki, err := ek.SPKI()
	w.must(err)
	digest := sha256.Sum256(spki)
	name := "ek:" + hex.EncodeToString(digest[:])
	made := chip{
		tpm: forge.NewTPM(ak, ek), serial: parsed.SerialNumber,
		id: subject.ID("spiffe://example.org/spire/agent/attestd/tpm/" + hex.EncodeToString(digest[:])),
	}
	w.ownInstance("default", name)
	reply, err := w.service.Challenge(context.Background(), service.Wish{
		Wish: challenge.Wish{
			Format: attestd.FormatTPM, Tenant: "default", Purpose: "verify", Source: "192.0.2.1",
		},
		AttestationKey: ak.Public, EndorsementKey: ek.Public,
	})
	w.must(err)
	secret, err := made.tpm.Activate(reply.Activation.CredentialBlob, reply.Activation.EncryptedSecret)
	w.must(err)
	binding, err := reply.Challenge.Binding(nil).Digest()
	w.must(err)
	parts, err := made.tpm.Evidence(binding, nil)
	w.must(err)
	parts.EKCertificate, parts.Intermediates = certificate, w.tpms.Bundle()
	evidence, err := parts.Marshal()
	w.must(err)
	given, err := w.service.Verify(context.Background(), service.Submission{
		ChallengeID: reply.Challenge.ID, Tenant: "default", Purpose: "verify", Format: attestd.FormatTPM,
		Evidence: evidence, Freshness: attestd.FreshnessBinding, Source: "192.0.2.1",
		ActivationSecret: secret,
	})
	w.must(err)
	if given.Standing == nil || given.Standing.State != attestd.StateTrusted {
		w.Fatalf("got %s %+v for %+v", given.Verdict, given.Standing, given.Reasons)
	}
	made.id = subject.ID(given.Standing.Subject)
	return made
}

// revoking is the authority's list with the serial on it, issued now.
func (w *world) revoking(serials ...*big.Int) []byte {
	w.Helper()
	list, err := w.tpms.CRL(forge.TPMCRLConfig{Serials: serials, At: time.Now().Add(-time.Minute)})
	w.must(err)
	return list
}

// replaceCollateral puts lists in force for a format, beside the policies of newWorld.
func (w *world) replaceCollateral(format attestd.Format, lists ...[]byte) {
	w.Helper()
	document, err := set.Set{CRLs: lists}.Marshal()
	w.must(err)
	next := documents(w, policy(w, "first", lax))
	next.Collateral = map[attestd.Format]service.Document{format: {Source: "test", Bytes: document}}
	w.must(w.service.Replace(context.Background(), next))
}

func (w *world) stateOf(id subject.ID) attestd.State {
	w.Helper()
	one, found, err := w.store.Subject(context.Background(), id)
	w.must(err)
	if !found {
		w.Fatalf("%s is unknown", id)
	}
	return one.State
}

// neg: 174
func TestARevocationListTakesTrustFromThoseItNamesAndLooksAtNoOtherFormat(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.trusted("default", 1)
	bad, good := w.newChip(), w.newChip()
	list := w.revoking(bad.serial)

	tried := w.ended(ann, wire.ReappraisalRequest{CRLs: [][]byte{list}, DryRun: true})
	if tried.Changed != 1 || tried.Failed != 0 || len(tried.Changes) != 1 || tried.Changes[0].ID != bad.id ||
		!slices.Contains(tried.Changes[0].Why, "tpm/ek-chain") {
		t.Errorf("the dry run says %+v", tried)
	}
	for _, id := range []subject.ID{bad.id, good.id, idOf(1)} {
		if state := w.stateOf(id); state != attestd.StateTrusted {
			t.Errorf("after a dry run %s is %s", id, state)
		}
	}

	w.judged.asked.Store(0)
	w.replaceCollateral(attestd.FormatTPM, list)
	w.engine.Trigger()
	if done := w.wait(ann, ""); done.Changed != 1 || done.Failed != 0 || done.DryRun {
		t.Errorf("the run says %+v", done)
	}
	if asked := w.judged.asked.Load(); asked != 2 {
		t.Errorf("%d pieces of evidence were judged again, want the two of TPMs", asked)
	}
	if state := w.stateOf(bad.id); state == attestd.StateTrusted {
		t.Error("a machine whose certificate was revoked is trusted")
	}
	if state := w.stateOf(good.id); state != attestd.StateTrusted {
		t.Errorf("a machine that is not on the list is %s", state)
	}
}

func TestADryRunAloneBringsCollateralOfItsOwn(t *testing.T) {
	w := newWorld(t)
	_, err := w.engine.Start(t.Context(), ann, wire.ReappraisalRequest{CRLs: [][]byte{w.revoking()}})
	if err == nil {
		t.Error("lists of a request were put in force")
	}
	_, err = w.engine.Start(t.Context(), ann, wire.ReappraisalRequest{
		CRLs: [][]byte{make([]byte, set.MaxBytes)}, DryRun: true,
	})
	if err == nil {
		t.Error("a list over the limit was taken")
	}
}
