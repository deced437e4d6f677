package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
)

// Checks that decide about evidence which the demo itself spoils.
const (
	nitroSignature = "nitro/signature"
	nitroValidity  = "nitro/chain-validity"
	snpSignature   = "sev-snp/signature"
	snpValidity    = "sev-snp/chain-validity"
)

// Labels of what the demo shows of each format.
const (
	whatGood     = "good"
	whatDebug    = "debug"
	whatTampered = "tampered"
	whatExpired  = "expired"
	whatNoVCEK   = "no VCEK"
)

// demoEvidence returns published evidence where it can be had, and forged evidence where it cannot.
func (a *app) demoEvidence(ctx context.Context, synthetic bool) (demoCases, error) {
	if synthetic {
		return a.forged("asked for with --synthetic")
	}
	done := a.progress("loading published evidence with the go command")
	corpus, err := testvectors.Load(testvectors.Options{ExtraDir: os.Getenv(testvectors.ExtraVariable)})
	done()
	if err == nil {
		var shown demoCases
		if shown, err = published(corpus); err == nil {
			return shown, nil
		}
	}
	if ctx.Err() != nil {
		return demoCases{}, usagef("start it again", "stopped while loading evidence")
	}
	return a.forged(attestd.Excerpt(err.Error(), 200))
}

// published picks what any machine can load from Go modules, and spoils copies of the good ones.
func published(corpus *testvectors.Corpus) (demoCases, error) {
	byName := make(map[string]testvectors.Vector, len(corpus.Vectors))
	for _, vector := range corpus.Vectors {
		byName[vector.Name] = vector
	}
	shown := demoCases{source: "published", notes: []string{
		"Good and debug evidence was signed by real hardware and published by others; \"tampered\" is the " +
			"good one with a bit of it changed, \"expired\" the good one judged outside its certificates' life.",
	}}
	for _, pick := range []struct {
		vector, name, what string
		flip               int // offset of the bit that is changed; 0 for none
		at                 time.Time
		check              attestd.CheckID
	}{
		{vector: "nitro/anjuna-2023-09-21", name: "Nitro enclave, 2023", what: whatGood},
		{vector: "nitro/anjuna-2024-01-24-debug", name: "Nitro enclave, 2024", what: whatDebug},
		{vector: "nitro/anjuna-2023-09-21", name: "Nitro enclave, 2023", what: whatTampered,
			flip: -1, check: nitroSignature},
		{vector: "nitro/anjuna-2023-09-21", name: "Nitro enclave, 2023", what: whatExpired,
			at: time.Now(), check: nitroValidity},
		{vector: "sev-snp/openpcc-azure-genoa-v3", name: "SEV-SNP Genoa, v3", what: whatGood},
		{vector: "sev-snp/go-sev-guest-milan-v2-debug", name: "SEV-SNP Milan, v2", what: whatDebug},
		{vector: "sev-snp/openpcc-azure-genoa-v3", name: "SEV-SNP Genoa, v3", what: whatTampered,
			flip: snpMeasurement, check: snpSignature},
		{vector: "sev-snp/openpcc-azure-genoa-v3", name: "SEV-SNP Genoa, v3", what: whatExpired,
			at: longAfter, check: snpValidity},
		{vector: "sev-snp/openpcc-gce-milan-v4-no-vcek", name: "SEV-SNP Milan, v4", what: whatNoVCEK},
	} {
		vector, ok := byName[pick.vector]
		if !ok {
			return demoCases{}, fmt.Errorf("%s is not available", pick.vector)
		}
		one := demoCase{
			name: pick.name, what: pick.what, format: vector.Format, evidence: vector.Evidence,
			endorsements: vector.Endorsements, at: vector.At, expect: vector.Expect, check: vector.Check,
		}
		if pick.check != "" {
			one = one.spoilt(pick.what, pick.flip, pick.at, pick.check)
		}
		shown.cases = append(shown.cases, one)
	}
	return shown, nil
}

// snpMeasurement is the offset of MEASUREMENT in a report (AMD 56860 rev 1.58, table "ATTESTATION_REPORT
// structure"); longAfter is after every VCEK of today has expired.
const snpMeasurement = 0x90

var longAfter = time.Date(2040, time.January, 1, 0, 0, 0, 0, time.UTC)

// spoilt returns a copy of the case with a bit changed or judged at another time.
func (c demoCase) spoilt(what string, flip int, at time.Time, check attestd.CheckID) demoCase {
	c.what, c.expect, c.check = what, attestd.VerdictRejected, check
	if !at.IsZero() {
		c.at = at
	}
	if flip != 0 {
		c.evidence = bytes.Clone(c.evidence)
		c.evidence[(len(c.evidence)+flip)%len(c.evidence)] ^= 1
	}
	return c
}

// forged makes evidence under authorities that live as long as the demo.
func (a *app) forged(reason string) (demoCases, error) {
	defer a.progress("making test authorities (two RSA keys of 4096 bits)")()
	shown := demoCases{source: "synthetic", notes: []string{
		"SYNTHETIC: no hardware made this evidence. It was forged just now under test authorities that this " +
			"server was told to trust, so that the risk is never below 60 (attestd explain roots/pinned).",
		"Published evidence was not used: " + reason,
	}}
	nitro, err := forge.NewAWS(forge.AWSOptions{})
	if err != nil {
		return shown, err
	}
	snp, err := forge.NewAMD(forge.AMDConfig{Line: "Milan"})
	if err != nil {
		return shown, err
	}
	shown.roots = toPEM(nitro.RootDER(), snp.ARK.Raw)
	good, goodErr := forgedNitro(nitro, false)
	debug, debugErr := forgedNitro(nitro, true)
	if err := errors.Join(goodErr, debugErr); err != nil {
		return shown, err
	}
	shown.cases = append(shown.cases, good, debug,
		good.spoilt(whatTampered, -1, time.Time{}, nitroSignature),
		good.spoilt(whatExpired, 0, time.Now(), nitroValidity))
	good, goodErr = forgedSNP(snp, false)
	debug, debugErr = forgedSNP(snp, true)
	if err := errors.Join(goodErr, debugErr); err != nil {
		return shown, err
	}
	shown.cases = append(shown.cases, good, debug,
		good.spoilt(whatTampered, snpMeasurement, time.Time{}, snpSignature),
		good.spoilt(whatExpired, 0, longAfter, snpValidity))
	return shown, nil
}

func forgedNitro(authority *forge.AWS, debug bool) (demoCase, error) {
	evidence, err := authority.Document(forge.Document{Debug: debug})
	return forgedCase(demoCase{
		name: "Nitro enclave, forged", format: attestd.FormatNitro, evidence: evidence, at: authority.At(),
	}, debug, "nitro/debug"), err
}

func forgedSNP(authority *forge.AMD, debug bool) (demoCase, error) {
	report := forge.NewSNPReport(authority.Line, 3)
	if debug {
		report.Policy |= 1 << 19 // AMD 56860 rev 1.58, section 4.3, DEBUG
	}
	vcek, err := authority.IssueVCEK(report.VCEKConfig(authority.Line))
	if err != nil {
		return demoCase{}, err
	}
	evidence, err := forge.SignSNP(report.Bytes(), vcek.Key)
	return forgedCase(demoCase{
		name: "SEV-SNP Milan, forged", format: attestd.FormatSEVSNP, evidence: evidence,
		endorsements: attestd.Endorsements{Certificates: [][]byte{vcek.DER, authority.ASK.Raw}},
		at:           forge.AMDTime,
	}, debug, "sev-snp/guest-policy-debug"), err
}

func forgedCase(one demoCase, debug bool, check attestd.CheckID) demoCase {
	one.what, one.expect = whatGood, attestd.VerdictAccepted
	if debug {
		one.what, one.expect, one.check = whatDebug, attestd.VerdictRejected, check
	}
	return one
}
