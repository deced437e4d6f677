package collateral_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/nitro"
)

// awsScene is a store that trusts a test authority of AWS's shape, at the time of its documents.
func awsScene(t *testing.T) (*scene, *forge.AWS) {
	t.Helper()
	aws, err := forge.NewAWS(forge.AWSOptions{Alter: forge.AWSPoints})
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{T: t, now: aws.At(), folder: t.TempDir() + "/collateral", only: aws.Root()}
	s.store = s.open()
	return s, aws
}

func (s *scene) awsList(aws *forge.AWS, config forge.AWSCRLConfig) []byte {
	s.Helper()
	der, err := aws.CRL(config)
	if err != nil {
		s.Fatal(err)
	}
	return der
}

// TestListsOfAWS are given to judges of enclaves and of instances, and are what a verifier takes.
func TestListsOfAWS(t *testing.T) {
	s, aws := awsScene(t)
	region := aws.Bundle()[1]
	root := s.awsList(aws, forge.AWSCRLConfig{Number: 4})
	regional := s.awsList(aws, forge.AWSCRLConfig{Issuer: forge.AWSRegional, Number: 2})
	s.refuse("is not known", root, regional) // before the region's certificate
	for _, item := range s.take(regional, region, root) {
		if item.Format != attestd.FormatNitro || item.Outcome != "taken" {
			t.Errorf("%+v", item)
		}
	}
	sets := s.open().Sets()
	for _, format := range []attestd.Format{attestd.FormatNitro, attestd.FormatNitroTPM} {
		if of := sets[format]; len(of.CRLs) != 2 || len(of.Floors) != 2 {
			t.Errorf("%s: %d lists and %d floors", format, len(of.CRLs), len(of.Floors))
		}
	}
	verifier, err := nitro.New(nitro.Config{InsecureRoots: []*x509.Certificate{aws.Root()}})
	if err != nil {
		t.Fatal(err)
	}
	document, err := aws.Document(forge.Document{})
	if err != nil {
		t.Fatal(err)
	}
	input := attestd.Input{Evidence: document, At: aws.At(), Demand: attestd.Recorded()}
	input.Endorsements.CRLs = sets[attestd.FormatNitro].CRLs
	input.Anchors.CRLFloors = sets[attestd.FormatNitro].Floors
	claims, err := verifier.Verify(input)
	if err != nil {
		t.Fatal(err)
	}
	if state, _ := claims.Fact("crl"); state.String() != "fresh" {
		t.Errorf("crl is %s", state)
	}
	// neg: 106 - a list with a lower number, and one that verifiers would not take.
	s.refuse("number 3, and 4 was seen", s.awsList(aws, forge.AWSCRLConfig{Number: 3}))
	s.refuse("ECDSA-SHA256", s.awsList(aws, forge.AWSCRLConfig{
		Number: 9, Edit: func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.ECDSAWithSHA256 },
	}))
	s.refuse("yet to come", s.awsList(aws, forge.AWSCRLConfig{Number: 9, At: s.now.Add(time.Hour)}))
}

// TestCAsOfAWSRetire: a region's CA lives for days. Once it has ended, its list and its floor are not given
// out or told any more, a bundle has them no more, and the root's list stays.
func TestCAsOfAWSRetire(t *testing.T) {
	s, aws := awsScene(t)
	region := aws.Bundle()[1]
	s.take(region, s.awsList(aws, forge.AWSCRLConfig{}),
		s.awsList(aws, forge.AWSCRLConfig{Issuer: forge.AWSRegional}))
	if rows := s.store.Health(s.now); len(rows) < 3 {
		t.Fatalf("%d rows", len(rows))
	}
	s.now = s.now.AddDate(0, 0, 11)
	store := s.open()
	of := store.Sets()[attestd.FormatNitro]
	if len(of.CRLs) != 1 || len(of.Floors) != 1 || len(of.Certificates) != 0 {
		t.Errorf("%d lists, %d floors and %d certificates after the region's end",
			len(of.CRLs), len(of.Floors), len(of.Certificates))
	}
	told := 0
	for _, row := range store.Health(s.now) {
		if row.Format == attestd.FormatNitro {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d rows are told of, want the root's list alone", told)
	}
	objects, err := store.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for _, der := range objects {
		if bytes.Equal(der, region) {
			t.Error("a bundle has the CA that ended, and would be refused")
		}
	}
}

// TestTooManyListsOfAWS would make every document be refused: they are not taken.
func TestTooManyListsOfAWS(t *testing.T) {
	s, aws := awsScene(t)
	var many [][]byte
	for index := range 241 {
		uri := "http://example/" + big.NewInt(int64(index)).String()
		name := forge.DER(0xa0, forge.DER(0xa0, forge.DER(0x86, []byte(uri))))
		many = append(many, s.awsList(aws, forge.AWSCRLConfig{Edit: func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{
				Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: forge.DER(0x30, name),
			}}
		}}))
	}
	s.take(many[:240]...)
	if _, err := s.store.Import(t.Context(), many[240:], "test"); err == nil {
		t.Error("the 241st is taken")
	}
}
