package testvectors

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/attestd/attestd/internal/tpmevidence"
)

// The steps of this file turn what other projects publish as TPM evidence into the container of this
// one. They move TPM structures byte for byte and check nothing.

// tpmBanks are TPM_ALG_ID values by the name of the bank.
var tpmBanks = map[string]uint16{"sha1": 0x0004, "sha256": 0x000b, "sha384": 0x000c}

// decodeGoTPMTools reads a protobuf message attest.Attestation (go-tpm-tools, proto/attest.proto) and
// keeps its quote over the bank that the step names, and its log. The attestation key's certificate is
// left out: see joinGoTPMTools.
func decodeGoTPMTools(words []string, in []byte) ([]byte, error) {
	evidence, err := readAttestation(words[0], in)
	if err != nil {
		return nil, err
	}
	evidence.AKCertificate = nil
	return evidence.Marshal()
}

// joinGoTPMTools does the same, keeps the certificate, and puts its issuer's (DER) beside it.
func joinGoTPMTools(words []string, files [][]byte) ([]byte, error) {
	evidence, err := readAttestation(words[0], files[0])
	if err != nil {
		return nil, err
	}
	evidence.Intermediates = [][]byte{files[1]}
	return evidence.Marshal()
}

func readAttestation(bank string, in []byte) (tpmevidence.Evidence, error) {
	evidence := tpmevidence.Evidence{}
	algorithm, known := tpmBanks[bank]
	if !known {
		return evidence, fmt.Errorf("unknown bank %q", bank)
	}
	err := eachField(in, func(number protowire.Number, _ uint64, value []byte) error {
		switch number {
		case 1:
			evidence.AKPublic = value
		case 2:
			return readQuote(value, algorithm, &evidence)
		case 3:
			evidence.EventLog = value
		case 6:
			evidence.AKCertificate = value
		}
		return nil
	})
	if err == nil && evidence.Quote == nil {
		err = fmt.Errorf("no quote over the bank %s", bank)
	}
	return evidence, err
}

// readQuote reads a message tpm.Quote (proto/tpm.proto) into evidence if it is over the bank.
func readQuote(in []byte, bank uint16, evidence *tpmevidence.Evidence) error {
	var quote, signature []byte
	values := tpmevidence.Bank{}
	err := eachField(in, func(number protowire.Number, _ uint64, value []byte) error {
		switch number {
		case 1:
			quote = value
		case 2:
			signature = value
		case 3:
			return readPCRs(value, &values)
		}
		return nil
	})
	if err == nil && values.Algorithm == bank {
		evidence.Quote, evidence.QuoteSignature = quote, signature
		evidence.PCRs = []tpmevidence.Bank{values}
	}
	return err
}

// readPCRs reads a message tpm.PCRs, whose map has entries (key 1, value 2) in any order.
func readPCRs(in []byte, bank *tpmevidence.Bank) error {
	err := eachField(in, func(number protowire.Number, word uint64, value []byte) error {
		if number == 1 {
			bank.Algorithm = uint16(word) //nolint:gosec // a TPM_ALG_ID, compared by readQuote
			return nil
		}
		var pcr tpmevidence.PCR
		err := eachField(value, func(number protowire.Number, word uint64, value []byte) error {
			if number == 1 {
				pcr.Index = uint8(word) //nolint:gosec // below 24; the quote's digest covers which
			} else {
				pcr.Value = value
			}
			return nil
		})
		bank.PCRs = append(bank.PCRs, pcr)
		return err
	})
	slices.SortFunc(bank.PCRs, func(a, b tpmevidence.PCR) int { return cmp.Compare(a.Index, b.Index) })
	return err
}

// eachField calls do for every field of a protobuf message: with the number of a varint field, or
// with the bytes of a length-delimited one.
func eachField(
	in []byte, do func(number protowire.Number, word uint64, value []byte) error,
) error {
	for len(in) > 0 {
		number, kind, length := protowire.ConsumeTag(in)
		if length < 0 {
			return protowire.ParseError(length)
		}
		in = in[length:]
		var word uint64
		var value []byte
		switch kind {
		case protowire.VarintType:
			word, length = protowire.ConsumeVarint(in)
		case protowire.BytesType:
			value, length = protowire.ConsumeBytes(in)
		default:
			return fmt.Errorf("field %d has wire type %d", number, kind)
		}
		if length < 0 {
			return protowire.ParseError(length)
		}
		in = in[length:]
		if err := do(number, word, value); err != nil {
			return err
		}
	}
	return nil
}

// decodeGoAttestation reads a JSON dump of go-attestation's tests: attestation key, one quote, its
// PCRs and the log.
func decodeGoAttestation(_ []string, in []byte) ([]byte, error) {
	var dump struct {
		AK    struct{ Public []byte }
		Quote struct{ Quote, Signature []byte }
		Log   struct {
			PCRs []struct {
				Index     uint8
				Digest    []byte
				DigestAlg int // crypto.Hash
			}
			Raw []byte
		}
	}
	if err := json.Unmarshal(in, &dump); err != nil {
		return nil, err
	}
	bank := tpmevidence.Bank{Algorithm: tpmBanks["sha1"]}
	for _, pcr := range dump.Log.PCRs {
		if len(pcr.Digest) != bankSizes["sha1"] {
			return nil, fmt.Errorf("PCR%d is not of the bank sha1", pcr.Index)
		}
		bank.PCRs = append(bank.PCRs, tpmevidence.PCR{Index: pcr.Index, Value: pcr.Digest})
	}
	slices.SortFunc(bank.PCRs, func(a, b tpmevidence.PCR) int { return cmp.Compare(a.Index, b.Index) })
	return tpmevidence.Evidence{
		AKPublic: dump.AK.Public, Quote: dump.Quote.Quote, QuoteSignature: dump.Quote.Signature,
		PCRs: []tpmevidence.Bank{bank}, EventLog: dump.Log.Raw,
	}.Marshal()
}

// joinTPM2Tools joins the files of tpm2_quote and tpm2_createak: message, signature, PCR values and
// the publics (TPM2B_PUBLIC) of the attestation key and of its parent.
func joinTPM2Tools(_ []string, files [][]byte) ([]byte, error) {
	ak, err := sized16(files[3])
	if err != nil {
		return nil, fmt.Errorf("attestation key: %w", err)
	}
	parent, err := sized16(files[4])
	if err != nil {
		return nil, fmt.Errorf("parent: %w", err)
	}
	name, err := nameOf(parent)
	if err != nil {
		return nil, fmt.Errorf("parent: %w", err)
	}
	pcrs, err := readTPM2ToolsPCRs(files[2])
	if err != nil {
		return nil, fmt.Errorf("PCR values: %w", err)
	}
	return tpmevidence.Evidence{
		AKPublic: ak, AKParents: [][]byte{name}, Quote: files[0], QuoteSignature: files[1],
		PCRs: []tpmevidence.Bank{pcrs},
	}.Marshal()
}

// sized16 takes the length off a TPM2B structure.
func sized16(in []byte) ([]byte, error) {
	if len(in) < 2 || int(binary.BigEndian.Uint16(in)) != len(in)-2 {
		return nil, errors.New("no TPM2B structure")
	}
	return in[2:], nil
}

// nameOf returns the Name of a key whose name algorithm is SHA-256 (TPM 2.0 Library, Part 1, section
// "Names").
func nameOf(public []byte) ([]byte, error) {
	const sha256ID = 0x000b
	if len(public) < 4 || binary.BigEndian.Uint16(public[2:]) != sha256ID {
		return nil, errors.New("no public area with the name algorithm SHA-256")
	}
	digest := sha256.Sum256(public)
	return append([]byte{sha256ID >> 8, sha256ID & 0xff}, digest[:]...), nil
}

// readTPM2ToolsPCRs reads what tpm2_quote writes with --pcrs_format=serialized: C structures of a
// little-endian machine, which are a TPML_PCR_SELECTION of 16 places, then the number of lists, and
// TPML_DIGEST lists of 8 places.
func readTPM2ToolsPCRs(in []byte) (bank tpmevidence.Bank, err error) {
	const selections, lists, list, digest = 4 + 16*8, 4 + 16*8 + 4, 4 + 8*66, 66
	little := binary.LittleEndian
	if len(in) < lists || little.Uint32(in) != 1 || in[6] != 3 || (len(in)-lists)%list != 0 ||
		int(little.Uint32(in[selections:])) != (len(in)-lists)/list {
		return bank, errors.New("not one bank of 24 PCRs with its lists of digests")
	}
	bank.Algorithm = little.Uint16(in[4:])
	var values [][]byte
	for at := lists; at < len(in); at += list {
		count := int(little.Uint32(in[at:]))
		if count > 8 {
			return bank, fmt.Errorf("a list of %d digests", count)
		}
		for i := range count {
			buffer := in[at+4+i*digest:]
			size := int(little.Uint16(buffer))
			if size > digest-2 {
				return bank, fmt.Errorf("a digest of %d bytes", size)
			}
			values = append(values, buffer[2:2+size])
		}
	}
	for index := range uint8(24) {
		if in[7+index/8]&(1<<(index%8)) == 0 {
			continue
		}
		if len(values) == 0 {
			return bank, errors.New("fewer digests than PCRs")
		}
		bank.PCRs = append(bank.PCRs, tpmevidence.PCR{Index: index, Value: values[0]})
		values = values[1:]
	}
	if len(values) != 0 {
		return bank, errors.New("more digests than PCRs")
	}
	return bank, nil
}

// decodeTrusteeTPM reads the JSON of trustee's TPM attester. Its ak_public is a
// SubjectPublicKeyInfo and goes where the TPMT_PUBLIC belongs, since nothing better was published:
// without the attributes nobody can say whether the key signs whatever it is given.
func decodeTrusteeTPM(_ []string, in []byte) ([]byte, error) {
	var from struct {
		AK    []byte `json:"ak_public"`
		Quote struct {
			Message   []byte   `json:"message"`
			Signature []byte   `json:"signature"`
			PCRs      []string `json:"pcrs"`
		} `json:"tpm_quote"`
	}
	decoder := json.NewDecoder(bytes.NewReader(in))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&from); err != nil {
		return nil, err
	}
	bank := tpmevidence.Bank{Algorithm: tpmBanks["sha256"]}
	for index, text := range from.Quote.PCRs {
		value, err := hex.DecodeString(text)
		if err != nil || index > 23 {
			return nil, fmt.Errorf("PCR%d is %q", index, text)
		}
		bank.PCRs = append(bank.PCRs, tpmevidence.PCR{Index: uint8(index), Value: value})
	}
	return tpmevidence.Evidence{
		AKPublic: from.AK, Quote: from.Quote.Message, QuoteSignature: from.Quote.Signature,
		PCRs: []tpmevidence.Bank{bank},
	}.Marshal()
}
