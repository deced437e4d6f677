package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// tpmPolicy accepts what is authentic and fresh, of an activated key whose clock did not go back: what
// is judged beyond that is the appraisal's own matter.
func tpmPolicy(specs []attestd.CheckSpec) []byte {
	var out strings.Builder
	out.WriteString("schema: attestd.policy.v1\nid: test\ndescription: test\nformats:\n  tpm:\n")
	for _, spec := range specs {
		name, ours := strings.CutPrefix(string(spec.ID), "tpm/")
		if spec.Stage != attestd.StageAppraise || !ours {
			continue
		}
		switch name {
		case "clock-order":
			out.WriteString("    clock-order: {want: [first, forward], otherwise: reject}\n")
		case "ak-residency":
			out.WriteString("    ak-residency: {want: [activated], otherwise: reject}\n")
		default:
			fmt.Fprintf(&out, "    %s: any\n", name)
		}
	}
	out.WriteString("    measurement/known: any\n    ownership/known: any\n")
	return []byte(out.String())
}

// machines are TPMs of which the operator's inventory has the endorsement keys.
type machines []*forge.TPM

func newMachines(t testing.TB, count int) machines {
	t.Helper()
	var made machines
	for i := range count {
		// Of both kinds, since credentials are made for each in its own way.
		config := forge.TPMKeyConfig{Endorsement: true}
		if i%2 == 1 {
			config.Bits = 2048
		}
		ek, err := forge.NewTPMKey(config)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, forge.NewTPM(newAK(t), ek))
	}
	return made
}

func newAK(t testing.TB) *forge.TPMKey {
	t.Helper()
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return ak
}

func keyDigest(t testing.TB, key *forge.TPMKey) string {
	t.Helper()
	spki, err := key.SPKI()
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(spki)
	return hex.EncodeToString(digest[:])
}

func (m machines) inventory(t testing.TB) []service.Document {
	t.Helper()
	out := "schema: attestd.reference-values.v1\nname: inventory\nformat: tpm\nendorsement-keys:\n"
	for i, machine := range m {
		out += fmt.Sprintf("  machine-%d: %q\n", i, keyDigest(t, machine.EK))
	}
	return []service.Document{{Source: "inventory", Bytes: []byte(out)}}
}

// tpmWorld is a world that has the machines in its inventory.
func tpmWorld(t testing.TB, o options, count int) (*world, machines) {
	t.Helper()
	made := newMachines(t, count)
	o.policy, o.references = tpmPolicy, made.inventory(t)
	return newWorld(t, o), made
}

// keysOf are the members of a challenge's request for both keys of the machine.
func keysOf(machine *forge.TPM) object {
	return object{"attestation_key": machine.AK.Public, "endorsement_key": machine.EK.Public}
}

// credential asks for a challenge with a credential for the machine.
func (w *world) credential(machine *forge.TPM) challenge.Reply {
	w.Helper()
	return w.challenge(attestd.FormatTPM, keysOf(machine))
}

// opened is what the machine's TPM returns for the credential.
func (w *world) opened(machine *forge.TPM, reply challenge.Reply) []byte {
	w.Helper()
	if reply.Activation == nil {
		w.Fatal("the reply has no credential")
	}
	secret, err := machine.Activate(reply.Activation.CredentialBlob, reply.Activation.EncryptedSecret)
	w.must(err)
	return secret
}

// evidence is the machine's, bound to the challenge. The clock of a TPM goes on by itself.
func (w *world) evidence(machine *forge.TPM, issued attestd.Challenge) []byte {
	w.Helper()
	machine.Clock++
	return w.encoded(machine, issued, nil)
}

func (w *world) encoded(
	machine *forge.TPM, issued attestd.Challenge, change func(*tpmevidence.Evidence),
) []byte {
	w.Helper()
	digest, err := issued.Binding(nil).Digest()
	w.must(err)
	parts, err := machine.Evidence(digest, nil)
	w.must(err)
	if change != nil {
		change(&parts)
	}
	encoded, err := parts.Marshal()
	w.must(err)
	return encoded
}

// answering is the request that answers the challenge.
func answering(issued attestd.Challenge, evidence, secret []byte) object {
	request := object{
		"challenge_id": issued.ID, "format": "tpm", "tenant": issued.Tenant, "evidence": evidence,
	}
	if len(secret) != 0 {
		request["activation_secret"] = secret
	}
	return request
}

// attest is a whole exchange of an honest machine.
func (w *world) attest(machine *forge.TPM) attestd.Appraisal {
	w.Helper()
	reply := w.credential(machine)
	var secret []byte
	if !reply.Activated {
		secret = w.opened(machine, reply)
	}
	request := answering(reply.Challenge, w.evidence(machine, reply.Challenge), secret)
	return w.verdict(w.post("/v1/verify", request))
}

// enrol is a first exchange, which must end well.
func (w *world) enrol(machine *forge.TPM) {
	w.Helper()
	if given := w.attest(machine); given.Verdict != attestd.VerdictAccepted {
		w.Fatalf("got %s by %q: %+v", given.Verdict, failed(given), given.Reasons)
	}
	if reply := w.credential(machine); !reply.Activated || reply.Activation != nil {
		w.Fatalf("the key is not known after it was accepted: %+v", reply)
	}
}

// rejectedBy demands a rejection by the check.
func (w *world) rejectedBy(got answer, want attestd.CheckID) {
	w.Helper()
	given := w.verdict(got)
	if given.Verdict != attestd.VerdictRejected {
		w.Fatalf("got %s, want rejected by %q", given.Verdict, want)
	}
	for _, check := range given.Checks {
		if check.ID == want && check.Result == attestd.ResultFail {
			return
		}
	}
	w.Errorf("got rejected by %q, want %q: %+v", failed(given), want, given.Reasons)
}

// conflicts demands the answer to a request that contradicts what is known.
func (w *world) conflicts(path string, request object) {
	w.Helper()
	w.problem(w.post(path, request), http.StatusConflict, attestd.ClassConflict)
}
