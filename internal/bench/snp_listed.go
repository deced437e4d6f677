package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-sev-guest/abi"
	sevsnp_ "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

// published is a report of hardware under one of AMD's own roots, whose ASK is not verified with
// every report as the one of a test root is, with AMD's revocation list of that time.
type published struct {
	input   attestd.Input
	product sevsnp_.SevProduct_SevProductName
	// roots are go-sev-guest's own, with the list in them: it neither fetches nor parses it again.
	roots map[string][]*trust.AMDRootCerts
}

// publishedReports returns one report of Milan and one of Genoa, each with its VCEK and list, as of
// a day before the next list was due.
func publishedReports() ([]published, error) {
	corpus, err := testvectors.Load(testvectors.Options{})
	if err != nil {
		return nil, err
	}
	vectors := map[string]testvectors.Vector{}
	for _, vector := range corpus.Format(attestd.FormatSEVSNP) {
		vectors[vector.Name] = vector
	}
	var out []published
	for _, row := range []struct {
		line, report, list string
		product            sevsnp_.SevProduct_SevProductName
	}{
		{"Milan", "sev-snp/go-sev-guest-milan-v2-debug", "sev-snp/openpcc-azure-genoa-v3-crl-of-milan",
			sevsnp_.SevProduct_SEV_PRODUCT_MILAN},
		{"Genoa", "sev-snp/openpcc-azure-genoa-v3", "sev-snp/openpcc-azure-genoa-v3-crl",
			sevsnp_.SevProduct_SEV_PRODUCT_GENOA},
	} {
		report, list := vectors[row.report], vectors[row.list]
		if len(report.Endorsements.Certificates) == 0 || len(list.Endorsements.CRLs) == 0 {
			return nil, fmt.Errorf("no %s or no %s: %s", row.report, row.list, corpus.Report())
		}
		raw := list.Endorsements.CRLs[0]
		parsed, err := x509.ParseRevocationList(raw)
		if err != nil {
			return nil, err
		}
		embedded, err := trust.GetDefaultRootCerts(row.line)
		if err != nil {
			return nil, err
		}
		roots := &trust.AMDRootCerts{
			ProductLine: row.line, ProductCerts: embedded.ProductCerts, CRL: parsed,
		}
		out = append(out, published{
			input: attestd.Input{
				Evidence: report.Evidence, At: parsed.NextUpdate.Add(-24 * time.Hour),
				Endorsements: attestd.Endorsements{
					Certificates: report.Endorsements.Certificates[:1], CRLs: [][]byte{raw},
				},
				Demand: attestd.Recorded(),
			},
			product: row.product,
			roots:   map[string][]*trust.AMDRootCerts{row.line: {roots}},
		})
	}
	return out, nil
}

// offline is go-sev-guest's way to its collateral: it must need none.
type offline struct{}

func (offline) Get(url string) ([]byte, error) {
	return nil, errors.New("the comparison fetches nothing: " + url)
}

// peer is go-sev-guest on the report, with fresh options for every call as its documentation asks.
func (p published) peer(revocations bool) error {
	parsed, err := abi.ReportToProto(p.input.Evidence)
	if err != nil {
		return err
	}
	product := &sevsnp_.SevProduct{Name: p.product}
	return verify.SnpAttestation(&sevsnp_.Attestation{
		Report:           parsed,
		CertificateChain: &sevsnp_.CertificateChain{VcekCert: p.input.Endorsements.Certificates[0]},
		Product:          product,
	}, &verify.Options{
		DisableCertFetching: true, Now: p.input.At, Product: product, TrustedRoots: p.roots,
		CheckRevocations: revocations, Getter: offline{},
	})
}

// listedFigures compares on published reports: new keys by two reports that take turns in a cache
// for one, known ones in a cache of the usual size.
func listedFigures(opts options) ([]Figure, error) {
	reports, err := publishedReports()
	if err != nil {
		return nil, err
	}
	type measured struct{ micros, signatures float64 }
	compare := func(cache int, listed bool) (ours measured, ratio float64, err error) {
		verifier, err := sevsnp.New(sevsnp.Config{ChainCacheSize: cache})
		if err != nil {
			return measured{}, 0, err
		}
		verified := func(round int) error {
			input := reports[round%2].input
			if !listed {
				input.Endorsements.CRLs = nil
			}
			_, err := verifier.Verify(input)
			return err
		}
		for round := range 4 { // reads the lists, and makes the tables of what stays in the cache
			if err := verified(round); err != nil {
				return measured{}, 0, err
			}
		}
		before := verifier.SignaturesVerified()
		medians, err := alternate(opts.rounds, verified,
			func(round int) error { return reports[round%2].peer(listed) })
		if err != nil {
			return measured{}, 0, err
		}
		made := float64(verifier.SignaturesVerified()-before) / float64(opts.rounds)
		return measured{micros: medians[0], signatures: made}, medians[1] / medians[0], nil
	}
	newKey, newRatio, err := compare(1, true)
	if err != nil {
		return nil, fmt.Errorf("new VCEK with CRL: %w", err)
	}
	knownKey, knownRatio, err := compare(0, true)
	if err != nil {
		return nil, fmt.Errorf("known VCEK with CRL: %w", err)
	}
	_, plainRatio, err := compare(1, false)
	if err != nil {
		return nil, fmt.Errorf("new VCEK without CRL: %w", err)
	}
	return []Figure{
		atLeast("sev-snp: new VCEK, with CRL, against go-sev-guest with CRL", newRatio, "x faster", 4, 4),
		atLeast("sev-snp: known VCEK, with CRL, against go-sev-guest with CRL", knownRatio, "x faster", 10, 5),
		atLeast("sev-snp: new VCEK, against go-sev-guest without CRL", plainRatio, "x faster", 2, 5),
		atMost("sev-snp: new VCEK, with CRL, time", newKey.micros, "us", 800, 5),
		atMost("sev-snp: known VCEK, with CRL, time", knownKey.micros, "us", 400, 5),
		atMost("sev-snp: signatures verified, new VCEK, with CRL", newKey.signatures, "per report", 2, 1),
		atMost("sev-snp: signatures verified, known VCEK, with CRL", knownKey.signatures, "per report", 1, 1),
	}, nil
}

// newVCEKMicros is the time of one verification of a report whose VCEK was not seen before.
func newVCEKMicros(opts options) (float64, error) {
	reports, err := publishedReports()
	if err != nil {
		return 0, err
	}
	verifier, err := sevsnp.New(sevsnp.Config{ChainCacheSize: 1})
	if err != nil {
		return 0, err
	}
	medians, err := alternate(opts.rounds, func(round int) error {
		_, err := verifier.Verify(reports[round%2].input)
		return err
	})
	if err != nil {
		return 0, err
	}
	return medians[0], nil
}
