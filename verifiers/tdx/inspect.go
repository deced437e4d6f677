package tdx

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/eventlog"
	"github.com/attestd/attestd/verifiers/internal/trail"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// Inspect implements verifiers.Verifier. Quotes whose certificates cannot be read are decoded all the
// same as far as their bytes go: that is when a person needs to look at them.
func (v *Verifier) Inspect(evidence []byte) (attestd.Inspection, error) {
	t := trail.New(table)
	raw, log, padding, bad := open(t, evidence)
	if bad != nil {
		return attestd.Inspection{}, bad.end(t)
	}
	q, bad := parseQuote(t, raw, padding)
	if bad != nil {
		return attestd.Inspection{}, bad.end(t)
	}
	var notes inspection
	notes.head(q)
	notes.body(q)
	notes.enclave(q)
	notes.certificates(q.chain)
	notes.log(q, log)
	return attestd.Inspection{
		Format: attestd.FormatTDX, Summary: q.summary(), Fields: notes.fields,
	}, nil
}

type inspection struct{ fields []attestd.InspectedField }

func (i *inspection) add(name, value, note string) {
	i.fields = append(i.fields, attestd.InspectedField{Name: name, Value: value, Note: note})
}

func (i *inspection) hex(name string, value []byte, note string) {
	if allZero(value) {
		note = "all zero"
	}
	i.add(name, hex.EncodeToString(value), note)
}

func (i *inspection) bit(name string, word, bit uint64, set, clear string) {
	if word&bit != 0 {
		i.add(name, "1", set)
		return
	}
	i.add(name, "0", clear)
}

func (i *inspection) head(q *quote) {
	i.add("version", fmt.Sprint(q.version), "")
	i.add("report_layout", q.reportLayout(), "")
	i.hex("qe_id", q.signed[28:44], "installation of the quoting enclave")
}

func (i *inspection) body(q *quote) {
	launched := q.teeTCBSVN()
	i.hex("tee_tcb_svn", launched[:], fmt.Sprintf("module %s SVN %d, loader SVN %d", q.moduleName(),
		launched[0], launched[2]))
	if running, has := q.teeTCBSVN2(); has {
		note := "as at launch"
		if running != launched {
			note = "another module runs now than at launch: launch the TD again"
		}
		i.hex("tee_tcb_svn_2", running[:], note)
	}
	i.hex("mrseam", q.register(offMRSEAM), "TDX module")
	i.hex("mrsignerseam", q.register(offMRSignerSEAM), "not Intel's module")
	i.hex("seam_attributes", q.body[offSEAMAttribute:offTDAttributes], "not a production module")
	i.attributes(q)
	i.hex("mrtd", q.register(offMRTD), "initial contents")
	i.hex("mrconfigid", q.register(offMRConfigID), "")
	i.hex("mrowner", q.register(offMROwner), "")
	i.hex("mrownerconfig", q.register(offMROwnerConfig), "")
	for n := range 4 {
		i.hex(fmt.Sprintf("rtmr%d", n), q.rtmr(n), "")
	}
	i.hex("report_data", q.reportData(), "")
	if q.tdx15() {
		i.hex("mrservicetd", q.register(offMRServiceTD), "service TDs are bound")
	}
}

func (i *inspection) attributes(q *quote) {
	attributes, xfam := q.tdAttributes(), q.xfam()
	i.add("td_attributes", fmt.Sprintf("0x%016x", attributes), "")
	i.bit("td_attributes.debug", attributes, attributeDebug, "debug: the host can read the TD", "no debug")
	i.bit("td_attributes.profiling", attributes, attributeProfiling, "the host can profile the TD", "")
	i.bit("td_attributes.sept_ve_disable", attributes, attributeSEPTVE, "",
		"the host can raise exceptions in the TD")
	i.bit("td_attributes.migratable", attributes, attributeMigratable, "can be moved", "cannot be moved")
	i.bit("td_attributes.pks", attributes, attributePKS, "", "")
	i.bit("td_attributes.key_locker", attributes, attributeKeyLocker, "", "")
	i.bit("td_attributes.perfmon", attributes, attributePerfmon, "", "")
	if unknown := q.unknownAttributes(); unknown != 0 {
		i.add("td_attributes.unknown", fmt.Sprintf("0x%016x", unknown), "bits that are not known here")
	}
	i.add("xfam", fmt.Sprintf("0x%x", xfam), fmt.Sprintf("%d", xfam))
	if unknown := q.unknownXFAM(); unknown != 0 {
		i.add("xfam.unknown", fmt.Sprintf("0x%x", unknown), "bits that are not known here")
	}
}

func (i *inspection) enclave(q *quote) {
	i.hex("qe.mrenclave", q.qeReport[offQEEnclave:offQEEnclave+32], "")
	signer := q.qeSigner()
	i.hex("qe.mrsigner", signer[:], "")
	i.add("qe.isvprodid", fmt.Sprint(q.qeProdID()), "")
	i.add("qe.isvsvn", fmt.Sprint(q.qeSVN()), "")
}

// certificates prints what the certificates say and where Intel has what belongs to them.
func (i *inspection) certificates(text []byte) {
	rest := text
	for _, name := range chainNames {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || len(block.Bytes) > limits.certificate {
			i.add("certificates", "unreadable", "want PCK, CA and root in PEM")
			return
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			i.add("certificates", "unreadable", name+": "+attestd.Excerpt(err.Error(), 120))
			return
		}
		if name == chainNames[0] {
			i.pck(cert)
		}
	}
}

func (i *inspection) pck(cert *x509.Certificate) {
	i.add("pck.serial", hex.EncodeToString(cert.SerialNumber.Bytes()), "")
	i.add("pck.not_after", cert.NotAfter.UTC().Format(time.RFC3339), "")
	pck, err := pcs.ReadPCK(cert)
	if err != nil {
		i.add("pck", "unreadable", attestd.Excerpt(err.Error(), 120))
		return
	}
	i.add("pck.ca", pck.CA.String(), "")
	i.hex("pck.ppid", pck.PPID[:], "platform")
	i.hex("pck.fmspc", pck.FMSPC[:], "")
	i.hex("pck.pceid", pck.PCEID[:], "")
	i.hex("pck.cpusvn", pck.CPUSVN[:], "")
	i.add("pck.pcesvn", fmt.Sprint(pck.PCESVN), "")
	if platform := pck.Platform; platform != nil {
		i.hex("pck.piid", platform.PIID[:], "")
		i.add("pck.dynamic_platform", fmt.Sprint(platform.Dynamic), "")
		i.add("pck.cached_keys", fmt.Sprint(platform.Cached), "")
		i.add("pck.smt_enabled", fmt.Sprint(platform.SMT), "")
	}
	i.add("tcb_info_url", "https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc="+
		hex.EncodeToString(pck.FMSPC[:]), "")
	i.add("pck_crl_url", "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca="+
		pck.CA.String()+"&encoding=der", "")
}

func (i *inspection) log(q *quote, log []byte) {
	if log == nil {
		return
	}
	events := 0
	if bad := eventlog.WalkCCEL(log, func(eventlog.Entry) bool { events++; return true }); bad != nil {
		i.add("event_log", fmt.Sprintf("%d bytes", len(log)), "unreadable: "+attestd.Excerpt(bad.Error(), 120))
		return
	}
	i.add("event_log", fmt.Sprintf("%d events", events), "")
	if _, bad := checkLog(trail.New(table), q, log); bad != nil {
		i.add("event_log.replay", "no", attestd.Excerpt(bad.got, 120))
		return
	}
	i.add("event_log.replay", "leads to the RTMRs", "which nobody vouches for here")
}
