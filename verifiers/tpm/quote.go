package tpm

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/bits"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
)

// quote is a quote in the course of its verification.
type quote struct {
	key       *attestationKey
	attest    tpm2.Attest
	signature tpm2.Signature
	// hierarchy is where the key hangs, once the Qualified Name was compared.
	hierarchy string
}

// readQuote reads TPMS_ATTEST and TPMT_SIGNATURE.
func readQuote(q *quote, attest, signature []byte) *fault {
	var err error
	if q.attest, err = tpm2.ParseAttest(attest); err != nil {
		return refuseAs(checkQuoteStructure, structureClass(err), "", "one TPMS_ATTEST").because(err)
	}
	if q.attest.Type != tpm2.TypeQuote {
		return refuse(checkQuoteStructure, "a certification of a key", "TPM_ST_ATTEST_QUOTE")
	}
	if q.signature, err = tpm2.ParseSignature(signature); err != nil {
		return refuseAs(checkQuoteStructure, signatureClass(err), "",
			"one TPMT_SIGNATURE").because(err)
	}
	return nil
}

// structureClass returns the class of a fault of TPMS_ATTEST.
func structureClass(err error) attestd.Class {
	var fault *tpm2.Error
	if errors.As(err, &fault) && fault.Reason == tpm2.ReasonMagic {
		// A TPM never signs this with a restricted key: whoever signed is no TPM.
		return attestd.ClassSignature
	}
	return attestd.ClassMalformed
}

// signatureClass returns the class of a fault of TPMT_SIGNATURE.
func signatureClass(err error) attestd.Class {
	var fault *tpm2.Error
	if errors.As(err, &fault) && fault.Reason == tpm2.ReasonAlgorithm {
		return attestd.ClassSignature
	}
	return attestd.ClassMalformed
}

// checkSigned compares the scheme and verifies the signature over the bytes as they came.
func (v *Verifier) checkSigned(q *quote) *fault {
	if problem := q.key.schemeProblem(&q.signature); problem != "" {
		return refuse(checkSignature, problem, "the key's scheme")
	}
	v.signatures.Add(1)
	if !q.key.verify(q.attest.Raw, &q.signature) {
		return refuse(checkSignature, "a signature that the attestation key did not make",
			"the attestation key's signature")
	}
	return nil
}

// checkSigner compares the Qualified Name.
func (q *quote) checkSigner(parents [][]byte) *fault {
	if q.hierarchy = q.key.hierarchy(q.attest.QualifiedSigner, parents); q.hierarchy == "" {
		return refuse(checkQualifiedSigner, "another Qualified Name",
			fmt.Sprintf("that of the key below %d parents in the endorsement or owner hierarchy",
				len(parents)))
	}
	return nil
}

// checkFreshness compares extraData with what was demanded, in full length and constant time.
// Comparing only as much as is there would let a short extraData match many demands.
func (q *quote) checkFreshness(want []byte) *fault {
	if subtle.ConstantTimeCompare(q.attest.ExtraData, want) != 1 {
		return refuse(checkNonce, fmt.Sprintf("%d other bytes", len(q.attest.ExtraData)),
			fmt.Sprintf("the %d bytes that were demanded", len(want)))
	}
	return nil
}

func (q *quote) checkBanks() *fault {
	for _, bank := range q.attest.PCRs.Banks() {
		if _, strong := tpm2.Hash(bank.Bank); !strong {
			return refuse(checkPCRBank, "a bank of "+tpm2.AlgorithmName(bank.Bank),
				"banks of SHA-256, SHA-384 or SHA-512 alone")
		}
	}
	return nil
}

// checkSelection compares the values that came along with the PCRs that the quote selects.
func (q *quote) checkSelection(values []tpmevidence.Bank) *fault {
	selected := &q.attest.PCRs
	if selected.Count() == 0 {
		// The digest over nothing fits every quote of no PCRs, whatever values stand beside it.
		return refuseAs(checkPCRSelection, attestd.ClassBinding, "a quote over no PCR",
			"at least one PCR")
	}
	for _, bank := range values {
		quoted := selectedIn(selected, bank.Algorithm)
		for _, pcr := range bank.PCRs {
			if quoted>>pcr.Index&1 == 0 {
				return refuse(checkPCRSelection, fmt.Sprintf("PCR%d of %s, which the quote leaves out",
					pcr.Index, tpm2.AlgorithmName(bank.Algorithm)), "the PCRs that the quote selects")
			}
		}
	}
	for _, bank := range selected.Banks() {
		hash, _ := tpm2.Hash(bank.Bank)
		for rest := bank.PCRs; rest != 0; rest &= rest - 1 {
			index := uint8(bits.TrailingZeros32(rest)) //nolint:gosec // below 24
			if value := valueOf(values, bank.Bank, index); len(value) != hash.Size() {
				return refuse(checkPCRSelection, fmt.Sprintf("%d bytes for PCR%d of %s", len(value), index,
					tpm2.AlgorithmName(bank.Bank)), fmt.Sprintf("%d bytes", hash.Size()))
			}
		}
	}
	return nil
}

// selectedIn returns the PCRs of one bank.
func selectedIn(selections *tpm2.Selections, bank uint16) uint32 {
	for _, one := range selections.Banks() {
		if one.Bank == bank {
			return one.PCRs
		}
	}
	return 0
}

// valueOf returns the value of a PCR; nil for one that did not come along.
func valueOf(values []tpmevidence.Bank, algorithm uint16, index uint8) []byte {
	for _, bank := range values {
		if bank.Algorithm != algorithm {
			continue
		}
		for _, pcr := range bank.PCRs {
			if pcr.Index == index {
				return pcr.Value
			}
		}
	}
	return nil
}

// checkDigest recomputes the digest over the values in the quoted order of banks, PCRs ascending
// (Part 3, section 18.4; Part 1, section 17.5), by the signing scheme's digest.
func (q *quote) checkDigest(values []tpmevidence.Bank) *fault {
	hash, _ := tpm2.Hash(q.key.public.Scheme.Hash)
	var room [3 * 24 * 64]byte
	message := room[:0]
	for _, bank := range q.attest.PCRs.Banks() {
		for rest := bank.PCRs; rest != 0; rest &= rest - 1 {
			index := uint8(bits.TrailingZeros32(rest)) //nolint:gosec // below 24
			message = append(message, valueOf(values, bank.Bank, index)...)
		}
	}
	var digest [64]byte
	if !bytes.Equal(sum(digest[:0], hash, message), q.attest.PCRDigest) {
		return refuse(checkPCRDigest, "values of another digest", "the values that were quoted")
	}
	return nil
}

// pcrs returns the set of PCRs that were quoted in every bank of the quote. One that only some bank
// has is in no comparison with the others, and whoever asks for it asks for it in his own bank.
func (q *quote) pcrs() uint64 {
	out := ^uint32(0)
	for _, bank := range q.attest.PCRs.Banks() {
		if bank.PCRs != 0 {
			out &= bank.PCRs
		}
	}
	return uint64(out)
}
