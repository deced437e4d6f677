package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	sevsnp_ "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

type signedReport struct{ report, vcek []byte }

// snpFigures compares with go-sev-guest, which is given its roots parsed: without revocation lists on
// reports of a test authority, with them on published ones (see published).
func snpFigures(opts options) ([]Figure, error) {
	authority, err := forge.NewAMD(forge.AMDConfig{Line: "Milan"})
	if err != nil {
		return nil, err
	}
	reports := make([]signedReport, opts.rounds+1)
	for i := range reports {
		if reports[i], err = forgeReport(authority, byte(i), byte(i>>8)); err != nil {
			return nil, err
		}
	}
	verifier, err := sevsnp.New(sevsnp.Config{InsecureRoots: []*x509.Certificate{authority.ARK}})
	if err != nil {
		return nil, err
	}
	ours := func(report signedReport, more ...[]byte) error {
		_, err := verifier.Verify(attestd.Input{
			Evidence: report.report, At: forge.AMDTime, Demand: attestd.Recorded(),
			Endorsements: attestd.Endorsements{
				Certificates: append([][]byte{report.vcek, authority.ASK.Raw}, more...),
			},
		})
		return err
	}
	peer := func(report signedReport) error { return peerSNP(authority, report) }
	if err := ours(reports[opts.rounds]); err != nil {
		return nil, err
	}

	listed, err := listedFigures(opts)
	if err != nil {
		return nil, err
	}
	for range 2 { // the second time makes the key's table
		if err := ours(reports[0]); err != nil {
			return nil, err
		}
	}
	before := verifier.SignaturesVerified()
	sameKey, err := alternate(opts.rounds,
		func(int) error { return ours(reports[0]) },
		func(int) error { return peer(reports[0]) })
	if err != nil {
		return nil, err
	}
	sameKeySignatures := float64(verifier.SignaturesVerified()-before) / float64(opts.rounds)
	allocations := testing.AllocsPerRun(50, func() { _ = ours(reports[0]) })

	flood := make([][]byte, 0, 100)
	for i := range 100 {
		flood = append(flood, reports[1+i%(len(reports)-1)].vcek)
	}
	stranger := signedReport{report: reports[0].report, vcek: flood[0]} // no key of its own chip
	hostile := func() error { return ours(stranger, flood...) }
	var rejected *attestd.EvidenceError
	if err := hostile(); !errors.As(err, &rejected) {
		return nil, fmt.Errorf("100 certificates: %v, want a rejection", err)
	}
	costs, err := alternate(opts.rounds,
		func(int) error { return ours(reports[0]) },
		func(int) error { _ = hostile(); return nil })
	if err != nil {
		return nil, err
	}
	return append(listed, []Figure{
		atLeast("sev-snp: known VCEK, against go-sev-guest without CRL", sameKey[1]/sameKey[0], "x faster", 3, 5),
		atMost("sev-snp: known VCEK, time", sameKey[0], "us", 800, 5),
		atMost("sev-snp: signatures verified, known VCEK", sameKeySignatures, "per report", 1, 1),
		atMost("sev-snp: allocations, known VCEK", allocations, "per report", maxSNPAllocations, 1),
		atMost("sev-snp: 100 certificates, against one honest report", costs[1]/costs[0], "of its time", 1, 2),
		atMost("sev-snp: memory beyond the input, 100 certificates",
			allocated(func() { _ = hostile() }), "KiB", 1024, 1),
	}...), nil
}

func forgeReport(authority *forge.AMD, low, high byte) (signedReport, error) {
	report := forge.NewSNPReport("Milan", 2)
	report.ChipID[0], report.ChipID[1], report.ChipID[2] = low, high, 1
	vcek, err := authority.IssueVCEK(report.VCEKConfig("Milan-B0")) // the name that chips carry
	if err != nil {
		return signedReport{}, err
	}
	signed, err := forge.SignSNP(report.Bytes(), vcek.Key)
	return signedReport{report: signed, vcek: vcek.DER}, err
}

// peerSNP is go-sev-guest's way, with fresh options for every call as its documentation asks.
func peerSNP(authority *forge.AMD, report signedReport) error {
	parsed, err := abi.ReportToProto(report.report)
	if err != nil {
		return err
	}
	return verify.SnpAttestation(&sevsnp_.Attestation{
		Report: parsed,
		CertificateChain: &sevsnp_.CertificateChain{
			VcekCert: report.vcek, AskCert: authority.ASK.Raw, ArkCert: authority.ARK.Raw,
		},
		Product: abi.DefaultSevProduct(),
	}, &verify.Options{
		DisableCertFetching: true, Now: forge.AMDTime,
		Product: &sevsnp_.SevProduct{Name: sevsnp_.SevProduct_SEV_PRODUCT_MILAN},
		TrustedRoots: map[string][]*trust.AMDRootCerts{"Milan": {{
			Product:     "Milan",
			ProductLine: kds.ProductLine(&sevsnp_.SevProduct{Name: sevsnp_.SevProduct_SEV_PRODUCT_MILAN}),
			ProductCerts: &trust.ProductCerts{
				Ask: authority.ASK, Ark: authority.ARK,
			},
		}}},
	})
}
