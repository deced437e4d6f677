package service_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/testvectors/forge"
)

// newTPM returns a machine whose endorsement key is in the inventory, and puts a policy in force that
// accepts what is authentic and fresh of one, save what rules say of a check.
func (w *world) newTPM(rules map[string]string) *forge.TPM {
	w.Helper()
	ek, err := forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true})
	w.must(err)
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	w.must(err)
	spki, err := ek.SPKI()
	w.must(err)
	digest := sha256.Sum256(spki)
	name := hex.EncodeToString(digest[:])
	w.options.moduleID = "ek:" + name
	var policy strings.Builder
	policy.WriteString("schema: attestd.policy.v1\nid: tpm\ndescription: test\nformats:\n")
	for _, format := range []attestd.Format{attestd.FormatTPM, attestd.FormatSEVSNP, attestd.FormatComposite} {
		fmt.Fprintf(&policy, "  %s:\n", format)
		for _, spec := range w.specs {
			check, ours := strings.CutPrefix(string(spec.ID), string(format)+"/")
			if ours && spec.Stage == attestd.StageAppraise {
				fmt.Fprintf(&policy, "    %s: %s\n", check, cmp.Or(rules[check], "any"))
			}
		}
		if format != attestd.FormatComposite {
			policy.WriteString("    measurement/known: any\n")
		}
		policy.WriteString("    ownership/known: any\n")
	}
	w.must(w.service.Replace(context.Background(), service.Documents{
		Policy: service.Document{Source: "tpm", Bytes: []byte(policy.String())}, Recorded: owned(w, "r"),
		References: []service.Document{{Source: "inventory", Bytes: []byte(
			"schema: attestd.reference-values.v1\nname: inventory\nformat: tpm\nendorsement-keys: {m: \"" + name + "\"}\n")}},
	}))
	return forge.NewTPM(ak, ek)
}

// attestTPM is a whole exchange of the machine, whose clock goes on by itself.
func (w *world) attestTPM(tpm *forge.TPM) (attestd.Appraisal, error) {
	w.Helper()
	return w.service.Verify(context.Background(), w.answerTPM(tpm))
}

// answerTPM is such an exchange up to where the answer is sent.
func (w *world) answerTPM(tpm *forge.TPM) service.Submission {
	w.Helper()
	reply, err := w.service.Challenge(context.Background(), service.Wish{
		Wish: challenge.Wish{
			Format: attestd.FormatTPM, Tenant: "default", Purpose: "verify", Source: "192.0.2.1",
		},
		AttestationKey: tpm.AK.Public, EndorsementKey: tpm.EK.Public,
	})
	w.must(err)
	handed := submission(reply.Challenge, nil)
	if reply.Activation != nil {
		handed.ActivationSecret, err = tpm.Activate(
			reply.Activation.CredentialBlob, reply.Activation.EncryptedSecret)
		w.must(err)
	}
	digest, err := reply.Challenge.Binding(nil).Digest()
	w.must(err)
	tpm.Clock++
	parts, err := tpm.Evidence(digest, nil)
	w.must(err)
	handed.Evidence, err = parts.Marshal()
	w.must(err)
	return handed
}
