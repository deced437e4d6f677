package svid

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// signedBy are the signatures that a certificate request may have.
var signedBy = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
}

var (
	// oidExtensions is extensionRequest (RFC 2985, section 5.4.2), oidNames subjectAltName (RFC
	// 5280, section 4.2.1.6).
	oidExtensions = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidNames      = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// emptyName is the DER of a subject without a name.
var emptyName = []byte{0x30, 0x00}

func deny(format string, args ...any) error {
	return fault(attestd.ClassPolicyDeny,
		"ask with an empty subject and one extension, subjectAltName with the SPIFFE ID as one URI",
		format, args...)
}

// idOf returns the SPIFFE ID that a certificate request names. Beside it the request says nothing:
// no subject, no other name, no other extension and no other attribute.
func idOf(csr *x509.CertificateRequest, trustDomain string) (string, error) {
	switch {
	case !bytes.Equal(csr.RawSubject, emptyName):
		return "", deny("the certificate request has a subject")
	case len(csr.DNSNames)+len(csr.EmailAddresses)+len(csr.IPAddresses) != 0:
		return "", deny("the certificate request has names beside its SPIFFE ID")
	case len(csr.URIs) != 1:
		return "", deny("the certificate request has %d URIs, want 1", len(csr.URIs))
	}
	id, err := subject.ParseID(csr.URIs[0].String())
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(string(id), "spiffe://"+trustDomain+"/") {
		return "", deny("%q is of another trust domain", attestd.Excerpt(string(id), 80))
	}
	for _, one := range csr.Extensions {
		if !one.Id.Equal(oidNames) {
			return "", deny("the certificate request has an extension %s", one.Id)
		}
	}
	// Kinds of names and attributes that crypto/x509 does not return, and others to come, are bytes
	// that the one form does not have.
	attributes, err := attributesOf(csr.RawTBSCertificateRequest)
	if err != nil {
		return "", err
	}
	for _, critical := range []bool{false, true} {
		if bytes.Equal(attributes, attributesFor(string(id), critical)) {
			return string(id), nil
		}
	}
	return "", deny("the certificate request says more than a key and a SPIFFE ID")
}

// attributesOf returns the DER of the attributes (RFC 2986, section 4.1: the last of four parts).
func attributesOf(info []byte) ([]byte, error) {
	var parts []asn1.RawValue
	if rest, err := asn1.Unmarshal(info, &parts); err != nil || len(rest) != 0 || len(parts) != 4 {
		return nil, deny("the certificate request has no attributes")
	}
	return parts[3].FullBytes, nil
}

// attributesFor is the DER of the attributes of a request for the id.
func attributesFor(id string, critical bool) []byte {
	type extension struct {
		ID       asn1.ObjectIdentifier
		Critical bool `asn1:"optional"`
		Value    []byte
	}
	type attribute struct {
		ID     asn1.ObjectIdentifier
		Values [][]extension `asn1:"set"`
	}
	uri := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(id)}
	extensions := []extension{{oidNames, critical, mustDER([]asn1.RawValue{uri}, "")}}
	return mustDER([]attribute{{oidExtensions, [][]extension{extensions}}}, "tag:0,set")
}

// mustDER writes what cannot fail to be written; nil is equal to no request.
func mustDER(value any, parameters string) []byte {
	der, err := asn1.MarshalWithParams(value, parameters)
	if err != nil {
		return nil
	}
	return der
}
