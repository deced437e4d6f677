package svidext

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// DefaultOID names the extension where nothing else is configured. It lies in the arc that RFC 5612
// reserves for documentation: an organisation sets one of its own.
const DefaultOID = "1.3.6.1.4.1.32473.1.1"

// version of the extension's form.
const version = 1

// MaxText is the longest text in an extension, in bytes.
const MaxText = 256

// Info is what the extension says.
type Info struct {
	// Attested says that every node that could have obtained the certificate was attested by attestd.
	Attested bool
	// RiskShown says that Risk, Tier and Status are from the extension; without it they are the worst.
	RiskShown bool
	Risk      attestd.RiskScore
	Tier      attestd.Tier
	// Status is "none", "affirming", "warning" or "contraindicated"
	// (draft-ietf-rats-ear-03, section 3.2).
	Status string
	// AttestedAt is when the oldest evidence that counted was judged; zero for none.
	AttestedAt time.Time
	// TEE is the format of the evidence, or "mixed"; Tenant whose the nodes are; KeyGrade "resident",
	// "bound" or "none"; Measurement the name of what runs. Each is empty where it is not known or not
	// the same on all nodes.
	TEE, Tenant, KeyGrade, Measurement string
}

// The extension's value:
//
//	AttestationInfo ::= SEQUENCE {
//	    version      INTEGER (1),
//	    attested     BOOLEAN,
//	    risk         [0] Risk OPTIONAL,
//	    attestedAt   [1] GeneralizedTime OPTIONAL,
//	    tee          [2] UTF8String OPTIONAL,
//	    tenant       [3] UTF8String OPTIONAL,
//	    keyGrade     [4] UTF8String OPTIONAL,
//	    measurement  [5] UTF8String OPTIONAL }
//	Risk ::= SEQUENCE { score INTEGER (0..100), tier UTF8String, status UTF8String }
//
// Tags are explicit.
type info struct {
	Version     int
	Attested    bool
	Risk        risk      `asn1:"optional,explicit,tag:0"`
	AttestedAt  time.Time `asn1:"optional,explicit,tag:1,generalized"`
	TEE         string    `asn1:"optional,explicit,tag:2,utf8"`
	Tenant      string    `asn1:"optional,explicit,tag:3,utf8"`
	KeyGrade    string    `asn1:"optional,explicit,tag:4,utf8"`
	Measurement string    `asn1:"optional,explicit,tag:5,utf8"`
}

type risk struct {
	Score  int
	Tier   string `asn1:"utf8"`
	Status string `asn1:"utf8"`
}

var statuses = []string{"none", "affirming", "warning", "contraindicated"}

// Marshal returns the extension's value in DER.
//
// Errors: where a value is out of its range.
func (i Info) Marshal() ([]byte, error) {
	out := info{
		Version: version, Attested: i.Attested, AttestedAt: i.AttestedAt.UTC().Truncate(time.Second),
		TEE: i.TEE, Tenant: i.Tenant, KeyGrade: i.KeyGrade, Measurement: i.Measurement,
	}
	if i.AttestedAt.IsZero() {
		out.AttestedAt = time.Time{}
	}
	if i.RiskShown {
		out.Risk = risk{i.Risk.Int(), i.Tier.String(), i.Status}
	}
	if err := out.check(); err != nil {
		return nil, err
	}
	return asn1.Marshal(out)
}

func (i info) check() error {
	for name, text := range map[string]string{
		"tee": i.TEE, "tenant": i.Tenant, "keyGrade": i.KeyGrade, "measurement": i.Measurement,
	} {
		if len(text) > MaxText || attestd.Excerpt(text, MaxText) != text {
			return fmt.Errorf("%s %q is longer than %d bytes or not plain text", name,
				attestd.Excerpt(text, 40), MaxText)
		}
	}
	if i.Version != version {
		return fmt.Errorf("version %d, want %d", i.Version, version)
	}
	if i.Risk == (risk{}) {
		return nil
	}
	var tier attestd.Tier
	if err := tier.UnmarshalText([]byte(i.Risk.Tier)); err != nil {
		return err
	}
	if i.Risk.Score < 0 || i.Risk.Score > 100 {
		return fmt.Errorf("score %d, want 0 to 100", i.Risk.Score)
	}
	for _, status := range statuses {
		if i.Risk.Status == status {
			return nil
		}
	}
	return fmt.Errorf("status %q, want one of %v", attestd.Excerpt(i.Risk.Status, 40), statuses)
}

// Parse reads the extension's value. It takes the one DER encoding and no other.
//
// Errors: whatever is not that; the Info beside an error is the worst there is.
func Parse(der []byte) (Info, error) {
	var in info
	if len(der) > 8*MaxText {
		return Info{}, fmt.Errorf("extension of %d bytes, want at most %d", len(der), 8*MaxText)
	}
	rest, err := asn1.Unmarshal(der, &in)
	switch {
	case err != nil:
		return Info{}, fmt.Errorf("extension: %w", err)
	case len(rest) != 0:
		return Info{}, fmt.Errorf("%d bytes behind the extension", len(rest))
	}
	if err = in.check(); err != nil {
		return Info{}, fmt.Errorf("extension: %w", err)
	}
	out := Info{
		Attested: in.Attested, AttestedAt: in.AttestedAt, TEE: in.TEE, Tenant: in.Tenant,
		KeyGrade: in.KeyGrade, Measurement: in.Measurement,
	}
	if in.Risk != (risk{}) {
		out.RiskShown, out.Risk, out.Status = true, attestd.Risk(in.Risk.Score), in.Risk.Status
		if err = out.Tier.UnmarshalText([]byte(in.Risk.Tier)); err != nil {
			return Info{}, err
		}
	}
	again, err := out.Marshal()
	if err != nil || !bytes.Equal(again, der) {
		return Info{}, errors.New("extension is not in its one DER encoding")
	}
	return out, nil
}

// Of returns what the certificate's extension says, and whether it has one.
//
// Errors: a name that is no OID; an extension that is there twice or cannot be read.
func Of(certificate *x509.Certificate, oid string) (said Info, found bool, err error) {
	want, err := ParseOID(oid)
	if err != nil {
		return Info{}, false, err
	}
	for _, extension := range certificate.Extensions {
		if !extension.Id.Equal(want) {
			continue
		}
		if found {
			return Info{}, true, errors.New("the extension is there twice")
		}
		found = true
		if said, err = Parse(extension.Value); err != nil {
			return Info{}, true, err
		}
	}
	return said, found, nil
}

// ParseOID reads an OID in dots. Arcs above 31 bits are refused: certificates with them cannot be
// read by Go.
//
// Errors: whatever is no OID that an extension can have.
func ParseOID(text string) (asn1.ObjectIdentifier, error) {
	var oid asn1.ObjectIdentifier
	for _, part := range strings.Split(text, ".") {
		arc, err := strconv.ParseUint(part, 10, 31)
		if err != nil || strconv.FormatUint(arc, 10) != part {
			return nil, fmt.Errorf("%q is no OID, want one as in %s", attestd.Excerpt(text, 80),
				DefaultOID)
		}
		oid = append(oid, int(arc)) //nolint:gosec // 31 bits
	}
	if len(oid) < 4 || len(oid) > 20 || oid[0] > 2 || oid[0] < 2 && oid[1] > 39 {
		return nil, fmt.Errorf("%q is no OID, want one as in %s", attestd.Excerpt(text, 80), DefaultOID)
	}
	return oid, nil
}
