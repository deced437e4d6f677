package testvectors

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/attestd/attestd/internal/azureevidence"
	"github.com/attestd/attestd/internal/tpmevidence"
)

// The steps of this file turn what others publish as evidence of Azure's confidential VMs into the
// container of this project. They move the parts byte for byte and check nothing.

// azureQuote is a quote of the vTPM as published: the signature alone, without the TPMT_SIGNATURE
// around it, and the PCRs of the bank of SHA-256 in order.
type azureQuote struct {
	message, signature []byte
	pcrs               [][]byte
}

// decodeTrusteeAzure reads the JSON of trustee's Azure attesters, for SNP and for TDX. Of AMD's
// certificates it has the VCEK alone.
func decodeTrusteeAzure(_ []string, in []byte) ([]byte, error) {
	type quote struct {
		Message   octets   `json:"message"`
		Signature octets   `json:"signature"`
		PCRs      []octets `json:"pcrs"`
	}
	var from struct {
		Quote     *quote `json:"quote"`
		TPMQuote  *quote `json:"tpm_quote"`
		Report    octets `json:"report"`
		HCLReport octets `json:"hcl_report"`
		TDQuote   octets `json:"td_quote"`
		VCEK      string `json:"vcek"`
	}
	decoder := json.NewDecoder(bytes.NewReader(in))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&from); err != nil {
		return nil, err
	}
	if from.Quote == nil {
		from.Quote = from.TPMQuote
	}
	if from.Quote == nil {
		return nil, errors.New("no TPM quote")
	}
	if from.Report == nil {
		from.Report = from.HCLReport
	}
	made := azureQuote{message: from.Quote.Message, signature: from.Quote.Signature}
	for _, value := range from.Quote.PCRs {
		made.pcrs = append(made.pcrs, value)
	}
	if from.TDQuote == nil {
		return packAzure(from.Report, made, nil, []byte(from.VCEK))
	}
	// The host's service fills its buffer behind a quote with zeros.
	quoted, err := cutTDQuote(from.TDQuote)
	if err != nil {
		return nil, err
	}
	return packAzure(from.Report, made, quoted, []byte(from.VCEK))
}

// octets are bytes that JSON has as an array of numbers.
type octets []byte

func (o *octets) UnmarshalJSON(raw []byte) error {
	var numbers []uint16
	if err := json.Unmarshal(raw, &numbers); err != nil {
		return err
	}
	*o = make(octets, len(numbers))
	for at, number := range numbers {
		if number > 0xff {
			return fmt.Errorf("octet %d is %d", at, number)
		}
		(*o)[at] = byte(number)
	}
	return nil
}

// joinAzure joins an HCL report, a vTPM quote in az-cvm-vtpm's binary form (lengths of 64 bits,
// little-endian, before each part) and PEM certificates.
func joinAzure(_ []string, files [][]byte) ([]byte, error) {
	var made azureQuote
	rest := files[1]
	next := func() []byte {
		if len(rest) < 8 || binary.LittleEndian.Uint64(rest) > uint64(len(rest)-8) {
			rest = nil
			return nil
		}
		size := binary.LittleEndian.Uint64(rest)
		part := rest[8 : 8+size]
		rest = rest[8+size:]
		return part
	}
	made.signature, made.message = next(), next()
	if len(rest) != 8+24*32 || binary.LittleEndian.Uint64(rest) != 24 {
		return nil, errors.New("not 24 PCRs of SHA-256 behind signature and message")
	}
	for at := 8; at < len(rest); at += 32 {
		made.pcrs = append(made.pcrs, rest[at:at+32])
	}
	return packAzure(files[0], made, nil, files[2])
}

// packAzure packs the parts.
func packAzure(index []byte, made azureQuote, quoted, chain []byte) ([]byte, error) {
	report, err := azureevidence.CutReport(index)
	if err != nil {
		return nil, err
	}
	ak, err := azureAK(report)
	if err != nil {
		return nil, err
	}
	bank := tpmevidence.Bank{Algorithm: tpmBanks["sha256"]}
	for at, value := range made.pcrs {
		bank.PCRs = append(bank.PCRs, tpmevidence.PCR{Index: uint8(at), Value: value}) //nolint:gosec // 24
	}
	// TPMT_SIGNATURE: RSASSA, SHA-256, and the signature behind its size.
	signature := binary.BigEndian.AppendUint16([]byte{0x00, 0x14, 0x00, 0x0b},
		uint16(len(made.signature))) //nolint:gosec // 256
	tpm, err := tpmevidence.Evidence{AKPublic: ak, Quote: made.message,
		QuoteSignature: append(signature, made.signature...), PCRs: []tpmevidence.Bank{bank}}.Marshal()
	if err != nil {
		return nil, err
	}
	out := azureevidence.Evidence{HCLReport: report, TPM: tpm, TDQuote: quoted}
	for {
		var block *pem.Block
		if block, chain = pem.Decode(chain); block == nil {
			return out.Marshal()
		}
		out.Certificates = append(out.Certificates, block.Bytes)
	}
}

// azureTemplate is Azure's TPMT_PUBLIC up to the modulus: RSA, SHA-256, the attributes fixedTPM,
// fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted and sign, no policy, RSASSA with
// SHA-256, 2048 bits, the usual exponent. Nobody published it; that it is the one, the quotes show:
// they name their signer by a digest over it.
const azureTemplate = "0001000b000504720000" + "0010" + "0014000b" + "0800" + "00000000"

// azureAK writes the public area of the attestation key, whose modulus alone the runtime claims have.
func azureAK(report []byte) ([]byte, error) {
	const claims = 1236
	var runtime struct {
		Keys []struct {
			ID string `json:"kid"`
			N  string `json:"n"`
		} `json:"keys"`
	}
	if len(report) < claims {
		return nil, errors.New("an HCL report without runtime claims")
	}
	if err := json.Unmarshal(report[claims:], &runtime); err != nil {
		return nil, err
	}
	for _, key := range runtime.Keys {
		if key.ID != "HCLAkPub" {
			continue
		}
		modulus, err := base64.RawURLEncoding.DecodeString(key.N)
		if err != nil {
			return nil, err
		}
		public, err := hex.DecodeString(azureTemplate)
		if err != nil {
			return nil, err
		}
		public = binary.BigEndian.AppendUint16(public, uint16(len(modulus))) //nolint:gosec // 256
		return append(public, modulus...), nil
	}
	return nil, errors.New("no key HCLAkPub")
}
