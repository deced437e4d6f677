package tdx_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

func TestAPlatformThatIsUpToDate(t *testing.T) {
	for _, version := range []uint16{4, 5} {
		v := forgedVerifier(t)
		j := newJudged(t, version)
		input := j.input(t)
		before := v.SignaturesVerified()
		claims := mustVerify(t, v, input)
		// CA, PCK, enclave, quote; signer, TCB information, identity; two lists.
		if got := v.SignaturesVerified() - before; got != 9 {
			t.Errorf("%d verifications, want 9", got)
		}
		facts(t, claims, map[string]string{
			"tcb_status": "UpToDate", "tcb_status_platform": "UpToDate", "tcb_status_module": "UpToDate",
			"tcb_status_qe": "UpToDate", "tcb_out_of_date": "false", "tcb_behind_days": "0",
			"tcb_relaunch_advised": "false", "advisories": "none", "tcb_evaluation": "18",
			"tcb_date": "2024-11-13T00:00:00Z", "tcb_issue_date": "2025-05-31T12:00:00Z",
			"tcb_next_update": "2025-06-30T12:00:00Z", "tcb_unknown_fields": "false",
			"collateral": "fresh", "collateral_stale": "false", "crl": "fresh", "crl_stale": "false",
			"crl_issue_date": "2025-05-31T12:00:00Z", "crl_next_update": "2025-06-30T12:00:00Z",
			"tee_tcb": "module=6 loader=3",
		})
		before = v.SignaturesVerified()
		mustVerify(t, v, input)
		if got := v.SignaturesVerified() - before; got != 1 {
			t.Errorf("%d verifications when warm, want 1", got)
		}
	}
}

// TestTheWorstOfThreeCounts: where a library looks at the module alone, a platform with known holes is
// up to date. neg: 125
func TestTheWorstOfThreeCounts(t *testing.T) {
	v := forgedVerifier(t)
	oldPlatform := func(j *judged) { j.pck.CPUSVN = [16]byte{2, 2, 2, 2, 3, 1, 0, 5} }
	oldModule := func(j *judged) { j.quote.TEETCBSVN[0] = 4 }
	oldEnclave := func(j *judged) { j.quote.QE.SVN = 3 }
	status := func(level int, word string) func(*judged) {
		return func(j *judged) { j.tcb.Levels[level].Status = word }
	}
	for name, row := range map[string]struct {
		change []func(*judged)
		want   map[string]string
	}{
		"an old platform under a new module": {[]func(*judged){oldPlatform}, map[string]string{
			"tcb_status": "OutOfDate", "tcb_status_platform": "OutOfDate", "tcb_status_module": "UpToDate",
			"tcb_out_of_date": "true", "advisories": "INTEL-SA-01036 INTEL-SA-01079",
			"tcb_date": "2024-03-13T00:00:00Z", "tcb_behind_days": "200",
		}},
		"an old module on a new platform": {[]func(*judged){oldModule}, map[string]string{
			"tcb_status": "OutOfDate", "tcb_status_platform": "UpToDate", "tcb_status_module": "OutOfDate",
			"advisories": "INTEL-SA-01036 INTEL-SA-01099", "tcb_behind_days": "200",
		}},
		"an old enclave": {[]func(*judged){oldEnclave}, map[string]string{
			"tcb_status": "OutOfDate", "tcb_status_qe": "OutOfDate", "tcb_behind_days": "200",
			"tcb_status_platform": "UpToDate", "advisories": "none",
		}},
		"all three": {[]func(*judged){oldPlatform, oldModule, oldEnclave}, map[string]string{
			"tcb_status": "OutOfDate", "advisories": "INTEL-SA-01036 INTEL-SA-01079 INTEL-SA-01099",
		}},
		"an old module where a setting is wrong": {
			[]func(*judged){oldModule, status(0, "ConfigurationNeeded")},
			map[string]string{"tcb_status": "OutOfDateConfigurationNeeded",
				"tcb_status_platform": "ConfigurationNeeded"},
		},
		"an old enclave where software must be hardened": {
			[]func(*judged){oldEnclave, status(0, "SWHardeningNeeded")},
			map[string]string{"tcb_status": "OutOfDate"},
		},
		"a setting alone": {[]func(*judged){status(0, "ConfigurationAndSWHardeningNeeded")},
			map[string]string{"tcb_status": "ConfigurationAndSWHardeningNeeded", "tcb_out_of_date": "false",
				"tcb_behind_days": "0"}},
		"a module of major version 0, which the platform's level covers": {[]func(*judged){func(j *judged) {
			j.quote.TEETCBSVN = [16]byte{5, 0, 3}
		}}, map[string]string{"tcb_status": "UpToDate", "tcb_status_module": "not visible"}},
		"an old module of major version 0": {[]func(*judged){func(j *judged) {
			j.quote.TEETCBSVN = [16]byte{5, 0, 2}
		}}, map[string]string{"tcb_status": "OutOfDate", "tcb_status_platform": "OutOfDate"}},
		"an old loader": {[]func(*judged){func(j *judged) {
			j.quote.TEETCBSVN = [16]byte{6, 1, 2}
		}}, map[string]string{"tcb_status": "OutOfDate", "tcb_status_module": "UpToDate"}},
		"a PCESVN between two levels": {[]func(*judged){oldPlatform, func(j *judged) { j.pck.PCESVN = 6 }},
			map[string]string{"tcb_status": "OutOfDate", "tcb_date": "2018-01-04T00:00:00Z",
				// Since the first level that is missed, not since the newest.
				"tcb_behind_days": "445"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJudged(t, 4)
			for _, change := range row.change {
				change(j)
			}
			facts(t, mustVerify(t, v, j.input(t)), row.want)
		})
	}
}

// TestRelaunch: the machine was updated under a TD that the old module had launched. neg: 128
func TestRelaunch(t *testing.T) {
	v := forgedVerifier(t)
	for name, row := range map[string]struct {
		launched, running [3]byte
		status, advised   string
	}{
		"launched and running up to date":    {[3]byte{6, 1, 3}, [3]byte{6, 1, 3}, "UpToDate", "false"},
		"launched by an old module":          {[3]byte{4, 1, 3}, [3]byte{6, 1, 3}, "OutOfDate", "true"},
		"launched before an older major":     {[3]byte{4, 1, 3}, [3]byte{3, 3, 3}, "OutOfDate", "true"},
		"launched under an old loader":       {[3]byte{6, 1, 2}, [3]byte{6, 1, 3}, "OutOfDate", "true"},
		"still running the old one":          {[3]byte{4, 1, 3}, [3]byte{4, 1, 3}, "OutOfDate", "false"},
		"the module was updated, not enough": {[3]byte{4, 1, 2}, [3]byte{6, 1, 2}, "OutOfDate", "false"},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJudged(t, 5)
			copy(j.quote.TEETCBSVN[:], row.launched[:])
			copy(j.quote.TEETCBSVN2[:], row.running[:])
			facts(t, mustVerify(t, v, j.input(t)), map[string]string{
				"tcb_status": row.status, "tcb_relaunch_advised": row.advised,
			})
		})
	}
	// A body of TDX 1.0 has no such field.
	j := newJudged(t, 5)
	j.quote.BodyType, j.quote.TEETCBSVN[0] = forge.TDBody10, 4
	facts(t, mustVerify(t, v, j.input(t)), map[string]string{
		"tcb_status": "OutOfDate", "tcb_relaunch_advised": "false",
	})
}

// TestMissingAndStaleCollateralAreFacts: the claims are authentic, and a check that no policy waives
// decides.
func TestMissingAndStaleCollateralAreFacts(t *testing.T) {
	v := forgedVerifier(t)
	nothingKnown := map[string]string{
		"collateral": "missing", "tcb_status": "not visible", "tcb_out_of_date": "false",
		"tcb_behind_days": "0", "advisories": "none", "tcb_evaluation": "not visible", "crl": "fresh",
	}
	for name, row := range map[string]struct {
		change func(t testing.TB, input *attestd.Input)
		want   map[string]string
	}{
		"nothing": {func(_ testing.TB, input *attestd.Input) { input.Endorsements = attestd.Endorsements{} },
			map[string]string{"collateral": "missing", "crl": "missing", "crl_issue_date": "not visible",
				"collateral_stale": "false", "crl_stale": "false"}},
		"no TCB information": {func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.Documents = input.Endorsements.Documents[1:]
		}, nothingKnown},
		"no identity": {func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.Documents = input.Endorsements.Documents[:1]
		}, nothingKnown},
		"no certificate of the signer": {func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.Certificates = input.Endorsements.Certificates[1:]
		}, nothingKnown},
		// Another family's says nothing about this one. neg: 129
		"TCB information of another family": {func(t testing.TB, input *attestd.Input) {
			config := forge.NewTCBInfoConfig()
			config.FMSPC[0]++
			input.Endorsements.Documents[0] = must(must(intel())(t).TCBInfo(config))(t)
		}, nothingKnown},
		"after the next update": {func(_ testing.TB, input *attestd.Input) { // neg: 130
			input.At = forge.IntelTime.AddDate(0, 0, 29).Add(time.Second)
		}, map[string]string{"collateral": "stale", "collateral_stale": "true", "crl": "stale",
			"crl_stale": "true", "tcb_status": "UpToDate"}},
		"at the next update": {func(_ testing.TB, input *attestd.Input) {
			input.At = forge.IntelTime.AddDate(0, 0, 29)
		}, map[string]string{"collateral": "fresh", "crl": "fresh"}},
		"no list of the root": {func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.CRLs = without(input.Endorsements.CRLs, 0)
		}, map[string]string{"crl": "missing", "collateral": "fresh"}},
		// neg: 133
		"the other CA's list alone": {func(_ testing.TB, input *attestd.Input) {
			input.Endorsements.CRLs = without(input.Endorsements.CRLs, 2)
		}, map[string]string{"crl": "missing", "collateral": "fresh"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJudged(t, 4)
			j.given = row.change
			facts(t, mustVerify(t, v, j.input(t)), row.want)
		})
	}
}

// TestEachCAHasItsOwnList: processor and platform CAs are told apart. neg: 133
func TestEachCAHasItsOwnList(t *testing.T) {
	v := forgedVerifier(t)
	for _, processor := range []bool{false, true} {
		j := newJudged(t, 4)
		j.pck.Processor = processor
		own, others := 2, 1
		if processor {
			own, others = 1, 2
		}
		input := j.input(t)
		facts(t, mustVerify(t, v, input), map[string]string{"crl": "fresh"})
		all := input.Endorsements.CRLs
		input.Endorsements.CRLs = without(all, own)
		facts(t, mustVerify(t, v, input), map[string]string{"crl": "missing"})
		input.Endorsements.CRLs = without(all, others)
		facts(t, mustVerify(t, v, input), map[string]string{"crl": "fresh"})
		// A serial number on the other CA's list is another certificate's.
		ca := forge.IntelProcessorCA
		if processor {
			ca = forge.IntelPlatformCA
		}
		input.Endorsements.CRLs = append(without(all, others), list(t, j.authority, forge.IntelCRLConfig{
			CA: ca, Serials: []int64{forge.SerialPCK},
		}))
		facts(t, mustVerify(t, v, input), map[string]string{"crl": "fresh"})
	}
}

// TestManyFamiliesCostOneVerification: documents of sixty other families are not even read.
func TestManyFamiliesCostOneVerification(t *testing.T) {
	v := forgedVerifier(t)
	j := newJudged(t, 4)
	input := j.input(t)
	good := input.Endorsements.Documents[0]
	for family := range 60 {
		other := bytes.ReplaceAll(good, []byte("B0C06F000000"), []byte{'0', 'A' + byte(family%6),
			'0' + byte(family/6%10), 'F', '6', 'F', '0', '0', '0', '0', '0', '0'})
		input.Endorsements.Documents = append(input.Endorsements.Documents, other)
	}
	facts(t, mustVerify(t, v, input), map[string]string{"collateral": "fresh"})
	before := v.SignaturesVerified()
	mustVerify(t, v, input)
	if got := v.SignaturesVerified() - before; got != 1 {
		t.Errorf("%d verifications", got)
	}
}

// TestTheNewestDocumentCounts: of two that are good the later one, by its number first.
func TestTheNewestDocumentCounts(t *testing.T) {
	v := forgedVerifier(t)
	for _, row := range []struct {
		evaluation int
		days       int
		want       string
	}{{19, -2, "OutOfDate"}, {18, 1, "UpToDate"}, {17, 0, "UpToDate"}} {
		j := newJudged(t, 4)
		input := j.input(t)
		second := j.tcb
		second.Evaluation, second.Issued = row.evaluation, j.tcb.Issued.AddDate(0, 0, row.days)
		second.Levels = append([]forge.IntelLevel{}, j.tcb.Levels...)
		second.Levels[0].Status = "OutOfDate"
		if row.days == 1 {
			// The later of one number wins too: make the first the worse one.
			second.Levels[0].Status = "UpToDate"
			j.tcb.Levels[0].Status = "OutOfDate"
			input = j.input(t)
		}
		document := must(j.authority.TCBInfo(second))(t)
		for _, documents := range [][][]byte{
			{input.Endorsements.Documents[0], document, input.Endorsements.Documents[1]},
			{document, input.Endorsements.Documents[0], input.Endorsements.Documents[1]},
		} {
			input.Endorsements.Documents = documents
			facts(t, mustVerify(t, v, input), map[string]string{"tcb_status": row.want})
		}
	}
}

// TestFieldsThatIntelAddsAreTold: a document with more in it is used, and says so.
func TestFieldsThatIntelAddsAreTold(t *testing.T) {
	j := newJudged(t, 4)
	j.tcb.Edit = func(object string) string { return `{"tcbRecovery":"early",` + object[1:] }
	facts(t, mustVerify(t, forgedVerifier(t), j.input(t)), map[string]string{
		"tcb_unknown_fields": "true", "tcb_status": "UpToDate",
	})
}
