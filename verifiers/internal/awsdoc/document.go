package awsdoc

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Document is the payload of an attestation document (NSM section 2.2), as parts of the input.
type Document struct {
	ModuleID  []byte
	Digest    []byte
	Timestamp uint64 // milliseconds since 1970
	// PCRs by index; nil where the document has none.
	PCRs        [32][]byte
	Certificate []byte
	// Bundle are the first certificates of cabundle; BundleSize counts all of them.
	Bundle     [7][]byte
	BundleSize int
	// Optional fields: nil where absent or null, empty where empty.
	PublicKey []byte
	UserData  []byte
	Nonce     []byte

	seen      fieldSet
	pcrCount  int
	beyond    uint64 // the first register index that is too great; 0 for none
	openEnded bool   // the payload was a map of indefinite length
}

// fieldSet is the set of keys that a document has.
type fieldSet uint16

// Keys of a document. They are compared exactly: "PCRS" is another key.
const (
	fieldModuleID fieldSet = 1 << iota
	fieldDigest
	fieldTimestamp
	fieldPCRs
	fieldNitroTPMPCRs
	fieldCertificate
	fieldBundle
	fieldPublicKey
	fieldUserData
	fieldNonce
)

const mandatory = fieldModuleID | fieldDigest | fieldTimestamp | fieldCertificate | fieldBundle

func fieldOf(key []byte) fieldSet {
	switch string(key) {
	case "module_id":
		return fieldModuleID
	case "digest":
		return fieldDigest
	case "timestamp":
		return fieldTimestamp
	case "pcrs":
		return fieldPCRs
	case "nitrotpm_pcrs":
		return fieldNitroTPMPCRs
	case "certificate":
		return fieldCertificate
	case "cabundle":
		return fieldBundle
	case "public_key":
		return fieldPublicKey
	case "user_data":
		return fieldUserData
	case "nonce":
		return fieldNonce
	default:
		return 0
	}
}

var (
	errDuplicate = errors.New("a key stands twice")
	errBothTypes = errors.New("the document has both pcrs and nitrotpm_pcrs")
)

// parseDocument reads payload. The order of keys is free: the hypervisor's is not sorted, and what is
// signed are the bytes. The outermost map may be of indefinite length, as hypervisors send it since
// 2025; nothing else may.
func parseDocument(payload []byte) (*Document, error) {
	cursor := strict.NewCBOR(payload)
	pairs, err := cursor.OpenMap(16)
	if err != nil {
		return nil, err
	}
	d := &Document{openEnded: pairs.Indefinite()}
	for {
		more, err := pairs.More()
		if err != nil {
			return nil, err
		}
		if !more {
			return d, cursor.End()
		}
		key, err := cursor.Text()
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		field := fieldOf(key)
		if field == 0 {
			return nil, fmt.Errorf("unknown key %q", attestd.Excerpt(string(key), 40))
		}
		// RFC 8949 section 5.6: a map with a key twice is invalid. Where one parser takes the first
		// and another the last, an attacker shows each what it wants to see.
		if d.seen&field != 0 {
			return nil, fmt.Errorf("%s: %w", key, errDuplicate)
		}
		d.seen |= field
		if err := d.read(&cursor, field); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
}

func (d *Document) read(cursor *strict.CBOR, field fieldSet) (err error) {
	switch field {
	case fieldModuleID:
		d.ModuleID, err = cursor.Text()
	case fieldDigest:
		d.Digest, err = cursor.Text()
	case fieldTimestamp:
		d.Timestamp, err = cursor.Uint()
	case fieldPCRs, fieldNitroTPMPCRs:
		err = d.readPCRs(cursor)
	case fieldCertificate:
		d.Certificate, err = cursor.Bytes()
	case fieldBundle:
		err = d.readBundle(cursor)
	case fieldPublicKey:
		d.PublicKey, err = optionalBytes(cursor)
	case fieldUserData:
		d.UserData, err = optionalBytes(cursor)
	case fieldNonce:
		d.Nonce, err = optionalBytes(cursor)
	}
	return err
}

// optionalBytes reads a byte string or null: null is what the hypervisor sends for a field that the
// enclave did not ask for, though NSM section 3.2.2.1 says that no field is null.
func optionalBytes(cursor *strict.CBOR) ([]byte, error) {
	if cursor.Null() {
		return nil, nil
	}
	return cursor.Bytes()
}

func (d *Document) readPCRs(cursor *strict.CBOR) error {
	if d.seen&fieldPCRs != 0 && d.seen&fieldNitroTPMPCRs != 0 {
		return errBothTypes
	}
	count, err := cursor.Map(limits.pcrs)
	if err != nil {
		return err
	}
	for range count {
		index, err := cursor.Uint()
		if err != nil {
			return err
		}
		value, err := cursor.Bytes()
		if err != nil {
			return err
		}
		if index >= uint64(len(d.PCRs)) {
			d.beyond = index
			continue
		}
		if d.PCRs[index] != nil {
			return fmt.Errorf("register %d: %w", index, errDuplicate)
		}
		d.PCRs[index] = value
	}
	d.pcrCount = count
	return nil
}

func (d *Document) readBundle(cursor *strict.CBOR) error {
	count, err := cursor.Array(limits.document)
	if err != nil {
		return err
	}
	for index := range count {
		certificate, err := cursor.Bytes()
		if err != nil {
			return err
		}
		if index < len(d.Bundle) {
			d.Bundle[index] = certificate
		}
	}
	d.BundleSize = count
	return nil
}

// checkFields demands what NSM section 3.2.2 demands of each field, and of its digest's length more.
func (d *Document) checkFields() *problem {
	wrong := func(got, want string) *problem {
		return &problem{check: checkFields, got: got, want: want}
	}
	switch {
	case d.seen&mandatory != mandatory:
		return wrong("a mandatory field missing",
			"module_id, digest, timestamp, certificate and cabundle")
	case len(d.ModuleID) == 0 || len(d.ModuleID) > limits.moduleID:
		return wrong(size(len(d.ModuleID))+" of module_id", "1 to 256 bytes")
	case d.Timestamp == 0:
		return wrong("timestamp 0", "milliseconds since 1970, above 0")
	case d.beyond != 0:
		return wrong("register "+strconv.FormatUint(d.beyond, 10), "registers 0 to 31")
	case d.pcrCount == 0:
		return wrong("no register", "1 to 32 registers")
	}
	for index, value := range d.PCRs {
		if value != nil && len(value) != digestSize {
			return wrong(size(len(value))+" in register "+strconv.Itoa(index), "48 bytes (SHA-384)")
		}
	}
	for _, field := range [...]struct {
		name  string
		value []byte
	}{{"public_key", d.PublicKey}, {"user_data", d.UserData}, {"nonce", d.Nonce}} {
		if len(field.value) > limits.userData {
			return wrong(size(len(field.value))+" of "+field.name, "at most 1024 bytes")
		}
	}
	return nil
}

func size(length int) string { return strconv.Itoa(length) + " bytes" }
