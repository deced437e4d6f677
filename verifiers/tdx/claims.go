package tdx

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// seal makes Claims of a quote that passed every check.
func (o *outcome) seal(t *trail.Trail, input attestd.Input) *attestd.Claims {
	bound, _ := input.Demand.Key()
	return attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
		Format:         attestd.FormatTDX,
		Summary:        o.quote.summary(),
		Product:        o.quote.moduleName(),
		EvidenceDigest: sha256.Sum256(input.Evidence),
		Facts:          o.facts(),
		Registers:      o.quote.registers(),
		Handles:        o.handles(),
		Checks:         t.Checks(),
		Freshness:      freshness(input.Demand),
		KeySPKI:        bytes.Clone(bound),
		InsecureRoots:  o.enclave.insecure,
		Events:         o.events(),
	})
}

// moduleName is Intel's name for the TDX module's major version, as TCB information has it: in hex.
func (q *quote) moduleName() string { return fmt.Sprintf("TDX_%02X", q.teeTCBSVN()[1]) }

func (q *quote) summary() string {
	return fmt.Sprintf("%s, quote v%d", q.moduleName(), q.version)
}

func (q *quote) reportLayout() string {
	if q.tdx15() {
		return "1.5"
	}
	return "1.0"
}

func freshness(demand attestd.Demand) attestd.Freshness {
	switch {
	case demand.IsBinding():
		return attestd.FreshnessBinding
	case demand.IsRecorded():
		// A nonce may have matched, but nobody vouches that it was ours and new.
		return attestd.FreshnessNotShown
	default:
		return attestd.FreshnessNonce
	}
}

// handles names the machine. A quote has nothing that names the TD or its boot: whoever needs an
// identity of one combines it with a TPM's.
func (o *outcome) handles() []attestd.Handle {
	ppid := o.enclave.pck.PPID
	if allZero(ppid[:]) {
		return nil
	}
	return []attestd.Handle{{Kind: attestd.HandleHost, Value: hex.EncodeToString(ppid[:])}}
}

// registerOffsets are the measurement registers in the order in which people are shown them.
var registerOffsets = []struct {
	name   string
	offset int
}{
	{"MRTD", offMRTD}, {"RTMR0", offRTMR}, {"RTMR1", offRTMR + registerSize},
	{"RTMR2", offRTMR + 2*registerSize}, {"RTMR3", offRTMR + 3*registerSize},
	{"MRCONFIGID", offMRConfigID}, {"MROWNER", offMROwner}, {"MROWNERCONFIG", offMROwnerConfig},
}

func (q *quote) registers() []attestd.Register {
	out := make([]attestd.Register, 0, len(registerOffsets))
	room := make([]byte, 0, registerSize*len(registerOffsets))
	for _, register := range registerOffsets {
		from := len(room)
		room = append(room, q.register(register.offset)...)
		out = append(out, attestd.Register{
			Name: register.name, Algorithm: "SHA384", Digest: room[from:len(room):len(room)],
		})
	}
	return out
}

func (o *outcome) events() iter.Seq[attestd.Event] {
	if o.boot == nil {
		return nil
	}
	return o.boot.Events()
}

type adder func(name string, value attestd.Value)

// visible keeps a field that this quote does not have from being read as a "no".
func visible(has bool, value attestd.Value) attestd.Value {
	if !has {
		return attestd.NotVisible()
	}
	return value
}

// facts lists every fact of factSpecs, in that order.
func (o *outcome) facts() []attestd.Fact {
	out := make([]attestd.Fact, 0, len(factSpecs))
	add := func(name string, value attestd.Value) {
		out = append(out, attestd.Fact{Name: name, Value: value})
	}
	o.quote.measurementFacts(add)
	o.quote.attributeFacts(add)
	o.platformFacts(add)
	o.logFacts(add)
	o.tcb.facts(add)
	return out
}

func (q *quote) measurementFacts(add adder) {
	add("quote_version", attestd.Uint(uint64(q.version)))
	add("report_layout", attestd.Text(q.reportLayout()))
	add("mrtd", attestd.Bytes(q.register(offMRTD)))
	for i, name := range [...]string{"rtmr0", "rtmr1", "rtmr2", "rtmr3"} {
		add(name, attestd.Bytes(q.rtmr(i)))
	}
	add("report_data", attestd.Bytes(q.reportData()))
	add("mrconfigid", attestd.Bytes(q.register(offMRConfigID)))
	add("mrowner", attestd.Bytes(q.register(offMROwner)))
	add("mrownerconfig", attestd.Bytes(q.register(offMROwnerConfig)))
	if q.tdx15() {
		add("mrservicetd", attestd.Bytes(q.register(offMRServiceTD)))
		add("service_td_bound", attestd.Bool(!allZero(q.register(offMRServiceTD))))
	} else {
		add("mrservicetd", attestd.NotVisible())
		add("service_td_bound", attestd.NotVisible())
	}
	add("mrseam", attestd.Bytes(q.register(offMRSEAM)))
	launched := q.teeTCBSVN()
	add("tee_tcb_svn", attestd.Bytes(launched[:]))
	running, has := q.teeTCBSVN2()
	add("tee_tcb_svn_2", visible(has, attestd.Bytes(running[:])))
}

func (q *quote) attributeFacts(add adder) {
	attributes, xfam := q.tdAttributes(), q.xfam()
	set := func(word, bits uint64) attestd.Value { return attestd.Bool(word&bits != 0) }
	add("td_attributes", attestd.Uint(attributes))
	add("debug", set(attributes, attributeDebug))
	add("profiling", set(attributes, attributeProfiling))
	add("icssd", set(attributes, attributeICSSD))
	add("lass", set(attributes, attributeLASS))
	add("sept_ve_disable", set(attributes, attributeSEPTVE))
	add("migratable", set(attributes, attributeMigratable))
	add("pks", set(attributes, attributePKS))
	add("key_locker", set(attributes, attributeKeyLocker))
	add("provisioning_agent", set(attributes, attributeTPA))
	add("perfmon", set(attributes, attributePerfmon))
	add("xfam", attestd.Uint(xfam))
	add("xfam_pt", set(xfam, xfamPT))
	add("xfam_lbr", set(xfam, xfamLBR))
	add("xfam_cet", set(xfam, xfamCET))
	add("xfam_uintr", set(xfam, xfamUINTR))
	add("xfam_pkru", set(xfam, xfamPKRU))
	add("xfam_avx512", set(xfam, xfamAVX512))
	add("xfam_amx", set(xfam, xfamAMX))
	add("unknown_bits", attestd.Bool(q.unknownAttributes() != 0 || q.unknownXFAM() != 0))
	add("unknown_attribute_bits", attestd.Uint(q.unknownAttributes()))
	add("unknown_xfam_bits", attestd.Uint(q.unknownXFAM()))
}

func (o *outcome) platformFacts(add adder) {
	pck := o.enclave.pck
	named := !allZero(pck.PPID[:])
	add("pck_ca", attestd.Text(pck.CA.String()))
	add("fmspc", attestd.Bytes(pck.FMSPC[:]))
	add("pceid", attestd.Bytes(pck.PCEID[:]))
	add("ppid", visible(named, attestd.Bytes(pck.PPID[:])))
	add("ppid_missing", attestd.Bool(!named))
	platform := pck.Platform
	if platform == nil {
		add("piid", attestd.NotVisible())
	} else {
		add("piid", attestd.Bytes(platform.PIID[:]))
	}
	add("sgx_type", attestd.Text(pck.Type.String()))
	for _, one := range [...]struct {
		name string
		of   func() bool
	}{
		{"dynamic_platform", func() bool { return platform.Dynamic }},
		{"cached_keys", func() bool { return platform.Cached }},
		{"smt_enabled", func() bool { return platform.SMT }},
	} {
		if platform == nil {
			add(one.name, attestd.NotVisible())
			continue
		}
		add(one.name, attestd.Bool(one.of()))
	}
	add("cpusvn", attestd.Bytes(pck.CPUSVN[:]))
	add("pcesvn", attestd.Uint(uint64(pck.PCESVN)))
	add("pck_sha256", attestd.Bytes(o.enclave.leafDigest[:]))
	add("pck_not_after", attestd.Time(o.enclave.leaf.NotAfter))
	add("qe_mrenclave", attestd.Bytes(o.quote.qeReport[offQEEnclave:offQEEnclave+32]))
	add("qe_isvsvn", attestd.Uint(uint64(o.quote.qeSVN())))
	add("qe_id", attestd.Bytes(o.quote.signed[28:44]))
}

// logFacts are those of a replayed event log. A fact whose RTMR the log does not give is not visible.
func (o *outcome) logFacts(add adder) {
	boot := o.boot
	if boot == nil {
		add("event_log", attestd.Text("absent"))
		for _, name := range [...]string{"rtmrs_unexplained", "secure_boot", "firmware_debugger",
			"exit_boot_services", "dbx_entries"} {
			add(name, attestd.NotVisible())
		}
		return
	}
	const rtmr0, rtmr1 = 1 << 0, 1 << 1
	add("event_log", attestd.Text("replayed"))
	add("event_log_events", attestd.Uint(uint64(boot.Count))) //nolint:gosec // not negative
	add("rtmrs_explained", attestd.Uint(uint64(boot.Matched)))
	add("rtmrs_unexplained", attestd.Uint(uint64(boot.Unaccounted)))
	add("secure_boot", visible(boot.SecureBoot.Known && boot.Matched&rtmr0 != 0,
		attestd.Bool(boot.SecureBoot.On)))
	add("firmware_debugger", visible(boot.Matched&rtmr0 != 0, attestd.Bool(boot.Debugger)))
	add("exit_boot_services", visible(boot.Matched&rtmr1 != 0, attestd.Bool(boot.ExitBootServices)))
	add("boot_applications", visible(boot.Matched&rtmr1 != 0,
		attestd.Uint(uint64(boot.Applications)))) //nolint:gosec // not negative
	add("dbx_entries", visible(boot.DBX.Known,
		attestd.Uint(uint64(boot.DBX.Entries())))) //nolint:gosec // not negative
	if boot.FirmwareVersion != "" {
		add("firmware_text", attestd.Text(attestd.Excerpt(boot.FirmwareVersion, 64)))
	}
}
