package tpm

import (
	"bytes"
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/internal/tpmevidence"
)

// Bank is a bank of PCRs, by its TPM_ALG_ID.
type Bank uint16

// The banks that a verifier takes.
const (
	SHA256 = Bank(tpm2.TPMAlgSHA256)
	SHA384 = Bank(tpm2.TPMAlgSHA384)
	SHA512 = Bank(tpm2.TPMAlgSHA512)
)

// String returns the bank's name as attestd evidence tpm --bank takes it.
func (b Bank) String() string {
	switch b {
	case SHA256:
		return "sha256"
	case SHA384:
		return "sha384"
	case SHA512:
		return "sha512"
	}
	return fmt.Sprintf("0x%04x", uint16(b))
}

// DefaultPCRs are those that firmware, boot loader, kernel and initrd are measured into, and IMA's
// (PCR 10). PCR 15 and up differ between machines that run the same.
func DefaultPCRs() []uint8 { return []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14} }

// Request says what evidence must hold.
type Request struct {
	// Freshness goes into the quote's extraData, and into that of the certified key: 32 to 64 bytes.
	Freshness []byte
	// PCRs to quote; none for [DefaultPCRs]. Bank is the bank they are of; 0 for SHA-256.
	PCRs []uint8
	Bank Bank
	// Key is a key of this TPM that the attestation key is to certify; nil for none.
	Key *Key
	// IMAOffset leaves out so many bytes at the beginning of the IMA log: a verifier that replayed them
	// in the same boot goes on from there.
	IMAOffset uint64
}

// quoteTries bounds how often values and quote are taken anew because a PCR was extended in between.
const quoteTries = 16

// With returns an Attester that collects what request says, with the freshness value and the key of
// each call.
func (d *Device) With(request Request) attester.Attester { return &collector{d, request} }

type collector struct {
	device  *Device
	request Request
}

func (c *collector) Format() attestd.Format { return attestd.FormatTPM }

// Collect implements [attester.Attester]. A key that is asked for must be the one of the request.
func (c *collector) Collect(ctx context.Context, r attester.Request) (attester.Evidence, error) {
	request := c.request
	request.Freshness = r.Freshness
	if len(r.Key) > 0 && (request.Key == nil || !bytes.Equal(r.Key, request.Key.SPKI())) {
		return attester.Evidence{}, refuse("bind other keys through the freshness value",
			errors.New("the evidence is to carry a key that is not the one of this TPM"))
	}
	return c.device.Collect(ctx, request)
}

// Collect returns evidence: a quote, the values it covers, the logs, and the certified key.
func (d *Device) Collect(ctx context.Context, request Request) (attester.Evidence, error) {
	selection, err := d.check(&request)
	if err != nil {
		return attester.Evidence{}, err
	}
	out := attester.Evidence{Format: attestd.FormatTPM}
	var parts tpmevidence.Evidence
	err = d.with(ctx, func(c *connection) error {
		ek, err := c.endorsement(d.options)
		if err != nil {
			return err
		}
		ak, err := c.attestation(d.options)
		if err != nil {
			return err
		}
		identity := identityOf(ak, ek, d.options)
		parts.AKPublic, parts.EKPublic = identity.AKPublic, identity.EKPublic
		parts.EKCertificate, parts.Intermediates = identity.EKCertificate, identity.EKChain
		if request.Key != nil {
			if parts.Key, err = c.certify(request.Key, ak, request.Freshness, d.options); err != nil {
				return err
			}
		}
		return c.quote(&parts, ak, request, selection)
	})
	if err != nil {
		return attester.Evidence{}, err
	}
	if parts.EKCertificate == nil {
		out.Notes = append(out.Notes, "the TPM holds no endorsement key certificate: only an inventory of "+
			"endorsement keys can vouch for it")
	}
	// The boot log was complete before the quote. The IMA log is read behind it: it then holds at least
	// what the quote covers, and a verifier believes nothing that was added later.
	notes, err := d.logs(&parts, request.IMAOffset)
	if err != nil {
		return attester.Evidence{}, err
	}
	out.Notes = append(out.Notes, notes...)
	if out.Bytes, err = parts.Marshal(); err != nil {
		return attester.Evidence{}, refuse(lessLog, err)
	}
	if len(out.Bytes) > MaxEvidence {
		return attester.Evidence{}, refuse(lessLog, fmt.Errorf("the evidence has %d bytes, and a verifier takes %d",
			len(out.Bytes), MaxEvidence))
	}
	return out, nil
}

const lessLog = "leave a log out (--ima-log off, --event-log off), or begin the IMA log later: --ima-offset BYTES"

// check completes a request and returns the selection of its PCRs.
func (d *Device) check(request *Request) (tpm2.TPMLPCRSelection, error) {
	if request.Bank == 0 {
		request.Bank = SHA256
	}
	if len(request.PCRs) == 0 {
		request.PCRs = DefaultPCRs()
	}
	request.PCRs = slices.Compact(slices.Sorted(slices.Values(request.PCRs)))
	switch length := len(request.Freshness); {
	case length < attestd.MinNonce || length > 64: // TPM2B_DATA takes 66 bytes where SHA-512 is known
		return tpm2.TPMLPCRSelection{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "use a nonce of 32 random bytes",
			Err: fmt.Errorf("the freshness value has %d bytes, want 32 to 64", length),
		}
	case request.PCRs[len(request.PCRs)-1] > 23:
		return tpm2.TPMLPCRSelection{}, refuse("give numbers from 0 to 23",
			fmt.Errorf("PCR %d is asked for", request.PCRs[len(request.PCRs)-1]))
	case request.Bank != SHA256 && request.Bank != SHA384 && request.Bank != SHA512:
		return tpm2.TPMLPCRSelection{}, refuse("give SHA-256, SHA-384 or SHA-512",
			fmt.Errorf("bank 0x%04x is asked for", uint16(request.Bank)))
	case request.Key != nil && request.Key.device != d:
		return tpm2.TPMLPCRSelection{}, refuse("make the key with this TPM", errors.New("the key is another TPM's"))
	}
	return selectPCRs(request.Bank, request.PCRs), nil
}

func selectPCRs(bank Bank, pcrs []uint8) tpm2.TPMLPCRSelection {
	numbers := make([]uint, 0, len(pcrs))
	for _, pcr := range pcrs {
		numbers = append(numbers, uint(pcr))
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: tpm2.TPMIAlgHash(bank), PCRSelect: tpm2.PCClientCompatible.PCRs(numbers...),
	}}}
}

// quote takes values and a quote that covers exactly them. Something may extend a PCR at any time,
// IMA with every program that starts, so either of the readings around a quote will do.
func (c *connection) quote(
	parts *tpmevidence.Evidence, ak object, request Request, selection tpm2.TPMLPCRSelection,
) error {
	values, err := c.pcrs(request.Bank, request.PCRs)
	if err != nil {
		return err
	}
	for range quoteTries {
		answer, err := tpm2.Quote{
			SignHandle: ak.auth(), QualifyingData: tpm2.TPM2BData{Buffer: request.Freshness},
			InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, PCRSelect: selection,
		}.Execute(c)
		if err != nil {
			return explain("quote", err)
		}
		attest, err := answer.Quoted.Contents()
		if err != nil {
			return fmt.Errorf("quote: %w", err)
		}
		quoted, err := attest.Attested.Quote()
		if err != nil {
			return fmt.Errorf("quote: %w", err)
		}
		before := values
		if !covers(quoted.PCRDigest.Buffer, before) {
			if values, err = c.pcrs(request.Bank, request.PCRs); err != nil {
				return err
			}
			if !covers(quoted.PCRDigest.Buffer, values) {
				continue
			}
		}
		parts.Quote = bytes.Clone(answer.Quoted.Bytes())
		parts.QuoteSignature = tpm2.Marshal(answer.Signature)
		parts.PCRs = []tpmevidence.Bank{{Algorithm: uint16(request.Bank), PCRs: values}}
		return nil
	}
	return refuse("quote fewer PCRs: leave out those that change all the time, such as 10 (IMA)",
		fmt.Errorf("a PCR changed between reading and quoting, %d times", quoteTries))
}

// covers reports whether a quote's digest is over the values. The attestation key's hash, SHA-256, is
// what a quote is computed with, whatever the bank (Part 3, revision 1.59, section 18.4).
func covers(digest []byte, values []tpmevidence.PCR) bool {
	hash := crypto.SHA256.New()
	for _, pcr := range values {
		hash.Write(pcr.Value)
	}
	return bytes.Equal(hash.Sum(nil), digest)
}

// pcrs reads PCRs, of which a TPM gives eight at a time.
func (c *connection) pcrs(bank Bank, pcrs []uint8) ([]tpmevidence.PCR, error) {
	var values []tpmevidence.PCR
	for some := range slices.Chunk(pcrs, 8) {
		answer, err := tpm2.PCRRead{PCRSelectionIn: selectPCRs(bank, some)}.Execute(c)
		if err != nil {
			return nil, explain("read PCRs", err)
		}
		if len(answer.PCRValues.Digests) != len(some) {
			return nil, refuse("take a bank that is active (tpm2_getcap pcrs), or switch this one on in the "+
				"firmware's settings", fmt.Errorf("the TPM gave %d of %d PCRs of bank %s",
				len(answer.PCRValues.Digests), len(some), bank))
		}
		for i, digest := range answer.PCRValues.Digests {
			values = append(values, tpmevidence.PCR{Index: some[i], Value: digest.Buffer})
		}
	}
	return values, nil
}

// shortHex is how keys are named in errors.
func shortHex(data []byte) string { return hex.EncodeToString(data[:min(len(data), 8)]) }
