package tdx

import (
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// Documents that the facts and checks of a TCB cite.
const (
	specTCBInfo  = "Intel PCS API version 4, TCB Info V3"
	specIdentity = "Intel PCS API version 4, Enclave Identity V2"
	specCRL      = "RFC 5280, sections 5 and 6.3"
)

// teeTCBNames are the components of the fact tee_tcb: TEE_TCB_SVN[0] and [2]. The major version between
// them is the claims' product, since each counts its module's levels for itself.
var teeTCBNames = [2]string{"module", "loader"}

// tcbFactSpecs are what signed documents and lists say; see tcbFacts.facts.
var tcbFactSpecs = []attestd.FactSpec{
	fact("tcb_status", attestd.KindText,
		"Worst of platform, TDX module and quoting enclave, in Intel's words; not visible without "+
			"collateral.", specTCBInfo),
	fact("tcb_status_platform", attestd.KindText,
		"Intel's word for the platform's level: the worse of launch and now, where the quote says both.",
		specTCBInfo),
	fact("tcb_status_module", attestd.KindText,
		"The same for the TDX module; not visible for major version 0.", specTCBInfo),
	fact("tcb_status_qe", attestd.KindText, "The same for the quoting enclave.", specIdentity),
	fact("tcb_out_of_date", attestd.KindBool,
		"An update is out that platform, module or enclave misses.", specTCBInfo),
	fact("tcb_date", attestd.KindTime,
		"Earliest date of the three levels: what Intel had published by then is mended.", specTCBInfo),
	fact("tcb_behind_days", attestd.KindUint,
		"Days since the date of the first level that one of the three misses; 0 where none is known "+
			"to be missed.", specTCBInfo),
	fact("tcb_relaunch_advised", attestd.KindBool,
		"The TD was launched below a level that what runs now reaches; false in TDX 1.0, which cannot "+
			"show it.", specTCBInfo),
	fact("advisories", attestd.KindText,
		"Advisories of the three levels, sorted, with a blank between; \"none\" where none is known.",
		specTCBInfo),
	fact("tcb_evaluation", attestd.KindUint,
		"Lower tcbEvaluationDataNumber of TCB information and identity.", specTCBInfo),
	fact("tcb_issue_date", attestd.KindTime, "When the older of the two was made.", specTCBInfo),
	fact("tcb_next_update", attestd.KindTime, "When the first newer one is due.", specTCBInfo),
	fact("tcb_unknown_fields", attestd.KindBool,
		"One of the two has fields that this build does not know.", specTCBInfo),
	fact("tee_tcb", attestd.KindComponents,
		"TEE_TCB_SVN at launch as numbers: module and loader.", specModule),
	fact("collateral", attestd.KindText,
		"State of TCB information and identity: fresh, stale or missing.", specTCBInfo),
	fact("collateral_stale", attestd.KindBool,
		"They are there, and a newer one was due by the time.", specTCBInfo),
	fact("crl", attestd.KindText,
		"State of the lists of the root and of the CA over the PCK: fresh, stale or missing.", specCRL),
	fact("crl_stale", attestd.KindBool, "They are there, and a newer one was due by the time.", specCRL),
	fact("crl_issue_date", attestd.KindTime, "When the older of the two was made.", specCRL),
	fact("crl_next_update", attestd.KindTime, "When the first newer one is due.", specCRL),
}

// facts adds the facts of tcbFactSpecs, in that order. What is not known to be missed counts as 0 or
// false where collateral is missing: then the check `collateral` decides, under every policy.
func (f tcbFacts) facts(add adder) {
	status := f.levels.status()
	known := status != pcs.StatusNone
	add("tcb_status", visible(known, attestd.Text(status.String())))
	f.addStatuses(add)
	add("tcb_out_of_date", attestd.Bool(known && status.IsOutOfDate()))
	add("tcb_date", visible(known, attestd.Time(f.levels.date())))
	add("tcb_behind_days", attestd.Uint(f.behind()))
	add("tcb_relaunch_advised", attestd.Bool(known && status.IsOutOfDate() && !f.relaunched().IsOutOfDate()))
	f.addAdvisories(add)
	f.addHeaders(add)
	add("tee_tcb", attestd.Components(
		attestd.Component{Name: teeTCBNames[0], Value: uint64(f.launched[0])},
		attestd.Component{Name: teeTCBNames[1], Value: uint64(f.launched[2])}))
	add("collateral", attestd.Text(f.collateral))
	add("collateral_stale", attestd.Bool(f.collateral == stateStale))
	add("crl", attestd.Text(f.revocation.state))
	add("crl_stale", attestd.Bool(f.revocation.state == stateStale))
	issued, next, any := f.revocation.earliest()
	add("crl_issue_date", visible(any, attestd.Time(issued)))
	add("crl_next_update", visible(any, attestd.Time(next)))
}

func (f tcbFacts) addStatuses(add adder) {
	words := [3]string{f.levels.platformStatus().String(), f.levels.moduleStatus().String()}
	if f.levels.enclave != nil {
		words[2] = f.levels.enclave.Status.String()
	}
	for i, name := range [...]string{"tcb_status_platform", "tcb_status_module", "tcb_status_qe"} {
		add(name, visible(words[i] != "", attestd.Text(words[i])))
	}
}

func (f tcbFacts) addAdvisories(add adder) {
	text := strings.Join(f.levels.advisories(), " ")
	if text == "" {
		text = "none"
	}
	add("advisories", attestd.Text(text))
}

// addHeaders adds what TCB information and identity say of themselves.
func (f tcbFacts) addHeaders(add adder) {
	if f.info == nil || f.identity == nil {
		for _, name := range [...]string{"tcb_evaluation", "tcb_issue_date", "tcb_next_update"} {
			add(name, attestd.NotVisible())
		}
		add("tcb_unknown_fields", attestd.Bool(false))
		return
	}
	one, other := f.info.Header, f.identity.Header
	issued, next := one.IssuedAt, one.NextUpdate
	if other.IssuedAt.Before(issued) {
		issued = other.IssuedAt
	}
	if other.NextUpdate.Before(next) {
		next = other.NextUpdate
	}
	add("tcb_evaluation", attestd.Uint(min(one.Evaluation, other.Evaluation)))
	add("tcb_issue_date", attestd.Time(issued))
	add("tcb_next_update", attestd.Time(next))
	add("tcb_unknown_fields", attestd.Bool(len(f.info.Unknown)+len(f.identity.Unknown) != 0))
}
