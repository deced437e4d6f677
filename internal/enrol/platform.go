package enrol

import (
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Attribute certificate, version 2 (RFC 5755, section 4.1), as far as it is read.
type attributeCertificate struct {
	Info struct {
		Version    int
		Holder     asn1.RawValue
		Issuer     asn1.RawValue
		Signature  asn1.RawValue
		Serial     *big.Int
		Validity   asn1.RawValue
		Attributes asn1.RawValue
		IssuerUID  asn1.BitString   `asn1:"optional"`
		Extensions []pkix.Extension `asn1:"optional"`
	}
	Algorithm asn1.RawValue
	Signature asn1.BitString
}

const attributeVersion2 = 1

// holder names the EK certificate that a platform certificate belongs to. TCG Platform Certificate
// Profile 1.1, section 3.1.1: "the holder identifies the TPM's EK certificate" by issuer and serial;
// RFC 5755 has digests of the key or the certificate besides.
type holder struct {
	issuer pkix.RDNSequence
	serial *big.Int
	// digest, where it is set, is of the key, or else of the certificate.
	digest []byte
	ofKey  bool
}

// platforms reads platform certificates together with the EK certificates that they belong to. Who
// signed them is not looked at: like every list this is the operator's word. What they add is which
// chassis a TPM was built into; that becomes the label.
func (l *list) platforms(document []byte) {
	var keys []endorsement
	var platforms []platform
	for _, item := range l.certificates(document) {
		made, isPlatform, err := readPlatform(item)
		if isPlatform {
			if err != nil {
				l.problem(item.place, "%s", attestd.Excerpt(err.Error(), 160))
				continue
			}
			platforms = append(platforms, made)
			continue
		}
		ek, err := readEndorsement(item.raw)
		if err != nil {
			l.problem(item.place, "%s", attestd.Excerpt(err.Error(), 160))
			continue
		}
		keys = append(keys, ek)
	}
	if len(platforms) == 0 {
		l.problem("list", "has no platform certificate")
	}
	index := indexOf(keys)
	for _, made := range platforms {
		digest, err := index.of(made.holder)
		if err != nil {
			l.problem(made.place, "%s", attestd.Excerpt(err.Error(), 160))
			continue
		}
		l.add(Entry{
			Key:   subject.Key{Kind: KindInstance, Value: "ek:" + hex.EncodeToString(digest[:])},
			Label: made.label, place: made.place,
		})
	}
}

// platform is a platform certificate as far as ownership needs it.
type platform struct {
	holder holder
	label  string
	place  string
}

// readPlatform reads an attribute certificate; isPlatform is false for what is none.
func readPlatform(item der) (made platform, isPlatform bool, err error) {
	if len(item.raw) > maxCertificate {
		return made, false, nil
	}
	var read attributeCertificate
	rest, err := asn1.Unmarshal(item.raw, &read)
	if err != nil || read.Info.Holder.Tag != asn1.TagSequence || read.Info.Holder.Class != asn1.ClassUniversal {
		return made, false, nil //nolint:nilerr // it is then read as an EK certificate, which says what is wrong
	}
	made.place = item.place
	switch {
	case len(rest) > 0:
		return made, true, errors.New("bytes follow the attribute certificate")
	case read.Info.Version != attributeVersion2:
		return made, true, fmt.Errorf("is an attribute certificate of version %d, want 2", read.Info.Version+1)
	}
	if made.holder, err = readHolder(read.Info.Holder.Bytes); err != nil {
		return made, true, fmt.Errorf("holder: %w", err)
	}
	made.label = chassis(read.Info.Extensions)
	return made, true, nil
}

// readHolder reads Holder ::= SEQUENCE { baseCertificateID [0] IssuerSerial OPTIONAL, entityName [1]
// GeneralNames OPTIONAL, objectDigestInfo [2] ObjectDigestInfo OPTIONAL }.
func readHolder(raw []byte) (made holder, err error) {
	seen := -1
	for len(raw) > 0 {
		var part asn1.RawValue
		if raw, err = asn1.Unmarshal(raw, &part); err != nil {
			return made, errors.New("cannot be read")
		}
		if part.Class != asn1.ClassContextSpecific || part.Tag > 2 || part.Tag <= seen {
			return made, errors.New("has a part that is none of its own, or out of order")
		}
		seen = part.Tag
		switch part.Tag {
		case 0:
			err = made.readIssuerSerial(part.Bytes)
		case 2:
			err = made.readDigest(part.Bytes)
		}
		if err != nil {
			return made, err
		}
	}
	if made.serial == nil && made.digest == nil {
		return made, errors.New("names no certificate and no key: want baseCertificateID")
	}
	return made, nil
}

func (h *holder) readIssuerSerial(raw []byte) error {
	var names asn1.RawValue
	raw, err := asn1.Unmarshal(raw, &names)
	if err != nil || names.Tag != asn1.TagSequence || names.Class != asn1.ClassUniversal {
		return errors.New("baseCertificateID has no issuer")
	}
	if _, err := asn1.Unmarshal(raw, &h.serial); err != nil {
		return errors.New("baseCertificateID has no serial number")
	}
	var name asn1.RawValue
	more, err := asn1.Unmarshal(names.Bytes, &name)
	// GeneralName's directoryName is [4] around a Name. Several names would be a choice.
	if err != nil || name.Class != asn1.ClassContextSpecific || name.Tag != 4 || len(more) > 0 {
		return errors.New("baseCertificateID has an issuer that is not one directoryName")
	}
	if rest, err := asn1.Unmarshal(name.Bytes, &h.issuer); err != nil || len(rest) > 0 || len(h.issuer) == 0 {
		return errors.New("baseCertificateID has an issuer that cannot be read")
	}
	return nil
}

// readDigest reads ObjectDigestInfo (RFC 5755, section 7.3) over a key or a certificate.
func (h *holder) readDigest(raw []byte) error {
	var kind asn1.Enumerated
	raw, err := asn1.Unmarshal(raw, &kind)
	if err != nil || kind < 0 || kind > 1 {
		return errors.New("objectDigestInfo is of neither a key nor a certificate")
	}
	var algorithm pkix.AlgorithmIdentifier
	var digest asn1.BitString
	if raw, err = asn1.Unmarshal(raw, &algorithm); err != nil || !algorithm.Algorithm.Equal(oidSHA256) {
		return errors.New("objectDigestInfo has another digest than SHA-256")
	}
	if raw, err = asn1.Unmarshal(raw, &digest); err != nil || len(raw) > 0 || digest.BitLength != 8*sha256.Size {
		return errors.New("objectDigestInfo has no digest of 32 bytes")
	}
	h.digest, h.ofKey = digest.Bytes, kind == 0
	return nil
}

var oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}

// endorsements are EK certificates by what a holder names them by.
type endorsements struct {
	bySerial map[string][]endorsement
	byDigest map[[sha256.Size]byte]endorsement
}

func indexOf(keys []endorsement) endorsements {
	made := endorsements{
		bySerial: make(map[string][]endorsement, len(keys)),
		byDigest: make(map[[sha256.Size]byte]endorsement, len(keys)),
	}
	for _, ek := range keys {
		serial := ek.certificate.SerialNumber.String()
		made.bySerial[serial] = append(made.bySerial[serial], ek)
		made.byDigest[sha256.Sum256(ek.certificate.Raw)] = ek
	}
	return made
}

// of returns the digest of the key that the holder names. Where it names it twice, both must agree:
// else the chassis of one machine would stand for the TPM of another.
func (e endorsements) of(named holder) (key [sha256.Size]byte, err error) {
	found := false
	if named.serial != nil {
		for _, ek := range e.bySerial[named.serial.String()] {
			if !sameName(named.issuer, ek.certificate.RawIssuer) {
				continue
			}
			if found && ek.key != key {
				// Nobody looked at who signed them: the second may be anybody's.
				return key, fmt.Errorf("certificates of two keys in the list have serial %x of %s",
					named.serial, attestd.Excerpt(named.issuer.String(), 80))
			}
			key, found = ek.key, true
		}
		if !found {
			return key, fmt.Errorf("the EK certificate with serial %x of %s is not in the list: add it",
				named.serial, attestd.Excerpt(named.issuer.String(), 80))
		}
	}
	if named.digest == nil {
		return key, nil
	}
	var digest [sha256.Size]byte
	copy(digest[:], named.digest)
	if !named.ofKey {
		ek, ok := e.byDigest[digest]
		if !ok {
			return key, fmt.Errorf("the EK certificate with SHA-256 %x is not in the list: add it", digest)
		}
		digest = ek.key
	}
	if found && digest != key {
		return key, errors.New("the holder names one key by serial number and another by digest")
	}
	return digest, nil
}

// sameName compares two names by their attributes: they may be encoded as different kinds of text.
func sameName(a pkix.RDNSequence, raw []byte) bool {
	var b pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &b); err != nil || len(rest) > 0 || len(a) != len(b) {
		return false
	}
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return false
		}
		for j := range a[i] {
			left, isText := a[i][j].Value.(string)
			right, both := b[i][j].Value.(string)
			if !isText || !both || left != right || !a[i][j].Type.Equal(b[i][j].Type) {
				return false
			}
		}
	}
	return true
}

var (
	oidAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	// Attributes of a platform's name: TCG Platform Certificate Profile 1.1, section 3.1.2, and the
	// arcs of 1.0 beside them.
	chassisNames = []asn1.ObjectIdentifier{
		{2, 23, 133, 5, 1, 1}, {2, 23, 133, 2, 4}, // manufacturer
		{2, 23, 133, 5, 1, 4}, {2, 23, 133, 2, 5}, // model
		{2, 23, 133, 5, 1, 6}, {2, 23, 133, 2, 23}, // serial number
	}
)

// chassis returns manufacturer, model and serial number of a platform, as far as its certificate has
// them; it is a label and decides nothing.
func chassis(extensions []pkix.Extension) string {
	var names []byte
	for _, extension := range extensions {
		if extension.Id.Equal(oidAltName) {
			names = extension.Value
		}
	}
	var sequence, general asn1.RawValue
	var parts []string
	if _, err := asn1.Unmarshal(names, &sequence); err != nil {
		return ""
	}
	for rest := sequence.Bytes; len(rest) > 0; {
		behind, err := asn1.Unmarshal(rest, &general)
		if err != nil {
			return ""
		}
		rest = behind
		var name pkix.RDNSequence
		if _, err := asn1.Unmarshal(general.Bytes, &name); general.Tag == 4 && err == nil {
			parts = append(parts, chassisParts(name)...)
		}
	}
	return label(strings.Join(parts, " "))
}

func chassisParts(name pkix.RDNSequence) (parts []string) {
	for _, wanted := range chassisNames {
		for _, set := range name {
			for _, attribute := range set {
				text, ok := attribute.Value.(string)
				if ok && attribute.Type.Equal(wanted) && strings.TrimSpace(text) != "" {
					parts = append(parts, strings.TrimSpace(text))
				}
			}
		}
	}
	return parts
}
