package forge

import (
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd/internal/tpmevidence"
)

// TPM is a machine's TPM, made of software: its keys, PCRs and counters.
type TPM struct {
	// EK is nil for a TPM without one.
	AK, EK *TPMKey
	// PCRs are the banks, in the order in which a quote selects them.
	PCRs []TPMBank
	// Clock in milliseconds, and the counters.
	Clock                    uint64
	ResetCount, RestartCount uint32
	Unsafe                   bool
	Firmware                 uint64
}

// TPMBank is a PCR bank: the PCRs that are quoted, ascending, and their values.
type TPMBank struct {
	Algorithm tpm2.TPMAlgID
	Values    map[uint8][]byte
}

// NewTPM returns a TPM that has booted three times, with PCRs 0 to 7 of SHA-256.
func NewTPM(ak, ek *TPMKey) *TPM {
	bank := TPMBank{Algorithm: tpm2.TPMAlgSHA256, Values: map[uint8][]byte{}}
	for index := range uint8(8) {
		bank.Values[index] = slices.Repeat([]byte{0xa0 + index}, 32)
	}
	return &TPM{AK: ak, EK: ek, PCRs: []TPMBank{bank}, Clock: 3_600_000, ResetCount: 3,
		RestartCount: 1, Firmware: 0x0001_0102_0000_0000}
}

// attest returns what every attestation of the TPM has.
func (t *TPM) attest(kind tpm2.TPMST, signer *TPMKey, extra []byte) tpm2.TPMSAttest {
	return tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: kind,
		QualifiedSigner: tpm2.TPM2BName{Buffer: signer.QualifiedName()},
		ExtraData:       tpm2.TPM2BData{Buffer: extra},
		ClockInfo: tpm2.TPMSClockInfo{Clock: t.Clock, ResetCount: t.ResetCount,
			RestartCount: t.RestartCount, Safe: !tpm2.TPMIYesNo(t.Unsafe)},
		FirmwareVersion: t.Firmware,
	}
}

// QuoteInfo returns the TPMS_ATTEST of a quote over all PCRs, before it is written.
func (t *TPM) QuoteInfo(extra []byte) (tpm2.TPMSAttest, error) {
	out := t.attest(tpm2.TPMSTAttestQuote, t.AK, extra)
	info := &tpm2.TPMSQuoteInfo{}
	hash, err := t.AK.hash.Hash()
	if err != nil {
		return out, err
	}
	digest := hash.New()
	for _, bank := range t.PCRs {
		selection := tpm2.TPMSPCRSelection{Hash: bank.Algorithm, PCRSelect: make([]byte, 3)}
		for _, index := range bank.indices() {
			selection.PCRSelect[index/8] |= 1 << (index % 8)
			digest.Write(bank.Values[index])
		}
		info.PCRSelect.PCRSelections = append(info.PCRSelect.PCRSelections, selection)
	}
	info.PCRDigest.Buffer = digest.Sum(nil)
	out.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, info)
	return out, nil
}

// Quote returns the TPMS_ATTEST and TPMT_SIGNATURE of a quote over all PCRs. edit may be nil; it
// changes the attestation before it is signed.
func (t *TPM) Quote(
	extra []byte, edit func(*tpm2.TPMSAttest, *tpm2.TPMSQuoteInfo),
) (attest, signature []byte, err error) {
	out, err := t.QuoteInfo(extra)
	if err != nil {
		return nil, nil, err
	}
	if edit != nil {
		info, err := out.Attested.Quote()
		if err != nil {
			return nil, nil, err
		}
		edit(&out, info)
	}
	attest = tpm2.Marshal(out)
	signature, err = t.AK.Sign(attest)
	return attest, signature, err
}

// Certify returns what TPM2_Certify does: the attestation key's statement that key is in the same
// TPM. edit may be nil.
func (t *TPM) Certify(
	key *TPMKey, extra []byte, edit func(*tpm2.TPMSAttest, *tpm2.TPMSCertifyInfo),
) (*tpmevidence.Key, error) {
	info := &tpm2.TPMSCertifyInfo{Name: tpm2.TPM2BName{Buffer: key.Name},
		QualifiedName: tpm2.TPM2BName{Buffer: key.QualifiedName()}}
	out := t.attest(tpm2.TPMSTAttestCertify, t.AK, extra)
	out.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, info)
	if edit != nil {
		edit(&out, info)
	}
	attest := tpm2.Marshal(out)
	signature, err := t.AK.Sign(attest)
	if err != nil {
		return nil, err
	}
	return &tpmevidence.Key{Public: key.Public, Attest: attest, Signature: signature}, nil
}

// Evidence returns evidence with a quote over extra, and the public areas of the TPM's keys.
// Certificates, logs and certified keys are the caller's to add.
func (t *TPM) Evidence(
	extra []byte, edit func(*tpm2.TPMSAttest, *tpm2.TPMSQuoteInfo),
) (tpmevidence.Evidence, error) {
	attest, signature, err := t.Quote(extra, edit)
	if err != nil {
		return tpmevidence.Evidence{}, fmt.Errorf("quote: %w", err)
	}
	out := tpmevidence.Evidence{AKPublic: t.AK.Public, AKParents: t.AK.Parents,
		Quote: attest, QuoteSignature: signature, PCRs: t.Values()}
	if t.EK != nil {
		out.EKPublic = t.EK.Public
	}
	return out, nil
}

// Values returns the PCRs as they travel beside a quote.
func (t *TPM) Values() []tpmevidence.Bank {
	var out []tpmevidence.Bank
	for _, bank := range t.PCRs {
		one := tpmevidence.Bank{Algorithm: uint16(bank.Algorithm)}
		for _, index := range bank.indices() {
			one.PCRs = append(one.PCRs, tpmevidence.PCR{Index: index, Value: bank.Values[index]})
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b tpmevidence.Bank) int {
		return int(a.Algorithm) - int(b.Algorithm)
	})
	return out
}

// indices returns the bank's PCRs, ascending.
func (b TPMBank) indices() []uint8 {
	var out []uint8
	for index := range uint8(24) {
		if _, quoted := b.Values[index]; quoted {
			out = append(out, index)
		}
	}
	return out
}
