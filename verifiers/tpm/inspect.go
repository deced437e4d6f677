package tpm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/verifiers/eventlog"
	"github.com/attestd/attestd/verifiers/eventlog/ima"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Inspect implements verifiers.Verifier. A part that cannot be read is said to be so, and the others
// are decoded all the same: that is when a person needs to look at them.
func (v *Verifier) Inspect(evidence []byte) (attestd.Inspection, error) {
	parts, bad := open(evidence)
	if bad != nil {
		t := trail.New(table)
		if bad.check == checkEncoding {
			t.Pass(checkSize, wantSize, wantSize)
		}
		return attestd.Inspection{}, bad.end(t)
	}
	var notes inspection
	notes.key("ak", parts.AKPublic, attributeProblem, algorithmProblem)
	for index, parent := range parts.AKParents {
		notes.add(fmt.Sprintf("ak.parent.%d", index), hex.EncodeToString(parent), "Name")
	}
	notes.quote("quote", parts.Quote, parts.QuoteSignature)
	notes.values(parts.PCRs)
	if parts.EKPublic != nil {
		notes.key("ek", parts.EKPublic)
	}
	notes.size("ek.certificate", parts.EKCertificate)
	notes.size("ak.certificate", parts.AKCertificate)
	for index, certificate := range parts.Intermediates {
		notes.size(fmt.Sprintf("intermediate.%d", index), certificate)
	}
	if key := parts.Key; key != nil {
		notes.key("key", key.Public, certifiedKeyProblem)
		notes.quote("key.certification", key.Attest, key.Signature)
	}
	notes.logs(&parts)
	return attestd.Inspection{
		Format: attestd.FormatTPM, Summary: "TPM 2.0 evidence", Fields: notes.fields,
	}, nil
}

type inspection struct{ fields []attestd.InspectedField }

func (i *inspection) add(name, value, note string) {
	i.fields = append(i.fields, attestd.InspectedField{Name: name, Value: value, Note: note})
}

func (i *inspection) size(name string, part []byte) {
	if part != nil {
		i.add(name, fmt.Sprintf("%d bytes", len(part)), "DER")
	}
}

// key shows a public area, and what each of the questions finds wrong with it.
func (i *inspection) key(name string, public []byte, problems ...func(*tpm2.Public) string) {
	parsed, err := tpm2.ParsePublic(public)
	if err != nil {
		i.add(name, hex.EncodeToString(public), attestd.Excerpt(err.Error(), 120))
		return
	}
	kind := fmt.Sprintf("RSA-%d", parsed.KeyBits)
	if parsed.Type == tpm2.AlgECC {
		kind = tpm2.CurveName(parsed.Curve)
	}
	note := ""
	for _, problem := range problems {
		if text := problem(&parsed); text != "" {
			note = strings.TrimPrefix(note+"; "+text, "; ")
		}
	}
	i.add(name+".type", kind, note)
	i.add(name+".scheme", tpm2.AlgorithmName(parsed.Scheme.Algorithm), "")
	i.add(name+".attributes", fmt.Sprintf("0x%08x", parsed.Attributes), attributeNames(parsed.Attributes))
	i.add(name+".name", hex.EncodeToString(parsed.Name()), "computed from the public area")
	if spki, err := parsed.SPKI(); err == nil {
		digest := sha256.Sum256(spki)
		i.add(name+".sha256", hex.EncodeToString(digest[:]), "of the SubjectPublicKeyInfo")
	}
}

// quote shows a TPMS_ATTEST and its signature.
func (i *inspection) quote(name string, attest, signature []byte) {
	parsed, err := tpm2.ParseAttest(attest)
	if err != nil {
		i.add(name, hex.EncodeToString(attest), attestd.Excerpt(err.Error(), 120))
		return
	}
	i.add(name+".signer", hex.EncodeToString(parsed.QualifiedSigner), "Qualified Name")
	i.add(name+".extra_data", hex.EncodeToString(parsed.ExtraData), "")
	i.add(name+".clock", strconv.FormatUint(parsed.Clock, 10), "milliseconds")
	i.add(name+".reset_count", strconv.FormatUint(uint64(parsed.ResetCount), 10), "")
	i.add(name+".restart_count", strconv.FormatUint(uint64(parsed.RestartCount), 10), "")
	i.add(name+".safe", strconv.FormatBool(parsed.Safe), "")
	i.add(name+".firmware", fmt.Sprintf("0x%016x", parsed.Firmware), "")
	for _, bank := range parsed.PCRs.Banks() {
		var pcrs []string
		for rest := bank.PCRs; rest != 0; rest &= rest - 1 {
			pcrs = append(pcrs, strconv.Itoa(bits.TrailingZeros32(rest)))
		}
		i.add(name+".pcrs."+tpm2.AlgorithmName(bank.Bank), strings.Join(pcrs, ","), "selected")
	}
	if parsed.Type == tpm2.TypeCertify {
		i.add(name+".certified", hex.EncodeToString(parsed.Name), "Name")
	} else {
		i.add(name+".pcr_digest", hex.EncodeToString(parsed.PCRDigest), "")
	}
	made, err := tpm2.ParseSignature(signature)
	if err != nil {
		i.add(name+".signature", hex.EncodeToString(signature), attestd.Excerpt(err.Error(), 120))
		return
	}
	i.add(name+".signature", tpm2.AlgorithmName(made.Scheme)+" "+tpm2.AlgorithmName(made.Hash), "")
}

func (i *inspection) values(banks []tpmevidence.Bank) {
	for _, bank := range banks {
		for _, pcr := range bank.PCRs {
			i.add(fmt.Sprintf("pcr.%s.%d", tpm2.AlgorithmName(bank.Algorithm), pcr.Index),
				hex.EncodeToString(pcr.Value), "")
		}
	}
}

// logs counts what the logs hold.
func (i *inspection) logs(parts *tpmevidence.Evidence) {
	if parts.EventLog != nil {
		count, note := bootEvents(parts.EventLog)
		i.add("event_log", fmt.Sprintf("%d events in %d bytes", count, len(parts.EventLog)), note)
	}
	if parts.IMA != nil {
		count, note := 0, ""
		if bad := ima.Walk(parts.IMA.Log, func(ima.Entry) bool {
			count++
			return true
		}); bad != nil {
			note = attestd.Excerpt(bad.Error(), 120)
		}
		i.add("ima_log", fmt.Sprintf("%d entries in %d bytes from byte %d", count, len(parts.IMA.Log),
			parts.IMA.Offset), note)
	}
}

// bootEvents counts the events of a boot log, and says what is wrong with it.
func bootEvents(log []byte) (count int, note string) {
	each := func(eventlog.Entry) bool { count++; return true }
	bad := eventlog.Walk(log, each)
	if bad == nil {
		return count, ""
	}
	if count = 0; eventlog.WalkLegacy(log, each) == nil {
		return count, "digests of SHA-1 alone: no fact is taken from it"
	}
	return count, attestd.Excerpt(bad.Error(), 120)
}
