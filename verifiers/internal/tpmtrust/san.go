package tpmtrust

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// identity is which TPM an EK certificate is about (TCG EK Credential Profile 2.5, section 3.2.9,
// "Subject Alternative Name").
type identity struct{ manufacturer, model, version string }

// The object identifiers 2.23.133.2.1 to 3 (tcg-at-tpmManufacturer, tcg-at-tpmModel and
// tcg-at-tpmVersion) as DER has them.
var identityObjects = [3]string{
	"\x67\x81\x05\x02\x01", "\x67\x81\x05\x02\x02", "\x67\x81\x05\x02\x03",
}

// readIdentity reads the one directoryName that names the TPM. The extension is critical where the
// subject is empty, and crypto/x509 knows no directoryName: what is critical is accepted because it
// is read here, all of it.
func readIdentity(certificate *x509.Certificate) (identity, error) {
	var names der
	found := false
	for _, extension := range certificate.Extensions {
		if extension.Id.Equal(oidSubjectAltName) {
			names, found = extension.Value, true
		}
	}
	if !found {
		return identity{}, errors.New("there is none")
	}
	names, err := names.only(tagSequence)
	if err != nil {
		return identity{}, err
	}
	var directory der
	directories := 0
	for count := 0; len(names) > 0; count++ {
		tag, value, err := names.next()
		if err != nil || count == limits.attributes {
			return identity{}, errDER
		}
		if tag == tagDirectoryName {
			directory, directories = value, directories+1
		}
	}
	// With two of them, two readers could take different ones for the TPM's.
	if directories != 1 {
		return identity{}, fmt.Errorf("%d directory names", directories)
	}
	values, err := readAttributes(directory)
	if err != nil {
		return identity{}, err
	}
	vendor, err := vendorID(values[0])
	if err != nil {
		return identity{}, err
	}
	return identity{
		manufacturer: vendor, model: values[1], version: strings.TrimPrefix(values[2], "id:"),
	}, nil
}

// readAttributes reads the TPM's three attributes from a Name, each once, whether they share a
// RelativeDistinguishedName or have one each: makers do both.
func readAttributes(name der) (values [3]string, err error) {
	name, err = name.only(tagSequence)
	if err != nil {
		return values, err
	}
	count := 0
	for len(name) > 0 {
		set, err := name.take(tagSet)
		if err != nil || len(set) == 0 {
			return values, errDER
		}
		for ; len(set) > 0; count++ {
			attribute, err := set.take(tagSequence)
			if err != nil || count == limits.attributes {
				return values, errDER
			}
			object, err := attribute.take(asn1.TagOID)
			if err != nil {
				return values, err
			}
			for index, known := range identityObjects {
				if string(object) != known {
					continue
				}
				if values[index] != "" {
					return values, fmt.Errorf("attribute 2.23.133.2.%d twice", index+1)
				}
				text, err := attribute.text()
				if err != nil || len(attribute) != 0 {
					return values, fmt.Errorf("attribute 2.23.133.2.%d is not one text", index+1)
				}
				values[index] = text
			}
		}
	}
	for index, value := range values {
		if value == "" {
			return values, fmt.Errorf("no attribute 2.23.133.2.%d", index+1)
		}
	}
	return values, nil
}

// vendorID reads "id:" and the eight hex digits of a vendor id of the "TCG TPM Vendor ID Registry":
// usually letters, filled up with blanks or zeros.
func vendorID(text string) (string, error) {
	digits, ok := strings.CutPrefix(text, "id:")
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != 4 {
		return "", errors.New("a manufacturer that is not id: and eight hex digits")
	}
	letters := strings.TrimRight(string(raw), " \x00")
	for _, letter := range []byte(letters) {
		if (letter < 'A' || letter > 'Z') && (letter < '0' || letter > '9') && letter != '_' {
			return strings.ToUpper(digits), nil
		}
	}
	if letters == "" {
		return strings.ToUpper(digits), nil
	}
	return letters, nil
}
